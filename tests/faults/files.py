# SPDX-License-Identifier: GPL-3.0-or-later
"""The user's files before a run, what is declared, and what holds after every case (faults.md, I1 to I7)."""

from __future__ import annotations

import hashlib
import os
import stat
import tomllib
from pathlib import Path
from typing import Any

from faults.machine import Machine, User
from faults.subject import Outcome, Subject

__all__ = [
    "AUTH",
    "CONFIG",
    "DECLARED",
    "SECRET",
    "URL",
    "assert_invariants",
    "assert_kept",
    "assert_secret",
    "declared",
    "outside_of",
    "prepare",
    "texts",
    "tree",
]

URL = "https://europe-west1-python.pkg.dev/my-project/python/"
SECRET = "canary-5d41402abc4b2a76b9719d911017c592"
CONFIG = b"""\
# Poetry of dev: every byte of this stays.
[virtualenvs]
create   =   true     # aligned by hand

[repositories.theirs]
url = 'https://pypi.example.com/legacy/'
"""
AUTH = b"""\
[http-basic.theirs]   # do not touch
username = "dev"
password = 'foreign "quoted" \xc3\xbc'
"""
DECLARED: dict[str, Any] = {
    "repositories": [{"name": "ours", "url": URL, "ca_cert": "/etc/ssl/ours.pem"}],
    "credentials": [{"name": "ours", "username": "oauth2accesstoken", "password": SECRET}],
    "settings": {"virtualenvs": {"in-project": True}},
}


def declared(name: str) -> dict[str, Any]:
    """A repository of another name with its certificate and credentials."""
    return {
        "repositories": [{"name": name, "url": URL, "ca_cert": f"/etc/ssl/{name}.pem"}],
        "credentials": [{"name": name, "username": name, "password": f"{SECRET}-{name}"}],
    }


def prepare(user: User, *, config: bytes | None = CONFIG, auth: bytes | None = AUTH) -> None:
    """Give the user a Poetry directory with files, as Poetry makes them."""
    user.config_dir.mkdir(parents=True, exist_ok=True)
    user.own(user.config_dir.parent, user.config_dir)
    for path, content in ((user.config, config), (user.auth, auth)):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
            path.chmod(0o600)
            user.own(path)


def texts(user: User) -> dict[str, bytes | None]:
    """What the two files hold; None where there is none."""
    found: dict[str, bytes | None] = {}
    for path in (user.config, user.auth):
        try:
            found[path.name] = path.read_bytes()
        except FileNotFoundError:
            found[path.name] = None
    return found


def tree(top: Path, *, without: Path | None = None) -> dict[str, tuple[Any, ...]]:
    """Type, mode, owner and content of everything below a directory."""
    found: dict[str, tuple[Any, ...]] = {}
    for directory, names, files in os.walk(top):
        for name in [*names, *files]:
            path = Path(directory, name)
            if path == without:
                continue
            info = path.lstat()
            content = os.readlink(path) if path.is_symlink() else ""
            if stat.S_ISREG(info.st_mode):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            links = 0 if stat.S_ISDIR(info.st_mode) else info.st_nlink
            found[str(path)] = (oct(info.st_mode), info.st_uid, info.st_gid, links, content)
        names[:] = [name for name in names if Path(directory, name) != without]
    return found


def assert_kept(before: bytes, after: bytes | None) -> None:
    """Every line of the file before is there, in its order, byte for byte (I2)."""
    assert after is not None, "the user's file has gone"
    lines = iter(after.splitlines(keepends=True))
    for line in before.splitlines(keepends=True):
        assert line in lines, f"lost or moved: {line!r} in {after!r}"


def assert_invariants(
    subject: Subject, user: User, outcome: Outcome | None = None, *, judged: bool = True
) -> dict[str, Any]:
    """What has to hold whenever a run has ended well: I1, I3, I4 and I5. Returns what both files say.

    :param judged: also ask Poetry, where the user is dev.
    """
    found = {}
    for path in (user.config, user.auth):
        if path.exists():
            info = path.lstat()
            assert stat.S_ISREG(info.st_mode), path
            assert stat.S_IMODE(info.st_mode) == 0o600, f"{path}: {stat.S_IMODE(info.st_mode):o}"
            assert (info.st_uid, info.st_gid) == (user.uid, user.uid), path
            found.update(tomllib.loads(path.read_text(encoding="utf-8")))
    names = sorted(os.listdir(user.config_dir)) if user.config_dir.is_dir() else []
    assert set(names) <= {"auth.toml", "config.toml"}, f"left behind: {names}"
    if judged and user == subject.machine.dev:
        answer = subject.start_poetry("config", "--list").outcome()
        assert answer.code == 0, f"poetry config --list: {answer}"
    if outcome is not None:
        assert_secret(outcome)
    return found


def assert_secret(outcome: Outcome) -> None:
    """No secret in what the module says (I5); it runs with diff and the highest verbosity."""
    assert SECRET not in outcome.stdout + outcome.stderr


def outside_of(machine: Machine) -> dict[str, tuple[Any, ...]]:
    """Everything that a run for dev may not change: all but dev's Poetry directory (I7)."""
    found = tree(machine.top / "homes", without=machine.dev.config_dir) | tree(machine.outside)
    found.pop(str(machine.dev.config_dir.parent), None)  # made where it is missing
    return found
