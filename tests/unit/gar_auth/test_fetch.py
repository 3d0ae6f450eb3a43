# SPDX-License-Identifier: GPL-3.0-or-later
"""fetch() and the store: written only what changed, with which modes, and what heals itself."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from gar_auth import fetch as fetch_module
from gar_auth.config import Identity
from gar_auth.errors import Exit, Failure
from gar_auth.fetch import fetch
from gar_auth.metadata import Reply
from gar_auth.store import Status, Store, Token, digest
from lab.emulator.launch import Emulator

DEFAULT = Identity(name="default", account="default")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "run" / "default"


def stamps(directory: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in directory.iterdir()}


def mode(path: Path) -> str:
    return oct(path.stat().st_mode & 0o7777)


def status(store: Store) -> Status:
    found = store.status("default")
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
    assert found == expected
    assert issued.value not in (directory / "status.json").read_text()
    assert issued.value not in repr(token)


def test_a_store_of_ones_own_is_for_nobody_else(google: Emulator, tmp_path: Path, directory: Path) -> None:
    fetch(DEFAULT, Store(tmp_path / "run", shared=False))
    modes = {mode(directory / "token"), mode(directory / "status.json"), mode(directory)}
    assert modes == {"0o600", "0o700"}


def test_the_same_token_again_writes_nothing(google: Emulator, store: Store, directory: Path) -> None:
    fetch(DEFAULT, store)
    before = stamps(directory)
    assert [fetch(DEFAULT, store) for _repeat in range(3)] == [False] * 3
    assert stamps(directory) == before


def test_the_next_token_replaces_it(google: Emulator, store: Store) -> None:
    fetch(DEFAULT, store)
    old = store.token("default")
    google.control.expire_all()
    assert fetch(DEFAULT, store) is True
    new = store.token("default")
    assert new is not None
    assert new != old
    assert status(store).digest == digest(new.token)


def test_a_failing_source_keeps_the_token_and_notes_why_once(
    google: Emulator, store: Store, directory: Path
) -> None:
    fetch(DEFAULT, store)
    before = status(store)
    token = stamps(directory)["token"]
    google.control.set_fault("metadata", "status:404")
    seen = []
    for _repeat in range(2):
        with pytest.raises(Failure):
            fetch(DEFAULT, store)
        seen.append(stamps(directory))
    assert seen[0] == seen[1], "the same error is written once"
    assert seen[0]["token"] == token
    assert (
        status(store).error == "the metadata server knows no service account 'default'; attach one to this VM"
    )
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
    monkeypatch.setattr(fetch_module, "request_token", lambda _account: Reply("ya29.x", lifetime))
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
