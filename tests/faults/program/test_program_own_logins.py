# SPDX-License-Identifier: GPL-3.0-or-later
"""Users' own logins: what a user plants or swaps there or in the own runtime store gains nothing."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.files import outside_of, prepare, tree
from faults.machine import Machine, User
from faults.program.fetching import SECRET, few
from faults.program.google import Google
from faults.program.installed import TOKEN, Gar, assert_auth
from faults.test_racer import racing

ADC = "application_default_credentials.json"
DEV, EVE = "dev@example.com", "eve@example.com"


def log_in(google: Google, user: User, email: str) -> Path:
    """Leave what `gcloud auth application-default login` leaves."""
    directory = user.home / ".config" / "gcloud"
    directory.mkdir(mode=0o700, exist_ok=True)
    path = directory / ADC
    content = google.control.authorized_user(email)
    path.write_text(json.dumps(content))
    path.chmod(0o600)
    user.own(directory, path)
    return path


@pytest.fixture
def own(gar: Gar, google: Google, dev: User, eve: User) -> Iterator[Gar]:
    """Both users with their own identity; each has a runtime directory, as of their units."""
    gar.configure(identities={"default": {"type": "adc", "per_user": True}}, users=["dev", "eve"])
    for user in (dev, eve):
        (gar.user_run_dir / user.name).mkdir(mode=0o700)
        user.own(gar.user_run_dir / user.name)
    yield gar
    assert not any(TOKEN in path.read_text() for path in (dev.auth, eve.auth) if path.is_file())


def minted(google: Google) -> set[str]:
    """Whose tokens are valid now."""
    return {token.identity for token in google.control.tokens() if token.valid}


def test_each_user_gets_the_token_of_the_own_login(own: Gar, google: Google, dev: User, eve: User) -> None:
    log_in(google, dev, DEV)
    log_in(google, eve, EVE)
    assert own("cycle", env=google.environment).code == 0
    valid = {token.identity: token.value for token in google.control.tokens() if token.valid}
    assert_auth(dev, token=valid[DEV])
    assert_auth(eve, token=valid[EVE])


@pytest.mark.parametrize("command", ["user", "user dev", "cycle"])
@pytest.mark.parametrize("spot", ["gcloud", f"gcloud/{ADC}"])
def test_a_link_to_the_login_of_another_user_gains_nothing(
    own: Gar, google: Google, dev: User, eve: User, spot: str, command: str
) -> None:
    log_in(google, eve, EVE)
    path = dev.home / ".config" / spot
    path.parent.mkdir(exist_ok=True)
    dev.own(path.parent)
    path.symlink_to(eve.home / ".config" / spot)
    before = tree(eve.home)
    started = time.monotonic()
    asks = dev if command == "user" else None
    process = own.start(*command.split(), env=google.environment, user=asks)
    process.communicate(timeout=60)
    assert time.monotonic() - started < 30
    assert "ours" not in dev.auth.read_text()
    if command == "cycle":
        assert minted(google) == {EVE}, "for eve, by eve's process"
    else:
        assert minted(google) == set()
        assert tree(eve.home) == before


def test_a_racer_that_swaps_the_own_login_and_a_link_to_anothers_gains_nothing(
    own: Gar, google: Google, machine: Machine, dev: User, eve: User
) -> None:
    mine = log_in(google, dev, DEV)
    other = log_in(google, eve, EVE)
    link = mine.with_name("link")
    link.symlink_to(other)
    dev.own(link)
    with racing(machine, dev, mine, link) as counts:
        for _round in range(8):
            shutil.rmtree(own.user_run_dir / "dev" / "default", ignore_errors=True)
            own.start("user", "dev", env=google.environment).communicate(timeout=60)
    assert counts[0] > 100, "there was no race"
    assert minted(google) <= {DEV}


KINDS = ("host token", "another user's token", "root's file", "a FIFO", "a directory")
SPOTS = ("default", "default/token", "default/status.json", ".hint")


@pytest.mark.parametrize("case", few([f"{kind} at {spot}" for kind in KINDS for spot in SPOTS], every=3))
def test_what_a_user_plants_in_the_own_runtime_store_is_followed_by_nobody(
    own: Gar, google: Google, machine: Machine, dev: User, eve: User, case: str
) -> None:
    kind, _at, spot = case.partition(" at ")
    log_in(google, dev, DEV)
    log_in(google, eve, EVE)
    own.put_token(identity="default")
    assert own("cycle", env=google.environment).code == 0
    path = own.user_run_dir / "dev" / spot
    targets = {
        "host token": own.run_dir / spot,
        "another user's token": own.user_run_dir / "eve" / spot,
        "root's file": machine.outside / "auth.toml",
    }
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    if kind in targets:
        path.symlink_to(targets[kind])
    elif kind == "a FIFO":
        os.mkfifo(path)
    else:
        path.mkdir()
    dev.own(path)
    google.control.expire_all()
    watched = (machine.outside, own.run_dir, own.user_run_dir / "eve", eve.home)
    before = [tree(top) for top in watched]
    for command in ("user dev", "status", "metrics"):
        started = time.monotonic()
        process = own.start(*command.split(), env=google.environment)
        output, errors = (part.decode() for part in process.communicate(timeout=60))
        assert time.monotonic() - started < 20, f"{command} was held up"
        assert "Traceback" not in errors, (command, errors)
        assert "root's own" not in output + errors, "the content of a file of root"
        assert TOKEN not in output + errors
    assert [tree(top) for top in watched] == before
    assert TOKEN not in dev.auth.read_text()
    assert minted(google) <= {DEV}


def test_what_a_user_writes_into_the_own_status_reaches_roots_terminal_as_plain_text(
    own: Gar, google: Google, dev: User
) -> None:
    log_in(google, dev, DEV)
    assert own("user", user=dev, env=google.environment).code == 0
    path = own.user_run_dir / "dev" / "default" / "status.json"
    evil = "\x1b]0;title\x07\x1b[2J\nuser eve: ours: fresh\r\x9b31m"
    data = json.loads(path.read_text()) | {
        "error": evil,
        "source": evil,
        "account": evil,
        "error_class": evil,
    }
    path.write_text(json.dumps(data))
    dev.own(path)
    for command in ("status", "status --json", "metrics"):
        process = own.start(*command.split(), env=google.environment)
        output, errors = (part.decode() for part in process.communicate(timeout=60))
        for sign in ("\x1b", "\x07", "\r", "\x9b"):
            assert sign not in output + errors, f"{command} passes {sign!r} on"
        assert "user eve: ours: fresh" not in output.splitlines(), command


def test_a_secret_of_a_login_is_in_no_output_and_no_environment(
    own: Gar, google: Google, machine: Machine, dev: User, eve: User
) -> None:
    path = log_in(google, dev, DEV)
    secrets = [value for value in json.loads(path.read_text()).values() if len(value) > 16]
    assert secrets
    before = outside_of(machine)
    for fault in ("ok", "status:400", "html", 'json:{"error": "invalid_grant", "error_description": "x"}'):
        google.control.set_fault("token", fault)
        shutil.rmtree(own.user_run_dir / "dev" / "default", ignore_errors=True)
        process = own.start("user", "dev", env=google.environment)
        output, errors = (part.decode() for part in process.communicate(timeout=60))
        assert not any(secret in output + errors for secret in secrets)
        assert "Traceback" not in errors
        assert SECRET not in output + errors
    assert outside_of(machine) == before
    prepare(dev)
