# SPDX-License-Identifier: GPL-3.0-or-later
"""Our keyring backend and command against Google's, gcloud, and a token in Poetry's own auth.toml.

Google's backend gets what is quickest for it: a metadata server on this machine that answers at once, holds
a token, and is the first place that it has to ask; and for the command a keyring that loads no other backend.
A real metadata server is farther away. Every repetition measures all works, so that a machine that is slower
for a while is so for all of them; who comes first changes, because the second finds what the first has left
in the kernel's caches.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench.gar_auth_program import Bed, Use, bed
from bench.keyring_clients import CACHES, CONTROL, GOOGLE, OURS, STATIC, WARM, Clients
from bench.keyring_place import NAMES, add_ours, demand_the_token, make_wheels, prepare, token
from bench.place import POETRY_VERSION, BenchError, run
from bench.report import Goal, Report, Row
from gar_auth.store import digest
from lab.console import step

__all__ = ["measure"]

LOOKUPS = {OURS: 50, GOOGLE: 20}
"""In each process; the output of rusage is short."""
GETS = 5
ARMS = (OURS, GOOGLE, STATIC, CONTROL)
ORDERS = [
    [base[(first + place) % len(base)] for place in range(len(base))]
    for base in (ARMS, ARMS[::-1], (OURS, STATIC, GOOGLE, CONTROL))
    for first in range(len(base))
]
"""Of `poetry install` in each repetition; everyone is first, second, ... as often as the others.

There are many because 3 % are less than what one run differs from the next. What the control differs from the
same work elsewhere is what the machine's noise does to the medians: no difference below it means anything.
"""
RUNS = len(ORDERS)
UV_ROUNDS = 4
GOOGLES = "Google's backend"


@dataclass(kw_only=True)
class Bench:
    """The samples of all repetitions, by work and who did it."""

    clients: Clients
    digest: str
    samples: defaultdict[tuple[str, str], list[Use]] = field(default_factory=lambda: defaultdict(list))
    lookups: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    asked: dict[str, int] = field(default_factory=dict)

    @property
    def made(self) -> Bed:
        """Emulator and program."""
        return self.clients.made

    def look_up(self) -> None:
        """Inside a running Python."""
        for who, count in LOOKUPS.items():
            output = self.made.use([self.clients.look_up(who, count)])[0].output
            try:
                said = json.loads(output)
            except ValueError:
                raise BenchError(
                    f"{who}: a look-up said something else than its times:\n  {output}"
                ) from None
            if said["digest"] != self.digest:
                raise BenchError(f"{who}: a look-up gave another token than the machine's")
            self.lookups[who] += said["seconds"]

    def get(self) -> None:
        """The command, and gcloud."""
        for who in (OURS, GOOGLE):
            uses = self.made.use([self.clients.get(who)] * GETS)
            if {digest(use.output.strip()) for use in uses} != {self.digest}:
                raise BenchError(f"{who}: the command keyring printed another token than the machine's")
            self.samples["get", who] += uses
        self.samples["get", "gcloud"] += self.made.use([self.made.gcloud("auth", "print-access-token")])

    def poetry(self) -> None:
        """`poetry install` with each way to get the token."""
        for order in ORDERS:
            for who in order:
                self._work("poetry", who, self.clients.poetry_install, self.clients.check_poetry)

    def uv(self) -> None:
        """`uv pip install` with both commands, for each state of uv's cache."""
        for state in CACHES:
            for order in [(OURS, GOOGLE), (GOOGLE, OURS)] * (UV_ROUNDS // 2):
                for who in order:
                    command = partial(self.clients.uv_install, cache=state)
                    self._work(f"uv {state}", who, command, self.clients.check_uv)

    def _work(
        self, work: str, who: str, command: Callable[[str], dict[str, Any]], check: Callable[[], None]
    ) -> None:
        prepared, before = command(who), self._tokens_asked()
        self.samples[work, who] += self.made.use([prepared])
        check()
        asked = self._tokens_asked() - before
        if bool(asked) != (who == GOOGLE):
            raise BenchError(f"{work} with {who} asked the metadata server {asked} times for a token")
        if who == GOOGLE:
            self.asked[work] = asked

    def _tokens_asked(self) -> int:
        seen = self.made.emulator.control.requests(target="metadata")
        return sum(one.path.partition("?")[0].endswith("/token") for one in seen)

    def report(self, report: Report) -> None:
        """Add the rows."""
        packages = f"{len(NAMES)} private packages"
        get, poetry = "keyring get URL oauth2accesstoken", f"poetry install, {packages}, warm cache"
        theirs, gcloud = f"keyring's command, {GOOGLES}", "gcloud auth print-access-token, cached"
        static, limit = "a token in auth.toml", ("slower", 1.03)
        lookups = self.lookups[OURS], self.lookups[GOOGLE]
        times = {key: [use.seconds for use in uses] for key, uses in self.samples.items()}
        least = {key: least_cpu(uses) for key, uses in self.samples.items() if key[0] == "poetry"}
        ours, its, control = (("poetry", who) for who in (OURS, STATIC, CONTROL))
        for work, against, samples, goal in (
            ("look-up inside a running Python", GOOGLES, lookups, ("faster", 50)),
            (get, theirs, (times["get", OURS], times["get", GOOGLE]), ("faster", 3)),
            (get, gcloud, (times["get", OURS], times["get", "gcloud"]), ("faster", 5)),
            (poetry, static, (times[ours], times[its]), limit),
            (f"{poetry}: the control", static, (times[control], times[its]), limit),
            (f"{poetry}: processor time, least of {RUNS}", static, (least[ours], least[its]), limit),
            (f"the same: the control, least of {RUNS}", static, (least[control], least[its]), limit),
            (poetry, self._with("poetry"), (times[ours], times["poetry", GOOGLE]), ("faster", 1)),
            *(
                (
                    f"uv pip install, {packages}, {state} cache",
                    self._with(f"uv {state}"),
                    (times[f"uv {state}", OURS], times[f"uv {state}", GOOGLE]),
                    ("faster", 3),
                )
                for state in CACHES
            ),
        ):
            kept = Goal(figure=str(goal[0]), limit=float(goal[1]))
            report.rows.append(Row(work=work, ours=samples[0], against=against, other=samples[1], goal=kept))

    def _with(self, work: str) -> str:
        return f"{GOOGLES}, tokens asked for: {self.asked[work]}"


def least_cpu(uses: Sequence[Use]) -> list[float]:
    """The least processor time in each repetition: other work on the machine can only add to it."""
    return [min(use.cpu for use in uses[at : at + RUNS]) for at in range(0, len(uses), RUNS)]


def measure(report: Report, *, scratch: Path, repetitions: int) -> None:
    """Measure everything and add it to the report."""
    with bed(scratch) as made:
        clients = Clients.make(made)
        report.machine["program's python"] = made.interpreter
        report.machine["poetry"] = POETRY_VERSION
        report.machine["uv"] = run([clients.uv, "--version"]).split()[1]
        prepare(made)
        add_ours(made, clients.keyrings[OURS], clients.poetries[OURS])
        with step(f"{len(NAMES)} packages, and a project that is locked to them"):
            clients.publish(make_wheels(scratch / "wheels"))
            demand_the_token(made)
            clients.lock(token(made))
            made.use([clients.uv_install(OURS, cache=WARM)])
        bench = Bench(clients=clients, digest=digest(token(made)))
        for number in range(1, repetitions + 1):
            with step(f"Repetition {number} of {repetitions}"):
                bench.look_up()
                bench.get()
                bench.poetry()
                bench.uv()
        bench.report(report)
