# SPDX-License-Identifier: GPL-3.0-or-later
"""Key files and logins that cannot be used: permanent, the cure named, the content never echoed."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faults.machine import Machine, User
from faults.program.fetching import ROBOT, SECRET, asked, assert_fails, backdate, few
from faults.program.google import Google
from faults.program.installed import Gar


def revoked(key: dict[str, Any], google: Google) -> object:
    google.control.delete_keys(ROBOT)
    return key


def replaced(key: dict[str, Any], google: Google) -> object:
    google.control.delete_keys(ROBOT)
    google.control.create_key(ROBOT)
    return key


def without(name: str) -> Callable[[dict[str, Any], Google], object]:
    return lambda key, _google: {field: value for field, value in key.items() if field != name}


KEYS: dict[str, tuple[Callable[[dict[str, Any], Google], object], str]] = {
    "account deleted": (revoked, "does not exist|was deleted"),
    "key deleted": (
        replaced,
        "is refused by Google .* make a new key: gcloud iam service-accounts keys create",
    ),
    "empty": (lambda _key, _google: "", "is not JSON; put the key there"),
    "cut off": (lambda key, _google: json.dumps(key)[:-40], "is not JSON; put the key there"),
    "no object": (lambda _key, _google: [SECRET], "holds no credentials of Google; need service_account"),
    "a user's login": (
        lambda _key, _google: {"type": "authorized_user", "refresh_token": SECRET, "client_id": "x"},
        "is of type authorized_user; need service_account",
    ),
    "of an unknown type": (
        lambda _key, _google: {"type": SECRET},
        "holds no credentials of Google; need service_account",
    ),
    "no private key": (without("private_key"), "is no usable service_account; make a new key"),
    "no e-mail": (without("client_email"), "is no usable service_account; make a new key"),
    "a damaged private key": (
        lambda key, _google: {**key, "private_key": f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n"},
        "is no usable service_account; make a new key",
    ),
    "larger than 64 KiB": (lambda key, _google: {**key, "x": "x" * 70_000}, "is larger than 64 KiB"),
}


@pytest.mark.parametrize("case", few(KEYS, every=2))
def test_a_key_that_cannot_be_used_is_permanent_names_the_cure_and_is_never_echoed(
    keyed: Gar, google: Google, case: str
) -> None:
    make, said = KEYS[case]
    key = json.loads((keyed.keys / "key.json").read_text())
    keyed.put_key(make(key, google))
    since = time.time()
    done = assert_fails(keyed, google, 78, said)
    assert str(keyed.keys / "key.json") in done.said
    for line in key["private_key"].splitlines()[1:-1]:
        assert line not in done.stderr
    assert len(asked(google, since)) <= 1, "not tried again"


@pytest.mark.parametrize("mode", [0o644, 0o402])
def test_a_key_that_everybody_can_use_is_refused_with_the_command_that_repairs_it(
    keyed: Gar, google: Google, mode: int
) -> None:
    path = keyed.keys / "key.json"
    path.chmod(mode)
    done = assert_fails(
        keyed, google, 78, rf"has mode {mode:04o}, everybody may use it; repair with: chmod o= "
    )
    repair = done.said.partition("repair with: ")[2].partition(",")[0]
    subprocess.run(repair, shell=True, check=True)  # noqa: S602  # as a person would type it
    assert keyed.fetch("--now", env=google.environment).code == 0


def linked(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o640)


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (Path.unlink, "No such file or directory; put it there"),
        (linked, "is a symbolic link; name the file itself"),
        (a_fifo, "is not a regular file"),
        (a_directory, "is not a regular file"),
    ],
)
def test_what_is_no_key_file_is_told_at_once(
    keyed: Gar, google: Google, spoil: Callable[[Path], object], said: str
) -> None:
    path = keyed.keys / "key.json"
    spoil(path)
    if path.exists():
        keyed.service.own(path)
    done = assert_fails(keyed, google, 78, said)
    assert done.seconds < 5


def test_a_key_is_taken_from_what_systemd_hands_over(keyed: Gar, google: Google, machine: Machine) -> None:
    credentials = machine.top / "credentials"
    credentials.mkdir(mode=0o700, exist_ok=True)
    (keyed.keys / "key.json").rename(credentials / "source")
    keyed.service.own(credentials)
    env = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert keyed.fetch("--now", env={**google.environment, **env}).code == 0
    (credentials / "source").chmod(0o600)
    (credentials / "source").write_text("")  # as SetCredential= does where the file is missing
    assert_fails(keyed, google, 78, r"key\.json.*(missing|No such file).*put it there", **env)


def login(google: Google) -> dict[str, str]:
    """The file of somebody who is logged in."""
    secrets = {"client_id": "faults.apps.googleusercontent.com", "client_secret": f"{SECRET}-client"}
    token = f"1//{SECRET}"
    google.control.register_refresh_token(token, email="dev@example.com", **secrets)
    return {"type": "authorized_user", "refresh_token": token, **secrets}


def test_a_login_that_has_expired_is_told_with_the_command(gar: Gar, google: Google) -> None:
    content = login(google)
    gar.identity(type="adc", file=str(gar.put_key(content, name="adc.json")))
    assert gar.fetch("--now", env=google.environment).code == 0
    google.control.delete_refresh_token(content["refresh_token"])
    said = r"has expired or was revoked; run `gcloud auth application-default login`"
    assert_fails(gar, google, 78, said)
    assert gar.status()["error_class"] == "login_expired"


def test_a_users_own_login_that_has_expired_is_told_with_the_users_name(
    gar: Gar, google: Google, dev: User
) -> None:
    content = login(google)
    gar.configure(identities={"default": {"type": "adc", "per_user": True}})
    own = gar.user_run_dir / "dev"
    own.mkdir(mode=0o700)
    directory = dev.home / ".config" / "gcloud"
    directory.mkdir(mode=0o700)
    path = directory / "application_default_credentials.json"
    path.write_text(json.dumps(content))
    path.chmod(0o600)
    dev.own(own, directory, path)
    assert gar("user", user=dev, env=google.environment).code == 0
    assert "ya29" in dev.auth.read_text()
    google.control.delete_refresh_token(content["refresh_token"])
    backdate(own / "default", seconds=2000)
    done = gar("user", user=dev, env=google.environment)
    hint = (own / ".hint").read_text()
    assert "gcloud auth application-default login" in (done.said or hint)
    assert SECRET not in done.stderr + hint
    path.unlink()
    directory.rmdir()
