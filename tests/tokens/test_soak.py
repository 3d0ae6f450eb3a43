# SPDX-License-Identifier: GPL-3.0-or-later
"""No reader of auth.toml ever finds an expired token: 48 hours of every source, and outages of 20 minutes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.emulator.launch import start
from tokens.pythons import BUILD
from tokens.soak import INTERVAL, Outages, Record, Soak
from tokens.sources import SOURCES, Place, Source

HOURS = 48
HOURS_WITH_OUTAGES = 24
LEAST_SECONDS = {True: 1500, False: 240}
"""By whether tokens are minted on demand; a metadata server gives 300 at most."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with start(tmp_path / "google", "--metadata", "127.0.0.1:0", "--https", "127.0.0.1:0") as emulator:
        yield Place(emulator=emulator, files=tmp_path / "files")


def check_the_cost(record: Record, source: Source) -> None:
    assert record.most_requests <= 1, "more than one request to a part of Google in one tick"
    assert set(record.requests) <= set(source.asks)
    assert record.token_writes <= record.issued
    assert record.auth_writes <= record.token_writes


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_reader_never_finds_an_expired_token_in_48_hours(
    source: Source, place: Place, tmp_path: Path
) -> None:
    record = Soak(source, place, scratch=tmp_path).run(hours=HOURS)
    record.save(BUILD / "soak")
    assert record.ticks == HOURS * 3600 // INTERVAL
    assert record.failures == 0
    assert record.covered >= HOURS * 3600 - INTERVAL, "the first token came with the first tick"
    assert record.share == 0
    assert record.least >= LEAST_SECONDS[source.on_demand]
    assert HOURS <= record.auth_writes <= 2.5 * HOURS
    check_the_cost(record, source)


@pytest.mark.parametrize(
    "source", [source for source in SOURCES if source.on_demand], ids=lambda source: source.name
)
def test_outages_of_20_minutes_at_the_moment_of_the_refresh_leave_no_expired_token(
    source: Source, place: Place, tmp_path: Path
) -> None:
    record = Soak(source, place, scratch=tmp_path).run(hours=HOURS_WITH_OUTAGES, outages=Outages())
    record.source += " with outages"
    record.save(BUILD / "soak")
    assert record.outages >= HOURS_WITH_OUTAGES // 4
    assert record.failures >= record.outages, "an outage that nobody has noticed"
    assert record.share == 0
    check_the_cost(record, source)
