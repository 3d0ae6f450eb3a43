# SPDX-License-Identifier: GPL-3.0-or-later
"""C(gar-auth get): the token of a URL or an identity, from where it can be had, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.gar_auth.conftest import URL
from unit.gar_auth.program import Program

from gar_auth import __main__ as cli
from gar_auth import get as get_module
from gar_auth.store import Status, Store, Token
from lab.emulator.launch import Emulator

OTHER = "https://europe-west1-python.pkg.dev/my-project/other/"
TOKEN = "ya29.known"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this user's own tokens lie."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "session"))
    return tmp_path / "session" / "gar-auth"


@pytest.fixture
def said(
    capfd: pytest.CaptureFixture[str], configure: Callable[..., Path]
) -> Callable[..., tuple[int, str, str]]:
    """Run the program; its exit code and what it printed."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(list(arguments), config_file=configure())
        return code, *capfd.readouterr()

    return run


def known(store: Store, *, left: int = 600, identity: str = "default") -> None:
    store.write(identity, Token(token=TOKEN, expiry=int(time.time()) + left, source="metadata:default"))


@pytest.mark.parametrize(
    "what", [(URL,), (f"{URL}simple/",), ("--identity", "default"), ("--identity=default",)]
)
def test_it_prints_the_machines_token_and_nothing_else(
    said: Callable[..., tuple[int, str, str]], store: Store, what: tuple[str, ...]
) -> None:
    known(store)
    assert said("get", *what) == (0, f"{TOKEN}\n", "")


@pytest.mark.parametrize(
    "what",
    [
        OTHER,
        URL.replace("https", "http"),
        "not a url",
        f"{URL}../other/",
        URL.replace("/python/", "/python-2/"),
    ],
)
def test_a_url_of_nobody_has_no_token(program: Program, canary: Store, what: str) -> None:
    code, output, errors = program("get", what)
    assert (code, output) == (78, "")
    assert "is not the https URL of a repository" in errors


def test_a_password_in_the_url_is_not_repeated(program: Program, canary: Store) -> None:
    _code, _output, errors = program("get", "https://me:hunter2@example.com/")
    assert "hunter2" not in errors
    assert "example.com" in errors


def test_an_identity_that_is_not_declared(program: Program, canary: Store) -> None:
    assert program("get", "--identity", "nobody")[0] == 78


@pytest.mark.parametrize("left", [None, 30, -600])
def test_without_a_fresh_one_it_fetches_one_for_this_user(
    said: Callable[..., tuple[int, str, str]],
    google: Emulator,
    store: Store,
    own: Path,
    left: int | None,
) -> None:
    if left is not None:
        known(store, left=left)
    code, output, errors = said("get", URL)
    assert (code, errors) == (0, "")
    assert output.strip() in {one.value for one in google.control.tokens() if one.valid}
    assert (own / "default" / "token").stat().st_mode & 0o777 == 0o600
    before = len(google.control.requests(target="metadata"))
    assert said("get", URL)[1] == output  # kept: nobody is asked again
    assert len(google.control.requests(target="metadata")) == before


def test_one_that_still_lives_does_where_there_is_no_other(
    said: Callable[..., tuple[int, str, str]], google: Emulator, store: Store, own: Path
) -> None:
    google.control.set_fault("metadata", "status:503")
    known(store, left=30)
    assert said("get", URL)[:2] == (0, f"{TOKEN}\n")


def test_a_failure_is_told_again_without_asking(program: Program, google: Emulator, own: Path) -> None:
    google.control.set_fault("metadata", "status:503")
    code, output, errors = program("get", URL)
    assert (code, output) == (75, "")
    assert len(errors.splitlines()) == 1
    before = len(google.control.requests(target="metadata"))
    again = program("get", URL)
    assert again[:2] == (75, "")
    assert "s ago" in again[2]
    assert len(google.control.requests(target="metadata")) == before


def test_a_source_that_hangs_ends_within_the_deadline(
    program: Program, google: Emulator, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gar_auth.metadata.TOTAL_SECONDS", 20.0)
    monkeypatch.setattr("gar_auth.metadata.TRY_SECONDS", 20.0)
    monkeypatch.setattr(get_module, "SECONDS", 0.5)
    google.control.set_fault("metadata", "hang")
    began = time.monotonic()
    code, _output, errors = program("get", URL)
    assert code == 75
    assert "no token within 0.5 s" in errors
    assert time.monotonic() - began < 10


@pytest.fixture
def key(settings: dict[str, object]) -> None:
    """The identity is a key that only the machine's own unit may read."""
    settings["identities"] = {"default": {"type": "service_account_key", "file": "/nowhere/key.json"}}
    settings["provider"] = "keyring"


def test_what_only_the_machine_can_fetch_is_waited_for(
    key: None, program: Program, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_module, "SECONDS", 0.5)
    code, output, errors = program("get", URL)
    assert (code, output) == (75, "")
    assert "no token within 0.5 s; see: gar-auth doctor" in errors


def test_what_the_machine_failed_at_is_told_at_once(key: None, program: Program, store: Store) -> None:
    status = Status(identity="default", source="x", error="the key was deleted", error_class="bad_key")
    store.write("default", status)
    code, _output, errors = program("get", URL)
    assert code == 75
    assert "the key was deleted" in errors


def test_one_that_nobody_renews_is_not_waited_for(
    key: None, program: Program, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_module, "SECONDS", 30.0)
    now = int(time.time())
    store.write("default", Status(identity="default", source="x", expiry=now - 600, obtained=now - 4200))
    began = time.monotonic()
    code, _output, errors = program("get", URL)
    assert code == 75
    assert "nobody renews it" in errors
    assert time.monotonic() - began < 10


def test_the_deadline_ends_what_takes_every_failure_for_its_own(
    key: None, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(_store: Store, _identity: str) -> None:
        time.sleep(0.2)

    monkeypatch.setattr(get_module, "SECONDS", 0.5)
    monkeypatch.setattr(Store, "status", slow)
    began = time.monotonic()
    code, _output, errors = program("get", URL)
    assert code == 75
    assert "no token within 0.5 s" in errors
    assert time.monotonic() - began < 5


def test_with_token_timer_it_is_what_stands_in_the_users_auth_toml(
    settings: dict[str, object],
    said: Callable[..., tuple[int, str, str]],
    google: Emulator,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said("fetch", "default")
    said("write")
    known = store.token("default")
    assert known is not None
    settings["identities"] = {"default": {"type": "service_account_key", "file": "/nowhere/key.json"}}
    monkeypatch.setattr(Store, "token", lambda _store, _identity: None)  # this user may not read it
    assert said("get", URL) == (0, f"{known.token}\n", "")


def test_with_token_timer_who_has_none_is_told_what_to_set(key: None, program: Program) -> None:
    program.path.write_text(program.path.read_text().replace('"keyring"', '"token_timer"'))
    code, _output, errors = program("get", URL)
    assert code == 77
    assert "gar_auth_provider: keyring" in errors
