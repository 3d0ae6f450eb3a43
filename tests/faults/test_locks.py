# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory's lock, and many runs at once: bounded waits, no lost update, no harm to other users."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from faults.files import AUTH, CONFIG, DECLARED, assert_invariants, assert_kept, declared, texts, tree
from faults.machine import Machine, User
from faults.subject import Subject


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock, as the user can do with a process that never ends."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def test_a_user_who_holds_the_lock_delays_the_task_for_five_seconds_and_harms_no_other_user(
    subject: Subject, machine: Machine, dev: User, eve: User
) -> None:
    before = tree(dev.home)
    with locked(dev.config_dir):
        done = subject.module({**DECLARED, "users": ["dev", "eve"]})
    failure = done.failure("dev")
    assert failure.startswith(f"{dev.config_dir} is locked by another process for more than 5 s")
    assert f"fuser -v {dev.config_dir}" in failure
    assert 5 <= done.seconds < 7
    assert tree(dev.home) == before
    assert done.failure("eve") == ""
    assert_kept(CONFIG, texts(eve)["config.toml"])
    assert assert_invariants(subject, eve, done)["repositories"].keys() == {"theirs", "ours"}
    assert not subject.module(DECLARED).failed


def test_a_lock_that_is_given_back_in_time_is_waited_for(subject: Subject, dev: User) -> None:
    process = None

    def let_go() -> None:
        time.sleep(1)
        os.close(descriptor)

    descriptor = os.open(dev.config_dir, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    holder = threading.Thread(target=let_go)
    holder.start()
    process = subject.start(subject.request(DECLARED))
    done = process.outcome()
    holder.join()
    assert done.changed
    assert 0.8 < done.seconds < 3
    assert_invariants(subject, dev, done)


def test_twenty_runs_at_once_lose_nothing(subject: Subject, dev: User) -> None:
    names = [f"repo-{number}" for number in range(20)]
    processes = [subject.start(subject.request(declared(name))) for name in names]
    outcomes = [process.outcome() for process in processes]
    assert [outcome.failure() for outcome in outcomes] == [""] * 20
    assert all(outcome.changed for outcome in outcomes)
    found = assert_invariants(subject, dev)
    for section in ("repositories", "certificates", "http-basic"):
        assert found[section].keys() >= set(names), section
    after = texts(dev)
    assert_kept(CONFIG, after["config.toml"])
    assert_kept(AUTH, after["auth.toml"])


def test_twenty_first_runs_at_once_lose_nothing(subject: Subject, machine: Machine) -> None:
    names = [f"repo-{number}" for number in range(20)]
    processes = [subject.start(subject.request(declared(name))) for name in names]
    assert [process.outcome().failure() for process in processes] == [""] * 20
    assert assert_invariants(subject, machine.dev)["repositories"].keys() == set(names)


def test_a_run_beside_one_that_removes_the_last_entry_and_the_directory(
    subject: Subject, machine: Machine
) -> None:
    dev = machine.dev
    for _round in range(20):
        assert not subject.module({**declared("new"), "state": "absent"}).failed
        assert subject.module(declared("old")).changed
        options = ({**declared("old"), "state": "absent"}, declared("new"))
        processes = [subject.start(subject.request(option)) for option in options]
        assert [process.outcome().failure() for process in processes] == ["", ""]
        assert assert_invariants(subject, dev)["repositories"].keys() == {"new"}


def test_of_twenty_equal_runs_at_once_one_says_changed(subject: Subject, dev: User) -> None:
    processes = [subject.start(subject.request(DECLARED)) for _number in range(20)]
    outcomes = [process.outcome() for process in processes]
    assert [outcome.failure() for outcome in outcomes] == [""] * 20
    assert sum(outcome.changed for outcome in outcomes) == 1


def test_half_of_twenty_runs_remove_what_they_find(subject: Subject, dev: User) -> None:
    old = [f"old-{number}" for number in range(10)]
    for name in old:
        assert subject.module(declared(name)).changed
    new = [f"new-{number}" for number in range(10)]
    options = [declared(name) for name in new] + [{**declared(name), "state": "absent"} for name in old]
    processes = [subject.start(subject.request(option)) for option in options]
    assert [process.outcome().failure() for process in processes] == [""] * 20
    found = assert_invariants(subject, dev)
    assert found["repositories"].keys() == {"theirs", *new}
    assert found["http-basic"].keys() == {"theirs", *new}


def test_runs_that_follow_links_to_two_directories_never_wait_for_each_other(
    subject: Subject, dev: User
) -> None:
    stores = []
    for path in (dev.config, dev.auth):
        store = dev.home / f"store of {path.name}"
        store.mkdir()
        path.rename(store / path.name)
        path.symlink_to(store / path.name)
        dev.own(store, path)
        stores.append(store)
    names = [f"repo-{number}" for number in range(8)]

    def run(number: int) -> str:
        request = subject.request({**declared(names[number]), "symlink": "follow"})
        return subject.cold(request, PYTHONHASHSEED=str(number)).failure()

    with ThreadPoolExecutor(len(names)) as pool:
        with locked(stores[0]):
            results = [pool.submit(run, number) for number in range(len(names))]
            time.sleep(2)  # all of them wait for this lock, some of them perhaps with the other one
        assert [result.result() for result in results] == [""] * len(names)
    for path, store in zip((dev.config, dev.auth), stores, strict=True):
        path.unlink()
        (store / path.name).rename(path)
        store.rmdir()
    assert assert_invariants(subject, dev)["repositories"].keys() == {"theirs", *names}
