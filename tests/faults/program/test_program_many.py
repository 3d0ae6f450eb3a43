# SPDX-License-Identifier: GPL-3.0-or-later
"""Writers at the same time, beside `poetry config`, behind a lock that is held, and files not yet written."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults.conftest import FULL
from faults.files import AUTH, assert_kept, prepare, texts, tree
from faults.injection import record_process, stopped_at
from faults.machine import Machine, User
from faults.program.installed import TOKEN, Gar, assert_auth, entry
from faults.subject import Subject, until
from faults.test_contents import write_later

HOLDER = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def lock_holder(machine: Machine, user: User) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the user that holds the directory's lock."""
    with machine.start_script(user, HOLDER, user.config_dir) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        try:
            yield holder
        finally:
            holder.kill()


def test_twenty_writers_of_different_repositories_at_once_lose_nothing(gar: Gar, dev: User) -> None:
    names = [f"repo-{number}" for number in range(20)]
    gar.configure(repositories=[gar.repository(name) for name in names])
    started = time.monotonic()
    writers = [
        gar.start("write", *(["dev"] if number % 2 else []), user=None if number % 2 else dev)
        for number in range(20)
    ]
    ended = [gar.end(writer, started=started) for writer in writers]
    assert [done.code for done in ended] == [0] * 20, [done.stderr for done in ended]
    assert sum(bool(done.stdout) for done in ended) == 1, "one of them writes, once"
    found = assert_auth(dev, name="repo-7")
    assert found["http-basic"].keys() == {"theirs", *names}
    assert_kept(AUTH, texts(dev)["auth.toml"])


def test_twenty_writers_and_a_rollover_in_their_midst_end_with_the_new_token(gar: Gar, dev: User) -> None:
    started = time.monotonic()
    writers = [gar.start("write", user=dev) for _number in range(10)]
    gar.put_token(f"{TOKEN}-next")
    writers += [gar.start("write", user=dev) for _number in range(10)]
    for writer in writers:
        assert gar.end(writer, started=started).code == 0
    # A writer that had read the old token may come last: the path unit starts one more, for the new token.
    assert gar("write", user=dev).code == 0
    assert_auth(dev, token=f"{TOKEN}-next")
    assert_kept(AUTH, texts(dev)["auth.toml"])


def test_twenty_first_writers_at_once_make_one_whole_file(gar: Gar, machine: Machine) -> None:
    dev = machine.dev
    started = time.monotonic()
    writers = [gar.start("write", user=dev) for _number in range(20)]
    assert [gar.end(writer, started=started).code for writer in writers] == [0] * 20
    assert assert_auth(dev) == {"http-basic": {"ours": entry()}}
    assert oct(dev.config_dir.stat().st_mode & 0o777) == "0o700"


@pytest.mark.parametrize("key", ["other", "same"])
def test_rounds_beside_poetry_lose_no_update_of_either_side(
    gar: Gar, subject: Subject, dev: User, key: str
) -> None:
    chance = random.Random(key)  # noqa: S311  # the same moments each time
    problems = []
    rounds = 100 if FULL else 8
    for number in range(rounds):
        gar.put_token(f"{TOKEN}-{number}")
        name = "theirs" if key == "other" else "ours"
        wait = chance.uniform(0.02, 0.14)
        started = time.monotonic()
        writer = gar.start("write", user=dev)
        time.sleep(wait)
        poetry = subject.start_poetry("config", f"http-basic.{name}", "dev", f"theirs-{number}")
        assert poetry.outcome().code == 0
        assert gar.end(writer, started=started).code == 0
        found = assert_auth(dev, token=f"{TOKEN}-{number}") if key == "other" else None
        if found and found["http-basic"]["theirs"] != {"username": "dev", "password": f"theirs-{number}"}:
            problems.append(f"round {number}, {wait * 1000:.0f} ms: {found['http-basic']['theirs']}")
        if key == "same":  # one of the two stands there, whole; the next run puts ours back
            assert gar("write", user=dev).code == 0
            assert_auth(dev, token=f"{TOKEN}-{number}")
            assert b"foreign" in (texts(dev)["auth.toml"] or b"")
    assert not problems, "\n".join(problems)
    assert subject.start_poetry("config", "--list").outcome().code == 0


@pytest.mark.parametrize("moment", ["has read", "has truncated"])
def test_poetry_that_is_about_to_write_when_the_writer_runs(
    gar: Gar, subject: Subject, dev: User, scratch: Path, moment: str
) -> None:
    command = ("config", "http-basic.theirs", "dev", "theirs-7")
    before = texts(dev)
    process = subject.start_poetry(*command, stop=True)
    calls = record_process(process, home=dev.home, scratch=scratch)
    prepare(dev, auth=before["auth.toml"])
    (truncates,) = [number for number, call in enumerate(calls) if "O_TRUNC" in call.text]
    process = subject.start_poetry(*command, stop=True)
    started = time.monotonic()
    with stopped_at(process, calls[truncates - (moment == "has read")], scratch=scratch):
        writer = gar.start("write", user=dev)
        if moment == "has read":
            until(lambda: texts(dev) != before, what="the writer has replaced the file")
        else:
            time.sleep(0.5)  # it waits: there is nothing to see
            assert texts(dev)["auth.toml"] == b""
    assert process.outcome().code == 0
    assert gar.end(writer, started=started).code == 0
    found = assert_auth(dev)["http-basic"]
    assert found["theirs"] == {"username": "dev", "password": "theirs-7"}


@pytest.mark.parametrize("torn", [b"", AUTH[:60]], ids=["truncated", "half written"])
def test_a_file_that_poetry_is_just_writing_is_waited_for_and_nothing_dropped(
    gar: Gar, dev: User, torn: bytes
) -> None:
    prepare(dev, auth=torn)
    writer = write_later(dev.auth, AUTH, seconds=0.8)
    done = gar("write", user=dev)
    writer.join()
    assert done.code == 0, done
    assert_auth(dev)
    assert_kept(AUTH, texts(dev)["auth.toml"])


def test_a_stopped_lock_holder_costs_five_seconds_and_is_temporary(
    gar: Gar, machine: Machine, dev: User, eve: User
) -> None:
    before = tree(dev.home)
    with lock_holder(machine, dev) as holder:
        holder.send_signal(signal.SIGSTOP)
        started = time.monotonic()
        writers = [gar.start("write", user=dev), gar.start("write", "dev"), gar.start("write", "eve")]
        ended = [gar.end(writer, started=started) for writer in writers]
    for done in ended[:2]:
        assert done.code == 75
        assert done.said.startswith(f"{dev.config_dir} is locked by another process for more than 5 s")
        assert done.said.endswith(f"fuser -v {dev.config_dir}")
        assert 5 <= done.seconds < 9
    assert tree(dev.home) == before
    assert ended[2].code == 0, "another user is not held up"
    assert_auth(eve)
    assert gar("write", user=dev).code == 0
    assert_auth(dev)


def test_a_file_system_without_locks_is_temporary(gar: Gar, dev: User) -> None:
    before = tree(dev.home)
    done = gar.traced("write", user=dev, rule="inject=flock:error=ENOLCK:when=1")
    assert (done.code, done.said) == (75, f"{dev.config_dir} cannot be locked: No locks available")
    assert tree(dev.home) == before


def test_a_writer_of_root_whose_child_is_killed_says_so(gar: Gar, machine: Machine, dev: User) -> None:
    with lock_holder(machine, dev):
        writer = gar.start("write", "dev")
        started = time.monotonic()
        children = Path(f"/proc/{writer.pid}/task/{writer.pid}/children")
        until(lambda: bool(children.read_text().split()), what="the child is there")
        (child,) = map(int, children.read_text().split())
        os.kill(child, signal.SIGKILL)
        done = gar.end(writer, started=started)
    assert done.said == "the process of user dev ended without an answer"
    assert done.code == 75, "the next run may do it"
