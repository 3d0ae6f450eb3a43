# SPDX-License-Identifier: GPL-3.0-or-later
"""kill -9 and errors at every system call of `gar-auth write`: the old or the new file, an honest line."""

from __future__ import annotations

import errno
import os
import random
import signal
import time

import pytest
from faults.conftest import FULL
from faults.injection import Call
from faults.machine import User
from faults.program.installed import Gar
from faults.program.writing import NAMES, Writing, on_all
from faults.test_errors import CURES, HARMLESS, errors_of, must_fail

#: What a later run may heal; the rest has to be repaired by somebody.
TEMPORARY = {"ENOSPC", "EDQUOT", "EFBIG", "EINTR", "EMFILE", "ENFILE", "ENOMEM"}
#: What making and removing do and changing does not.
CHANGES = {"mkdirat", "renameat", "unlinkat"}


def of_interest(name: str, calls: list[Call]) -> list[Call]:
    """All calls; of those that making and removing share with changing only what changes something."""
    if FULL or name == "change":
        return calls
    return [call for call in calls if call.name in CHANGES]


@pytest.mark.parametrize("name", NAMES)
def test_a_kill_at_any_system_call_leaves_a_whole_file_and_the_next_run_heals(
    gar: Gar, lanes: list[User], name: str
) -> None:
    writings = [Writing.prepared(name, gar=gar, user=user) for user in lanes]

    def kill(writing: Writing, call: Call) -> None:
        writing.rewind()
        killed = writing.run(f"inject={call.name}:signal=KILL:when={call.nth}")
        assert killed.code == -signal.SIGKILL
        last = killed.trace.splitlines()[-1]
        assert last.startswith(f"{call.name}("), f"killed elsewhere: {last}"
        assert last.endswith("= ?"), f"killed elsewhere: {last}"
        writing.assert_whole()
        writing.assert_healed()

    on_all(writings, of_interest(name, writings[0].calls), kill)


@pytest.mark.parametrize("name", NAMES)
def test_an_error_at_any_system_call_is_told_with_its_exit_code(
    gar: Gar, lanes: list[User], name: str
) -> None:
    writings = [Writing.prepared(name, gar=gar, user=user) for user in lanes]
    calls = [call for call in of_interest(name, writings[0].calls) if call.name not in HARMLESS]
    if FULL:
        cases = [(call, error) for call in calls for error in errors_of(call)]
    else:
        cases = [(call, errors_of(call)[(call.nth - 1) % len(errors_of(call))]) for call in calls]

    def fail(writing: Writing, case: tuple[Call, str]) -> None:
        call, error = case
        writing.rewind()
        done = writing.run(f"inject={call.name}:error={error}:when={call.nth}")
        assert done.hit, "did not happen"
        writing.assert_whole()
        assert done.code or not must_fail(call), "nobody was told"
        if done.code:
            reason = os.strerror(getattr(errno, error))
            assert reason in done.said, f"does not say {reason!r}: {done.said}"
            assert CURES.get(error, "") in done.said, f"does not name the cure: {done.said}"
            assert str(writing.user.home) in done.said, f"does not name the path: {done.said}"
            changed = writing.content() != writing.before
            assert not (changed and "nothing was changed" in done.said), f"changed, yet: {done.said}"
            lost = "may be lost at a power cut" in done.said
            assert done.code == (75 if error in TEMPORARY or call.name == "flock" or lost else 77), done
        else:
            assert writing.content() == writing.after
        if call.name != "unlinkat":
            assert writing.leftovers() == []
        writing.assert_healed()

    on_all(writings, cases, fail)


def test_random_kills_of_the_whole_program_of_root_leave_whole_files(gar: Gar, lanes: list[User]) -> None:
    writings = [Writing.prepared("change", gar=gar, user=user) for user in lanes]
    started = time.monotonic()
    writings[0].rewind()
    assert gar("write", writings[0].user.name).code == 0
    usual = time.monotonic() - started
    chance = random.Random(3)  # noqa: S311  # the same moments each time
    moments = [chance.uniform(0, 1.2 * usual) for _round in range(1000 if FULL else 12)]
    codes = set()

    def kill(writing: Writing, moment: float) -> None:
        writing.rewind()
        process = gar.start("write", writing.user.name, start_new_session=True)
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        codes.add(process.returncode)
        writing.assert_whole()
        writing.assert_healed()

    on_all(writings, moments, kill)
    assert -signal.SIGKILL in codes
