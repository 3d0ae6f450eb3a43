# SPDX-License-Identifier: GPL-3.0-or-later
"""Several writers in a home: locks with a deadline, no lost update, and the sweeping of what is left."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import time
from pathlib import Path

import pytest
from unit.plugins.homes import names, opened, secret

from ansible_collections.devbox.artifact_registry.plugins.module_utils._home_file import (
    TEMPORARY,
    FileProblem,
)
from ansible_collections.devbox.artifact_registry.plugins.module_utils._toml_read import is_valid


def hold_lock(path: str, ready: multiprocessing.synchronize.Event) -> None:
    fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_EX)
    ready.set()
    time.sleep(30)


def test_a_lock_that_another_process_holds_is_waited_for_only_so_long(poetry_dir: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    holder = context.Process(target=hold_lock, args=(str(poetry_dir), ready))
    holder.start()
    try:
        assert ready.wait(10)
        start = time.monotonic()
        with (
            opened(poetry_dir) as directory,
            pytest.raises(FileProblem) as caught,
            directory.locked(seconds=0.3),
        ):
            pass
        assert 0.3 <= time.monotonic() - start < 2
        assert caught.value.code == TEMPORARY
        assert f"find it with: fuser -v {poetry_dir}" in str(caught.value)
    finally:
        holder.kill()
        holder.join()
    with opened(poetry_dir) as directory, directory.locked(seconds=0.3):
        pass  # a killed holder holds nothing


def test_a_file_system_without_locks_is_a_temporary_failure(
    poetry_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", fail)
    with opened(poetry_dir) as directory, pytest.raises(FileProblem) as caught, directory.locked():
        pass
    assert caught.value.code == TEMPORARY


def test_writers_of_ours_never_lose_an_update(poetry_dir: Path) -> None:
    def add(number: int) -> None:
        for _attempt in range(50):
            with opened(poetry_dir) as directory, directory.locked(seconds=20):
                snapshot = directory.read("auth.toml", complete=is_valid, private=True)
                if directory.replace("auth.toml", f"{snapshot.text}k{number} = 1\n", previous=snapshot):
                    return

    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=add, args=(number,)) for number in range(20)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = (poetry_dir / "auth.toml").read_text().split("\n")
    assert sorted(lines) == sorted([f"k{number} = 1" for number in range(20)] + [""])
    assert names(poetry_dir) == ["auth.toml"]


def test_only_our_old_temporary_files_are_swept(poetry_dir: Path) -> None:
    stale = {".auth.toml.devbox-0123456789abcdef", ".pyproject.toml.devbox-ffffffffffffffff"}
    kept = {
        "auth.toml",
        ".auth.toml.swp",
        ".auth.toml.devbox-0123456789abcdef.bak",
        "auth.toml.devbox-0123456789abcdef",
        ".auth.toml.devbox-0123456789ABCDEF",
    }
    for name in (*stale, *kept):
        (poetry_dir / name).write_text("x")
    (poetry_dir / ".auth.toml.devbox-aaaaaaaaaaaaaaaa").symlink_to("/etc/hostname")
    (poetry_dir / ".auth.toml.devbox-bbbbbbbbbbbbbbbb").mkdir()
    with opened(poetry_dir) as directory:
        directory.sweep()
    left = set(names(poetry_dir))
    assert left - {f".auth.toml.devbox-{letter * 16}" for letter in "ab"} == kept


def test_what_is_written_into_the_replaced_file_in_that_moment_is_not_lost(poetry_dir: Path) -> None:
    path = secret(poetry_dir, "a = 1\n")
    with opened(poetry_dir) as directory:
        before = directory.read("auth.toml", complete=is_valid, private=True)
        with path.open("r+") as poetry:  # it opened the file before it was replaced
            assert directory.replace("auth.toml", "a = 1\nours = 1\n", previous=before)
            poetry.write("a = 1\ntheirs = 1\n")
        late = directory.read("auth.toml", complete=is_valid, private=True)
        assert late.text == "a = 1\ntheirs = 1\n"
        assert directory.replace("auth.toml", f"{late.text}ours = 1\n", previous=late)
        again = directory.read("auth.toml", complete=is_valid, private=True)
    assert again.text == path.read_text() == "a = 1\ntheirs = 1\nours = 1\n"


def test_an_empty_directory_goes_and_a_used_one_stays(poetry_dir: Path) -> None:
    path = secret(poetry_dir)
    with opened(poetry_dir) as directory:
        directory.remove_if_empty()
        assert poetry_dir.exists()
        path.unlink()
        directory.remove_if_empty()
    assert not poetry_dir.exists()
