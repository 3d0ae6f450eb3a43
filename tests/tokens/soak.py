# SPDX-License-Identifier: GPL-3.0-or-later
"""48 hours of an identity in scaled time: what a reader of auth.toml finds, and what it costs.

The program runs in this process as its units run it: the fetcher's command at each tick, the writer a moment
later and only when the file of the token has changed, which is what its path unit waits for. Clock and pauses
are the test's, everything else is real: sources, store, TLS to the emulator, the user's file. A look at
auth.toml after each tick and right before the next one, and the times between them by calculation, give the
share of time with an expired token; what a token is worth only the emulator says.
"""

from __future__ import annotations

import bisect
import io
import json
import os
import pwd
import random
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from gar_auth import commands, idle, schedule
from gar_auth import write as writer
from gar_auth.__main__ import main
from gar_auth.config import Config
from gar_auth.store import Store
from tokens.clock import Clock
from tokens.proxy import Proxy, proxy_to
from tokens.sources import Place, Source

__all__ = ["INTERVAL", "Outages", "Record", "Soak"]

INTERVAL = 30
WRITER_SECONDS = 5.0
"""From a tick to the moment at which the writer has written: seconds at worst, on a busy machine."""
LATE_SECONDS = 1.0
"""How late a tick can be: AccuracySec of the timer."""
AHEAD_SECONDS = 86400.0
"""How far the test's clock is ahead of the real one when it starts."""

_run = commands.run
URL = "https://europe-west1-python.pkg.dev/demo-project/"


@dataclass(frozen=True, kw_only=True)
class Outages:
    """Nothing of Google can be had for some time, from the moment at which the program wants a new token.

    By turns it cannot be reached, or answers 503.

    :ivar seconds: how long each takes.
    :ivar every: from the start of one to the next at the earliest, seconds.
    """

    seconds: float = 1200.0
    every: float = 3 * 3600.0


@dataclass(kw_only=True)
class Record:
    """What was found; times in seconds of the test's clock.

    :ivar expired: how long auth.toml held an expired token, or none, after it had held one.
    :ivar least: the shortest life left to a token at any look.
    :ivar most_requests: the most requests in one tick that one part of the emulator has granted; what it has
        refused in an outage is tried again in the same tick.
    """

    source: str
    hours: float
    ticks: int = 0
    covered: float = 0.0
    expired: float = 0.0
    least: float = float("inf")
    failures: int = 0
    outages: int = 0
    issued: int = 0
    most_requests: int = 0
    requests: dict[str, int] = field(default_factory=dict)
    token_writes: int = 0
    auth_writes: int = 0
    real_seconds: float = 0.0

    @property
    def share(self) -> float:
        """Share of time with an expired token."""
        return self.expired / self.covered

    def save(self, directory: Path) -> None:
        """Keep it for the table."""
        directory.mkdir(parents=True, exist_ok=True)
        content = {**asdict(self), "share": self.share}
        (directory / f"{self.source}.json").write_text(json.dumps(content, indent=2) + "\n")


@dataclass
class _Stamp:
    """Tells whether a file was replaced or changed since the last question."""

    path: Path
    known: tuple[int, ...] | None = None

    def changed(self) -> bool:
        try:
            now = self.path.stat()
        except FileNotFoundError:
            return False
        stamp = (now.st_ino, now.st_size, now.st_mtime_ns)
        changed, self.known = stamp != self.known, stamp
        return changed


def _account(home: Path) -> pwd.struct_passwd:
    """The user that runs the test, with that home."""
    home.mkdir(mode=0o700, parents=True)
    return pwd.struct_passwd((home.name, "x", os.geteuid(), os.getegid(), "", str(home), "/bin/sh"))


class Soak:
    """One identity, some users with some repositories, and a clock; the look is at the first of both."""

    def __init__(
        self, source: Source, place: Place, *, scratch: Path, users: int = 1, repositories: int = 1
    ) -> None:
        self.source, self.place, self.scratch = source, place, scratch
        self.control = place.emulator.control
        self.clock = Clock(now=time.time() + AHEAD_SECONDS, control=self.control)
        self.accounts = [_account(scratch / "homes" / f"dev-{number}") for number in range(users)]
        self.repositories = [f"private-{number}" for number in range(repositories)]
        self.auth = _Stamp(Path(self.accounts[0].pw_dir) / ".config" / "pypoetry" / "auth.toml")
        self.token = _Stamp(scratch / "run" / "soak" / "token")
        self.config_file = scratch / "config.json"
        self.in_auth: str | None = None
        self.seen = 0.0
        self.written = 0.0
        self.age: float | None = None
        self.expiries: dict[str, float] = {}

    def run(self, *, hours: float, outages: Outages | None = None) -> Record:
        """Tick for that long and return what was found."""
        record = Record(source=self.source.name, hours=hours)
        begun, began = time.monotonic(), time.time()
        boundaries: list[float] = []
        real_time, late = time.time, random.Random(self.source.name)  # noqa: S311 - the same in each run
        with self._surroundings() as proxy, self.clock.installed():
            self.clock.tell()
            config = self._configure()
            store = Store(config.run_dir, shared=True)
            start, until_outage_ends = self.clock.now, 0.0
            next_outage = start + 3600.0
            for number in range(int(hours * 3600 / INTERVAL)):
                tick = start + number * INTERVAL + late.uniform(0, LATE_SECONDS)
                self._look(record, at=tick)
                self.clock.move_to(tick)
                if self.source.outside:
                    self.source.outside(self.place, self.clock)
                if until_outage_ends and tick >= until_outage_ends:
                    self._repair(proxy)
                    until_outage_ends = 0.0
                if outages and not until_outage_ends and tick >= next_outage and self._wants_one(tick):
                    self._break(proxy, reachable=record.outages % 2 == 1)
                    until_outage_ends, next_outage = tick + outages.seconds, tick + outages.every
                    record.outages += 1
                boundaries.append(real_time())
                self._tick(record, config, store)
                self._look(record, at=self.clock.now)
            self._look(record, at=start + hours * 3600)
            self._repair(proxy)
        self._count(record, boundaries, since=began)
        record.real_seconds = time.monotonic() - begun
        return record

    @contextmanager
    def _surroundings(self) -> Iterator[Proxy]:
        """Google's names lead to the emulator, and the writer does not pause for real."""
        emulator = self.place.emulator
        umask = os.umask(0o022)  # the program sets its own
        with proxy_to(emulator.https[0]) as proxy:
            variables = {
                "GCE_METADATA_HOST": emulator.metadata[0],
                "HTTPS_PROXY": proxy.url,
                "NO_PROXY": "127.0.0.1",
                "REQUESTS_CA_BUNDLE": str(emulator.ca),
                "LC_ALL": "C.UTF-8",
            }
            with (
                mock.patch.dict(os.environ, variables, clear=True),
                redirect_stdout(io.StringIO()),
                mock.patch.object(commands, "run", self._awake),
                mock.patch.object(writer, "_READ_BACK_SECONDS", 0.0),
                mock.patch.object(idle, "MACHINE_ID", str(self._late_machine())),
            ):
                yield proxy
        os.umask(umask)

    def _awake(self, arguments: list[str], *, config_file: str) -> int:
        """A tick that has something to do may ask the emulator."""
        self.clock.tell()
        return _run(arguments, config_file=config_file)

    def _late_machine(self) -> Path:
        """A machine-id of which the program refreshes as late as it does anywhere: the worst case."""
        names = (str(number) for number in range(10000))
        late = next(name for name in names if schedule.spread(name.encode(), "soak") < 0.01)
        path = self.scratch / "machine-id"
        path.write_text(f"{late}\n")
        return path

    def _configure(self) -> Config:
        content: dict[str, Any] = {
            "identities": {"soak": self.source.declare(self.place)},
            "repositories": [
                {"name": name, "publish_url": f"{URL}{name}/", "identity": "soak"}
                for name in self.repositories
            ],
            "users": [account.pw_name for account in self.accounts],
            "config_dir": ".config/pypoetry",
            "run_dir": str(self.scratch / "run"),
            "state_dir": str(self.scratch / "state"),
            "interval": INTERVAL,
        }
        self.config_file.write_text(json.dumps(content))
        return Config.load(self.config_file)

    def _tick(self, record: Record, config: Config, store: Store) -> None:
        """The timer's tick, and what it sets off."""
        record.ticks += 1
        if main(["fetch", "soak"], config_file=self.config_file) != 0:
            record.failures += 1
        self.clock.stamp(self.scratch / "run" / "soak" / "status.json")
        if not self.token.changed():
            return
        record.token_writes += 1
        if record.token_writes == 2:
            self.age = self.clock.now - self.written
        self.written = self.clock.now
        self._look(record, at=self.clock.now + WRITER_SECONDS)
        self.clock.move_to(self.clock.now + WRITER_SECONDS)
        known = writer.tokens(config, store, [])
        for account in self.accounts:
            writer.write(config, known, account)

    def _look(self, record: Record, *, at: float) -> None:
        """Count the time since the last look, then read auth.toml as a reader would, where it has changed.

        What a token in it is worth the emulator is asked.
        """
        if self.in_auth is not None and at > self.seen:
            expiry = self.expiries[self.in_auth]
            record.covered += at - self.seen
            record.expired += max(0.0, at - max(self.seen, expiry))
            record.least = min(record.least, expiry - at)
        self.seen = max(self.seen, at)
        if self.auth.changed():
            record.auth_writes += 1
            entry = tomllib.loads(self.auth.path.read_text())["http-basic"][self.repositories[0]]
            self.in_auth = str(entry["password"])
            self.expiries = {token.value: token.expires_at for token in self.control.tokens()}

    def _wants_one(self, now: float) -> bool:
        """Whether the program is about to replace the token: it does so at the same age each time."""
        return self.age is not None and now - self.written >= self.age - 2 * LATE_SECONDS

    def _break(self, proxy: Proxy, *, reachable: bool) -> None:
        proxy.cut = not reachable
        for part in self.source.asks:
            self.control.set_fault(part, "status:503")

    def _repair(self, proxy: Proxy) -> None:
        proxy.cut = False
        self.control.clear_faults()

    def _count(self, record: Record, boundaries: list[float], *, since: float) -> None:
        """Take the emulator's counts: of tokens, and of requests by part and tick."""
        seen = [request for request in self.control.requests(since=since) if request.target != "index"]
        record.requests = dict(Counter(request.target for request in seen))
        ticks = Counter(
            (request.target, bisect.bisect(boundaries, request.time))
            for request in seen
            if request.status == 200
        )
        record.most_requests = max(ticks.values(), default=0)
        record.issued = sum(self.control.stats().issued.values())
