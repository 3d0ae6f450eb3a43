# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the files are: full, read-only, immutable, mounted, missing; owned by others; not files at all."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.files import DECLARED, assert_invariants, prepare, texts, tree
from faults.machine import Machine, User
from faults.subject import Outcome, Subject


def assert_refused(subject: Subject, dev: User, expected: str) -> Outcome:
    """The module fails with this line and has changed nothing; so does check mode, where it can know."""
    before = tree(dev.home)
    done = subject.module(DECLARED)
    assert done.failure() == expected
    assert not done.changed
    assert tree(dev.home) == before
    return done


def fill(directory: Path) -> None:
    """Use up all space, to the last byte."""
    with (directory / "filler").open("wb", buffering=0) as stream:
        for size in (4096, 1):
            try:
                while stream.write(b"\0" * size):
                    pass
            except OSError:
                continue


def test_a_full_disk_changes_nothing_and_space_is_all_it_takes(
    subject: Subject, machine: Machine, dev: User
) -> None:
    with machine.tmpfs(dev.config_dir, f"size=64k,mode=0755,uid={dev.uid},gid={dev.uid}"):
        prepare(dev)
        fill(dev.config_dir)
        assert_refused(subject, dev, f"{dev.config}: No space left on device; nothing was changed")
        (dev.config_dir / "filler").unlink()
        assert subject.module(DECLARED).changed
        assert_invariants(subject, dev)


def test_a_disk_without_inodes_changes_nothing(subject: Subject, machine: Machine, dev: User) -> None:
    with machine.tmpfs(dev.config_dir, f"nr_inodes=8,mode=0755,uid={dev.uid},gid={dev.uid}"):
        prepare(dev)
        for number in range(os.statvfs(dev.config_dir).f_favail):
            (dev.config_dir / str(number)).touch()
        assert_refused(subject, dev, f"{dev.config}: No space left on device; nothing was changed")


def test_space_for_one_file_only_is_told_for_the_other(subject: Subject, machine: Machine, dev: User) -> None:
    large = b"#" * 12_000 + b"\n"
    with machine.tmpfs(dev.config_dir, f"size=28k,mode=0755,uid={dev.uid},gid={dev.uid}"):
        prepare(dev, auth=large)
        done = subject.module(DECLARED)
        assert done.failure() == f"{dev.auth}: No space left on device; nothing was changed"
        assert done.changed, "config.toml was"
        assert texts(dev)["auth.toml"] == large


def test_a_read_only_file_system(subject: Subject, machine: Machine, dev: User) -> None:
    with machine.bound(dev.config_dir, read_only=True):
        cure = "the file system is mounted read-only, mount it read-write"
        assert_refused(subject, dev, f"{dev.config}: Read-only file system; nothing was changed; {cure}")


@pytest.mark.parametrize("file", ["config.toml", "auth.toml"])
def test_a_file_that_is_a_mount_point(subject: Subject, machine: Machine, dev: User, file: str) -> None:
    path = dev.config_dir / file
    with machine.bound(path):
        before = path.read_bytes()
        done = subject.module(DECLARED)
        cure = f"it is a mount point, unmount it: umount {path}"
        assert done.failure() == f"{path}: Device or resource busy; nothing was changed; {cure}"
        assert path.read_bytes() == before
        assert done.changed == (file == "auth.toml")
    assert not subject.module(DECLARED).failed


@pytest.mark.parametrize("name", ["config.toml", "."])
def test_an_immutable_file_or_directory(subject: Subject, dev: User, name: str) -> None:
    path = dev.config_dir / name
    marked = subprocess.run(["chattr", "+i", path], capture_output=True, text=True, check=False)
    if marked.returncode != 0:
        pytest.skip(f"no immutable files on this file system: {marked.stderr.strip()}")
    try:
        cure = f"it may be immutable, see: lsattr -d {dev.config}"
        found = f"{dev.config}: Operation not permitted; nothing was changed; {cure}"
        assert_refused(subject, dev, found)
    finally:
        subprocess.run(["chattr", "-i", path], check=True)
    assert not subject.module(DECLARED).failed


def test_a_missing_home_is_told_never_made_and_the_others_are_done(
    subject: Subject, machine: Machine, dev: User
) -> None:
    ghost = machine.users["ghost"].home
    done = subject.module({**DECLARED, "users": ["ghost", "dev"]})
    assert done.failure("ghost").startswith(f"{ghost}: No such file or directory; nothing was changed")
    assert not ghost.parent.exists()
    assert done.failure("dev") == ""
    assert assert_invariants(subject, dev, done)["repositories"].keys() == {"theirs", "ours"}


def root_owned(path: Path) -> None:
    os.chown(path, 0, 0)


def hard_linked(path: Path) -> None:
    os.link(path, path.with_name("second"))


def replaced_by(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink()
        make(path)
        os.chown(path, 61001, 61001)

    replace.__name__ = make.__name__
    return replace


def make_socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # a socket's name is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir(before)


@pytest.mark.parametrize("file", ["config.toml", "auth.toml"])
@pytest.mark.parametrize(
    ("spoil", "command"),
    [
        (replaced_by(Path.mkdir), "mv {path} {path}.old"),
        (replaced_by(os.mkfifo), "mv {path} {path}.old"),
        (replaced_by(make_socket), "mv {path} {path}.old"),
        (root_owned, "chown 61001 {path}"),
        (hard_linked, ""),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_no_private_file_of_the_user_is_refused_at_once_and_the_command_repairs_it(
    subject: Subject, dev: User, spoil: Callable[[Path], None], command: str, file: str
) -> None:
    path = dev.config_dir / file
    spoil(path)
    for check in (True, False):
        before = tree(dev.home)
        done = subject.module(DECLARED, check=check)
        assert str(path) in done.failure()
        assert done.seconds < 1, "it was opened and waited for"
        assert not done.changed
        assert tree(dev.home) == before
    if command:
        repair = command.format(path=path)
        assert repair in done.failure()
        subprocess.run(repair, shell=True, check=True)  # noqa: S602  # as a person would type it
    else:
        (dev.config_dir / "second").unlink()
    assert not subject.module(DECLARED).failed
    moved = path.with_name(f"{path.name}.old")
    if moved.is_dir():
        moved.rmdir()
    moved.unlink(missing_ok=True)
    assert_invariants(subject, dev)


def test_secrets_that_others_can_read_are_refused_and_the_command_repairs_it(
    subject: Subject, dev: User
) -> None:
    for mode in (0o604, 0o640, 0o644, 0o620, 0o666):
        dev.auth.chmod(mode)
        assert_refused(
            subject,
            dev,
            f"{dev.auth} has mode {mode:04o}, others may use it; repair with: chmod 600 {dev.auth}",
        )
    subprocess.run(["chmod", "600", dev.auth], check=True)
    assert subject.module(DECLARED).changed


def test_the_command_that_repairs_works_in_a_home_with_spaces(subject: Subject, machine: Machine) -> None:
    odd = machine.users["odd"]
    prepare(odd)
    odd.auth.chmod(0o644)
    repair = subject.module(DECLARED, user="odd").failure("odd").partition("repair with: ")[2]
    subprocess.run(repair, shell=True, check=True)  # noqa: S602  # as a person would type it
    assert subject.module(DECLARED, user="odd").changed


def test_settings_that_others_can_read_keep_their_mode(subject: Subject, dev: User) -> None:
    dev.config.chmod(0o644)
    assert subject.module(DECLARED).changed
    assert dev.config.stat().st_mode & 0o7777 == 0o644


@pytest.mark.parametrize("name", ["", ".config", ".config/pypoetry"])
@pytest.mark.parametrize("spoil", ["owner", "mode"])
def test_a_directory_that_others_control_is_refused_and_the_command_repairs_it(
    subject: Subject, dev: User, name: str, spoil: str
) -> None:
    path = Path(os.path.normpath(dev.home / name))
    if spoil == "owner":
        os.chown(path, 0, -1)
        repair = f"chown 61001 {path}"
    else:
        path.chmod(0o777)
        repair = f"chmod go-w {path}"
    before = tree(dev.home)
    done = subject.module(DECLARED)
    if (spoil, name) == ("owner", ""):  # a home in passwd may be anything, / as well: nobody gives it away
        assert done.failure().endswith("name another directory, or one that belongs to uid 61001")
    else:
        assert done.failure().endswith(f"repair with: {repair}")
    assert tree(dev.home) == before
    subprocess.run(repair, shell=True, check=True)  # noqa: S602  # as a person would type it
    assert not subject.module(DECLARED).failed
