# SPDX-License-Identifier: GPL-3.0-or-later
"""The supported Pythons that this machine has, and the program installed for each as the role does it.

The environments are kept in .build/tokens/, as long as lock and interpreter are the same.
"""

from __future__ import annotations

import fcntl
import functools
import glob
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jinja2

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
if str(ROOT / ".config") not in sys.path:
    sys.path.append(str(ROOT / ".config"))

import bootstrap  # noqa: E402

__all__ = ["BUILD", "ROOT", "VERSIONS", "Program", "chosen", "found", "install"]

VERSIONS = ("3.10", "3.11", "3.12", "3.13")
BUILD = ROOT / ".build" / "tokens"
ROLE = ROOT / "roles" / "gar_auth"
LOCK = ROLE / "files" / "requirements.txt"


@dataclass(frozen=True, kw_only=True)
class Program:
    """The program below a prefix: `bin/gar-auth`, `lib/gar_auth` and `venv`, as the role lays it out."""

    prefix: Path
    config: Path

    @property
    def command(self) -> Path:
        """What people and units run."""
        return self.prefix / "bin" / "gar-auth"

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        return self.prefix / "venv" / "bin" / "python"


@functools.cache
def found() -> dict[str, str]:
    """The interpreter of each supported version that this machine has and that can make environments."""
    names = [f"python{version}" for version in VERSIONS]
    paths = [os.path.join(place, name) for place in os.get_exec_path() for name in names]
    paths += sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/3.*/bin/python3")))
    known: dict[str, str] = {}
    for path in [sys.executable, *paths]:
        python = bootstrap.probe(path) if os.access(path, os.X_OK) else None
        version = "{}.{}".format(*python.version) if python else ""
        if python and python.venv and version in VERSIONS:
            known.setdefault(version, os.path.realpath(python.path))
    return {version: known[version] for version in VERSIONS if version in known}


def chosen() -> list[str]:
    """The versions to test: the oldest and the newest found, with FAULTS=full all."""
    versions = list(found())
    return (
        versions if os.environ.get("FAULTS") == "full" else list(dict.fromkeys(versions[:1] + versions[-1:]))
    )


def install(python: str, prefix: Path, *, config: Path) -> Program:
    """Install the program below a new prefix, run by that interpreter, with `config` as its configuration."""
    environment = _environment(python)
    for package in ("gar_auth", "gar_auth_keyring"):
        shutil.copytree(ROLE / "files" / package, prefix / "lib" / package, ignore=_no_caches)
    (prefix / "venv").symlink_to(environment)
    template = jinja2.Environment(autoescape=False, keep_trailing_newline=True).from_string(  # noqa: S701
        (ROLE / "templates" / "gar-auth.j2").read_text()
    )
    program = Program(prefix=prefix, config=config)
    program.command.parent.mkdir()
    program.command.write_text(
        template.render(
            gar_auth_prefix=prefix,
            gar_auth_etc_dir=config.parent,
            ansible_managed="tests",
            __gar_auth_venv=prefix / "venv",
        )
    )
    program.command.chmod(0o755)
    run(str(program.python), "-I", "-m", "compileall", "-q", str(prefix / "lib"))
    return program


def _no_caches(_directory: str, names: list[str]) -> set[str]:
    return {name for name in names if name == "__pycache__"}


def _environment(python: str) -> Path:
    """Make the environment from the lock, unless it is there."""
    name = "python-" + hashlib.sha256(python.encode()).hexdigest()[:8]
    made_of = f"{python} {hashlib.sha256(LOCK.read_bytes()).hexdigest()}\n"
    place = BUILD / name
    stamp = place / "tokens.stamp"
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / f"{name}.lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != made_of:
            shutil.rmtree(place, ignore_errors=True)
            run(python, "-m", "venv", str(place))
            pip = [str(place / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
            hashes = ["--require-hashes", "--only-binary=:all:", "--no-deps", "--no-input"]
            run(*pip, "install", *hashes, f"--requirement={LOCK}")
            stamp.write_text(made_of)
    return place


def run(*command: str) -> None:
    """Run a command; on failure raise with its last words."""
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
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}")
