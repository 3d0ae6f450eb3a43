# SPDX-License-Identifier: GPL-3.0-or-later
"""gar-auth against gcloud with a cached token, against google-auth alone, and for a hundred users.

Every repetition measures all works once, one after the other, so that a machine that is slower for a while
is so for all of them.
"""

from __future__ import annotations

import os
import secrets
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tokens.soak import INTERVAL, Soak
from tokens.sources import SOURCES, Place

from bench.gar_auth_program import IDENTITY, Bed, Use, bed, repositories
from bench.people import People, reason_not_here
from bench.place import BenchError
from bench.report import Goal, NotRun, Report, Row
from gar_auth.store import Status, Store, Token, digest
from lab.console import step
from lab.emulator.launch import start

__all__ = ["measure"]

USERS = 100
REPOSITORIES = 20
HOURS = 6
"""Of the test's clock, for the requests to Google."""
IDLE = 5
"""Idle ticks in each repetition: they are short."""
SERVICE = ("gar-auth", 70999)
"""The service's account; its group reads the tokens."""


@dataclass(kw_only=True)
class Bench:
    """The samples of all repetitions, by what was measured."""

    bed: Bed
    samples: defaultdict[str, list[Use]] = field(default_factory=lambda: defaultdict(list))

    def idle(self) -> None:
        """A tick that has nothing to do, and gcloud with its cached token."""
        tick, cached = self.bed.ours("fetch", IDENTITY), self.bed.gcloud("auth", "print-access-token")
        before = self._requests()
        with step("a tick with nothing to do, and gcloud with a cached token"):
            self.samples["idle"] += self.bed.use([tick] * IDLE)
            self.samples["gcloud"] += self.bed.use([cached])
        if self._requests() != before:
            raise BenchError("a tick with nothing to do, or gcloud with a cached token, asked for a token")

    def mint(self) -> None:
        """A tick that mints, and google-auth alone."""
        before = self._requests()
        with step("a tick that mints, and google-auth alone"):
            self.samples["mint"] += self.bed.use([self.bed.ours("fetch", IDENTITY, "--now")])
            self.samples["alone"] += self.bed.use([self.bed.alone()])
        if self._requests() != before + 2:
            raise BenchError("a tick that mints, or google-auth alone, did not ask for one token")

    def write(self, people: People) -> None:
        """A new token for all users: a process for each as systemd starts it, and one for all."""
        for name, commands in self._writes(people):
            self._new_token()
            with step(f"{name} for {USERS} users"):
                self.samples[name].append(_sum(self.bed.use(commands, at_once=8, inside=people.inside)))
            self._check(people)

    def _writes(self, people: People) -> list[tuple[str, list[dict[str, object]]]]:
        own = {"env": {**self.bed.environment, "HOME": "/"}}
        each = [
            self.bed.ours("write", name, uid=uid, groups=[SERVICE[1]], **own)
            for name, uid in people.uids.items()
        ]
        works = [("write", each)]
        if " cycle " in self.bed.use([self.bed.ours("--help")])[0].output:
            works.append(("cycle", [self.bed.ours("cycle", **own)]))
        return works

    def _new_token(self) -> None:
        """Put a token into the store, for the service's group, as the fetcher does."""
        run, now = self.bed.scratch / "run", int(time.time())
        token = Token(token="ya29.bench-" + secrets.token_hex(100), expiry=now + 3600, source="bench")
        store = Store(run, shared=True)
        store.write(IDENTITY, token)
        store.write(
            IDENTITY,
            Status(
                identity=IDENTITY,
                source=token.source,
                expiry=token.expiry,
                obtained=now,
                digest=digest(token.token),
            ),
        )
        for path in (run, run / IDENTITY):
            path.chmod(0o755)
        os.chown(run / IDENTITY / "token", -1, SERVICE[1])

    def _check(self, people: People) -> None:
        """Every user has to have the token, for every repository: a comparison needs the whole work."""
        token = Store(self.bed.scratch / "run", shared=True).token(IDENTITY)
        for name in people.names:
            text = (people.homes / name / ".config" / "pypoetry" / "auth.toml").read_text()
            if token is None or text.count(token.token) != REPOSITORIES:
                raise BenchError(f"{name} does not have the new token for all repositories")

    def _requests(self) -> int:
        return self.bed.emulator.control.stats().requests.get("token", 0)

    def report(self, report: Report) -> None:
        """Add the rows of one identity."""
        cached, alone = "gcloud auth print-access-token, cached", "google-auth alone"
        for work, figure, unit, (ours, other), against, goal in (
            ("nothing to do: processor time", "cpu", "seconds", ("idle", "gcloud"), cached, ("faster", 10)),
            ("nothing to do: memory", "rss", "MB", ("idle", "gcloud"), cached, ("less", 4)),
            ("mints: processor time", "cpu", "seconds", ("mint", "alone"), alone, ("slower", 1.3)),
            ("mints: time", "seconds", "seconds", ("mint", "alone"), alone, ("slower", 1.3)),
        ):
            report.rows.append(
                Row(
                    work=f"a tick, {work}",
                    ours=[getattr(use, figure) for use in self.samples[ours]],
                    against=against,
                    other=[getattr(use, figure) for use in self.samples[other]],
                    goal=Goal(figure=goal[0], limit=goal[1]),
                    unit=unit,
                )
            )

    def report_users(self, report: Report) -> None:
        """Add the rows of all users."""
        goal = Goal(figure="seconds", limit=2)
        for name, how in (("write", "a process for each"), ("cycle", "cycle, one process and its children")):
            if name in self.samples:
                ours = [use.cpu for use in self.samples[name]]
                work = f"write for {USERS} users x {REPOSITORIES} repositories, processor time: {how}"
                report.rows.append(Row(work=work, ours=ours, goal=goal))


def _sum(uses: list[Use]) -> Use:
    return Use(
        seconds=max(use.seconds for use in uses),
        cpu=sum(use.cpu for use in uses),
        rss=max(use.rss for use in uses),
        output="",
    )


def requests_per_hour(report: Report, *, scratch: Path) -> None:
    """Count at the emulator what Google is asked in a day of the test's clock, per hour."""
    for source in SOURCES:
        if source.name not in ("metadata", "service_account_key"):
            continue
        directory = scratch / f"soak-{source.name}"
        directory.mkdir()
        state = directory / "google"
        with (
            step(f"{HOURS} hours of {source.name} for {USERS} users x {REPOSITORIES} repositories"),
            start(state, "--metadata", "127.0.0.1:0", "--https", "127.0.0.1:0") as emulator,
        ):
            place = Place(emulator=emulator, files=directory / "files")
            soak = Soak(source, place, scratch=directory, users=USERS, repositories=REPOSITORIES)
            record = soak.run(hours=HOURS)
        report.rows.append(
            Row(
                work=f"requests per hour, {USERS} users x {REPOSITORIES} repositories: {source.name}",
                ours=[sum(record.requests.values()) / HOURS],
                against="a look-up per user and repository (by calculation)",
                other=[float(USERS * REPOSITORIES)],
                goal=Goal(figure="requests", limit=3600 / INTERVAL),
                unit="requests",
            )
        )


def measure(report: Report, *, scratch: Path, repetitions: int) -> None:
    """Measure everything and add it to the report."""
    requests_per_hour(report, scratch=scratch)
    with bed(scratch) as made:
        report.machine["program's python"] = made.interpreter
        bench = Bench(bed=made)
        made.use([made.ours("fetch", IDENTITY), made.gcloud("auth", "print-access-token"), made.alone()])
        for number in range(1, repetitions + 1):
            with step(f"Repetition {number} of {repetitions}"):
                bench.idle()
                bench.mint()
        bench.report(report)
        many(report, bench, repetitions=repetitions)


def many(report: Report, bench: Bench, *, repetitions: int) -> None:
    """Measure the writers of many users, where there can be such."""
    made = bench.bed
    reason = reason_not_here(made.scratch)
    if reason is None:
        people = People.make(made.scratch / "people", number=USERS, service=SERVICE)
        made.configure(users=list(people.names), repositories=repositories(REPOSITORIES))
        made.program.config.chmod(0o644)
        uid = next(iter(people.uids.values()))
        try:
            made.use([made.ours("--version", uid=uid)], inside=people.inside)
        except BenchError as error:
            reason = f"other users cannot run the program from here: {' '.join(str(error).split())}"
    if reason is not None:
        report.not_run.append(NotRun(work=f"write for {USERS} users", reason=reason))
        return
    for number in range(1, repetitions + 1):
        with step(f"Repetition {number} of {repetitions}"):
            bench.write(people)
    bench.report_users(report)
