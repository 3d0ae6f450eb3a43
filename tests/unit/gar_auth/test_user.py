# SPDX-License-Identifier: GPL-3.0-or-later
"""A developer's own login, refreshing by oneself, and root's round for everybody under cron."""

from __future__ import annotations

import json
import os
import pwd
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokens.proxy import Proxy
from unit.gar_auth.program import Program

from gar_auth import source as source_module
from gar_auth.config import Config, Identity, account_of
from gar_auth.errors import Exit, Failure, Reason
from gar_auth.idle import is_user_idle
from gar_auth.source import Reply
from gar_auth.store import Status, Store, user_store
from lab.emulator.launch import Emulator

# The proxy of the test is a thread; nothing of it is used in the child.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

PERSON = "dev@example.com"
LOGIN = "gcloud auth application-default login"
HINT = f"gar-auth: run `{LOGIN}` once and private packages work; more: gar-auth status\n"


def url(name: str) -> str:
    return f"https://europe-west1-python.pkg.dev/my-project/{name}/"


@pytest.fixture
def own(configure: Callable[..., Path], tmp_path: Path) -> Config:
    """A repository with the user's own login beside one with the machine's token."""
    repositories = [
        {"name": "private-repo", "publish_url": url("a"), "identity": "default"},
        {"name": "my-repo", "publish_url": url("b"), "identity": "mine"},
    ]
    identities = {
        "default": {"type": "metadata", "account": "default"},
        "mine": {"type": "adc", "per_user": True},
        "unused": {"type": "gcloud", "per_user": True},
    }
    path = configure(
        repositories=repositories, identities=identities, user_run_dir=str(tmp_path / "run-user")
    )
    return Config.load(path)


@pytest.fixture
def hint(tmp_path: Path) -> Path:
    return tmp_path / "run-user" / "dev" / ".hint"


def entries(home: Path) -> Any:
    path = home / ".config" / "pypoetry" / "auth.toml"
    return tomllib.loads(path.read_text()).get("http-basic", {}) if path.exists() else {}


def log_in(running: Emulator, home: Path) -> Path:
    """What `gcloud auth application-default login` leaves."""
    path = home / ".config" / "gcloud" / "application_default_credentials.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(running.control.authorized_user(PERSON)))
    path.chmod(0o600)
    return path


def status(config: Config, name: str = "mine") -> Status:
    found = user_store(config, account_of(None)).status(name)
    assert found is not None
    return found


def test_whoever_has_not_logged_in_yet_is_told_how_and_nothing_fails(
    program: Program, own: Config, hint: Path, home: Path
) -> None:
    for _repeat in range(2):
        assert program("user", "dev") == (0, "", "")
        assert hint.read_text() == HINT
    assert entries(home) == {}
    found = status(own)
    path = home / ".config" / "gcloud" / "application_default_credentials.json"
    assert found.error_class == "not_logged_in"
    assert found.error == f"{path} is missing; run `gcloud auth application-default login` as dev"
    assert found.failures == 1, "the second run came before the pause was over"


@pytest.mark.usefixtures("internet")
def test_the_first_run_after_the_login_writes_and_takes_the_hint_back(
    program: Program, running: Emulator, own: Config, hint: Path, home: Path
) -> None:
    program("user")
    log_in(running, home)
    assert program("user") == (0, "new tokens in auth.toml of dev\n", "")
    assert not hint.exists()
    (mine,) = [token for token in running.control.tokens() if token.valid and token.identity == PERSON]
    assert entries(home) == {"my-repo": {"username": "oauth2accesstoken", "password": mine.value}}
    assert status(own).error is None
    assert program("user") == (0, "", "")
    directory = hint.parent / "mine"
    assert {oct(path.stat().st_mode & 0o777) for path in directory.iterdir()} == {"0o600"}


@pytest.mark.usefixtures("internet")
def test_who_logs_in_as_somebody_else_has_that_ones_token_at_the_next_tick(
    program: Program, running: Emulator, own: Config, home: Path
) -> None:
    path = log_in(running, home)
    program("user", "dev")
    path.write_text(json.dumps(running.control.authorized_user("other@example.com")))
    assert program("user", "dev") == (0, "new tokens in auth.toml of dev\n", "")
    owners = {token.value: token.identity for token in running.control.tokens()}
    assert owners[entries(home)["my-repo"]["password"]] == "other@example.com"


@pytest.mark.usefixtures("internet")
def test_a_users_tick_with_nothing_to_do_ends_early(
    program: Program, running: Emulator, own: Config, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.utime(program.path, (1, 1))
    assert not is_user_idle(str(program.path), "dev"), "nothing is known yet"
    program("user", "dev")
    assert is_user_idle(str(program.path), "dev"), "not logged in, and the pause is not over"
    path = log_in(running, home)
    assert not is_user_idle(str(program.path), "dev"), "there is a login now"
    program("user", "dev")
    assert is_user_idle(str(program.path), "dev")
    path.touch()
    assert not is_user_idle(str(program.path), "dev"), "another login"
    program("user", "dev")
    os.utime(program.path)
    assert not is_user_idle(str(program.path), "dev"), "another configuration"
    program("user", "dev")
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 1810)
    assert not is_user_idle(str(program.path), "dev"), "half of the token's life is over"


@pytest.mark.usefixtures("internet")
def test_whoever_asks_does_not_wait_a_failure_out(
    program: Program, running: Emulator, own: Config, home: Path
) -> None:
    log_in(running, home)
    running.control.set_fault("token", "status:503")
    assert program("user", "dev")[0] == 75
    running.control.set_fault("token", "ok")
    assert program("user", "dev") == (0, "", ""), "the unit waits"
    assert program("user") == (0, "new tokens in auth.toml of dev\n", "")


@pytest.mark.usefixtures("internet")
def test_a_login_that_has_expired_is_said_and_the_living_token_stays(
    program: Program, running: Emulator, own: Config, hint: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = log_in(running, home)
    program("user")
    before = entries(home)
    running.control.revoke_logins(PERSON)
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 1810)
    running.control.set_date_skew(1810)
    code, output, errors = program("user")
    running.control.set_date_skew(0)
    expected = f"the login in {path} has expired or was revoked"
    cure = "run `gcloud auth application-default login` as dev"
    assert (code, output, errors) == (78, "", f"gar-auth: {expected}; {cure}\n")
    assert hint.read_text() == HINT
    assert entries(home) == before
    assert status(own).error_class == "login_expired"


def test_the_machines_writer_leaves_the_users_own_repository_alone(
    program: Program, google: Emulator, own: Config, home: Path
) -> None:
    program("fetch", "default")
    assert program("write") == (0, "new tokens in auth.toml of dev\n", "")
    assert entries(home).keys() == {"private-repo"}


@pytest.mark.usefixtures("internet")
def test_refresh_serves_both_and_removal_takes_both(
    program: Program, google: Emulator, own: Config, home: Path
) -> None:
    log_in(google, home)
    assert program("refresh") == (0, "new tokens in auth.toml of dev\n", "")
    assert entries(home).keys() == {"private-repo", "my-repo"}
    assert program("write", "--remove", "--only", "my-repo")[0] == 0
    assert entries(home).keys() == {"private-repo"}
    assert program("refresh") == (0, "new tokens in auth.toml of dev\n", "")
    assert program("write", "--remove") == (0, "removed the tokens from auth.toml of dev\n", "")
    assert entries(home) == {}


def test_refresh_writes_what_it_could_get_and_says_what_is_wrong(
    program: Program, google: Emulator, own: Config, home: Path
) -> None:
    code, _output, errors = program("refresh")
    assert (code, errors.count("\n")) == (78, 1)
    assert "run `gcloud auth application-default login` as dev" in errors
    assert entries(home).keys() == {"private-repo"}


def test_refresh_asks_a_source_that_mints_only_when_it_is_due(
    program: Program, configure: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(identities={"default": {"type": "service_account_key", "file": "/key.json"}})
    asked: list[str] = []

    def request(identity: Identity, **_more: object) -> Reply:
        asked.append(identity.name)
        return Reply("ya29.minted", 3600)

    monkeypatch.setattr(source_module, "request", request)
    assert [program("refresh")[0] for _repeat in range(3)] == [0, 0, 0]
    assert asked == ["default"]


def test_root_acts_for_a_user_only_as_that_user(
    program: Program, own: Config, nobody: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_uid = {nobody.pw_uid: nobody}
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: nobody)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: by_uid.get(uid) or account_of("dev"))
    top = Path(nobody.pw_dir).parent / "run-user"
    (top / "nobody").mkdir(parents=True)
    os.chown(top / "nobody", nobody.pw_uid, nobody.pw_gid)
    settings = json.loads(program.path.read_text())
    program.path.write_text(json.dumps({**settings, "user_run_dir": str(top)}))
    assert program("user", "nobody") == (0, "", "")
    info = (top / "nobody" / ".hint").stat()
    assert (info.st_uid, oct(info.st_mode & 0o777)) == (nobody.pw_uid, "0o600")


def test_a_round_fetches_as_the_service_and_writes_as_each_user(
    program: Program,
    running: Emulator,
    internet: Proxy,
    google: Emulator,
    everybody: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    robot = "robot@demo-project.iam.gserviceaccount.com"
    authority = everybody / "ca.pem"
    authority.write_bytes(running.ca.read_bytes())
    authority.chmod(0o644)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    (everybody / "key.json").write_text(json.dumps(running.control.create_key(robot)))
    uid = (everybody / "home").stat().st_uid
    code, output, errors = program("cycle")
    assert (code, errors) == (0, "")
    assert set(output.splitlines()) == {
        "new token for identity ci",
        "new token for identity default",
        "new tokens in auth.toml of nobody",
    }
    assert entries(everybody / "home").keys() == {"private-repo", "ci-repo"}
    run = everybody / "run" / "gar-auth"
    found = {path.relative_to(run).as_posix(): path.stat() for path in run.rglob("*")}
    assert {name: oct(info.st_mode & 0o777) for name, info in found.items()} == {
        "ci": "0o755",
        "default": "0o755",
        "ci/token": "0o640",
        "ci/status.json": "0o644",
        "default/token": "0o640",
        "default/status.json": "0o644",
    }
    assert {info.st_uid for info in found.values()} == {uid}
    assert program("cycle") == (0, "", "")


def test_a_round_serves_a_users_own_login_as_well(
    program: Program, google: Emulator, everybody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = pwd.getpwnam("nobody")
    by_uid = pwd.getpwuid
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: nobody if uid == nobody.pw_uid else by_uid(uid))
    settings = json.loads(program.path.read_text())
    identities = {"default": {"type": "metadata"}, "mine": {"type": "adc", "per_user": True}}
    repositories = [settings["repositories"][0], {**settings["repositories"][1], "identity": "mine"}]
    program.path.write_text(json.dumps({**settings, "identities": identities, "repositories": repositories}))
    expected = "new token for identity default\nnew tokens in auth.toml of nobody\n"
    assert program("cycle") == (0, expected, "")
    place = everybody / "run" / "gar-auth-user" / "nobody"
    assert (place.stat().st_uid, oct(place.stat().st_mode & 0o777)) == (nobody.pw_uid, "0o700")
    assert (place / ".hint").read_text() == HINT
    assert entries(everybody / "home").keys() == {"private-repo"}
    (everybody / "run" / "gar-auth-user").rename(everybody / "run" / "away")
    (everybody / "run" / "gar-auth-user").mkdir(mode=0o755)
    (everybody / "run" / "gar-auth-user" / "nobody").write_text("in the way")
    (everybody / "home" / ".config" / "pypoetry" / "auth.toml").unlink()
    code, output, errors = program("cycle")
    assert (code, output) == (75, "new tokens in auth.toml of nobody\n")
    assert "gar-auth-user/nobody: File exists" in errors


def test_a_round_tells_every_problem_and_does_the_rest(
    program: Program, internet: Proxy, google: Emulator, everybody: Path, configure: Callable[..., Path]
) -> None:
    settings = json.loads(program.path.read_text())
    program.path.write_text(json.dumps({**settings, "users": ["ghost", "nobody"]}))

    code, output, errors = program("cycle")
    assert code == 78
    assert "new token for identity default\n" in output
    key, ghost, token = errors.splitlines()
    assert key.startswith(f"gar-auth: {everybody}/key.json holds no credentials of Google; ")
    assert ghost.startswith("gar-auth: no user 'ghost' on this machine")
    assert token == "gar-auth: no valid token for ci; see: gar-auth status"
    assert entries(everybody / "home").keys() == {"private-repo"}


def test_a_round_keeps_in_mind_which_key_cannot_be_used(
    program: Program, internet: Proxy, google: Emulator, everybody: Path
) -> None:
    assert program("cycle")[0] == 78
    known = Store(everybody / "run" / "gar-auth", shared=True).status("ci")
    assert known is not None
    assert (known.failures, known.error_class) == (1, "bad_key")
    code, output, errors = program("cycle")
    assert (code, output, errors) == (75, "", "gar-auth: no valid token for ci; see: gar-auth status\n")


def test_a_damaged_token_of_one_identity_keeps_no_user_from_the_others(
    program: Program, google: Emulator, everybody: Path
) -> None:
    program("cycle")
    (everybody / "home" / ".config" / "pypoetry" / "auth.toml").unlink()
    path = everybody / "run" / "gar-auth" / "ci" / "token"
    path.write_text("{")
    program("cycle")
    assert entries(everybody / "home").keys() == {"private-repo"}


@pytest.mark.parametrize(
    "plant", [Path.mkdir, lambda path: path.symlink_to("/etc/passwd")], ids=["dir", "link"]
)
def test_a_token_that_cannot_be_read_keeps_no_user_from_the_others_and_is_told(
    program: Program, google: Emulator, everybody: Path, plant: Callable[[Path], object]
) -> None:
    program("cycle")
    (everybody / "home" / ".config" / "pypoetry" / "auth.toml").unlink()
    path = everybody / "run" / "gar-auth" / "ci" / "token"
    path.unlink(missing_ok=True)
    plant(path)
    code, output, errors = program("cycle")
    assert (code, output) == (78, "new tokens in auth.toml of nobody\n"), "its key is no good either"
    assert f"gar-auth: {path}: " in errors
    assert entries(everybody / "home").keys() == {"private-repo"}


def test_the_round_notices_that_an_identity_names_another_source(
    program: Program, google: Emulator, everybody: Path
) -> None:
    program("cycle")
    run = Store(everybody / "run" / "gar-auth", shared=True)
    settings = json.loads(program.path.read_text())
    account = "builder@demo-project.iam.gserviceaccount.com"
    settings["identities"]["default"]["account"] = account
    program.path.write_text(json.dumps(settings))
    program("cycle")
    found = run.status("default")
    assert found is not None
    assert found.source == f"metadata:{account}"


def test_sources_that_are_slow_do_not_keep_the_unit_from_writing(
    program: Program, own: Config, home: Path, running: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    identities = {name: {"type": "adc", "per_user": True} for name in ("a", "b", "c")}
    repositories = [{"name": name, "publish_url": url(name), "identity": name} for name in identities]
    settings = json.loads(program.path.read_text())
    program.path.write_text(json.dumps({**settings, "identities": identities, "repositories": repositories}))
    now, asked = [0.0], []

    def request(identity: Identity, **_more: object) -> Reply:
        asked.append(identity.name)
        now[0] += 20
        if len(asked) == 1:
            return Reply("ya29.x", 3600)
        raise Failure("no answer", code=Exit.TEMPORARY)

    monkeypatch.setattr(source_module, "request", request)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    assert program("user", "dev")[0] == 75
    assert (asked, entries(home).keys()) == (["a"], {"a"})
    assert program("user", "dev")[0] == 75
    assert program("user", "dev")[0] == 75
    assert asked == ["a", "b", "c"], "each run gets to the next one"


def test_a_directory_that_is_planted_for_the_round_is_refused(
    program: Program, google: Emulator, everybody: Path
) -> None:
    run = everybody / "run" / "gar-auth"
    run.mkdir(parents=True)
    (run / "default").symlink_to(everybody / "home")
    code, _output, errors = program("cycle")
    assert f"{run}/default: Not a directory" in errors
    assert code != 0
    assert os.listdir(everybody / "home") == [] or os.listdir(everybody / "home") == [".config"]


def test_a_round_is_roots(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: pwd.struct_passwd(("x", "x", 1000, 1000, "", "/", "")))
    assert program("cycle") == (77, "", "gar-auth: only root can act for everybody; run it with sudo\n")


def test_a_round_needs_a_directory_for_the_machine(program: Program, configure: Callable[..., Path]) -> None:
    configure(run_dir=None)
    if os.geteuid() != 0:
        pytest.skip("needs root")
    code, _output, errors = program("cycle")
    assert (code, errors.count("\n")) == (78, 1)
    assert "use: gar-auth refresh" in errors


def test_where_a_users_tokens_lie(
    own: Config, configure: Callable[..., Path], dev: pwd.struct_passwd, tmp_path: Path, home: Path
) -> None:
    def place(config: Config) -> Path:
        return user_store(config, dev).directory("mine")

    assert place(own) == tmp_path / "run-user" / "dev" / "mine"
    assert place(Config.load(configure())) == home / ".cache" / "gar-auth" / "mine"


@pytest.mark.parametrize("reason", [Reason.UNREACHABLE, Reason.REFUSED])
def test_a_failure_that_is_no_missing_login_is_one(
    program: Program, own: Config, hint: Path, monkeypatch: pytest.MonkeyPatch, reason: Reason
) -> None:
    def request(_identity: Identity, **_more: object) -> Reply:
        raise Failure("it is broken", code=Exit.TEMPORARY, reason=reason)

    monkeypatch.setattr(source_module, "request", request)
    assert program("user") == (75, "", "gar-auth: it is broken\n")
    assert not hint.exists()
