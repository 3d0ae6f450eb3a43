# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking gcloud: the real one with a key of the emulator, and stand-ins for all that a gcloud may do."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import pwd
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tokens.proxy import Proxy

from gar_auth import gcloud
from gar_auth.config import Config, Identity
from gar_auth.errors import Exit, Failure, Reason
from lab.emulator.launch import Emulator

REAL = "/usr/bin/gcloud"
ROBOT = "builder@demo-project.iam.gserviceaccount.com"
IDENTITY = Identity(name="cli", type="gcloud", account=ROBOT)
MINE = Identity(name="mine", type="gcloud", per_user=True)
TOKEN = "ya29.c.x"
CANARY = "canary-of-gcloud"

Script = Callable[[str], None]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A gcloud of the test, and a login of the identity."""
    login = tmp_path / "state" / "cli"
    login.mkdir(parents=True)
    (login / "credentials.db").touch()
    return Config(
        identities={},
        repositories=(),
        users=(),
        config_dir="",
        shared_run_dir=None,
        state_dir=str(tmp_path / "state"),
        gcloud=str(tmp_path / "gcloud"),
    )


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Make a gcloud that is a shell script."""

    def script(lines: str) -> None:
        path = tmp_path / "gcloud"
        path.write_text(f"#!/bin/sh\n{lines}\n")
        path.chmod(0o755)

    return script


def answer(**changes: Any) -> str:
    """What config-helper prints."""
    expiry = datetime.now(UTC) + timedelta(seconds=3000)
    credential = {"access_token": TOKEN, "token_expiry": expiry.strftime("%Y-%m-%dT%H:%M:%SZ"), **changes}
    properties = {"core": {"account": ROBOT}}
    return json.dumps({"configuration": {"properties": properties}, "credential": credential})


def failure(config: Config, identity: Identity = IDENTITY) -> Failure:
    with pytest.raises(Failure) as caught:
        gcloud.ask(identity, config)
    assert "\n" not in str(caught.value)
    assert CANARY not in str(caught.value)
    return caught.value


@pytest.mark.skipif(not os.path.exists(REAL), reason="there is no gcloud here")
def test_the_real_gcloud(running: Emulator, internet: Proxy, tmp_path: Path, config: Config) -> None:
    running.control.set_tokens(lifetime=3600)
    key = tmp_path / "key.json"
    key.touch(mode=0o600)
    key.write_text(json.dumps(running.control.create_key(ROBOT)))
    directory = tmp_path / "state" / "real"
    directory.mkdir()
    environment = {**gcloud._environment(str(directory)), "HTTPS_PROXY": internet.url}
    command = [REAL, "auth", "activate-service-account", f"--key-file={key}", "--quiet"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    real = dataclasses.replace(config, gcloud=REAL)
    reply = gcloud.ask(Identity(name="real", type="gcloud", account=ROBOT), real)
    (issued,) = [token for token in running.control.tokens() if token.value == reply.token]
    assert (issued.identity, reply.account, reply.from_seen) == (ROBOT, ROBOT, False)
    assert 3300 < reply.lifetime <= 3600
    problem = failure(real, Identity(name="real", type="gcloud", account="other@example.com"))
    assert problem.reason == Reason.NOT_LOGGED_IN
    assert str(problem).endswith(f" env CLOUDSDK_CONFIG={directory} gcloud auth login other@example.com`")
    running.control.delete_keys(ROBOT)
    running.control.expire_all()
    for path in directory.glob("access_tokens.db*"):
        path.unlink()
    assert failure(real, Identity(name="real", type="gcloud", account=ROBOT)).reason == Reason.LOGIN_EXPIRED


def test_how_gcloud_is_called(
    config: Config, script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/evil")
    monkeypatch.setenv("LD_PRELOAD_NOT", "/evil")
    monkeypatch.setenv("https_proxy", "http://proxy:1")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    script(
        f'cd {tmp_path}; env | sort > environment; printf "%s\\n" "$@" > arguments; cat > input\n'
        f"cat <<'X'\n{answer()}\nX"
    )
    reply = gcloud.ask(IDENTITY, config)
    assert (reply.token, reply.account) == (TOKEN, ROBOT)
    assert 2990 <= reply.lifetime <= 3000
    assert (tmp_path / "arguments").read_text().split("\n") == [
        "config",
        "config-helper",
        "--format=json",
        "--min-expiry=1h",
        f"--account={ROBOT}",
        "",
    ]
    assert (tmp_path / "input").read_text() == ""
    environment = dict(line.split("=", 1) for line in (tmp_path / "environment").read_text().splitlines())
    assert environment["CLOUDSDK_CONFIG"] == f"{tmp_path}/state/cli"
    assert environment["LC_ALL"] == "C.UTF-8"
    assert environment["CLOUDSDK_CORE_DISABLE_PROMPTS"] == "1"
    assert environment["PATH"] == "/usr/local/bin:/usr/bin:/bin"
    assert environment["https_proxy"] == "http://proxy:1"
    assert environment.keys().isdisjoint({"PYTHONPATH", "LD_PRELOAD_NOT"})


def test_warnings_are_no_part_of_the_answer(config: Config, script: Script) -> None:
    script(f"echo 'WARNING: {CANARY}' >&2\ncat <<'X'\n{answer()}\nX")
    assert gcloud.ask(IDENTITY, config).token == TOKEN


def test_without_an_expiry_the_time_counts_from_when_it_was_seen(config: Config, script: Script) -> None:
    script(f"cat <<'X'\n{answer(token_expiry=None)}\nX")
    reply = gcloud.ask(IDENTITY, config)
    assert (reply.lifetime, reply.from_seen) == (3600, True)


@pytest.mark.parametrize(
    "output",
    [
        "",
        TOKEN,
        "null",
        "[]",
        "{}",
        "[" * 60_000,
        '{"credential": null, "configuration": null}',
        '{"credential": [], "configuration": {"properties": {"core": {}}}}',
        answer(access_token=None),
        answer(access_token="a\nb"),
        answer(access_token="x" * 20_000),
        answer(access_token=["x"]),
        answer(token_expiry="soon"),
        answer(token_expiry="2020-01-01T00:00:00Z"),
        answer(token_expiry=True),
        answer(token_expiry={"datetime": "2030-01-01"}),
        answer() + "\n" + CANARY,
        answer() + " " * 1_100_000,
    ],
)
def test_an_answer_that_cannot_be_used_is_not_echoed(
    config: Config, script: Script, tmp_path: Path, output: str
) -> None:
    (tmp_path / "output").write_text(output)
    script(f"cat {tmp_path}/output")
    problem = failure(config)
    assert str(problem) == "gcloud's answer holds no usable token; try: gcloud config config-helper"
    assert (problem.code, problem.reason) == (Exit.TEMPORARY, Reason.BAD_REPLY)


PREFIX = "ERROR: (gcloud.config.config-helper) "
REFRESHING = f"{PREFIX}There was a problem refreshing your current auth tokens: "
OBTAIN = "\nPlease run:\n\n  $ gcloud auth login\n\nto obtain new credentials."
UNRESOLVED = "HTTPSConnectionPool(host='oauth2'): Max retries exceeded (Temporary failure in name resolution)"


@pytest.mark.parametrize(
    ("words", "reason", "code"),
    [
        (
            f"{PREFIX}Your current active account [x] does not have any valid credentials{OBTAIN}",
            Reason.NOT_LOGGED_IN,
            Exit.CONFIGURATION,
        ),
        (
            f"{PREFIX}You do not currently have an active account selected.",
            Reason.NOT_LOGGED_IN,
            Exit.CONFIGURATION,
        ),
        (
            f"{REFRESHING}('invalid_grant: Bad Request', {{'error': 'invalid_grant'}}){OBTAIN}",
            Reason.LOGIN_EXPIRED,
            Exit.CONFIGURATION,
        ),
        ("Reauthentication required. cannot prompt", Reason.LOGIN_EXPIRED, Exit.CONFIGURATION),
        (f"{REFRESHING}{UNRESOLVED}{OBTAIN}", Reason.UNREACHABLE, Exit.TEMPORARY),
        (
            "ERROR: gcloud crashed (OperationalError): database is locked",
            Reason.FILE,
            Exit.TEMPORARY,
        ),
        (f"{PREFIX}[Errno 28] No space left on device: '/x/{CANARY}'", Reason.FILE, Exit.TEMPORARY),
    ],
)
def test_what_gcloud_says_is_understood_and_not_repeated(
    config: Config, script: Script, tmp_path: Path, words: str, reason: Reason, code: Exit
) -> None:
    (tmp_path / "words").write_text(words)
    script(f"cat {tmp_path}/words >&2; exit 1")
    problem = failure(config)
    assert (problem.reason, problem.code) == (reason, code)
    if code == Exit.CONFIGURATION:
        user = pwd.getpwuid(os.geteuid()).pw_name
        command = f"sudo -u {user} env CLOUDSDK_CONFIG={tmp_path}/state/cli gcloud auth login {ROBOT}"
        assert str(problem).endswith(f"; run `{command}`")


def test_what_is_unknown_names_the_command_that_shows_more(
    config: Config, script: Script, tmp_path: Path, home: Path
) -> None:
    script(f"echo 'Traceback\nsqlite3.OperationalError: {CANARY}' >&2; exit 3")
    login = home / ".config" / "gcloud"
    login.mkdir(parents=True)
    (login / "credentials.db").touch()
    user = pwd.getpwuid(os.geteuid()).pw_name
    place = f"sudo -u {user} env CLOUDSDK_CONFIG={tmp_path}/state/cli "
    found = "gcloud failed (exit code 3); to see why, run "
    more = "gcloud config config-helper --format=none"
    for identity, cure in ((IDENTITY, f"`{place}{more} --account={ROBOT}`"), (MINE, f"`{more}` as {user}")):
        problem = failure(config, identity)
        assert str(problem) == found + cure
        assert (problem.reason, problem.code) == (Reason.OTHER, Exit.CONFIGURATION)


def test_a_gcloud_that_is_killed_may_live_the_next_time(config: Config, script: Script) -> None:
    script("kill -9 $$")
    problem = failure(config)
    assert str(problem).startswith("gcloud was killed by signal 9; ")
    assert (problem.reason, problem.code) == (Reason.OTHER, Exit.TEMPORARY)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_program_that_is_ended_leaves_no_gcloud_behind(
    config: Config, script: Script, tmp_path: Path, number: signal.Signals
) -> None:
    script(f"sleep 60 & echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; wait")
    process = os.fork()
    if process == 0:
        try:
            gcloud.ask(IDENTITY, config)
        finally:
            os._exit(1)
    deadline = time.monotonic() + 10
    while not (tmp_path / "pid").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process, number)
    _process, status = os.waitpid(process, 0)
    assert os.WTERMSIG(status) == number, "it ends as if it had not caught the signal"
    leader = int((tmp_path / "pid").read_text())
    while _members(leader) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert _members(leader) == []


def test_signals_are_left_as_they_were(config: Config, script: Script) -> None:
    script(f"cat <<'X'\n{answer()}\nX")
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    gcloud.ask(IDENTITY, config)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before


def test_what_gcloud_leaves_in_a_session_of_its_own_does_not_keep_the_lock(
    config: Config, script: Script, tmp_path: Path
) -> None:
    left = f"setsid sh -c 'echo $$ > {tmp_path}/left; exec sleep 60' > /dev/null 2>&1 < /dev/null &"
    script(f"{left}\nwhile ! [ -s {tmp_path}/left ]; do sleep 0.02; done\ncat <<'X'\n{answer()}\nX")
    try:
        gcloud.ask(IDENTITY, config)
        script(f"cat <<'X'\n{answer()}\nX")
        start = time.monotonic()
        assert gcloud.ask(IDENTITY, config).token == TOKEN
        assert time.monotonic() - start < 5
    finally:
        os.kill(int((tmp_path / "left").read_text()), signal.SIGKILL)


def test_nobody_is_logged_in(config: Config, tmp_path: Path, script: Script) -> None:
    script("exit 1")
    (tmp_path / "state" / "cli" / "credentials.db").unlink()
    problem = failure(config)
    assert str(problem).startswith("nobody is logged in to gcloud; run `sudo -u ")
    assert problem.reason == Reason.NOT_LOGGED_IN


def test_a_users_own_login(config: Config, script: Script, home: Path) -> None:
    script(f"cat <<'X'\n{answer()}\nX")
    problem = failure(config, MINE)
    assert str(problem) == "nobody is logged in to gcloud; run `gcloud auth login` as dev"
    login = home / ".config" / "gcloud"
    login.mkdir(parents=True)
    (login / "credentials.db").touch()
    assert gcloud.ask(MINE, config).token == TOKEN
    assert gcloud.login_of(MINE, config) == str(login)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda path: None,
            "there is no PATH; install the Google Cloud CLI, for example with the role gcloud",
        ),
        (lambda path: path.touch(mode=0o644), "there is no PATH; install the Google Cloud CLI"),
        (lambda path: path.mkdir(), "there is no PATH; install the Google Cloud CLI"),
        (lambda path: path.symlink_to("/nowhere"), "there is no PATH; install the Google Cloud CLI"),
    ],
    ids=["missing", "not executable", "a directory", "a dangling link"],
)
def test_a_gcloud_that_is_not_there(
    config: Config, tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    make(tmp_path / "gcloud")
    problem = failure(config)
    assert str(problem).startswith(message.replace("PATH", config.gcloud))
    assert problem.code == Exit.CONFIGURATION


def test_a_gcloud_that_is_no_program(config: Config, tmp_path: Path) -> None:
    (tmp_path / "gcloud").write_text("\x7fELF")
    (tmp_path / "gcloud").chmod(0o755)
    assert str(failure(config)) == f"{config.gcloud}: Exec format error; install the Google Cloud CLI again"


def test_a_gcloud_in_the_callers_path_is_not_taken(
    config: Config, tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script("exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gcloud, "PATH", "/nowhere")
    assert "there is no gcloud" in str(failure(dataclasses.replace(config, gcloud="gcloud")))


@pytest.mark.parametrize("channel", ["", ">&2"])
def test_a_gcloud_that_never_stops_printing_is_ended_at_once(
    config: Config, script: Script, tmp_path: Path, channel: str
) -> None:
    script(f"echo $$ > {tmp_path}/pid; exec yes {CANARY} {channel}")
    start = time.monotonic()
    assert failure(config).reason == Reason.BAD_REPLY
    assert time.monotonic() - start < 10
    assert _members(int((tmp_path / "pid").read_text())) == []


@pytest.mark.parametrize(
    "lines",
    [
        "exec sleep 60",
        "sleep 60 & wait",
        "trap '' TERM INT HUP; while :; do sleep 1; done",
        "exec >&- 2>&-; exec sleep 60",
        "echo 'Do you want to continue (Y/n)?'; read answer < /dev/tty || sleep 60",
        "(sleep 60) & exit 0",
    ],
    ids=["hangs", "with a child", "deaf", "silent", "prompts", "leaves a child"],
)
def test_a_gcloud_that_hangs_is_ended_with_its_children(
    config: Config, script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str
) -> None:
    monkeypatch.setattr(gcloud, "TOTAL_SECONDS", 0.7)
    script(f"echo $$ > {tmp_path}/pid; {lines}")
    start = time.monotonic()
    problem = failure(config)
    assert time.monotonic() - start < 5
    assert str(problem) == "gcloud does not answer within 0.7 s; the next run tries again"
    assert (problem.code, problem.reason) == (Exit.TEMPORARY, Reason.UNREACHABLE)
    leader = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5
    while _members(leader) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert _members(leader) == []


def _members(leader: int) -> list[int]:
    """Processes of that session that are no zombies."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split() if entry.name.isdigit() else []
        except OSError:
            continue
        if fields and int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(entry.name))
    return found


def test_it_is_never_called_twice_at_a_time(config: Config, script: Script, tmp_path: Path) -> None:
    script(f"mkdir {tmp_path}/busy || exit 9; sleep 0.1; rmdir {tmp_path}/busy\ncat <<'X'\n{answer()}\nX")
    replies: list[str] = []
    threads = [
        threading.Thread(target=lambda: replies.append(gcloud.ask(IDENTITY, config).token)) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert replies == [TOKEN] * 5


def test_somebody_who_keeps_the_lock_keeps_us_only_so_long(
    config: Config, script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcloud, "TOTAL_SECONDS", 0.3)
    script("exit 0")
    directory = tmp_path / "state" / "cli"
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        problem = failure(config)
    finally:
        os.close(descriptor)
    assert str(problem) == f"{directory} is locked by another gar-auth; the next run tries again"
    assert problem.code == Exit.TEMPORARY


def test_a_place_that_cannot_be_locked(
    config: Config, script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    script("exit 0")
    problem = failure(config)
    assert "cannot be locked (No locks available)" in str(problem)
    assert problem.code == Exit.TEMPORARY
