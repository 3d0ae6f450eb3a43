# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors at every system call of the write path: the old file stays, and one line says why and what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from faults.conftest import FULL
from faults.injection import Call, inject
from faults.machine import User
from faults.scenarios import NAMES, prepared
from faults.subject import Subject

#: Calls that no file system lets fail.
HARMLESS = {"ioctl", "lseek", "fcntl"}
#: What the file system may answer, by system call.
ANY = ("EIO",)
CREATE = ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EIO", "EMFILE", "ETXTBSY")
ERRORS = {
    "open": ("EIO", "EMFILE", "EACCES", "ENFILE", "ENOMEM"),
    "mkdirat": ("ENOSPC", "EDQUOT", "EROFS", "EIO"),
    "write": ("ENOSPC", "EDQUOT", "EIO", "EFBIG"),
    "fsync": ("EIO", "ENOSPC", "EDQUOT", "EROFS"),
    "fchmod": ("EPERM", "EROFS", "EIO"),
    "flock": ("ENOLCK", "EIO", "EINTR"),
    "renameat": ("ENOSPC", "EIO", "EROFS", "EPERM", "EXDEV", "EBUSY", "ETXTBSY", "EDQUOT"),
    "unlinkat": ("EPERM", "EIO", "EROFS", "EBUSY"),
}
#: Part of the line that names the cure.
CURES = {
    "EROFS": "mounted read-only",
    "EPERM": "immutable",
    "EBUSY": "mount point",
    "EXDEV": "mount point",
    "EIO": "dmesg",
}


def errors_of(call: Call) -> tuple[str, ...]:
    """The errors to inject at a call."""
    if "openat" in call.name:
        return CREATE if "O_CREAT" in call.text else ERRORS["open"]
    return ERRORS.get(call.name, ANY)


def faults(calls: list[Call]) -> list[tuple[Call, str]]:
    """Every call with an error, in turn one of its kind; FAULTS=full: every call with each of its errors."""
    calls = [call for call in calls if call.name not in HARMLESS and "pipe:" not in call.text]
    if FULL:
        return [(call, error) for call in calls for error in errors_of(call)]
    return [(call, errors_of(call)[(call.nth - 1) % len(errors_of(call))]) for call in calls]


def must_fail(call: Call) -> bool:
    """Whether the new file cannot be there, or cannot be trusted to be, after an error at this call."""
    return (
        call.name.startswith(("write", "rename"))
        or "O_CREAT" in call.text
        or (call.name == "fsync" and ".devbox-" in call.text)
    )


@pytest.mark.parametrize("name", NAMES)
def test_an_error_at_any_system_call_is_told_and_leaves_whole_files(
    subject: Subject, dev: User, scratch: Path, name: str
) -> None:
    scenario = prepared(name, subject=subject, user=dev, scratch=scratch)
    problems = []
    cases = faults(scenario.calls)
    for call, error in cases:
        scenario.rewind()
        rule = f"inject={call.name}:error={error}:when={call.nth}"
        done = inject(subject, scenario.options, rule, scratch=scratch)
        try:
            assert done.hit, "did not happen"
            scenario.assert_whole()
            failure = scenario.assert_honest(done)
            assert failure or not must_fail(call), "nobody was told"
            if failure:
                reason = os.strerror(getattr(errno, error))
                assert reason in failure, f"does not say {reason!r}: {failure}"
                assert CURES.get(error, "") in failure, f"does not name the cure: {failure}"
                assert str(dev.home) in failure, f"does not name the path: {failure}"
            if call.name != "unlinkat":
                assert scenario.leftovers() == []
            scenario.assert_healed(subject)
        except AssertionError as problem:
            problems.append(f"{error} at {call}\n    {problem}")
    assert not problems, f"{len(problems)} of {len(cases)}:\n" + "\n".join(problems)
