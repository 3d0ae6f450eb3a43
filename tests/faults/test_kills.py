# SPDX-License-Identifier: GPL-3.0-or-later
"""kill -9 at every system call of the write path, and at random moments: the old or the new file is there."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest
from faults.conftest import FULL
from faults.injection import inject
from faults.machine import User
from faults.scenarios import NAMES, prepared
from faults.subject import Subject


@pytest.mark.parametrize("name", NAMES)
def test_a_kill_at_any_system_call_leaves_whole_files_and_the_next_run_heals(
    subject: Subject, dev: User, scratch: Path, name: str
) -> None:
    scenario = prepared(name, subject=subject, user=dev, scratch=scratch)
    problems = []
    for call in scenario.calls:
        scenario.rewind()
        rule = f"inject={call.name}:signal=KILL:when={call.nth}"
        killed = inject(subject, scenario.options, rule, scratch=scratch)
        try:
            assert killed.killed_at(call), "was not killed there"
            scenario.assert_whole()
            assert scenario.assert_honest(killed), "nobody was told"
            scenario.assert_healed(subject)
        except AssertionError as problem:
            problems.append(f"killed at {call}\n    {problem}")
    assert len(scenario.calls) > 40
    assert not problems, f"{len(problems)} of {len(scenario.calls)}:\n" + "\n".join(problems)


def test_random_kills_of_the_whole_module_leave_whole_files(
    subject: Subject, dev: User, scratch: Path
) -> None:
    scenario = prepared("change", subject=subject, user=dev, scratch=scratch)
    usual = subject.module(scenario.options).seconds
    chance = random.Random(3)  # noqa: S311  # the same moments each time
    found = set()
    for _round in range(1000 if FULL else 40):
        scenario.rewind()
        process = subject.start(subject.request(scenario.options))
        time.sleep(chance.uniform(0, 1.2 * usual))
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        with contextlib.suppress(OSError):
            for pid in [*map(int, children.read_text().split()), process.pid]:
                os.kill(pid, signal.SIGKILL)
        found.add(process.outcome().code)
        scenario.assert_whole()
        scenario.assert_healed(subject)
    assert -signal.SIGKILL in found
