# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module is interrupted at: changing both files, making them, removing them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults.files import AUTH, CONFIG, DECLARED, assert_invariants, assert_secret, prepare, texts
from faults.injection import Call, Injected, record
from faults.machine import User
from faults.subject import Subject

__all__ = ["NAMES", "Scenario", "prepared"]

NAMES = ("change", "create", "remove")
_TEMPORARY = re.compile(r"\.(config|auth)\.toml\.devbox-[0-9a-f]{16}")


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A run that changes both files, and what it does undisturbed."""

    user: User
    options: dict[str, Any]
    before: dict[str, bytes | None]
    after: dict[str, bytes | None]
    calls: list[Call]

    def rewind(self) -> None:
        """Put the files back to what they were before."""
        _rewind(self.user, self.before)

    def leftovers(self) -> list[Path]:
        """What is in the Poetry directory besides the two files."""
        directory = self.user.config_dir
        names = os.listdir(directory) if directory.is_dir() else []
        return [directory / name for name in names if name not in ("auth.toml", "config.toml")]

    def assert_whole(self) -> None:
        """Each file is the old or the new one; one temporary at most, that nobody else can read."""
        for name, content in texts(self.user).items():
            assert content in (self.before[name], self.after[name]), f"{name} is torn: {content!r}"
        leftovers = self.leftovers()
        assert len(leftovers) <= 1, leftovers
        for path in leftovers:
            info = path.lstat()
            assert _TEMPORARY.fullmatch(path.name), path
            assert (info.st_uid, stat.S_IMODE(info.st_mode)) == (self.user.uid, 0o600), path

    def assert_honest(self, injected: Injected) -> str:
        """The module says in one line what went wrong, and whether files have changed. Returns that line."""
        outcome = injected.outcome
        assert_secret(outcome)
        failure = outcome.failure()
        assert bool(failure) == outcome.failed, outcome.data
        found = texts(self.user)
        if not failure:
            assert found == self.after, f"reported as done: {outcome.data}"
        assert "\n" not in failure, failure
        assert "Traceback" not in outcome.stdout + outcome.stderr, outcome
        changed = {name for name, content in found.items() if content != self.before[name]}
        if "ended without an answer" not in failure:  # what a killed process did, nobody knows
            assert outcome.changed == bool(changed), f"changed: {outcome.changed}, but {changed}: {failure}"
        if "nothing was changed" in failure:
            assert not any(name in failure for name in changed), f"{failure}, yet {changed}"
        return failure

    def assert_healed(self, subject: Subject) -> None:
        """The next run needs no help: it completes the change and removes what was left behind."""
        again = subject.module(self.options)
        assert not again.failed, again.data
        assert texts(self.user) == self.after, "which Poetry has judged"
        assert_invariants(subject, self.user, again, judged=False)


def _rewind(user: User, before: dict[str, bytes | None]) -> None:
    shutil.rmtree(user.config_dir, ignore_errors=True)
    with contextlib.suppress(OSError):
        user.config_dir.parent.rmdir()
    if any(before.values()):
        prepare(user, config=before["config.toml"], auth=before["auth.toml"])


def prepared(name: str, *, subject: Subject, user: User, scratch: Path) -> Scenario:
    """Do a scenario once undisturbed, then record its system calls."""
    nothing: dict[str, bytes | None] = {"config.toml": None, "auth.toml": None}
    options, before = DECLARED, nothing
    if name == "change":
        before = {"config.toml": CONFIG, "auth.toml": AUTH}
    if name == "remove":
        _rewind(user, nothing)
        assert subject.module(DECLARED).changed
        options, before = {**DECLARED, "state": "absent"}, texts(user)
    _rewind(user, before)
    done = subject.module(options)
    assert done.changed
    assert not done.failed
    after = texts(user)
    assert all(after[file] != before[file] for file in after), f"{name} changes one file only: {after}"
    assert_invariants(subject, user, done)
    _rewind(user, before)
    calls = record(subject, options, home=user.home, scratch=scratch)
    assert texts(user) == after
    return Scenario(user=user, options=options, before=before, after=after, calls=calls)
