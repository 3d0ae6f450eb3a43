# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: exit codes, one line for each failure, and no token in anything that is printed."""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.gar_auth.program import CANARY, Program

from gar_auth import __main__ as cli
from gar_auth.store import Store, Token, digest
from lab.emulator.launch import Emulator


def missing(path: Path) -> None:
    path.unlink()


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def undeclared(path: Path) -> None:
    path.write_text(path.read_text().replace('"identity": "default"', '"identity": "ci"'))


def text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (missing, "gar-auth: PATH: No such file or directory; run the playbook again\n"),
        (directory, "gar-auth: PATH: Is a directory; run the playbook again\n"),
        (
            text(""),
            "gar-auth: PATH is damaged (JSONDecodeError: Expecting value: line 1 column 1 (char 0)); RUN",
        ),
        (
            text("[]"),
            "gar-auth: PATH is damaged (TypeError: list indices must be integers or slices, not str); RUN",
        ),
        (text("{}"), "gar-auth: PATH is damaged (KeyError: 'identities'); RUN"),
        (text('{"identities": {"a": {}}}'), "gar-auth: PATH is damaged (KeyError: 'account'); RUN"),
        (
            text('{"identities": []}'),
            "gar-auth: PATH is damaged (AttributeError: 'list' object has no attribute 'items'); RUN",
        ),
        (undeclared, "gar-auth: PATH is damaged (KeyError: 'ci'); RUN"),
    ],
    ids=[
        "missing",
        "a directory",
        "empty",
        "a list",
        "keys missing",
        "no account",
        "wrong type",
        "undeclared",
    ],
)
@pytest.mark.parametrize("command", ["status", "write", "fetch default", "refresh"])
def test_a_configuration_that_cannot_be_used(
    program: Program, spoil: Callable[[Path], object], message: str, command: str
) -> None:
    spoil(program.path)
    expected = message.replace("PATH", str(program.path)).replace("RUN", "run the playbook again\n")
    assert program(*command.split()) == (78, "", expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fetch", "ci"], "gar-auth: no identity 'ci'; known: default\n"),
        (["fetch", "../default"], "gar-auth: no identity '../default'; known: default\n"),
        (
            ["write", "ghost"],
            "gar-auth: no user 'ghost' on this machine; remove it from artifact_registry_users\n",
        ),
    ],
)
def test_an_unknown_identity_or_user(program: Program, arguments: list[str], message: str) -> None:
    assert program(*arguments) == (78, "", message)


@pytest.mark.parametrize("arguments", [["write"], ["refresh"]])
def test_a_container_whose_uid_has_no_name(
    program: Program, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    def getpwuid(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", getpwuid)
    expected = f"gar-auth: uid {os.geteuid()} has no name on this machine; add it to /etc/passwd\n"
    assert program(*arguments) == (78, "", expected)


@pytest.mark.parametrize(
    "arguments", [[], ["frobnicate"], ["fetch"], ["refresh", "--watch", "0"], ["refresh", "--watch", "-5"]]
)
def test_a_wrong_command_line(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert capfd.readouterr().err.startswith("usage: gar-auth ")


def test_an_expired_token_leaves_the_file_alone(program: Program, store: Store, poetry_dir: Path) -> None:
    store.write("default", Token(token=CANARY, expiry=int(time.time()) - 1, source="x"))
    assert program("write") == (75, "", "gar-auth: no valid token for default; see: gar-auth status\n")
    assert os.listdir(poetry_dir) == []


def test_a_damaged_token_is_not_echoed(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "run" / "default" / "token"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"token": CANARY, "expiry": "never"}))
    assert program("write") == (65, "", f"gar-auth: {path} is damaged\n")
    path.write_text(f'{{"token": "{CANARY}')
    code, _output, errors = program("write")
    assert (code, errors.count("\n")) == (65, 1)


def test_refresh_fetches_and_writes_in_one(program: Program, google: Emulator, poetry_dir: Path) -> None:
    assert program("refresh") == (0, "new tokens in auth.toml of dev\n", "")
    assert program("refresh") == (0, "", "")
    google.control.set_fault("metadata", "status:500")
    code, output, errors = program("refresh")
    assert (code, output) == (75, "")
    assert errors == "gar-auth: the metadata server answers 500 (3 tries); the next run tries again\n"


def test_refresh_goes_on_after_a_temporary_failure_and_follows_the_rollover(
    program: Program, google: Emulator, poetry_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        if seconds != 7:
            return
        pauses.append(seconds)
        if len(pauses) == 1:
            google.control.set_fault("metadata", "status:500")
        elif len(pauses) == 2:
            google.control.clear_faults()
            google.control.expire_all()
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    code, output, errors = program("refresh", "--watch", "7")
    assert code == 130
    assert output == "new tokens in auth.toml of dev\n" * 2
    assert errors == "gar-auth: the metadata server answers 500 (3 tries); the next run tries again\n"
    (valid,) = [token.value for token in google.control.tokens() if token.valid]
    assert valid in (poetry_dir / "auth.toml").read_text()


def test_refresh_in_a_loop_ends_where_somebody_has_to_act(program: Program, google: Emulator) -> None:
    google.control.set_fault("metadata", "status:404")
    assert program("refresh", "--watch", "7")[0] == 78


def test_root_writes_for_a_user_who_may_not_read_the_token(
    program: Program, canary: Store, nobody: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: nobody)
    assert program("write", "nobody") == (0, "new tokens in auth.toml of nobody\n", "")
    path = Path(nobody.pw_dir) / ".config" / "pypoetry" / "auth.toml"
    info = path.stat()
    assert (info.st_uid, oct(info.st_mode & 0o777)) == (nobody.pw_uid, "0o600")
    assert CANARY in path.read_text()
    assert program("write", "--remove", "nobody") == (0, "removed the tokens from auth.toml of nobody\n", "")


def test_root_is_told_what_is_wrong_in_a_users_home(
    program: Program, canary: Store, nobody: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: nobody)
    (Path(nobody.pw_dir) / ".config").symlink_to("/etc")
    code, output, errors = program("write", "nobody")
    assert (code, output) == (77, "")
    refused = f"{nobody.pw_dir}/.config is a symbolic link or not a directory: refused"
    assert errors == f"gar-auth: {refused}; replace it by the real one\n"


def test_the_token_is_in_no_argument_and_no_environment(
    program: Program, canary: Store, poetry_dir: Path
) -> None:
    program("write")
    program("status")
    program("status", "--json")
    assert CANARY in (poetry_dir / "auth.toml").read_text()
    assert not any(CANARY in text for text in (*sys.argv, *os.environ.values()))
    assert digest(CANARY) not in CANARY


def test_the_module_runs_as_a_program() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])}
    command = [sys.executable, "-m", "gar_auth", "--version"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"gar-auth \d+\.\d+\.\d+\n", done.stdout)
