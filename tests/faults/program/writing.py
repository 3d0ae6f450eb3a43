# SPDX-License-Identifier: GPL-3.0-or-later
"""What `gar-auth write` is interrupted at: changing auth.toml, making it, taking our last entry out."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TypeVar

from faults.files import AUTH, prepare
from faults.injection import Call
from faults.machine import User
from faults.program.installed import TOKEN, Ended, Gar

__all__ = ["NAMES", "Writing", "on_all"]

NAMES = ("change", "create", "remove")
_LINE = re.compile(r"^(\w+)\((.*)")
_TEMPORARY = re.compile(r"\.auth\.toml\.devbox-[0-9a-f]{16}")
_OURS = f'[http-basic.ours]\nusername = "oauth2accesstoken"\npassword = "{TOKEN}"\n'.encode()
_Case = TypeVar("_Case")
_Lane = TypeVar("_Lane")


@dataclass(frozen=True, kw_only=True)
class Writing:
    """A run as a user that changes auth.toml, and what it does undisturbed."""

    gar: Gar
    user: User
    arguments: tuple[str, ...]
    before: bytes | None
    after: bytes | None
    calls: list[Call]

    @classmethod
    def prepared(cls, name: str, *, gar: Gar, user: User) -> Writing:
        """Do it once undisturbed, and record its system calls on the home."""
        before = {"change": AUTH, "create": None, "remove": _OURS}[name]
        arguments = ("write", "--remove") if name == "remove" else ("write",)
        after = {"change": AUTH + b"\n" + _OURS, "create": _OURS, "remove": None}[name]
        writing = cls(gar=gar, user=user, arguments=arguments, before=before, after=after, calls=[])
        writing.rewind()
        done = writing.run()
        assert done.code == 0, done
        assert writing.content() == after
        counts: Counter[str] = Counter()
        for line in done.trace.splitlines():
            found = _LINE.match(line)
            if found:
                counts[found[1]] += 1
                if str(user.home) in found[2]:
                    writing.calls.append(Call(name=found[1], nth=counts[found[1]], text=found[2]))
        assert len(writing.calls) > 15, writing.calls
        return writing

    def run(self, rule: str = "") -> Ended:
        """Run it under strace."""
        return self.gar.traced(*self.arguments, user=self.user, rule=rule)

    def rewind(self) -> None:
        """Put the file back to what it was before."""
        shutil.rmtree(self.user.config_dir.parent, ignore_errors=True)
        if self.before is not None:
            prepare(self.user, config=None, auth=self.before)

    def content(self) -> bytes | None:
        """What auth.toml holds."""
        return self.user.auth.read_bytes() if self.user.auth.exists() else None

    def leftovers(self) -> list[str]:
        """What is in the Poetry directory besides auth.toml."""
        names = os.listdir(self.user.config_dir) if self.user.config_dir.is_dir() else []
        return [name for name in names if name != "auth.toml"]

    def assert_whole(self) -> None:
        """The old or the new file; one temporary at most, that nobody else can read."""
        content = self.content()
        assert content in (self.before, self.after), f"torn: {content!r}"
        leftovers = self.leftovers()
        assert len(leftovers) <= 1, leftovers
        for path in [self.user.config_dir / name for name in leftovers]:
            info = path.lstat()
            assert _TEMPORARY.fullmatch(path.name), path
            assert (info.st_uid, stat.S_IMODE(info.st_mode)) == (self.user.uid, 0o600), path
        if content is not None:
            assert stat.S_IMODE(self.user.auth.stat().st_mode) == 0o600

    def assert_healed(self) -> None:
        """The next run needs no help: it completes the change and removes what was left behind."""
        again = self.gar(*self.arguments, user=self.user)
        assert again.code == 0, again
        assert self.content() == self.after
        # Where nothing is to be removed nothing is opened for writing: the next token sweeps.
        if self.after is not None:
            assert self.leftovers() == []
        assert sorted(os.listdir(self.user.home)) == [".config"]


def on_all(lanes: Sequence[_Lane], cases: Iterable[_Case], do: Callable[[_Lane, _Case], None]) -> None:
    """Do all cases, as many at a time as there are users; fail with all that went wrong."""
    free: SimpleQueue[_Lane] = SimpleQueue()
    for lane in lanes:
        free.put(lane)
    problems: list[str] = []

    def one(case: _Case) -> None:
        lane = free.get()
        try:
            do(lane, case)
        except Exception as problem:
            problems.append(f"{case}\n    {problem!r}")
        finally:
            free.put(lane)

    with ThreadPoolExecutor(len(lanes)) as pool:
        count = len(list(pool.map(one, cases)))
    assert count > 0, "no cases"
    assert not problems, f"{len(problems)} of {count}:\n" + "\n".join(problems)
