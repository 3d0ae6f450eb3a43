# SPDX-License-Identifier: GPL-3.0-or-later
"""A token that somebody else keeps in a file: which forms are understood, and what is refused."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from unit.gar_auth.program import Clock

from gar_auth import source
from gar_auth.config import Config, Identity
from gar_auth.errors import Exit, Failure, Reason
from gar_auth.fetch import fetch
from gar_auth.idle import is_due
from gar_auth.store import Store
from gar_auth.token_file import parse, seconds_until

TOKEN = "ya29.c.x"
PATH = "/run/other/token"
FORMS = '{"access_token": ..., "expiry": RFC 3339 or seconds since 1970}, or the bare token'


def at(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("content", "lifetime", "from_seen"),
    [
        (TOKEN, 3600, True),
        (f"{TOKEN}\n", 3600, True),
        (f"\ufeff  {TOKEN}\r\n", 3600, True),
        ('{"access_token": "ya29.c.x"}', 3600, True),
        ('{"token": "ya29.c.x"}', 3600, True),
        ('{"access_token": "ya29.c.x", "expires_in": 1200}', 1200, True),
        ('{"access_token": "ya29.c.x", "expires_in": 1000000000}', 43200, True),
        ('{"access_token": "ya29.c.x", "token": 3, "expiry": 1800001200}', 1200, False),
        ('{"access_token": "ya29.c.x", "expiry": 1800001200.9}', 1200, False),
        ('{"access_token": "ya29.c.x", "expiry": 9800000000}', 43200, False),
        ('{"access_token": "ya29.c.x", "expiry": "2027-01-15T08:20:00Z"}', 1200, False),
        ('{"access_token": "ya29.c.x", "expiry": "2027-01-15T08:20:00"}', 1200, False),
        ('{"access_token": "ya29.c.x", "expiry": "2027-01-15t10:20:00.123456789+02:00"}', 1200, False),
        ('{"access_token": "ya29.c.x", "expiry": "2027-01-15 08:20:00z", "expires_in": 5}', 1200, False),
    ],
)
def test_a_token_that_can_be_used(clock: Clock, content: str, lifetime: int, from_seen: bool) -> None:
    clock.now = 1_800_000_000.0  # 2027-01-15T08:00:00Z
    reply = parse(content.encode(), path=PATH, written=None)
    assert (reply.token, reply.lifetime, reply.from_seen) == (TOKEN, lifetime, from_seen)


@pytest.mark.parametrize(
    ("content", "ago", "left"),
    [
        (TOKEN, 3300, 300),
        (TOKEN, -500, 3600),
        ('{"access_token": "ya29.c.x"}', 3300, 300),
        ('{"access_token": "ya29.c.x", "expires_in": 1200}', 1000, 200),
        ('{"access_token": "ya29.c.x", "expires_in": 1200}', -1000, 1200),
        ('{"access_token": "ya29.c.x", "expiry": 1800001200}', 9999, 1200),
    ],
)
def test_what_names_no_time_counts_from_when_the_file_was_written(
    clock: Clock, content: str, ago: int, left: int
) -> None:
    clock.now = 1_800_000_000.0
    reply = parse(content.encode(), path=PATH, written=clock.now - ago)
    assert reply.lifetime - reply.age == left
    assert reply.age == 0 or reply.from_seen


def test_a_token_whose_time_was_over_before_it_was_read(clock: Clock) -> None:
    content = b'{"access_token": "ya29.c.x", "expires_in": 1200}'
    with pytest.raises(Failure, match="has expired; see to it that a new one is put there") as caught:
        parse(content, path=PATH, written=clock.now - 1200)
    assert caught.value.code == Exit.TEMPORARY


@pytest.mark.parametrize(
    ("content", "ticks", "left"),
    [
        (TOKEN, [(0, 3300)], [300]),
        # the same token, written again and again: it grows no younger
        (TOKEN, [(0, 0), (1800, 0), (1700, 0)], [3600, 1800, 100]),
        # who counts down says so each time
        ('{"access_token": "ya29.c.x", "expires_in": %d}', [(3000, 0), (1500, 0)], [3000, 1500]),
        # a promise of days: twelve hours from when it was first seen, and no tick has more to do
        (
            '{"access_token": "ya29.c.x", "expiry": 1900000000}',
            [(0, 0), (600, 0), (600, 0)],
            [43200, 42600, 42000],
        ),
    ],
    ids=["at boot", "the same again", "counting down", "ten years"],
)
def test_the_end_that_is_kept(
    clock: Clock, tmp_path: Path, content: str, ticks: list[tuple[int, int]], left: list[int]
) -> None:
    clock.now = 1_800_000_000.0
    path = tmp_path / "token"
    config = Config(identities={}, repositories=(), users=(), config_dir="", shared_run_dir=tmp_path / "run")
    identity = Identity(name="x", type="token_file", file=str(path))
    store = Store(tmp_path / "run", shared=True)
    found: list[int] = []
    for step, ago in ticks:
        if "%" in content:
            clock.now += 0 if not found else 1500
            path.write_text(content % step)
        else:
            clock.now += step
            path.write_text(content)
        path.chmod(0o600)
        os.utime(path, (clock.now - ago, clock.now - ago))
        fetch(identity, store, config, force=True)
        token, status = store.token("x"), store.status("x")
        assert token is not None
        assert status is not None
        assert token.expiry - (status.obtained or 0) <= 43200
        found.append(int(token.expiry - clock.now))
    assert found == left


def test_a_promise_of_days_is_not_asked_for_at_every_tick(clock: Clock, tmp_path: Path) -> None:
    clock.now = 1_800_000_000.0
    path = tmp_path / "token"
    path.write_text('{"access_token": "ya29.c.x", "expiry": 1900000000}')
    path.chmod(0o600)
    config = Config(identities={}, repositories=(), users=(), config_dir="", shared_run_dir=tmp_path / "run")
    identity = Identity(name="x", type="token_file", file=str(path))
    store = Store(tmp_path / "run", shared=True)
    ends = set()
    for _hour in range(30):  # also beyond the twelve
        fetch(identity, store, config, force=True)
        os.utime(store.directory("x") / "status.json", (clock.now, clock.now))
        clock.now += 60
        assert not is_due(
            str(store.directory("x")), identity="x", source=identity.source, on_demand=False, interval=30
        )
        token = store.token("x")
        assert token is not None
        ends.add(token.expiry)
        clock.now += 3540
    assert len(ends) <= 3


@pytest.mark.parametrize("expiry", [0, 1, -5, "1999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59"])
def test_a_token_that_has_expired_may_be_replaced(expiry: object) -> None:
    with pytest.raises(Failure) as caught:
        parse(json.dumps({"access_token": TOKEN, "expiry": expiry}).encode(), path=PATH, written=None)
    assert str(caught.value) == f"the token in {PATH} has expired; see to it that a new one is put there"
    assert (caught.value.code, caught.value.reason) == (Exit.TEMPORARY, Reason.FILE)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"\x00",
        b"\xff\xfe",
        b"two words",
        b"a\nb",
        b"{",
        b"{}",
        b'{"access_token": null}',
        b'{"access_token": ["x"]}',
        b'{"access_token": "a\\nb"}',
        b'{"access_token": "x", "expiry": null}',
        b'{"access_token": "x", "expiry": true}',
        b'{"access_token": "x", "expiry": NaN}',
        b'{"access_token": "x", "expiry": 1e400}',
        b'{"access_token": "x", "expiry": "soon"}',
        b'{"access_token": "x", "expiry": "2027-13-45T99:99:99Z"}',
        b'{"access_token": "x", "expires_in": 0}',
        b'{"access_token": "x", "expires_in": -1}',
        b'{"access_token": "x", "expires_in": "3600"}',
        b'{"access_token": "x", "expires_in": null}',
        b'{"access_token": "x", "expires_in": true}',
        b"[" * 60_000,
        b'{"a":' * 60_000,
        b"x" * 16385,
    ],
)
def test_a_file_without_a_usable_token_is_not_echoed(content: bytes) -> None:
    with pytest.raises(Failure) as caught:
        parse(content, path=PATH, written=None)
    assert str(caught.value) == f"{PATH} holds no usable token; put it there as {FORMS}"
    assert (caught.value.code, caught.value.reason) == (Exit.CONFIGURATION, Reason.FILE)


def test_a_time_is_understood_in_any_zone() -> None:
    zone = timezone(timedelta(hours=-7, minutes=-30))
    moment = (datetime.now(zone) + timedelta(seconds=600)).isoformat(timespec="seconds")
    assert 598 <= (seconds_until(moment) or 0) <= 600
    assert 598 <= (seconds_until(time.time() + 600) or 0) <= 600


def test_the_file_is_read_for_the_identity(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(json.dumps({"access_token": TOKEN, "expiry": at(900)}))
    path.chmod(0o640)
    config = Config(identities={}, repositories=(), users=(), config_dir="", shared_run_dir=None)
    reply = source.request(Identity(name="x", type="token_file", file=str(path)), config=config)
    assert reply.token == TOKEN
    assert 890 <= reply.lifetime <= 900
