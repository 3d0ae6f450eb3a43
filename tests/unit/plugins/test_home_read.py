# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening and reading in a home: what is refused, with the repair, and what is waited for."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.plugins.homes import NEW, SECRET, names, opened, read, replace, secret

from ansible_collections.devbox.artifact_registry.plugins.module_utils import _home_file
from ansible_collections.devbox.artifact_registry.plugins.module_utils._as_user import run_as
from ansible_collections.devbox.artifact_registry.plugins.module_utils._home_file import (
    REFUSED,
    UNUSABLE,
    ConfigDirectory,
    FileProblem,
)
from ansible_collections.devbox.artifact_registry.plugins.module_utils._toml_read import is_valid


def make_link(path: Path) -> None:
    target = path.parents[2] / "target"
    target.write_text(SECRET)
    path.symlink_to(target)


def make_dangling(path: Path) -> None:
    path.symlink_to("/etc/unit-test-planted")


def make_hard_link(path: Path) -> None:
    make_file(path)
    os.link(path, path.parents[2] / "second-name")


def make_file(path: Path) -> None:
    path.write_text(SECRET)
    path.chmod(0o600)


def make_open_file(path: Path) -> None:
    make_file(path)
    path.chmod(0o644)


def make_socket(path: Path) -> None:
    before = os.getcwd()
    os.chdir(path.parent)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path.name)
    os.chdir(before)


def make_large(path: Path) -> None:
    path.write_text("#" * (1024 * 1024 + 1))
    path.chmod(0o600)


def make_latin(path: Path) -> None:
    path.write_bytes(b"a = '\xe9'\n")
    path.chmod(0o600)


@pytest.mark.parametrize(
    ("make", "code", "message"),
    [
        (
            make_link,
            REFUSED,
            "PATH is a symbolic link or not a directory: refused; replace it by the real one",
        ),
        (
            make_dangling,
            REFUSED,
            "PATH is a symbolic link or not a directory: refused; replace it by the real one",
        ),
        (make_hard_link, REFUSED, "PATH has 2 hard links; keep one name of it only"),
        (os.mkfifo, REFUSED, "PATH is not a regular file; move it away: mv PATH PATH.old"),
        (make_socket, REFUSED, "PATH is not a regular file; move it away: mv PATH PATH.old"),
        (Path.mkdir, REFUSED, "PATH is not a regular file; move it away: mv PATH PATH.old"),
        (make_open_file, REFUSED, "PATH has mode 0644, others may use it; repair with: chmod 600 PATH"),
        (make_large, UNUSABLE, "PATH is larger than 1 MiB: refused; make it smaller, or move it away"),
        (make_latin, UNUSABLE, "PATH is not UTF-8 at byte 5; save it as UTF-8"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_file_that_is_refused(
    poetry_dir: Path, make: Callable[[Path], None], code: int, message: str
) -> None:
    path = poetry_dir / "auth.toml"
    make(path)
    start = time.monotonic()
    with pytest.raises(FileProblem) as caught:
        read(poetry_dir)
    assert (str(caught.value), caught.value.code) == (message.replace("PATH", str(path)), code)
    assert time.monotonic() - start < 1, "refused without waiting"
    assert not Path("/etc/unit-test-planted").exists()


def test_config_toml_may_be_read_by_others(poetry_dir: Path) -> None:
    secret(poetry_dir, mode=0o644)
    assert read(poetry_dir, private=False).text == SECRET


@pytest.mark.parametrize("planted", [".config", ".config/pypoetry"])
def test_a_directory_that_is_a_link_is_refused_and_its_target_stays_as_it_is(
    home: Path, planted: str
) -> None:
    target = home.parent / "target"
    (target / "pypoetry").mkdir(parents=True)
    (home / planted).parent.mkdir(exist_ok=True)
    (home / planted).symlink_to(target)
    for create in (False, True):
        with pytest.raises(FileProblem, match=re.escape(f"{home}/{planted} is a symbolic link")) as caught:
            opened(home / ".config" / "pypoetry", create=create)
        assert caught.value.code == REFUSED
    assert names(target) == ["pypoetry"]


@pytest.mark.parametrize("name", ["", ".config", ".config/pypoetry"])
def test_a_directory_that_others_may_write_to_is_refused(poetry_dir: Path, home: Path, name: str) -> None:
    path = home / name
    path.chmod(0o777)
    with pytest.raises(FileProblem) as caught:
        opened(poetry_dir)
    expected = f"{os.path.normpath(path)} may be written by others; repair with: chmod go-w {path}"
    assert (str(caught.value), caught.value.code) == (expected, REFUSED)


def test_a_missing_home_is_never_made(tmp_path: Path) -> None:
    home = tmp_path / "not-mounted"
    with pytest.raises(FileProblem, match=f"{home}: No such file or directory; nothing was changed"):
        opened(home / ".config" / "pypoetry", create=True)
    assert not home.exists()


def test_missing_directories_are_made_for_the_user_only(home: Path) -> None:
    path = home / ".config" / "pypoetry"
    with opened(path) as directory:
        assert directory.missing
        assert not directory.read("auth.toml", complete=is_valid, private=True).exists
    assert names(home) == []
    opened(path, create=True).close()
    assert [oct(place.stat().st_mode & 0o777) for place in (path, path.parent)] == ["0o700", "0o700"]


def test_twenty_can_make_the_directories_at_once(home: Path) -> None:
    failures: list[FileProblem] = []
    for number in range(20):
        path, barrier = home / f"c{number}" / "pypoetry", threading.Barrier(8)

        def make(path: Path = path, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            try:
                opened(path, create=True).close()
            except FileProblem as problem:
                failures.append(problem)

        threads = [threading.Thread(target=make) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def as_nobody(nobody: pwd.struct_passwd, act: Callable[[], object]) -> str:
    def work() -> str:
        try:
            act()
        except FileProblem as problem:
            return f"{problem.code} {problem}"
        return "done"

    return str(run_as(nobody, work))


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_another_owners_file_is_refused_with_the_repair(nobody: pwd.struct_passwd, mode: int) -> None:
    poetry_dir = Path(nobody.pw_dir) / "pypoetry"
    poetry_dir.mkdir()
    path = secret(poetry_dir, mode=mode)
    os.chown(poetry_dir, nobody.pw_uid, nobody.pw_gid)

    def act() -> object:
        with ConfigDirectory(str(poetry_dir), home=nobody.pw_dir) as directory:
            return directory.read("auth.toml", complete=is_valid, private=True).text

    expected = f"77 {path} belongs to uid 0; repair with: chown {nobody.pw_uid} {path}"
    assert as_nobody(nobody, act) == expected


@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_another_owners_directory_is_refused_with_the_repair(nobody: pwd.struct_passwd, mode: int) -> None:
    poetry_dir = Path(nobody.pw_dir) / "pypoetry"
    poetry_dir.mkdir()
    poetry_dir.chmod(mode)
    answer = as_nobody(nobody, lambda: ConfigDirectory(str(poetry_dir), home=nobody.pw_dir, create=True))
    assert answer == f"77 {poetry_dir} belongs to uid 0; repair with: chown {nobody.pw_uid} {poetry_dir}"


def test_root_refuses_to_write_into_another_users_home(nobody: pwd.struct_passwd) -> None:
    with pytest.raises(FileProblem, match=f"belongs to uid {nobody.pw_uid}"):
        ConfigDirectory(f"{nobody.pw_dir}/.config/pypoetry", home=nobody.pw_dir, create=True)
    assert names(Path(nobody.pw_dir)) == []


@pytest.mark.parametrize("torn", ["", "[http-basic.mi"])
def test_a_file_that_is_being_written_is_waited_for(poetry_dir: Path, torn: str) -> None:
    path = secret(poetry_dir, torn)

    def finish() -> None:
        time.sleep(0.3)
        path.write_text(SECRET)

    writer = threading.Thread(target=finish)
    writer.start()
    assert read(poetry_dir).text == SECRET
    writer.join()


def test_a_file_that_stays_torn_is_handed_over_after_two_seconds(
    poetry_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _home_file.SETTLE_SECONDS == 2.0
    monkeypatch.setattr(_home_file, "SETTLE_SECONDS", 0.2)
    secret(poetry_dir, "[torn")
    assert read(poetry_dir).text == "[torn"
    secret(poetry_dir, "")
    assert read(poetry_dir).exists


def test_no_descriptor_is_left_open(poetry_dir: Path) -> None:
    open_now = set(os.listdir("/proc/self/fd"))
    for make in (make_file, make_link, Path.mkdir, make_open_file):
        path = poetry_dir / "auth.toml"
        make(path)
        with contextlib.suppress(FileProblem):
            replace(poetry_dir, NEW, previous=read(poetry_dir))
        path.rmdir() if path.is_dir() else path.unlink()
    poetry_dir.chmod(0o777)
    with pytest.raises(FileProblem):
        opened(poetry_dir)
    assert set(os.listdir("/proc/self/fd")) == open_now


def test_an_empty_file_that_is_not_just_being_written_costs_no_time(poetry_dir: Path) -> None:
    path = secret(poetry_dir, "")
    now = time.time()
    os.utime(path, (now, now - 60))
    assert read(poetry_dir).exists
    assert time.time() - now < 1
