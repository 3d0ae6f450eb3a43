# SPDX-License-Identifier: GPL-3.0-or-later
"""A user who swaps a directory or file and a link, all the time; temporary files prepared by the user."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults.conftest import FULL
from faults.files import DECLARED, assert_invariants, outside_of, texts
from faults.injection import inject
from faults.machine import Machine, User
from faults.subject import Subject, until

#: Exchanges two names in one step until it is ended, then says how often.
RACER = """
import ctypes, os, select, sys, time
exchange = ctypes.CDLL(None, use_errno=True).renameat2
one, other = (os.fsencode(path) for path in sys.argv[1:])
count = 0
while not select.select([sys.stdin], [], [], 0.0002)[0]:
    if exchange(-100, one, -100, other, 2):
        sys.exit(os.strerror(ctypes.get_errno()))
    count += 1
    if count == 1:
        print("racing", flush=True)
print(count)
"""


@contextmanager
def racing(machine: Machine, user: User, path: Path, other: Path) -> Iterator[list[int]]:
    """Let a process of the user exchange two paths; after the block: how often it did."""
    counts: list[int] = []
    with machine.start_script(user, RACER, path, other) as racer:
        assert racer.stdout is not None
        assert racer.stdout.readline() == b"racing\n"
        try:
            yield counts
        finally:
            counts.append(int(racer.communicate(timeout=20)[0]))


@pytest.mark.parametrize("symlink", ["refuse", "follow"])
@pytest.mark.parametrize("spot", [".config", ".config/pypoetry", ".config/pypoetry/auth.toml"])
def test_a_racer_gets_nothing_written_outside_the_home(
    subject: Subject, machine: Machine, dev: User, spot: str, symlink: str
) -> None:
    path = dev.home / spot
    trap = dev.home / "trap"
    before = outside_of(machine)
    trap.symlink_to(machine.shared / path.name)
    dev.own(trap)
    states = ["present", "absent"]
    failures: list[str] = []
    with racing(machine, dev, path, trap) as counts:
        while len(failures) < (300 if FULL else 30) or not 0 < failures.count("") < len(failures):
            assert len(failures) < 500, f"always the same side comes first: {set(failures)}"
            state = states[len(failures) % 2]
            done = subject.module({**DECLARED, "state": state, "symlink": symlink})
            failures.append(done.failure())
            assert "\n" not in failures[-1]
    assert counts[0] > 100, "there was no race"
    for directory, names, files in os.walk(dev.home):
        for name in [*names, *files]:
            assert Path(directory, name).lstat().st_uid == dev.uid, "made by somebody else"
    if path.is_symlink():
        path.unlink()
        trap.rename(path)
    trap.unlink(missing_ok=True)
    assert outside_of(machine) == before
    assert not subject.module(DECLARED).failed
    assert_invariants(subject, dev)


def test_planted_links_with_the_names_of_temporaries_are_neither_followed_nor_harmful(
    subject: Subject, machine: Machine, dev: User
) -> None:
    for name in ("config.toml", "auth.toml"):
        for digit in "0f":
            link = dev.config_dir / f".{name}.devbox-{digit * 16}"
            link.symlink_to(machine.shared / name)
            dev.own(link)
    done = subject.module(DECLARED)
    assert not done.failed
    for link in dev.config_dir.glob(".*.devbox-*"):
        link.unlink()
    assert_invariants(subject, dev, done)


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "file"])
def test_a_temporary_whose_name_was_guessed_is_not_used(
    subject: Subject, machine: Machine, dev: User, scratch: Path, kind: str
) -> None:
    guessed = dev.config_dir / f".config.toml.devbox-{'0' * 16}"
    if kind == "link":
        guessed.symlink_to(machine.shared / "config.toml")
    elif kind == "fifo":
        os.mkfifo(guessed)
    elif kind == "directory":
        guessed.mkdir()
    else:
        guessed.write_text("# planted\n")
    dev.own(guessed)
    before = texts(dev)
    nothing_random = "inject=getrandom:poke_exit=@arg1=0000000000000000:when=1+"
    rules = ("trace=%file,%desc,getrandom", nothing_random)
    done = inject(subject, DECLARED, *rules, scratch=scratch)
    assert f".config.toml.devbox-{'0' * 16}" in done.trace, "the name was not guessed"
    if done.outcome.failed:
        assert texts(dev) == before
        assert "File exists; nothing was changed" in done.outcome.failure()
    else:
        assert texts(dev)["config.toml"] != before["config.toml"]
    if guessed.is_dir() and not guessed.is_symlink():
        guessed.rmdir()
    guessed.unlink(missing_ok=True)
    until(lambda: not subject.module(DECLARED).failed, what="works when the trap is gone")
    assert_invariants(subject, dev)
