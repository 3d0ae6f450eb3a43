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
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.gar_auth.program import CANARY, Program

from gar_auth import __main__ as cli
from gar_auth import machine as machine_module
from gar_auth.store import Status, Store, Token, digest
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
        (
            text('{"identities": {"a": {"type": "magic"}}}'),
            "gar-auth: PATH is damaged (ValueError: unknown type 'magic' of identity a); RUN",
        ),
        (
            text('{"identities": {"a": {"type": "service_account_key"}}}'),
            "gar-auth: PATH is damaged (ValueError: identity a names no file); RUN",
        ),
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
        "unknown type",
        "no file",
        "wrong type",
        "undeclared",
    ],
)
@pytest.mark.parametrize(
    "command", ["status", "write", "fetch default", "fetch default --now", "refresh", "user"]
)
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
        (["write", "--only", "nothing"], "gar-auth: no repository 'nothing'; see: gar-auth status\n"),
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
    assert program("write") == (75, "", "gar-auth: no valid token for default; see: gar-auth status\n")
    path.write_text(f'{{"token": "{CANARY}')
    code, _output, errors = program("write")
    assert (code, errors.count("\n")) == (75, 1)


def test_the_unit_writes_what_is_there_and_does_not_fail_for_the_rest(
    program: Program, store: Store, configure: Callable[..., Path], poetry_dir: Path
) -> None:
    one = {"name": "private-repo", "publish_url": "https://a.pkg.dev/a/a/", "identity": "default"}
    configure(
        repositories=[one, {**one, "name": "ci-repo", "identity": "ci"}],
        identities={"default": {"type": "metadata"}, "ci": {"type": "metadata"}},
    )
    store.write("default", Token(token=CANARY, expiry=int(time.time()) + 600, source="x"))
    assert program("write", "--if-any", "dev") == (0, "new tokens in auth.toml of dev\n", "")
    assert tomllib.loads((poetry_dir / "auth.toml").read_text())["http-basic"].keys() == {"private-repo"}
    assert program("write") == (75, "", "gar-auth: no valid token for ci; see: gar-auth status\n")


def test_removal_takes_ones_own_tokens_along(
    program: Program,
    google: Emulator,
    configure: Callable[..., Path],
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    configure(run_dir=None)
    assert program("refresh")[0] == 0
    assert (tmp_path / "gar-auth" / "default" / "token").exists()
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    (home / ".cache").mkdir()
    (tmp_path / "gar-auth").rename(home / ".cache" / "gar-auth")
    (home / ".cache" / "other").touch()
    assert program("write", "--remove")[0] == 0
    assert os.listdir(home / ".cache") == ["other"]


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
    assert program("write", "--remove", "--check", "nobody") == (
        0,
        "would remove the tokens from auth.toml of nobody\n",
        "",
    )
    assert CANARY in path.read_text()
    assert program("write", "--remove", "nobody") == (0, "removed the tokens from auth.toml of nobody\n", "")


@pytest.mark.parametrize("command", ["write", "user"])
def test_whoever_is_not_root_acts_for_nobody_else(
    program: Program, nobody: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: nobody)
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    expected = "gar-auth: only root can act for nobody; run it with sudo, or as nobody\n"
    assert program(command, "nobody") == (77, "", expected)


def test_a_child_that_is_killed_is_a_temporary_failure(
    program: Program, canary: Store, nobody: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: nobody)
    monkeypatch.setattr("gar_auth.write.write", lambda *_a, **_k: os.kill(os.getpid(), 9))
    expected = "gar-auth: the process of user nobody ended without an answer\n"
    assert program("write", "nobody") == (75, "", expected)


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


@pytest.fixture
def scheduled(
    configure: Callable[..., Path], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A machine with systemd, root, and what systemctl was told."""
    mine = {"name": "own-repo", "publish_url": "https://a.pkg.dev/a/b/", "identity": "mine"}
    one = {**mine, "name": "private-repo", "identity": "default"}
    identities = {"default": {"type": "metadata"}, "mine": {"type": "adc", "per_user": True}}
    configure(repositories=[one, mine], identities=identities, service_manager="systemd", users=["dev"])
    store.write("default", Status(identity="default", source="metadata:default", failures=9))
    told = tmp_path / "told"
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {told}\n')
    systemctl.chmod(0o755)
    monkeypatch.setattr(machine_module, "_SYSTEMCTL", str(systemctl))
    return told


def test_refresh_has_the_machine_do_it_now(
    program: Program, store: Store, scheduled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    code, output, _errors = program("refresh")
    assert (code, "default" in output) == (75, True)  # this systemctl does nothing
    assert scheduled.read_text().splitlines() == [
        "start -- gar-auth-fetch@default.service",
        "start -- gar-auth-write@dev.service",
        "start -- gar-auth-user@dev.service",
        "start -- gar-auth-write@dev.service",  # one that was running had not seen this token
    ]
    assert store.looked("default") == 0, "no failure is waited out"


def test_refresh_of_the_machine_is_roots(
    program: Program, scheduled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    cure = "to have it done now: sudo gar-auth refresh"
    assert program("refresh") == (77, "", f"gar-auth: here the machine does that for everybody; {cure}\n")
    assert not scheduled.exists()
