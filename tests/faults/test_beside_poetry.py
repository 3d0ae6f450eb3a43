# SPDX-License-Identifier: GPL-3.0-or-later
"""`poetry config` at the same time: Poetry reads, truncates and writes without a lock; no update may be lost.

Most rounds fork Poetry from the warm Python, which makes it as quick as the module: the two meet far more
often than two people would. Each round changes something on both sides and looks for both, and for all else.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faults.conftest import FULL
from faults.files import AUTH, CONFIG, SECRET, URL, assert_invariants, assert_kept, texts
from faults.injection import Call, inject, record_process, stopped_at
from faults.machine import User
from faults.subject import Outcome, Process, Subject, until


@dataclass(frozen=True, kw_only=True)
class Round:
    """What both sides do at the same time, and what is to be found then, by key path."""

    poetry: tuple[str, ...]
    module: dict[str, Any]
    found: dict[tuple[str, ...], set[str | None]]


def other_key_of_config(number: int) -> Round:
    ours, theirs = f"{URL}{number}/", f"https://pypi.example.com/{number}/"
    return Round(
        poetry=("repositories.theirs", theirs),
        module={"repositories": [{"name": "ours", "url": URL, "ca_cert": f"/{number}.pem"}]}
        | {"settings": {"virtualenvs.prompt": ours}},
        found={
            ("repositories", "theirs", "url"): {theirs},
            ("virtualenvs", "prompt"): {ours},
            ("certificates", "ours", "cert"): {f"/{number}.pem"},
        },
    )


def other_key_of_auth(number: int) -> Round:
    return Round(
        poetry=("http-basic.theirs", "dev", f"theirs-{number}"),
        module={"credentials": [{"name": "ours", "username": "ours", "password": f"{SECRET}-{number}"}]},
        found={
            ("http-basic", "theirs", "password"): {f"theirs-{number}"},
            ("http-basic", "ours", "password"): {f"{SECRET}-{number}"},
        },
    )


def same_key(number: int) -> Round:
    ours = f"ours {number}"
    theirs = f"theirs {number}"
    return Round(
        poetry=("virtualenvs.prompt", theirs),
        module={"settings": {"virtualenvs.prompt": ours}},
        found={("virtualenvs", "prompt"): {ours, theirs}},
    )


def poetry_removes(number: int) -> Round:
    """Removes what was there, or was added in the round before."""
    removes = number % 2 == 0
    return Round(
        poetry=("--unset", "repositories.theirs") if removes else ("repositories.theirs", URL),
        module={"settings": {"virtualenvs.prompt": str(number)}},
        found={
            ("repositories", "theirs", "url"): {None if removes else URL},
            ("virtualenvs", "prompt"): {str(number)},
        },
    )


def module_removes(number: int) -> Round:
    """Removes what was added in the round before."""
    theirs = f"https://pypi.example.com/{number}/"
    ours = str(number) if number % 2 == 0 else None
    return Round(
        poetry=("repositories.theirs", theirs),
        module={"settings": {"virtualenvs.prompt": ours}, "state": "present" if ours else "absent"},
        found={("repositories", "theirs", "url"): {theirs}, ("virtualenvs", "prompt"): {ours}},
    )


ROUNDS: list[Callable[[int], Round]] = [
    other_key_of_config,
    other_key_of_auth,
    same_key,
    poetry_removes,
    module_removes,
]


def lookup(found: dict[str, Any], path: tuple[str, ...]) -> Any:
    """The value at a key path, or None."""
    value: Any = found
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def lost(subject: Subject, user: User, done: Round, *, judged: bool = True) -> list[str]:
    """What is not to be found after a round."""
    found = assert_invariants(subject, user, judged=judged)
    return [
        f"{'.'.join(path)} is {lookup(found, path)!r} instead of {wanted}"
        for path, wanted in done.found.items()
        if lookup(found, path) not in wanted
    ]


@pytest.mark.parametrize("make", ROUNDS)
def test_rounds_beside_poetry_lose_nothing_of_either_side(
    subject: Subject, dev: User, make: Callable[[int], Round]
) -> None:
    chance = random.Random(make.__name__)  # noqa: S311  # the same moments each time
    problems: list[str] = []
    rounds = 200 if FULL else 60
    for number in range(rounds):
        this = make(number)
        wait = chance.uniform(-0.03, 0.06)
        poetry: Process | None = None
        if wait < 0:
            poetry = subject.start_poetry("config", *this.poetry)
        time.sleep(abs(wait))
        module = subject.start(subject.request(this.module))
        if poetry is None:
            time.sleep(wait)
            poetry = subject.start_poetry("config", *this.poetry)
        outcomes: tuple[Outcome, Outcome] = (poetry.outcome(), module.outcome())
        assert outcomes[0].code == 0, outcomes[0]
        assert not outcomes[1].failed, outcomes[1].data
        missing = lost(subject, dev, this, judged=number % 10 == 0)
        problems += [f"round {number}, {wait * 1000:.0f} ms: {problem}" for problem in missing]
    assert not problems, f"{len(problems)} lost in {rounds} rounds:\n" + "\n".join(problems)
    assert_kept(b"".join(CONFIG.splitlines(keepends=True)[:3]), texts(dev)["config.toml"])
    assert_kept(b"".join(AUTH.splitlines(keepends=True)[:2]), texts(dev)["auth.toml"])


def test_rounds_beside_poetry_started_as_from_a_shell_lose_nothing(subject: Subject, dev: User) -> None:
    chance = random.Random(5)  # noqa: S311
    problems: list[str] = []
    started = time.monotonic()
    with subject.cold_poetry("config", "--list") as judge:
        judge.communicate()
    usual = time.monotonic() - started
    for number in range(50 if FULL else 8):
        this = ROUNDS[number % 3](number)
        with subject.cold_poetry("config", *this.poetry) as poetry:
            time.sleep(chance.uniform(0.4, 1.0) * usual)
            done = subject.module(this.module)
            output = poetry.communicate()[0]
        assert poetry.returncode == 0, output
        assert not done.failed, done.data
        problems += [f"round {number}: {problem}" for problem in lost(subject, dev, this)]
    assert not problems, "\n".join(problems)


def poetry_calls(subject: Subject, dev: User, this: Round, *, scratch: Path) -> list[Call]:
    """The system calls of `poetry config` on the home; the files are put back."""
    before = {path: path.read_bytes() for path in (dev.config, dev.auth)}
    process = subject.start_poetry("config", *this.poetry, stop=True)
    calls = record_process(process, home=dev.home, scratch=scratch)
    for path, content in before.items():
        path.write_bytes(content)
    return calls


@pytest.mark.parametrize("make", [other_key_of_config, other_key_of_auth])
@pytest.mark.parametrize("moment", ["has read", "has truncated"])
def test_poetry_that_is_about_to_write_when_the_module_runs(
    subject: Subject, dev: User, scratch: Path, make: Callable[[int], Round], moment: str
) -> None:
    this = make(7)
    calls = poetry_calls(subject, dev, this, scratch=scratch)
    (truncates,) = [number for number, call in enumerate(calls) if "O_TRUNC" in call.text]
    call = calls[truncates - (moment == "has read")]
    process = subject.start_poetry("config", *this.poetry, stop=True)
    before = texts(dev)
    with stopped_at(process, call, scratch=scratch):
        assert (texts(dev) == before) == (moment == "has read")
        module = subject.start(subject.request(this.module))
        if moment == "has read":
            until(lambda: texts(dev) != before, what="the module has replaced a file")
        else:
            time.sleep(0.3)  # it waits: there is nothing to see
            assert b"ours" not in b"".join(content or b"" for content in texts(dev).values())
    assert process.outcome().code == 0
    assert not module.outcome().failed
    assert lost(subject, dev, this) == []


@pytest.mark.parametrize("make", [other_key_of_config, other_key_of_auth, poetry_removes])
def test_poetry_that_writes_between_the_modules_last_look_and_its_rename(
    subject: Subject, dev: User, scratch: Path, make: Callable[[int], Round]
) -> None:
    this = make(7)
    outcomes: list[Outcome] = []

    def meanwhile() -> None:
        until(lambda: any(dev.config_dir.glob(".*.devbox-*")), what="the module writes")
        time.sleep(0.1)  # it is held up for 0.5 s right before the rename
        outcomes.append(subject.start_poetry("config", *this.poetry).outcome())

    other = threading.Thread(target=meanwhile)
    other.start()
    try:
        done = inject(subject, this.module, "inject=renameat:delay_enter=500ms:when=1", scratch=scratch)
    finally:
        other.join()
    assert outcomes[0].code == 0
    assert done.hit, "the rename was not held up"
    assert not done.outcome.failed, done.outcome
    assert lost(subject, dev, this) == []


NEVER_RESTING = """
import sys
path = sys.argv[1]
text = open(path).read()
number = 0
while True:
    number += 1
    with open(path, "w") as stream:
        stream.write(text + f"# {number}\\n")
    if number == 1:
        print("writing", flush=True)
"""


def test_a_writer_that_never_rests_is_waited_for_only_so_long(subject: Subject, dev: User) -> None:
    with subject.machine.start_script(dev, NEVER_RESTING, dev.config) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"writing\n"
            done = subject.module({"settings": {"virtualenvs.prompt": "ours"}})
        finally:
            writer.kill()
    assert done.seconds < 10
    if done.failed:
        assert "written by somebody else all the time" in done.failure()
    dev.config.write_bytes(CONFIG)
    assert subject.module({"settings": {"virtualenvs.prompt": "ours"}}).changed
    assert_invariants(subject, dev)
