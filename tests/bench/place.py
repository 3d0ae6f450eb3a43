# SPDX-License-Identifier: GPL-3.0-or-later
"""Where benchmarks work: below .build/bench, with a real Poetry that they install there once."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.console import step

__all__ = ["CHECKOUT", "PLACE", "POETRY_VERSION", "PYTHON", "BenchError", "file_system", "poetry", "run"]

CHECKOUT = Path(__file__).resolve().parents[2]
PLACE = CHECKOUT / ".build" / "bench"
POETRY_VERSION = "2.5.1"
PYTHON: str = getattr(sys, "_base_executable", sys.executable)
"""The interpreter of modules and of Poetry's environment: no virtual environment's."""

_LAST_WORDS = 15
#: Variables by which the caller's own configuration would take part.
_FOREIGN = ("ANSIBLE_", "POETRY_", "PYTHON", "XDG_", "VIRTUAL_ENV")


class BenchError(Exception):
    """Something broke, so that there is nothing to report. The message says what and what to do."""


def run(argv: Sequence[str], *, variables: Mapping[str, str] | None = None, timeout: float = 900) -> str:
    """Run a command without the caller's Ansible, Python and Poetry variables, and return its output.

    :param variables: added to the environment.
    :param timeout: seconds.
    :raises BenchError: it failed or took too long; with its last words.
    """
    own = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
    short = " ".join(argv[:4])
    try:
        process = subprocess.Popen(
            argv,
            env={**own, "LC_ALL": "C.UTF-8", **(variables or {})},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise BenchError(f"{argv[0]} cannot be run: {error.strerror}") from error
    with process:
        try:
            output = process.communicate(timeout=timeout)[0]
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"{short} ... did not end within {timeout:.0f} s") from error
        finally:
            process.terminate()  # where it still runs: Ansible ends its own processes then
    if process.returncode != 0:
        words = "\n  ".join(output.strip().splitlines()[-_LAST_WORDS:] or ["it printed nothing"])
        raise BenchError(f"{short} ... ended with code {process.returncode}:\n  {words}")
    return output


def poetry() -> Path:
    """Return the executable of Poetry in an environment of its own; makes that unless it is there.

    What is installed are the role's locked packages, with hashes. A stamp, written last, tells an
    environment of this lock and this Python from a torn or an old one.
    """
    lock = CHECKOUT / "roles" / "poetry" / "files" / f"poetry-{POETRY_VERSION}.txt"
    place = PLACE / f"poetry-{POETRY_VERSION}"
    stamp = place / "bench.stamp"
    state = f"{PYTHON} {sys.version_info[:3]} {hashlib.sha256(lock.read_bytes()).hexdigest()}"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != state:
        with step(f"Install Poetry {POETRY_VERSION} below {PLACE}"):
            shutil.rmtree(place, ignore_errors=True)
            run([PYTHON, "-m", "venv", str(place)])
            pip = [str(place / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install"]
            hashes = ["--no-input", "--require-hashes", "--only-binary=:all:", "--no-deps"]
            run([*pip, *hashes, f"--requirement={lock}"])
            stamp.write_text(state, encoding="utf-8")
    return place / "bin" / "poetry"


def file_system(path: Path) -> str:
    """Name the type of the file system of a path: a disk takes other times than memory."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    above = [(point, kind) for _what, point, kind, *_ in mounts if path.is_relative_to(point)]
    return max(enumerate(above), key=lambda entry: (len(entry[1][0]), entry[0]))[1][1]
