# SPDX-License-Identifier: GPL-3.0-or-later
"""With the provider keyring the program fetches and writes into no home; who may read a token is a group."""

from __future__ import annotations

import grp
import json
import pwd
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from unit.gar_auth.conftest import URL
from unit.gar_auth.program import Program

from gar_auth import __main__ as cli
from gar_auth.config import Config
from gar_auth.status import may_read
from gar_auth.store import Store
from lab.emulator.launch import Emulator

# The proxy of the test is a thread; nothing of it is used in the child.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

#: A group that every machine has and that the user nobody is not in.
READERS = "games"


def change(program: Program, **settings: object) -> None:
    program.path.write_text(json.dumps({**json.loads(program.path.read_text()), **settings}))


@pytest.fixture
def alone(program: Program, everybody: Path) -> Program:
    """One identity, the provider keyring, cron."""
    settings = json.loads(program.path.read_text())
    change(
        program,
        provider="keyring",
        service_manager="cron",
        keyring_group=READERS,
        identities={"default": {"type": "metadata"}},
        repositories=settings["repositories"][:1],
    )
    return program


def test_a_round_gives_the_token_to_the_group_and_writes_nothing(
    alone: Program,
    google: Emulator,
    everybody: Path,
) -> None:
    assert alone("cycle") == (0, "new token for identity default\n", "")
    token = everybody / "run" / "gar-auth" / "default" / "token"
    assert oct(token.stat().st_mode & 0o777) == "0o640"
    assert token.stat().st_gid == grp.getgrnam(READERS).gr_gid
    assert token.stat().st_uid == pwd.getpwnam("nobody").pw_uid
    assert list((everybody / "home").rglob("auth.toml")) == []
    assert alone("cycle") == (0, "", "")


def test_a_round_after_the_switch_gives_them_the_token_that_is_there(
    alone: Program,
    google: Emulator,
    everybody: Path,
) -> None:
    change(alone, provider="token_timer", keyring_group=None)
    alone("cycle")
    token = everybody / "run" / "gar-auth" / "default" / "token"
    before = token.read_bytes()
    change(alone, provider="keyring", keyring_group=READERS)
    assert alone("cycle") == (0, "", "")
    assert token.read_bytes() == before
    assert token.stat().st_gid == grp.getgrnam(READERS).gr_gid
    change(alone, provider="token_timer", keyring_group=None)
    alone("cycle")
    assert token.stat().st_gid == pwd.getpwnam("nobody").pw_gid
    assert token.parent.stat().st_mode & 0o7777 == 0o755


def test_a_group_that_is_missing_is_told(alone: Program, google: Emulator) -> None:
    change(alone, keyring_group="no-such-group")
    code, _output, errors = alone("cycle")
    assert code == 78
    assert "no group 'no-such-group'" in errors


def test_nothing_is_written_also_when_somebody_asks(program: Program, google: Emulator, home: Path) -> None:
    change(program, provider="keyring", run_dir=None)
    code, output, errors = program("write")
    assert (code, output) == (78, "")
    assert "gar-auth get" in errors
    assert program("refresh") == (0, "", "")
    assert list(home.rglob("auth.toml")) == []


def test_tokens_that_a_client_fetched_can_be_taken_back(
    program: Program, google: Emulator, canary: Store, home: Path, tmp_path: Path
) -> None:
    program("write")
    entry = (home / ".config" / "pypoetry" / "auth.toml").read_bytes()
    change(program, provider="keyring")
    own = tmp_path / "cache" / "gar-auth" / "default"
    own.mkdir(parents=True)
    (own / "token").write_text("{}")
    assert program("write", "--remove", "--check") == (0, "", "")
    assert (own / "token").exists()
    assert program("write", "--remove") == (0, "", "")
    assert not own.exists()
    assert (home / ".config" / "pypoetry" / "auth.toml").read_bytes() == entry  # not the keyring's


def test_where_nothing_is_scheduled_a_client_that_asks_gets_one(
    program: Program,
    capfd: pytest.CaptureFixture[str],
    google: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "session"))
    change(program, provider="keyring", run_dir=None)
    code, output, _errors = program("status")
    assert code == 0, output
    assert "on demand" in output
    assert cli.main(["get", URL], config_file=program.path) == 0
    token = capfd.readouterr().out.strip()
    assert token in {one.value for one in google.control.tokens() if one.valid}
    assert "fresh" in program("status")[1]


def test_an_entry_of_the_users_hides_the_keyring(program: Program, google: Emulator, home: Path) -> None:
    program("fetch", "default")
    program("write")
    change(program, provider="keyring")
    code, output, _errors = program("status")
    assert code == 75
    assert output.splitlines()[-1].split() == ["dev", "private-repo", "default", "hidden"]
    (home / ".config" / "pypoetry" / "auth.toml").unlink()
    code, output, _errors = program("status", "--json")
    assert code == 0
    assert json.loads(output)["users"] == {"dev": {"private-repo": "fresh"}}
    assert json.loads(output)["provider"] == "keyring"


def test_who_is_not_in_the_group_may_not_read(program: Program, configure: Callable[..., Path]) -> None:
    config = Config.load(configure(provider="keyring", keyring_group=READERS))
    root, member = pwd.getpwnam("root"), grp.getgrnam(READERS).gr_gid
    stranger = pwd.struct_passwd(("stranger", "x", 12345, 12345, "", "/", ""))
    assert may_read(config, root)
    assert not may_read(config, stranger)
    assert may_read(config, pwd.struct_passwd((*stranger[:3], member, *stranger[4:])))
    assert not may_read(replace(config, keyring_group="no-such-group"), stranger)
    assert may_read(replace(config, shared_run_dir=None), stranger)
