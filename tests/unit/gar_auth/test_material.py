# SPDX-License-Identifier: GPL-3.0-or-later
"""Key material: from systemd's credentials or the file itself, refused where others could have it."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from gar_auth._as_user import run_as
from gar_auth.config import Identity
from gar_auth.errors import Exit, Failure, Reason, carried
from gar_auth.material import Material, read

CANARY = "canary-of-a-key"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key.json"
    path.write_text(CANARY)
    path.chmod(0o600)
    return path


@pytest.fixture
def handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of credentials, as systemd shows it to a unit."""
    directory = tmp_path / "credentials"
    directory.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
    return directory


def identity(path: Path, **more: str) -> Identity:
    return Identity(name="ci", type="external_account", file=str(path), **more)  # type: ignore[arg-type]


def failure(path: Path) -> str:
    with pytest.raises(Failure) as caught:
        read(identity(path))
    assert (caught.value.code, caught.value.reason) == (Exit.CONFIGURATION, Reason.FILE)
    assert CANARY not in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_file_itself(key: Path) -> None:
    material = read(identity(key))
    assert material == Material(path=str(key), source=CANARY.encode())
    assert CANARY not in repr(material)


def test_the_group_may_read_it(key: Path) -> None:
    key.chmod(0o640)
    assert read(identity(key)).source == CANARY.encode()


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o601, 0o777])
def test_a_key_that_everybody_may_use_is_refused(key: Path, mode: int) -> None:
    key.chmod(mode)
    cure = f"repair with: chmod o= {key}, and replace the key: it may be known"
    assert failure(key) == f"{key} has mode {mode:04o}, everybody may use it; {cure}"


def test_what_is_handed_over_is_taken(key: Path, handed_over: Path, tmp_path: Path) -> None:
    (handed_over / "source").write_text("copy")
    (handed_over / "subject").write_text("token")
    subject = tmp_path / "subject"
    material = read(identity(key, subject_token_file=str(subject)))
    assert (material.path, material.source, material.subject) == (str(key), b"copy", b"token")


def test_a_copy_of_a_key_that_everybody_may_use_is_refused(key: Path, handed_over: Path) -> None:
    (handed_over / "source").write_text(CANARY)
    key.chmod(0o644)
    assert "has mode 0644, everybody may use it" in failure(key)


def test_when_the_file_was_written_is_told_also_where_a_copy_is_handed_over(
    key: Path, handed_over: Path, tmp_path: Path
) -> None:
    os.utime(key, (1000, 1000))
    assert read(identity(key)).written == 1000
    (handed_over / "source").write_text("copy")
    assert read(identity(key)).written == 1000
    assert read(identity(tmp_path / "hidden")).written is None


@pytest.fixture(params=["handed over", "read"])
def subject(request: pytest.FixtureRequest, tmp_path: Path, key: Path) -> Path:
    path = tmp_path / "subject"
    path.write_text("token")
    if request.param == "handed over":
        directory: Path = request.getfixturevalue("handed_over")
        (directory / "source").write_text("copy")
        (directory / "subject").write_text("token")
    return path


def test_a_subject_token_is_as_its_platform_keeps_it(subject: Path, key: Path) -> None:
    subject.chmod(0o644)
    link = subject.with_name("link")  # as Kubernetes projects it
    link.symlink_to(subject)
    for path in (subject, link):
        assert read(identity(key, subject_token_file=str(path))).subject == b"token"


def test_a_subject_token_that_everybody_may_replace_is_refused(subject: Path, key: Path) -> None:
    subject.chmod(0o646)
    with pytest.raises(Failure) as caught:
        read(identity(key, subject_token_file=str(subject)))
    expected = f"{subject} has mode 0646, everybody may use it; repair with: chmod o-w {subject}"
    assert str(caught.value) == expected
    assert caught.value.code == Exit.CONFIGURATION


@pytest.mark.parametrize("blank", ["", "\n"])
def test_a_blank_copy_stands_for_a_file_that_is_missing(key: Path, handed_over: Path, blank: str) -> None:
    (handed_over / "source").write_text(blank)
    key.unlink()
    assert failure(key) == f"{key} is missing or empty; put it there, or name another one"


def test_an_identity_for_each_user_takes_nothing_that_is_handed_over(handed_over: Path, home: Path) -> None:
    (handed_over / "source").write_text("of the machine")
    login = home / ".config" / "gcloud" / "application_default_credentials.json"
    login.parent.mkdir(parents=True)
    login.write_text("mine")
    login.chmod(0o600)
    material = read(Identity(name="me", type="adc", per_user=True))
    assert (material.path, material.source) == (str(login), b"mine")


def link(path: Path) -> None:
    target = path.with_name("elsewhere")
    target.write_text(CANARY)
    target.chmod(0o600)
    path.symlink_to(target)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda _path: None, ": No such file or directory; put it there, or name another one"),
        (link, " is a symbolic link; name the file itself"),
        (os.mkfifo, " is not a regular file; name another one"),
        (Path.mkdir, " is not a regular file; name another one"),
        (listening, ": No such device or address; put it there, or name another one"),
        (
            lambda path: path.write_bytes(bytes(65537)) and path.chmod(0o600),
            " is larger than 64 KiB; name another one",
        ),
    ],
    ids=["missing", "a link", "a pipe", "a directory", "a socket", "too large"],
)
def test_a_path_that_is_no_key(tmp_path: Path, make: Callable[[Path], object], found: str) -> None:
    path = tmp_path / "key"
    make(path)
    assert failure(path) == f"{path}{found}"


def test_a_key_that_the_fetcher_may_not_read(nobody: pwd.struct_passwd) -> None:
    path = Path(nobody.pw_dir) / "key"
    path.touch(mode=0o600)
    answer = run_as(nobody, lambda: carried(lambda: read(identity(path)).path))
    assert answer["failure"] == f"{path}: Permission denied; let uid {nobody.pw_uid} read it, or run as root"
    assert answer["code"] == Exit.CONFIGURATION
