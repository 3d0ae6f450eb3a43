# SPDX-License-Identifier: GPL-3.0-or-later
"""The releases of Poetry that judge, each in a virtual environment of its own below .build/oracle/.

An environment is made from a lock with hashes and used again as long as lock and interpreter are the same.
The locks beside this file were made by, for each VERSION and the oldest PYTHON (below: oldest)::

    echo poetry==VERSION | uv pip compile - --universal --python-version PYTHON --generate-hashes \
        --no-strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
        --output-file poetry-VERSION.txt

ORACLE_PYTHON=/path/to/python3.N names the interpreter to use where a release runs on it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
if str(ROOT / ".config") not in sys.path:
    sys.path.append(str(ROOT / ".config"))

import bootstrap  # noqa: E402

__all__ = ["HERE", "RELEASES", "ROOT", "NotHereError", "Release"]

BUILD = ROOT / ".build" / "oracle"


class NotHereError(Exception):
    """This machine cannot run the release; the message is the reason."""


@dataclass(frozen=True)
class Release:
    """A release of Poetry, and the Pythons that both it and the modules run on."""

    version: str
    oldest: tuple[int, int]
    newest: tuple[int, int]
    lock: Path

    @property
    def number(self) -> tuple[int, int]:
        """The version's first two parts, to compare with."""
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)

    @property
    def environment(self) -> Path:
        return BUILD / f"poetry-{self.version}"

    def install(self) -> Path:
        """Make the environment where it is not there yet; its directory.

        :raises NotHereError: no Python here runs this release.
        """
        python = self._interpreter()
        made_of = hashlib.sha256(
            f"{self.environment}\0{python}\0".encode() + self.lock.read_bytes()
        ).hexdigest()
        stamp = self.environment / "made_of"
        BUILD.mkdir(parents=True, exist_ok=True)
        with (BUILD / f"{self.version}.lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if not stamp.exists() or stamp.read_text() != made_of:
                shutil.rmtree(self.environment, ignore_errors=True)
                self._run(python, "-m", "venv", str(self.environment))
                pip = ["-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
                self._run(f"{self.environment}/bin/python", *pip, "--require-hashes", "-r", str(self.lock))
                stamp.write_text(made_of)
        return self.environment

    def _interpreter(self) -> str:
        """The Python that runs the tests where that will do, else the newest one here that does."""
        named = os.environ.get("ORACLE_PYTHON")
        first = [bootstrap.probe(named or sys.executable)]
        for found in (first, map(bootstrap.probe, bootstrap.candidates())):
            fitting = [
                python
                for python in found
                if python and python.venv and self.oldest <= python.version[:2] <= self.newest
            ]
            if fitting:
                return max(fitting, key=lambda python: python.version).path
        wanted = "{}.{} to {}.{}".format(*self.oldest, *self.newest)
        raise NotHereError(f"Poetry {self.version} runs on Python {wanted}, and none is here")

    @staticmethod
    def _run(*command: str) -> None:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=bootstrap.pip_environment(),
        )
        if done.returncode:
            said = [line for line in done.stdout.splitlines() if not line.startswith("WARNING")]
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n" + "\n".join(said[-4:]))


RELEASES = [
    Release("1.8.5", oldest=(3, 9), newest=(3, 13), lock=HERE / "poetry-1.8.5.txt"),
    Release("2.0.1", oldest=(3, 9), newest=(3, 13), lock=HERE / "poetry-2.0.1.txt"),
    Release("2.3.2", oldest=(3, 10), newest=(3, 14), lock=HERE / "poetry-2.3.2.txt"),
    Release("2.5.1", oldest=(3, 10), newest=(3, 14), lock=ROOT / "roles/poetry/files/poetry-2.5.1.txt"),
]
