# SPDX-License-Identifier: GPL-3.0-or-later
"""Where auth.toml is: full, read-only, immutable, mounted; homes and users that are gone; no files at all."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults.files import AUTH, assert_kept, prepare, texts, tree
from faults.machine import Machine, User
from faults.program.installed import TOKEN, Ended, Gar, assert_auth
from faults.test_places import fill, hard_linked, make_socket, replaced_by, root_owned

COMMANDS = {"write": "write", "remove": "write --remove"}


def assert_fails(gar: Gar, dev: User, code: int, expected: str) -> Ended:
    """Both as the user and as root it ends with this code and line, and has changed nothing."""
    before = tree(dev.home)
    for done in (gar("write", user=dev), gar("write", "dev")):
        assert (done.code, done.stdout, done.said) == (code, "", expected)
        assert tree(dev.home) == before
    return done


def assert_works(gar: Gar, dev: User) -> None:
    """The next run completes what was to be done, and keeps what was there."""
    done = gar("write", user=dev)
    assert (done.code, done.stderr) == (0, "")
    assert_auth(dev)
    assert_kept(AUTH, texts(dev)["auth.toml"])


def test_a_full_disk_is_temporary_and_space_is_all_it_takes(gar: Gar, machine: Machine, dev: User) -> None:
    with machine.tmpfs(dev.config_dir, f"size=64k,mode=0755,uid={dev.uid},gid={dev.uid}"):
        prepare(dev)
        fill(dev.config_dir)
        assert_fails(gar, dev, 75, f"{dev.auth}: No space left on device; nothing was changed")
        (dev.config_dir / "filler").unlink()
        assert_works(gar, dev)


def test_a_disk_without_inodes_is_temporary(gar: Gar, machine: Machine, dev: User) -> None:
    with machine.tmpfs(dev.config_dir, f"nr_inodes=8,mode=0755,uid={dev.uid},gid={dev.uid}"):
        prepare(dev)
        fillers = [dev.config_dir / str(number) for number in range(os.statvfs(dev.config_dir).f_favail)]
        for filler in fillers:
            filler.touch()
        assert_fails(gar, dev, 75, f"{dev.auth}: No space left on device; nothing was changed")
        for filler in fillers:
            filler.unlink()
        assert_works(gar, dev)


@pytest.mark.parametrize("limit", ["usrquota_block_hardlimit=8k", "usrquota_inode_hardlimit=3"])
def test_a_quota_that_is_used_up_is_temporary(gar: Gar, machine: Machine, dev: User, limit: str) -> None:
    owner = f"mode=0755,uid={dev.uid},gid={dev.uid}"
    try:
        with machine.tmpfs(dev.config_dir, f"{owner},usrquota,{limit}"):
            prepare(dev)
            assert_fails(gar, dev, 75, f"{dev.auth}: Disk quota exceeded; nothing was changed")
    except RuntimeError as problem:
        if "mount" not in str(problem):
            raise
        pytest.skip("no quota on tmpfs here; it needs Linux 6.6 with CONFIG_TMPFS_QUOTA")


def test_a_limit_on_the_size_of_files_is_temporary(gar: Gar, dev: User) -> None:
    before = tree(dev.home)
    done = gar("write", user=dev, tracer=["prlimit", "--fsize=50", "--"])
    assert (done.code, done.said) == (75, f"{dev.auth}: File too large; nothing was changed")
    assert tree(dev.home) == before
    assert_works(gar, dev)


def test_a_read_only_file_system(gar: Gar, machine: Machine, dev: User) -> None:
    with machine.bound(dev.config_dir, read_only=True):
        cure = "the file system is mounted read-only, mount it read-write"
        assert_fails(gar, dev, 77, f"{dev.auth}: Read-only file system; nothing was changed; {cure}")
    assert_works(gar, dev)


def test_a_file_that_is_a_mount_point(gar: Gar, machine: Machine, dev: User) -> None:
    with machine.bound(dev.auth):
        cure = f"it is a mount point, unmount it: umount {dev.auth}"
        assert_fails(gar, dev, 77, f"{dev.auth}: Device or resource busy; nothing was changed; {cure}")
    assert_works(gar, dev)


@pytest.mark.parametrize("name", ["auth.toml", "."])
def test_an_immutable_file_or_directory(gar: Gar, dev: User, name: str) -> None:
    path = dev.config_dir / name
    marked = subprocess.run(["chattr", "+i", path], capture_output=True, text=True, check=False)
    if marked.returncode != 0:
        pytest.skip(f"no immutable files on this file system: {marked.stderr.strip()}")
    try:
        cure = f"it may be immutable, see: lsattr -d {dev.auth}"
        assert_fails(gar, dev, 77, f"{dev.auth}: Operation not permitted; nothing was changed; {cure}")
    finally:
        subprocess.run(["chattr", "-i", path], check=True)
    assert_works(gar, dev)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("spoil", "repair"),
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
    gar: Gar, dev: User, spoil: Callable[[Path], None], repair: str, command: str
) -> None:
    spoil(dev.auth)
    before = tree(dev.home)
    done = gar(*COMMANDS[command].split(), user=dev)
    assert (done.code, done.stdout) == (77, "")
    assert done.said.startswith(str(dev.auth))
    assert done.seconds < 2, "it was opened and waited for"
    assert tree(dev.home) == before
    if repair:
        line = repair.format(path=dev.auth)
        assert done.said.endswith(line)
        subprocess.run(line, shell=True, check=True)  # noqa: S602  # as a person would type it
    else:
        assert done.said == f"{dev.auth} has 2 hard links; keep one name of it only"
        dev.auth.with_name("second").unlink()
    assert gar("write", user=dev).code == 0
    old = dev.auth.with_name("auth.toml.old")
    if old.is_dir():
        old.rmdir()
    old.unlink(missing_ok=True)
    assert_auth(dev)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o666])
def test_a_file_that_others_may_read_gets_no_token(gar: Gar, dev: User, mode: int) -> None:
    dev.auth.chmod(mode)
    repair = f"chmod 600 {dev.auth}"
    said = f"{dev.auth} has mode {mode:04o}, others may use it; repair with: {repair}"
    assert_fails(gar, dev, 77, said)
    subprocess.run(repair, shell=True, check=True)  # noqa: S602  # as a person would type it
    assert_works(gar, dev)


@pytest.mark.parametrize("name", [".config", ".config/pypoetry"])
@pytest.mark.parametrize("spoil", ["owner", "mode"])
def test_a_directory_that_others_control_is_refused_and_the_command_repairs_it(
    gar: Gar, dev: User, name: str, spoil: str
) -> None:
    path = dev.home / name
    if spoil == "owner":
        os.chown(path, 0, -1)
        repair, found = f"chown 61001 {path}", "belongs to uid 0"
    else:
        path.chmod(0o777)
        repair, found = f"chmod go-w {path}", "may be written by others"
    assert_fails(gar, dev, 77, f"{path} {found}; repair with: {repair}")
    subprocess.run(repair, shell=True, check=True)  # noqa: S602  # as a person would type it
    assert_works(gar, dev)


def test_a_home_that_is_missing_or_not_mounted_is_told_and_never_made(gar: Gar, machine: Machine) -> None:
    ghost = machine.users["ghost"]
    before = tree(machine.top / "homes")
    for command in COMMANDS.values():
        for done in (gar(*command.split(), user=ghost), gar(*command.split(), "ghost")):
            assert done.code == 77
            assert done.said.startswith(f"{ghost.home}: No such file or directory; nothing was changed; see:")
    assert tree(machine.top / "homes") == before


def test_an_empty_mount_point_of_root_where_the_home_belongs_is_refused(
    gar: Gar, machine: Machine, dev: User
) -> None:
    with machine.tmpfs(dev.home, "size=64k,mode=0755"):
        done = gar("write", "dev")
        assert done.code == 77
        assert done.said.startswith(f"{dev.home} belongs to uid 0; name another directory")
        assert os.listdir(dev.home) == []
    assert_works(gar, dev)


@contextmanager
def accounts(machine: Machine, old: str, new: str) -> Iterator[None]:
    """Change the machine's /etc/passwd for a while."""
    passwd = machine.top / "passwd"
    before = passwd.read_text()
    assert old in before
    passwd.write_text(before.replace(old, new))
    try:
        yield
    finally:
        passwd.write_text(before)


@pytest.mark.parametrize("fate", ["deleted", "renamed"])
def test_a_user_who_was_deleted_or_renamed_is_told_and_nothing_is_touched(
    gar: Gar, machine: Machine, dev: User, fate: str
) -> None:
    line = f"dev:x:{dev.uid}:{dev.uid}::{dev.home}:/bin/sh\n"
    new = "" if fate == "deleted" else line.replace("dev:x", "devon:x")
    before = tree(machine.top / "homes")
    with accounts(machine, line, new):
        for command in COMMANDS.values():
            done = gar(*command.split(), "dev")
            assert done.code == 78
            assert done.said == "no user 'dev' on this machine; remove it from artifact_registry_users"
    assert tree(machine.top / "homes") == before


def test_a_new_user_with_the_uid_of_an_old_one_gets_nothing_of_the_old_one(
    gar: Gar, machine: Machine, dev: User, eve: User
) -> None:
    line = f"dev:x:{dev.uid}:{dev.uid}::{dev.home}:/bin/sh\n"
    before = tree(machine.top / "homes")
    with accounts(machine, line, f"new:x:{dev.uid}:{dev.uid}::{eve.home}:/bin/sh\n"):
        done = gar("write", "new")
    assert done.code == 77, "a home that belongs to another uid"
    assert done.said.startswith(f"{eve.home} belongs to uid {eve.uid}; name another directory")
    with accounts(machine, line, f"dev:x:{dev.uid + 500}:{dev.uid}::{dev.home}:/bin/sh\n"):
        done = gar("write", "dev")
    assert done.code == 77, "the home of somebody who had that name before"
    assert f"{dev.home} belongs to uid {dev.uid}" in done.said
    assert tree(machine.top / "homes") == before


def test_the_run_directory_of_another_boot_or_a_full_one_is_a_line_too(gar: Gar, dev: User) -> None:
    (gar.run_dir / "default" / "token").unlink()
    before = tree(dev.home)
    done = gar("write", user=dev)
    assert (done.code, done.said) == (75, "no valid token for default; see: gar-auth status")
    gar.put_token(left=-5)
    assert gar("write", user=dev).code == 75, "an expired token is not written"
    assert tree(dev.home) == before
    gar.put_token()
    started = time.monotonic()
    assert_works(gar, dev)
    assert time.monotonic() - started < 5
    assert TOKEN.encode() in (texts(dev)["auth.toml"] or b"")
