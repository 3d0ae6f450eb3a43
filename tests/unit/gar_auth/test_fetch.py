# SPDX-License-Identifier: GPL-3.0-or-later
"""fetch() and the store: written only what changed, with which modes, and what heals itself."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from unit.gar_auth.program import Clock

from gar_auth import source as source_module
from gar_auth.config import Config, Identity
from gar_auth.errors import Exit, Failure
from gar_auth.fetch import fetch as fetch_if_due
from gar_auth.source import Reply
from gar_auth.store import Status, Store, Token, digest
from lab.emulator.launch import Emulator

DEFAULT = Identity(name="default", account="default")
CONFIG = Config(identities={}, repositories=(), users=(), config_dir="", shared_run_dir=None)

#: Whatever the schedule says.
fetch = functools.partial(fetch_if_due, config=CONFIG, force=True)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "run" / "default"


def stamps(directory: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in directory.iterdir()}


def mode(path: Path) -> str:
    return oct(path.stat().st_mode & 0o7777)


def status(store: Store, identity: str = "default") -> Status:
    found = store.status(identity)
    assert found is not None
    return found


def test_a_new_token_is_for_the_group_and_its_status_for_everybody(
    google: Emulator, store: Store, directory: Path
) -> None:
    os.umask(0o077)
    before = int(time.time())
    assert fetch(DEFAULT, store) is True
    (issued,) = [token for token in google.control.tokens() if token.valid]
    token = store.token("default")
    assert token is not None
    assert token.token == issued.value
    assert abs(token.expiry - issued.expires_at) <= 2
    assert sorted(os.listdir(directory)) == ["status.json", "token"]
    assert (mode(directory / "token"), mode(directory / "status.json")) == ("0o640", "0o644")
    found = status(store)
    assert found.obtained is not None
    assert found.obtained >= before
    expected = Status("default", "metadata:default", token.expiry, found.obtained, digest(issued.value))
    assert found == replace(expected, started=found.started)
    assert issued.value not in (directory / "status.json").read_text()
    assert issued.value not in repr(token)


def test_a_store_of_ones_own_is_for_nobody_else(google: Emulator, tmp_path: Path, directory: Path) -> None:
    fetch(DEFAULT, Store(tmp_path / "run", shared=False))
    modes = {mode(directory / "token"), mode(directory / "status.json"), mode(directory)}
    assert modes == {"0o600", "0o700"}


def test_the_same_token_again_writes_nothing_but_notes_the_look(
    google: Emulator, store: Store, directory: Path
) -> None:
    fetch(DEFAULT, store)
    before = stamps(directory)
    os.utime(directory / "status.json", (1, 1))
    asked = time.time()
    assert [fetch(DEFAULT, store) for _repeat in range(3)] == [False] * 3
    after = stamps(directory)
    assert after["token"] == before["token"]
    assert after["status.json"][1] == before["status.json"][1], "the same file"
    looked = store.looked("default")
    assert looked is not None
    assert looked >= asked


def test_the_next_token_replaces_it(google: Emulator, store: Store) -> None:
    fetch(DEFAULT, store)
    old = store.token("default")
    google.control.expire_all()
    assert fetch(DEFAULT, store) is True
    new = store.token("default")
    assert new is not None
    assert new != old
    assert status(store).digest == digest(new.token)


def test_a_failing_source_keeps_the_token_and_notes_why(
    google: Emulator, store: Store, directory: Path
) -> None:
    fetch(DEFAULT, store)
    before = status(store)
    token = stamps(directory)["token"]
    google.control.set_fault("metadata", "status:404")
    start = int(time.time())
    for _repeat in range(2):
        with pytest.raises(Failure):
            fetch(DEFAULT, store)
    assert stamps(directory)["token"] == token
    failed = status(store)
    assert failed.failed_at is not None
    assert failed.failed_at >= start
    assert failed == replace(
        before,
        error="the metadata server knows no service account 'default'; attach one to this VM",
        error_class="no_account",
        failed_at=failed.failed_at,
        failures=2,
        failing_since=failed.failing_since,
    )
    assert failed.failing_since is not None
    assert start <= failed.failing_since <= failed.failed_at
    google.control.clear_faults()
    assert fetch(DEFAULT, store) is False
    assert (status(store), stamps(directory)["token"]) == (before, token)


def test_a_source_that_fails_at_first_leaves_a_status_without_token(google: Emulator, store: Store) -> None:
    google.control.set_fault("metadata", "status:403")
    with pytest.raises(Failure, match="access scope cloud-platform"):
        fetch(DEFAULT, store)
    assert store.token("default") is None
    assert (status(store).expiry, status(store).digest) == (None, None)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"token": 1}', '{"nonsense": true}', "\x00", "[" * 60_000]
)
@pytest.mark.parametrize("name", ["token", "status.json"])
def test_a_damaged_file_of_the_store_is_written_anew(
    google: Emulator, store: Store, directory: Path, name: str, content: str
) -> None:
    directory.mkdir(parents=True)
    (directory / name).write_text(content)
    with pytest.raises(Failure) as caught:
        store.token("default") if name == "token" else store.status("default")
    assert caught.value.code == Exit.UNUSABLE
    fetch(DEFAULT, store)
    token = store.token("default")
    assert token is not None
    assert status(store).digest == digest(token.token)


@pytest.mark.parametrize("name", ["token", "status.json"])
def test_what_a_killed_run_did_not_write_is_written_by_the_next(
    google: Emulator, store: Store, directory: Path, name: str
) -> None:
    fetch(DEFAULT, store)
    (directory / name).unlink()
    fetch(DEFAULT, store)
    token = store.token("default")
    assert token is not None
    assert (status(store).digest, status(store).expiry) == (digest(token.token), token.expiry)


@pytest.mark.parametrize("wrong", [-7200, 7200])
def test_an_expiry_by_a_wrong_clock_is_put_right(
    store: Store, monkeypatch: pytest.MonkeyPatch, wrong: int
) -> None:
    lifetime = 3000
    reply = Reply("ya29.x", lifetime)
    monkeypatch.setattr(source_module, "request", lambda _identity, **_more: reply)
    right = time.time()
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: right + wrong)
        fetch(DEFAULT, store)
    assert fetch(DEFAULT, store) is False, "the token is not new"
    token = store.token("default")
    assert token is not None
    assert abs(token.expiry - (right + lifetime)) < 5
    assert status(store).expiry == token.expiry


def test_many_at_once_never_publish_a_torn_file(google: Emulator, store: Store, directory: Path) -> None:
    problems: list[BaseException] = []
    token = Token(token="x" * 16_000, expiry=1, source="s")

    def work() -> None:
        try:
            for _repeat in range(50):
                store.write("default", token)
                assert store.token("default") == token
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert os.listdir(directory) == ["token"]


def plant_link(path: Path) -> None:
    target = path.parents[2] / "elsewhere"
    target.write_text(json.dumps({"token": "stolen", "expiry": 10**10}))
    path.symlink_to(target)


@pytest.mark.parametrize(
    ("make", "code"), [(plant_link, Exit.REFUSED), (os.mkfifo, Exit.UNUSABLE), (Path.mkdir, Exit.REFUSED)]
)
def test_a_planted_token_is_not_read(store: Store, directory: Path, make: object, code: Exit) -> None:
    directory.mkdir(parents=True)
    make(directory / "token")  # type: ignore[operator]
    with pytest.raises(Failure) as caught:
        store.token("default")
    assert caught.value.code == code
    assert str(caught.value).startswith(f"{directory}/token")


def test_a_run_directory_that_cannot_be_written_is_a_temporary_failure(
    google: Emulator, tmp_path: Path
) -> None:
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(Failure, match="Not a directory") as caught:
        fetch(DEFAULT, Store(tmp_path / "run", shared=True))
    assert caught.value.code == Exit.TEMPORARY


def stub(monkeypatch: pytest.MonkeyPatch, **reply: Any) -> list[Identity]:
    """A source that always gives the same answer, and who asked it."""
    asked: list[Identity] = []

    def request(identity: Identity, **_more: object) -> Reply:
        asked.append(identity)
        return Reply(**{"token": "ya29.x", **reply})

    monkeypatch.setattr(source_module, "request", request)
    return asked


KEY = Identity(name="ci", type="service_account_key", file="/key.json")
FILE = Identity(name="handed", type="token_file", file="/token")


def test_a_source_that_mints_on_demand_is_not_asked_before_half_of_the_lifetime(
    store: Store, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    times: list[int] = []

    def request(_identity: Identity, **_more: object) -> Reply:
        times.append(int(clock.now))
        return Reply(f"ya29.{len(times)}", 3600)

    monkeypatch.setattr(source_module, "request", request)
    for _tick in range(480):
        assert fetch_if_due(KEY, store, CONFIG) is (times[-1:] == [int(clock.now)])
        clock.now += 30
    pauses = {second - first for first, second in itertools.pairwise(times)}
    assert len(pauses) == 1, "stable on one host"
    assert 1440 <= pauses.pop() <= 1800


def test_a_source_that_has_no_newer_token_is_asked_now_and_then(
    store: Store, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    start = clock.now
    times: list[int] = []

    def request(_identity: Identity, **_more: object) -> Reply:
        times.append(int(clock.now - start))
        return Reply("ya29.x", 3600 - times[-1])

    monkeypatch.setattr(source_module, "request", request)
    for _tick in range(120):
        fetch_if_due(KEY, store, CONFIG)
        clock.now += 30
    pauses = [second - first for first, second in itertools.pairwise(times)]
    assert 1440 <= pauses[0] <= 1800
    assert {30, 180} <= set(pauses[1:]) <= {30, 60, 90, 120, 150, 180}
    assert times[-1] == 3570


def test_a_source_with_a_cache_is_asked_every_three_minutes_and_near_the_end_at_every_tick(
    store: Store, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    start = clock.now
    times: list[int] = []

    def request(_identity: Identity, **_more: object) -> Reply:
        times.append(int(start + 3600 - clock.now))
        return Reply("ya29.x", times[-1])

    monkeypatch.setattr(source_module, "request", request)
    for _tick in range(120):
        fetch_if_due(DEFAULT, store, CONFIG)
        clock.now += 30
    assert times == [*range(3600, 360, -180), *range(360, 0, -30)]


def test_an_identity_that_names_another_source_is_asked_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = stub(monkeypatch, lifetime=3600)
    other = replace(KEY, file="/other.json")
    for identity in (KEY, KEY, other, other, KEY):
        fetch_if_due(identity, store, CONFIG)
    assert asked == [KEY, other, KEY]


def test_after_a_failure_the_source_is_left_alone_for_a_while(
    store: Store, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    times: list[float] = []

    def request(_identity: Identity, **_more: object) -> Reply:
        times.append(clock.now)
        raise Failure("no", code=Exit.TEMPORARY)

    monkeypatch.setattr(source_module, "request", request)
    for _tick in range(60):
        with contextlib.suppress(Failure):
            fetch_if_due(KEY, store, CONFIG)
        clock.now += 30
    pauses = [second - first for first, second in itertools.pairwise(times)]
    assert pauses[0] == 30
    assert pauses == sorted(pauses)
    assert 30 <= pauses[-1] <= 60  # there is no token
    assert status(store, "ci").failures == len(times)


def test_a_token_without_an_expiry_lives_for_an_hour_from_when_it_was_first_seen(
    store: Store, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    stub(monkeypatch, lifetime=3600, from_seen=True)
    start = int(clock.now)
    for _repeat in range(3):
        fetch_if_due(FILE, store, CONFIG, force=True)
        token = store.token("handed")
        assert token is not None
        assert token.expiry == start + 3600
        clock.now += 1000
    clock.now = start + 3601
    with pytest.raises(Failure, match="the same token for 60 minutes; it has expired: see to it") as caught:
        fetch_if_due(FILE, store, CONFIG, force=True)
    assert caught.value.code == Exit.TEMPORARY
    stub(monkeypatch, token="ya29.next", lifetime=3600, from_seen=True)
    assert fetch_if_due(FILE, store, CONFIG, force=True) is True


def test_the_account_of_the_token_is_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch, lifetime=3600, account="robot@p.iam.gserviceaccount.com")
    fetch(KEY, store)
    assert status(store, "ci").account == "robot@p.iam.gserviceaccount.com"


def test_a_status_of_an_older_release_is_read(store: Store, directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "status.json").write_text(
        '{"identity": "default", "source": "metadata:default", "expiry": 1}'
    )
    assert status(store).failures == 0


@pytest.mark.parametrize("name", ["expiry", "obtained", "failed_at", "failures"])
def test_a_status_with_a_wrong_number_is_damaged(store: Store, directory: Path, name: str) -> None:
    directory.mkdir(parents=True)
    (directory / "status.json").write_text(json.dumps({"identity": "a", "source": "b", name: "soon"}))
    with pytest.raises(Failure, match="is damaged"):
        store.status("default")
