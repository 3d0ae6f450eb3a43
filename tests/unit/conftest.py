# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the collection and the program on sys.path; gives users whose homes are directories of the test."""

from __future__ import annotations

import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINK = ROOT / ".ansible" / "collections" / "ansible_collections" / "devbox" / "artifact_registry"

for place in (ROOT / ".ansible" / "collections", ROOT / "roles" / "gar_auth" / "files", ROOT / "tests"):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))


def pytest_configure() -> None:
    if not (LINK / "galaxy.yml").exists():
        raise pytest.UsageError(f"{LINK} is missing; run: make unit")


def account(
    home: Path, *, name: str = "dev", uid: int | None = None, gid: int | None = None
) -> pwd.struct_passwd:
    """An entry of the passwd database; by default of the user that runs the tests."""
    uid = os.geteuid() if uid is None else uid
    gid = os.getegid() if gid is None else gid
    return pwd.struct_passwd((name, "x", uid, gid, "", str(home), "/bin/sh"))


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of the caller's settings takes part, and a changed umask is put back."""
    for name in ("GCE_METADATA_HOST", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of the user that runs the tests, with nothing in it."""
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def dev(home: Path) -> pwd.struct_passwd:
    """The user that runs the tests, as dev with that home."""
    return account(home)


@pytest.fixture
def poetry_dir(home: Path) -> Path:
    """The user's Poetry directory, as Poetry makes it."""
    path = home / ".config" / "pypoetry"
    path.mkdir(mode=0o755, parents=True)
    (home / ".config").chmod(0o755)
    path.chmod(0o755)
    return path


@pytest.fixture
def nobody() -> Iterator[pwd.struct_passwd]:
    """Another, unprivileged user with a home that the user can enter; needs root."""
    if os.geteuid() != 0:
        pytest.skip("needs root to act as another user")
    real = pwd.getpwnam("nobody")
    top = Path(tempfile.mkdtemp(prefix="unit-nobody-"))
    try:
        top.chmod(0o711)
        path = top / "home"
        path.mkdir(mode=0o700)
        os.chown(path, real.pw_uid, real.pw_gid)
        yield account(path, name="nobody", uid=real.pw_uid, gid=real.pw_gid)
    finally:
        shutil.rmtree(top)
