# SPDX-License-Identifier: GPL-3.0-or-later
"""Replacing a file in a home: the old or the new one is there, whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.plugins.homes import NEW, SECRET, names, opened, read, replace, secret

from ansible_collections.devbox.artifact_registry.plugins.module_utils._home_file import (
    REFUSED,
    TEMPORARY,
    FileProblem,
    Snapshot,
)
from ansible_collections.devbox.artifact_registry.plugins.module_utils._toml_read import is_valid

me = os.geteuid()


def test_a_new_file_belongs_to_the_user_alone_whatever_the_umask(poetry_dir: Path) -> None:
    for umask in (0o000, 0o777):
        before = os.umask(umask)
        try:
            assert replace(poetry_dir, NEW, previous=read(poetry_dir))
        finally:
            os.umask(before)
        path = poetry_dir / "auth.toml"
        assert (path.read_text(), path.stat().st_mode & 0o7777, path.stat().st_uid) == (NEW, 0o600, me)
        path.unlink()
    assert names(poetry_dir) == []


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o644])
def test_the_mode_of_a_file_is_kept(poetry_dir: Path, mode: int) -> None:
    path = secret(poetry_dir, mode=mode)
    assert replace(poetry_dir, NEW, previous=read(poetry_dir, private=False))
    assert (path.read_text(), path.stat().st_mode & 0o7777) == (NEW, mode)


def test_an_empty_text_removes_the_file(poetry_dir: Path) -> None:
    secret(poetry_dir)
    assert replace(poetry_dir, "", previous=read(poetry_dir))
    assert names(poetry_dir) == []
    assert replace(poetry_dir, "", previous=Snapshot()), "already gone"


def rewrite(path: Path) -> None:
    path.write_text(path.read_text() + "# more\n")


def swap(path: Path) -> None:
    path.with_suffix(".tmp").write_text("# other\n")
    path.with_suffix(".tmp").rename(path)


def same_size_rewrite(path: Path) -> None:
    path.write_text(path.read_text().replace("foreign", "changed"))


def plant_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


@pytest.mark.parametrize("change", [rewrite, swap, same_size_rewrite, Path.unlink, plant_link])
@pytest.mark.parametrize("text", [NEW, ""])
def test_a_change_since_the_reading_is_not_overwritten(
    poetry_dir: Path, change: Callable[[Path], None], text: str
) -> None:
    path = secret(poetry_dir)
    snapshot = read(poetry_dir)
    change(path)
    there = (path.is_symlink(), path.exists() and path.read_text())
    assert replace(poetry_dir, text, previous=snapshot) is False
    assert (path.is_symlink(), path.exists() and path.read_text()) == there
    assert len(names(poetry_dir)) <= 1, "no temporary file"


def test_a_file_made_since_the_reading_is_not_overwritten(poetry_dir: Path) -> None:
    snapshot = read(poetry_dir)
    path = secret(poetry_dir)
    assert replace(poetry_dir, NEW, previous=snapshot) is False
    assert (path.read_text(), names(poetry_dir)) == (SECRET, ["auth.toml"])


def test_a_limit_in_the_middle_of_the_writing_leaves_the_old_file(poetry_dir: Path) -> None:
    path = secret(poetry_dir)
    snapshot = read(poetry_dir)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(FileProblem, match="File too large; nothing was changed") as caught:
            replace(poetry_dir, "#" * 100_000, previous=snapshot)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert caught.value.code == TEMPORARY
    assert (path.read_text(), names(poetry_dir)) == (SECRET, ["auth.toml"])


FULL_DISK = """
import os, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
from gar_auth._home_file import ConfigDirectory, FileProblem
place = Path(sys.argv[2])
with ConfigDirectory(str(place), home=str(place.parent)) as directory:
    snapshot = directory.read("auth.toml", complete=bool, private=True)
    try:
        directory.replace("auth.toml", "#" * 500_000, previous=snapshot)
    except FileProblem as problem:
        print(problem.code, problem, os.listdir(place), (place / "auth.toml").read_text() == snapshot.text)
"""


def test_a_full_disk_leaves_the_old_file(poetry_dir: Path, tmp_path: Path) -> None:
    if me != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare to mount a small tmpfs of its own")
    program = Path(__file__).resolve().parents[3] / "roles" / "gar_auth" / "files"
    (tmp_path / "full.py").write_text(FULL_DISK)
    script = (
        f"mount -t tmpfs -o size=64k,mode=0700 none {poetry_dir} || exit 99; umask 077;"
        f" echo '# old' > {poetry_dir}/auth.toml; {sys.executable} {tmp_path}/full.py {program} {poetry_dir}"
    )
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode == 99 or "unshare failed" in done.stderr:
        pytest.skip(f"may not mount here: {done.stderr.strip()}")
    path = poetry_dir / "auth.toml"
    expected = f"75 {path}: No space left on device; nothing was changed ['auth.toml'] True"
    assert done.stdout.strip() == expected, done.stderr


@pytest.mark.parametrize(
    ("number", "code", "cure"),
    [
        (errno.ENOSPC, TEMPORARY, ""),
        (errno.EDQUOT, TEMPORARY, ""),
        (errno.EROFS, REFUSED, "; the file system is mounted read-only, mount it read-write"),
        (errno.EPERM, REFUSED, "; it may be immutable, see: lsattr -d PATH"),
        (errno.EBUSY, REFUSED, "; it is a mount point, unmount it: umount PATH"),
        (errno.EIO, REFUSED, "; the disk may be failing, see: dmesg"),
        (errno.EACCES, REFUSED, "; see: namei -l PATH"),
    ],
)
@pytest.mark.parametrize("call", ["open", "fsync", "rename"])
def test_an_error_at_any_step_leaves_the_old_file_and_names_the_cure(
    poetry_dir: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, code: int, cure: str
) -> None:
    path = secret(poetry_dir)

    def fail(*_arguments: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number))

    with opened(poetry_dir) as directory:
        snapshot = directory.read("auth.toml", complete=is_valid, private=True)
        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            with pytest.raises(FileProblem) as caught:
                directory.replace("auth.toml", NEW, previous=snapshot)
    message = f"{path}: {os.strerror(number)}; nothing was changed{cure.replace('PATH', str(path))}"
    assert (str(caught.value), caught.value.code) == (message, code)
    assert (path.read_text(), names(poetry_dir)) == (SECRET, ["auth.toml"])


def test_an_error_after_the_change_does_not_say_that_nothing_was_changed(
    poetry_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = secret(poetry_dir)
    fsync = os.fsync

    def fail_for_directories(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_for_directories)
    with opened(poetry_dir) as directory:
        snapshot = directory.read("auth.toml", complete=is_valid, private=True)
        with pytest.raises(FileProblem) as caught:
            directory.replace("auth.toml", NEW, previous=snapshot)
    assert str(caught.value) == (
        f"{path} was changed, but may be lost at a power cut: Input/output error;"
        " the disk may be failing, see: dmesg"
    )
    assert (path.read_text(), names(poetry_dir)) == (NEW, ["auth.toml"])
