# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine with its users, the module and Poetry for all fault tests; needs root and a mount namespace.

FAULTS=full in the environment takes every error at every call and 1,000 random kills.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import ansible
import pytest
from faults.files import outside_of, prepare
from faults.machine import Machine, User, enter_namespace, leave, obstacle
from faults.subject import Subject

ROOT = Path(__file__).resolve().parents[2]
LINK = ROOT / ".ansible" / "collections" / "ansible_collections"
BUILD = ROOT / ".build" / "faults"
FULL = os.environ.get("FAULTS") == "full"
LOCK = ROOT / "roles" / "poetry" / "files" / "poetry-2.5.1.txt"


def pytest_configure() -> None:
    if not (LINK / "devbox" / "artifact_registry" / "galaxy.yml").exists():
        raise pytest.UsageError(f"{LINK} is missing; run: make unit")


def _make_poetry(environment: Path) -> None:
    """Install Poetry from the role's lock, once for each Python and lock."""
    stamp = environment / "lock.txt"
    if stamp.exists() and stamp.read_bytes() == LOCK.read_bytes():
        return
    shutil.rmtree(environment, ignore_errors=True)
    base = Path(sys.base_prefix) / "bin" / "python{}.{}".format(*sys.version_info)
    subprocess.run([base, "-m", "venv", environment], check=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    python = environment / "bin" / "python"
    done = subprocess.run([python, *install, "--requirement", LOCK], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    shutil.copyfile(LOCK, stamp)


@pytest.fixture(scope="session")
def poetry() -> Path:
    """Poetry's environment, kept below .build between runs; nothing is made where no test can run."""
    reason = obstacle()
    if reason:
        pytest.skip(reason)
    BUILD.mkdir(parents=True, exist_ok=True)
    environment = BUILD / "poetry-2.5.1-python{}.{}".format(*sys.version_info)
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _make_poetry(environment)
    return environment


@pytest.fixture(scope="session")
def subject(poetry: Path) -> Iterator[Subject]:
    """The module and Poetry on a machine with users, for all tests."""
    enter_namespace()
    top = Path(tempfile.mkdtemp(prefix="faults-", dir="/tmp"))
    try:
        top.chmod(0o755)
        private = top / "private"
        private.mkdir(mode=0o700)
        library = private / "library"
        library.mkdir()
        (library / "ansible").symlink_to(Path(ansible.__file__).parent)
        (library / "ansible_collections").symlink_to(LINK)
        (packages,) = (poetry / "lib").glob("python*/site-packages")
        machine = Machine(top, packages=packages)
        machine.new_homes()
        subject = Subject(machine, library=library, poetry=poetry / "bin" / "poetry", scratch=private)
        with subject.serving():
            yield subject
    finally:
        leave(top)


@pytest.fixture
def machine(subject: Subject) -> Machine:
    """The users, with new, empty homes."""
    subject.machine.new_homes()
    return subject.machine


@pytest.fixture
def dev(machine: Machine) -> User:
    """A user with the two files of files.py."""
    prepare(machine.dev)
    return machine.dev


@pytest.fixture
def eve(machine: Machine) -> User:
    """A second user with the same files."""
    prepare(machine.eve)
    return machine.eve


@pytest.fixture
def scratch(subject: Subject) -> Path:
    """A directory of root's alone."""
    return subject.scratch


@pytest.fixture(autouse=True)
def outside(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing outside dev's Poetry directory changes (I7); tests with eve look at all of it themselves."""
    if "dev" not in request.fixturenames or "eve" in request.fixturenames:
        yield
        return
    machine: Machine = request.getfixturevalue("machine")
    request.getfixturevalue("dev")
    before = outside_of(machine)
    yield
    assert outside_of(machine) == before
