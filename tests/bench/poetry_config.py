# SPDX-License-Identifier: GPL-3.0-or-later
"""poetry_config against a loop of `poetry config` and against a ping, and how its time grows.

Every repetition measures all works once, one after the other, so that a machine that is slower for a while
is so for all of them.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.declared import SETTINGS, Declared, check_same_work, present_user, repositories
from bench.people import People, reason_not_here
from bench.plays import Player, Task
from bench.report import Goal, Growth, NotRun, Point, Report, Row
from lab.console import step

__all__ = ["measure"]

USERS = (1, 10, 100, 1000)
REPOSITORIES = (1, 10, 100)
TEN = 10
"""Repositories of each user where the users grow, and of the one user compared with the loop."""
PAIRS = 3
"""Pairs of module and ping that are counted in one play, after one that is not."""
ROUNDS = FIRST, UNCHANGED = "first run", "unchanged"
LOOP = "poetry config loop"


@dataclass(kw_only=True)
class Bench:
    """The samples of all repetitions, by what was measured, in seconds."""

    scratch: Path
    poetry: Path
    player: Player
    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def compare_with_loop(self) -> None:
        """Ten settings and ten repositories of one user: a first run, then nothing to change."""
        ours, theirs = self.scratch / "ours", self.scratch / "theirs"
        for place in (ours, theirs):
            shutil.rmtree(place, ignore_errors=True)
        for round_ in ROUNDS:
            task = self._ten(ours).module(round_, changes=round_ == FIRST)
            loop = self._ten(theirs).loop(round_, home=self.scratch)
            for side, work in (("module", task), ("loop", loop)):
                with step(f"{round_}, {side}"):
                    self.seconds[f"{side} {round_}"].append(self.player.play([work])[0].task)
            check_same_work(ours, theirs)

    def compare_with_ping(self) -> None:
        """The same again, with nothing to change, beside a ping in one play; the first of each warms up."""
        task = self._ten(self.scratch / "ours").module("module", changes=False)
        ping = Task(name="ping", action={"ansible.builtin.ping": {}}, changes=False)
        with step("unchanged, beside ping"):
            times = self.player.play([task, ping] * (PAIRS + 1))
        self.seconds["module"] += [time.task for time in times[2::2]]
        self.seconds["ping"] += [time.task for time in times[3::2]]

    def grow(self, people: People) -> None:
        """Every size with users of its own: a first run, then nothing to change."""
        people.move_in_again()
        tasks = [
            declared.module(f"{size}, {round_}", changes=round_ == FIRST)
            for size, declared in self._sizes(people)
            for round_ in ROUNDS
        ]
        with step("growth with users and repositories"):
            times = self.player.play(tasks, inside=people.inside, modules=True)
        for task, time in zip(tasks, times, strict=True):
            self.seconds[task.name].append(time.module)

    def _ten(self, place: Path) -> Declared:
        return Declared(
            poetry=self.poetry,
            users=[present_user()],
            repositories=repositories(TEN),
            settings=SETTINGS,
            config_dir=str(place),
        )

    def _sizes(self, people: People) -> Iterator[tuple[str, Declared]]:
        names = iter(people.names)
        for users, entries, name in [
            *((users, TEN, f"{users} users") for users in USERS),
            *((1, entries, f"{entries} repositories") for entries in REPOSITORIES),
        ]:
            some = [next(names) for _ in range(users)]
            yield (
                name,
                Declared(poetry=self.poetry, users=some, repositories=repositories(entries), settings={}),
            )

    def report_one(self, report: Report) -> None:
        """Add the rows of one user."""
        keys = f"{len(SETTINGS)} settings + {TEN} repositories"
        for round_ in ROUNDS:
            report.rows.append(
                Row(
                    work=f"{keys}, {round_}",
                    ours=self.seconds[f"module {round_}"],
                    against=LOOP,
                    other=self.seconds[f"loop {round_}"],
                    goal=Goal(figure="faster", limit=20),
                )
            )
        report.rows.append(
            Row(
                work=f"task: {keys}, {UNCHANGED}",
                ours=self.seconds["module"],
                against="task: ping",
                other=self.seconds["ping"],
                goal=Goal(figure="slower", limit=2),
            )
        )

    def report_many(self, report: Report) -> None:
        """Add the rows of many users, and the growth."""
        work, ours = f"100 users x {TEN} repositories, {FIRST}", self.seconds[f"100 users, {FIRST}"]
        entry = [seconds / (len(SETTINGS) + TEN) for seconds in self.seconds[f"loop {FIRST}"]]
        report.rows += [
            Row(work=f"module: {work}", ours=ours, goal=Goal(figure="seconds", limit=3)),
            Row(
                work=f"module: 100 users x {TEN} repositories, for each",
                ours=[seconds / (100 * TEN) for seconds in ours],
                against="the loop, for each key",
                other=entry,
                goal=Goal(figure="faster", limit=200),
            ),
        ]
        for title, what, sizes in (
            (f"Module's own time by users, {TEN} repositories each", "users", USERS),
            ("Module's own time by repositories, one user", "repositories", REPOSITORIES),
        ):
            points = [
                Point(
                    size=size,
                    first=self.seconds[f"{size} {what}, {FIRST}"],
                    unchanged=self.seconds[f"{size} {what}, {UNCHANGED}"],
                )
                for size in sizes
            ]
            report.growth.append(Growth(title=title, what=what, points=points))


def measure(report: Report, *, scratch: Path, poetry: Path, repetitions: int) -> None:
    """Measure everything and add it to the report."""
    bench = Bench(scratch=scratch, poetry=poetry, player=Player(scratch=scratch))
    reason = reason_not_here(scratch)
    people = None if reason else People.make(scratch / "people", number=sum(USERS) + len(REPOSITORIES))
    for number in range(1, repetitions + 1):
        with step(f"Repetition {number} of {repetitions}"):
            bench.compare_with_loop()
            bench.compare_with_ping()
            if people:
                bench.grow(people)
    bench.report_one(report)
    if people:
        bench.report_many(report)
    for work in (f"100 users x {TEN} repositories", "growth with users and repositories"):
        if reason:
            report.not_run.append(NotRun(work=work, reason=reason))
