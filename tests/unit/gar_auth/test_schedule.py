# SPDX-License-Identifier: GPL-3.0-or-later
"""When a source is asked again: by the token's expiry, the last look, and the failures since."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gar_auth import schedule
from gar_auth.schedule import backoff, due, spread

NOW = 1_800_000_000.0


@dataclass(frozen=True)
class State:
    """What is on record: seconds before or after now; by default a good token, seen just now."""

    left: float | None = 3600
    age: float | None = 0
    looked: float | None = 0
    failures: int = 0
    failed: float | None = None
    on_demand: bool = False
    interval: int = 30
    spread: float = 0.0
    lasting: bool = False
    clock_set: bool = False

    def due(self) -> bool:
        return due(
            NOW,
            token_expiry=None if self.left is None else NOW + self.left,
            obtained=None if self.age is None else NOW - self.age,
            looked=None if self.looked is None else NOW - self.looked,
            failures=self.failures,
            failed_at=None if self.failed is None else NOW - self.failed,
            on_demand=self.on_demand,
            interval=self.interval,
            spread=self.spread,
            lasting=self.lasting,
            clock_set=self.clock_set,
        )


CACHED, MINTED = State(), State(on_demand=True)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        # nothing to hand out
        (State(left=None, age=None, looked=None), True),
        (State(left=None, age=None, looked=5), True),
        (State(left=3600, age=None, looked=None), True),
        (State(left=0, age=3600), True),
        (State(left=-5, age=3605, on_demand=True), True),
        # a source that hands out the same token until its last minutes
        (replace(CACHED, left=3421, age=179, looked=178), False),
        (replace(CACHED, left=3421, age=179, looked=179), True),
        (replace(CACHED, left=3000, age=600, looked=30), False),
        (replace(CACHED, left=361, age=3239, looked=30), False),
        (replace(CACHED, left=360, age=3240, looked=1), True),
        (replace(CACHED, left=30, age=3570, looked=1), True),
        (replace(CACHED, left=500, age=3100, looked=30, interval=180), True),
        (replace(CACHED, left=700, age=2900, looked=30, interval=180), False),
        # a source that mints on demand: half of the lifetime, less a tenth at most
        (replace(MINTED, left=1801, age=1799, looked=1799), False),
        (replace(MINTED, left=1800, age=1800, looked=1800), True),
        (replace(MINTED, left=2161, age=1439, looked=1439, spread=0.999), False),
        (replace(MINTED, left=2160, age=1440, looked=1440, spread=1.0), True),
        (replace(MINTED, left=310, age=290, looked=290), False),
        (replace(MINTED, left=300, age=300, looked=300), True),
        (replace(MINTED, left=43200 / 2 + 1, age=43200 / 2 - 1, looked=43200 / 2 - 1), False),
        # it was asked after that, and had no newer one
        (replace(MINTED, left=1700, age=1900, looked=30), False),
        (replace(MINTED, left=1700, age=1900, looked=180), True),
        (replace(MINTED, left=300, age=3300, looked=30), True),
        # failures
        (replace(MINTED, left=None, age=None, failures=1, failed=21), False),
        (replace(MINTED, left=None, age=None, failures=1, failed=22), True),
        (replace(MINTED, left=None, age=None, failures=2, failed=30), False),
        (replace(MINTED, left=None, age=None, failures=50, failed=30), False),
        (replace(MINTED, left=None, age=None, failures=50, failed=60), True),
        (replace(MINTED, left=None, age=None, failures=50, failed=200, lasting=True), False),
        (replace(MINTED, left=None, age=None, failures=50, failed=300, lasting=True), True),
        (replace(MINTED, left=100, age=3500, looked=30, failures=5, failed=30), False),
        (replace(MINTED, left=100, age=3500, looked=60, failures=5, failed=60), True),
        (replace(MINTED, left=700, age=2900, looked=60, failures=5, failed=60), False),
        # somebody wants it to be asked now
        (replace(MINTED, looked=NOW), True),
        (replace(MINTED, left=None, age=None, looked=NOW, failures=50, failed=0, lasting=True), True),
        (replace(CACHED, left=None, age=None, failures=5, failed=30), True),
        (replace(CACHED, left=599, age=3001, looked=200, failures=5, failed=30), True),
        (replace(CACHED, left=601, age=2999, looked=200, failures=5, failed=30), False),
        (replace(CACHED, left=3000, age=600, looked=200, failures=1, failed=30), True),
        # the clock was set
        (replace(MINTED, left=1801, age=1799, looked=1799, clock_set=True), True),
        (replace(MINTED, left=1801, age=1799, looked=1, failures=1, failed=1, clock_set=True), False),
        (replace(CACHED, left=3600, age=-61, looked=-61), True),
        (replace(CACHED, left=3600, age=0, looked=-61), True),
        (replace(CACHED, left=3600, age=-59, looked=-59), False),
        (replace(MINTED, left=43200 + 3600, age=0, looked=0), True),
        (replace(MINTED, left=43200, age=0, looked=0), False),
        (replace(MINTED, left=None, age=None, failures=3, failed=-7200), True),
    ],
)
def test_due(state: State, expected: bool) -> None:
    assert state.due() is expected


def test_the_pause_after_failures_doubles_up_to_five_minutes() -> None:
    assert [backoff(count, spread=1.0) for count in range(1, 7)] == [30, 60, 120, 240, 300, 300]
    assert backoff(10**6, spread=0.0) == 225


def test_the_spread_is_stable_and_even() -> None:
    machines = [
        hashlib.md5(str(seed).encode(), usedforsecurity=False).hexdigest().encode() for seed in range(2000)
    ]
    numbers = [spread(machine, "default") for machine in machines]
    assert numbers == [spread(machine + b"\n", "default") for machine in machines]
    assert all(0 <= number < 1 for number in numbers)
    for tenth in range(10):
        assert 130 < sum(tenth / 10 <= number < (tenth + 1) / 10 for number in numbers) < 270
    assert spread(machines[0], "ci") != numbers[0]


@settings(max_examples=300, deadline=None)
@given(
    lifetime=st.integers(600, 43200),
    interval=st.integers(1, 180),
    start=st.integers(0, 179),
    number=st.floats(0, 1, exclude_max=True),
    on_demand=st.booleans(),
)
def test_no_reader_finds_an_old_token(
    lifetime: int, interval: int, start: int, number: float, on_demand: bool
) -> None:
    """For two lifetimes; the source with a cache renews in its last 5 minutes."""
    expiry = obtained = looked = None
    issued = int(NOW) - start
    least = float(lifetime)
    asked = 0
    for now in range(int(NOW), int(NOW) + 2 * lifetime, interval):
        if now - issued >= lifetime - 300:
            issued = now if on_demand else issued + lifetime - 300
        if due(
            now,
            token_expiry=expiry,
            obtained=obtained,
            looked=looked,
            failures=0,
            failed_at=None,
            on_demand=on_demand,
            interval=interval,
            spread=number,
        ):
            asked += 1
            looked = now
            fresh = now + lifetime if on_demand else issued + lifetime
            obtained = obtained if fresh == expiry else now
            expiry = fresh
        assert expiry is not None
        least = min(least, expiry - now - interval)  # just before the next tick
    assert least >= (0.5 * lifetime - 2 * interval - 1 if on_demand else 300 - 2 * interval)
    look = max(interval, min(180, 6 * interval, lifetime / 4) - 1)  # timers may be early by the slack
    assert asked <= 2 * lifetime / look + 2 * 2 * (300 + 2 * interval) / interval + 3


def test_the_module_imports_nothing() -> None:
    program = (
        "import sys; before = set(sys.modules); import gar_auth.schedule; print(*(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(Path(schedule.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) == {"__future__", "gar_auth", "gar_auth.schedule"}


def test_hosts_that_start_together_are_spread() -> None:
    firsts = {
        seed: next(
            tick
            for tick in range(1400, 1810)
            if State(
                left=3600 - tick,
                age=tick,
                looked=tick,
                on_demand=True,
                spread=spread(str(seed).encode(), "default"),
            ).due()
        )
        for seed in range(100)
    }
    assert max(firsts.values()) - min(firsts.values()) > 300
    assert len(set(firsts.values())) > 60
