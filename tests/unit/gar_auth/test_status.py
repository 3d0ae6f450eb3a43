# SPDX-License-Identifier: GPL-3.0-or-later
"""gar-auth status: fresh, stale or missing, as text and as JSON, and never a token."""

from __future__ import annotations

import json
import os
import pwd
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.gar_auth.program import CANARY, Program

from gar_auth import status as status_module
from gar_auth._as_user import run_as
from gar_auth.config import Config, Identity
from gar_auth.status import Entry, Report, inspect
from gar_auth.status_text import span, table, utc
from gar_auth.store import Status, Store, Token, digest, user_store
from gar_auth.write import write
from lab.emulator.launch import Emulator

NOW = 1_800_000_000.0


def test_fetch_write_status_and_removal(program: Program, google: Emulator, poetry_dir: Path) -> None:
    assert program("fetch", "default", "--now") == (0, "new token for identity default\n", "")
    assert program("fetch", "default", "--now") == (0, "", "")
    assert program("write") == (0, "new tokens in auth.toml of dev\n", "")
    assert program("write", "dev") == (0, "", "")
    (issued,) = [token.value for token in google.control.tokens() if token.valid]
    assert issued in (poetry_dir / "auth.toml").read_text()
    code, output, errors = program("status")
    assert (code, errors) == (0, "")
    assert [re.split("  +", line) for line in output.splitlines()] == [
        ["IDENTITY", "SOURCE", "ACCOUNT", "TOKEN", "EXPIRES", "AGE"],
        [
            "default",
            "metadata:default",
            "-",
            Like(r"valid for 59 min \d+ s"),
            Like(r"20.*T.*Z"),
            Like(r"\d+ s"),
        ],
        [""],
        ["USER", "REPOSITORY", "IDENTITY", "AUTH.TOML"],
        ["dev", "private-repo", "default", "fresh"],
    ]
    assert program("write", "--remove") == (0, "removed the tokens from auth.toml of dev\n", "")
    assert program("write", "--remove") == (0, "", "")
    assert not (poetry_dir / "auth.toml").exists()


class Like:
    """Equals every text that the pattern matches."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern

    def __eq__(self, other: object) -> bool:
        return re.fullmatch(self.pattern, str(other)) is not None

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return self.pattern


def test_status_as_json(program: Program, canary: Store, google: Emulator, poetry_dir: Path) -> None:
    program("fetch", "default", "--now")
    program("write")
    code, output, errors = program("status", "--json")
    report = json.loads(output)
    assert (code, errors, report["fine"]) == (0, "", True)
    assert report["users"] == {"dev": {"private-repo": "fresh"}}
    assert report["repositories"] == {"private-repo": "default"}
    assert (report["logins"], report["hints"]) == ({}, [])
    identity = report["identities"]["default"]
    assert 3500 < identity["seconds_left"] <= 3600
    assert 0 <= identity["age_seconds"] < 60
    assert identity["expires_at"] == utc(identity["expiry"])
    assert identity["obtained_at"] == utc(identity["obtained"])
    assert (identity["state"], identity["type"], identity["per_user"]) == ("valid", "metadata", False)
    assert identity["looked_at"].endswith("Z")
    absent = ("error", "error_class", "failed_at", "failing_since", "first_failure", "last_failure", "login")
    assert {identity[key] for key in absent} == {None}
    assert identity["failures"] == 0


def states(program: Program) -> Any:
    code, output, _errors = program("status", "--json")
    assert code == 75
    return json.loads(output)["users"]["dev"]


def test_status_tells_missing_from_stale(program: Program, google: Emulator, poetry_dir: Path) -> None:
    assert states(program) == {"private-repo": "missing"}
    program("fetch", "default", "--now")
    assert states(program) == {"private-repo": "missing"}
    program("write")
    google.control.expire_all()
    program("fetch", "default", "--now")
    assert states(program) == {"private-repo": "stale"}
    (poetry_dir / "auth.toml").chmod(0o644)
    (error,) = states(program).values()
    expected = f"{poetry_dir}/auth.toml has mode 0644, others may use it"
    assert error == f"{expected}; repair with: chmod 600 {poetry_dir}/auth.toml"
    _code, output, _errors = program("status")
    assert output.splitlines()[-1] == f"dev   -           -         {error}"


def test_status_without_a_token_shows_the_last_error_its_class_and_since_when(
    program: Program, google: Emulator
) -> None:
    google.control.set_fault("metadata", "status:403")
    failed = "the metadata server refuses the token (403); give the VM the access scope cloud-platform"
    assert program("fetch", "default", "--now") == (78, "", f"gar-auth: {failed}\n")
    first = json.loads(program("status", "--json")[1])["identities"]["default"]
    assert program("fetch", "default", "--now")[0] == 78
    code, output, _errors = program("status")
    since = utc(first["failed_at"])
    assert code == 75
    assert output.splitlines()[1].split("  ")[0] == "default"
    assert re.fullmatch(
        rf"  problem: {re.escape(failed)} \(refused, 2 times in a row, since {since}, last \d s ago\)",
        output.splitlines()[2],
    )
    second = json.loads(program("status", "--json")[1])["identities"]["default"]
    assert (second["error"], second["error_class"], second["failures"]) == (failed, "refused", 2)
    assert (second["failing_since"], second["first_failure"]) == (first["failed_at"], since)
    assert second["last_failure"] == utc(second["failed_at"])
    google.control.clear_faults()
    program("fetch", "default", "--now")
    healed = json.loads(program("status", "--json")[1])["identities"]["default"]
    assert (healed["error"], healed["failing_since"], healed["failures"]) == (None, None, 0)


@pytest.mark.parametrize("content", ["{", '{"identity": "a", "source": "b", "expiry": "soon"}'])
def test_status_says_that_its_file_is_damaged(
    program: Program, store: Store, tmp_path: Path, content: str
) -> None:
    store.write("default", Token(token=CANARY, expiry=1, source="x"))
    path = tmp_path / "run" / "default" / "status.json"
    path.write_text(content)
    code, output, errors = program("status")
    assert (code, output, errors.count("\n")) == (65, "", 1)
    assert errors.startswith(f"gar-auth: {path} is damaged")


def test_status_waits_until_all_is_fine(program: Program, google: Emulator, poetry_dir: Path) -> None:
    start = time.monotonic()
    assert program("status", "--wait", "0.5")[0] == 75
    assert 0.5 <= time.monotonic() - start < 10
    program("refresh")
    start = time.monotonic()
    assert program("status", "--wait", "30")[0] == 0
    assert time.monotonic() - start < 10


OWN = {"type": "gcloud", "per_user": True}
MIXED = {
    "identities": {"default": {"type": "metadata", "account": "default"}, "mine": OWN},
    "repositories": [
        {
            "name": "shared",
            "publish_url": "https://europe-west1-python.pkg.dev/p/shared/",
            "identity": "default",
        },
        {"name": "own", "publish_url": "https://europe-west1-python.pkg.dev/p/own/", "identity": "mine"},
    ],
}


@pytest.fixture
def mixed(configure: Callable[..., Path], tmp_path: Path, dev: pwd.struct_passwd, store: Store) -> Config:
    """One identity of the machine, whose token dev has, and one of dev's own, with no token yet."""
    config = Config.load(configure(**MIXED, user_run_dir=str(tmp_path / "user")))
    token = Token(token=CANARY, expiry=int(time.time()) + 900, source="metadata:default")
    store.write("default", token)
    store.write(
        "default",
        Status(
            identity="default", source=token.source, expiry=token.expiry, obtained=1, digest=digest(CANARY)
        ),
    )
    user_store(config, dev).write(
        "mine", Status("mine", "gcloud:own login", error="no login", error_class="not_logged_in", failures=1)
    )
    (Path(dev.pw_dir) / ".config").mkdir(mode=0o755)
    entry = Config.load(configure(**{**MIXED, "repositories": MIXED["repositories"][:1]}))  # type: ignore[index]
    write(entry, {"default": token}, dev)
    configure(**MIXED, user_run_dir=str(tmp_path / "user"))
    return config


HINT = "dev: run `gcloud auth login` once, then the repositories of mine work"


@pytest.mark.parametrize(("root", "code"), [(False, 75), (True, 0)], ids=["the user", "root"])
def test_before_the_login_only_the_user_has_something_to_do(
    program: Program, mixed: Config, monkeypatch: pytest.MonkeyPatch, root: bool, code: int
) -> None:
    monkeypatch.setattr(status_module, "_is_root", lambda: root)
    found, output, errors = program("status")
    assert (found, errors) == (code, "")
    assert output.splitlines()[-1] == HINT
    assert "mine of dev" in output
    report = json.loads(program("status", "--json")[1])
    assert report["users"] == {"dev": {"shared": "fresh", "own": "missing"}}
    assert report["logins"]["dev"]["mine"]["login"] == "gcloud auth login"
    assert (report["hints"], report["fine"]) == ([HINT], root)
    assert list(report["identities"]) == ["default"]


def test_root_is_not_told_that_all_is_well_when_an_own_token_fails_for_another_reason(
    program: Program, mixed: Config, dev: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_module, "_is_root", lambda: True)
    status = Status("mine", "gcloud:own login", error="no route", error_class="unreachable", failures=1)
    user_store(mixed, dev).write("mine", status)
    code, output, _errors = program("status")
    assert code == 75
    assert HINT not in output


def test_an_own_token_is_compared_with_the_users_own_status(
    program: Program, mixed: Config, dev: pwd.struct_passwd
) -> None:
    expiry = int(time.time()) + 900
    token = Token(token=f"{CANARY}2", expiry=expiry, source="gcloud:own login")
    own = user_store(mixed, dev)
    own.write("mine", token)
    own.write("mine", Status("mine", token.source, expiry=expiry, obtained=1, digest=digest(token.token)))
    write(mixed, {"default": Token(CANARY, expiry, "x"), "mine": token}, dev)
    code, output, _errors = program("status", "--json")
    assert (code, json.loads(output)["users"]["dev"]) == (0, {"shared": "fresh", "own": "fresh"})
    assert json.loads(output)["logins"]["dev"]["mine"]["state"] == "valid"


def test_root_sees_every_user_as_that_user(
    configure: Callable[..., Path], store: Store, nobody: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda name: nobody if name == "nobody" else pwd.getpwuid(0))
    config = Config.load(configure(users=["nobody", "ghost"]))
    (Path(nobody.pw_dir) / ".config").symlink_to("/etc")
    report = inspect(config, store)
    assert report.users["nobody"]["error"].startswith(f"{nobody.pw_dir}/.config is a symbolic link")
    assert not report.fine


def test_an_unknown_user_is_said_and_the_others_are_shown(
    program: Program, configure: Callable[..., Path]
) -> None:
    configure(users=["ghost-of-a-user", "dev"])
    code, output, _errors = program("status", "--json")
    users = json.loads(output)["users"]
    assert code == 75
    assert list(users) == ["ghost-of-a-user", "dev"]
    assert users["ghost-of-a-user"]["error"].startswith("no user 'ghost-of-a-user' on this machine")


@pytest.mark.parametrize(
    ("identity", "command"),
    [
        (Identity("a", type="gcloud", per_user=True), "gcloud auth login"),
        (Identity("a", type="gcloud", account="me@example.com"), "gcloud auth login me@example.com"),
        (Identity("a", type="adc", per_user=True), "gcloud auth application-default login"),
    ],
)
def test_what_a_user_runs_once(identity: Identity, command: str) -> None:
    assert identity.login == command


@pytest.mark.parametrize(
    ("expiry", "state", "left", "words"),
    [
        (None, "missing", None, "none"),
        (NOW + 125, "valid", 125, "valid for 2 min 5 s"),
        (NOW, "expired", 0, "expired 0 s ago"),
        (NOW - 3700, "expired", 0, "expired 1 h 1 min ago"),
    ],
)
def test_the_state_of_a_token(expiry: float | None, state: str, left: int | None, words: str) -> None:
    status = Status("a", "x", expiry=None if expiry is None else int(expiry))
    report = Report({"a": Entry(Identity("a"), status)}, {}, {}, {}, NOW)
    entry = report.as_dict()["identities"]["a"]
    assert (entry["state"], entry["seconds_left"]) == (state, left)
    assert words in report.as_text()
    assert report.fine is (state == "valid")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (7260, "2 h 1 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_a_length_of_time(seconds: float, words: str) -> None:
    assert span(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, None), (0, "1970-01-01T00:00:00Z"), (NOW, "2027-01-15T08:00:00Z"), (10**30, None)],
)
def test_a_time(seconds: float | None, words: str | None) -> None:
    assert utc(seconds) == words


def test_a_table_has_columns_as_wide_as_needed() -> None:
    assert table(("A", "B", "C"), [("1", "22", "a long text"), ("333", "", "")]) == [
        "A    B   C",
        "1    22  a long text",
        "333",
    ]


@pytest.mark.parametrize("per_user", [False, True])
def test_where_nothing_is_scheduled_root_looks_into_each_users_own_store(
    configure: Callable[..., Path],
    nobody: pwd.struct_passwd,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    per_user: bool,
) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: nobody)
    monkeypatch.setattr(os, "environ", {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path / "root")})
    identities = {"default": {"type": "token_file", "file": "/token", "per_user": per_user}}
    path = configure(users=["nobody"], run_dir=None, identities=identities)
    config, expiry = Config.load(path), int(time.time()) + 900
    token = Token(CANARY, expiry, "token_file:/token")

    def refreshed() -> None:
        own = Store(Path(nobody.pw_dir) / ".cache" / "gar-auth", shared=False)
        own.write("default", Status("default", token.source, expiry=expiry, digest=digest(CANARY)))
        write(config, {"default": token}, nobody)

    run_as(nobody, refreshed)
    report = inspect(config, Store(config.run_dir, shared=False))
    assert report.users == {"nobody": {"private-repo": "fresh"}}
    assert report.logins["nobody"]["default"].status.expiry == expiry
    assert (report.identities, report.fine) == ({}, True)
