# SPDX-License-Identifier: GPL-3.0-or-later
"""Every user holds a token that works, gets the next one without doing anything, and sees nobody else's."""

from __future__ import annotations

import json

import pytest
import testinfra.host

from lab.machines import Machine
from machine.oracle import USERS, answer, eventually, token_of

INTERVAL = 5
"""Seconds, as in .config/molecule/config.yml."""

LOOK = 6 * INTERVAL
"""Seconds between two looks at a source that has a cache of its own (schedule.LOOK_TICKS)."""

UNITS = ("gar-auth-fetch@default.timer", *(f"gar-auth-write@{user}.path" for user in USERS))


@pytest.mark.parametrize("unit", UNITS)
def test_units_run_and_start_at_boot(machine: Machine, host: testinfra.host.Host, unit: str) -> None:
    service = host.service(unit)
    assert service.is_enabled
    assert service.is_running


def test_no_unit_has_failed(machine: Machine) -> None:
    assert machine.ssh("admin", "systemctl --failed --no-legend --plain", check=True).stdout == ""


def test_status_is_fine_for_root(machine: Machine) -> None:
    done = machine.ssh("admin", "sudo gar-auth status --json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)


@pytest.mark.parametrize("user", USERS)
def test_status_is_fine_for_users_and_shows_no_token(machine: Machine, user: str) -> None:
    done = machine.ssh(user, "gar-auth status --json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)
    assert token_of(machine, user) not in done.stdout


@pytest.mark.parametrize("user", USERS)
def test_files_belong_to_the_user(machine: Machine, host: testinfra.host.Host, user: str) -> None:
    with host.sudo():
        auth = host.file(f"/home/{user}/.config/pypoetry/auth.toml")
        assert (auth.user, auth.group, auth.mode) == (user, user, 0o600)
        config = host.file(f"/home/{user}/.config/pypoetry/config.toml")
        assert (config.user, config.group, config.mode & 0o022) == (user, user, 0)


def test_users_cannot_read_the_token_file_or_each_other(machine: Machine) -> None:
    for user, path in (
        ("dev", "/run/gar-auth/default/token"),
        ("ops", "/run/gar-auth/default/token"),
        ("dev", "/home/ops/.config/pypoetry/auth.toml"),
        ("ops", "/home/dev/.config/pypoetry/auth.toml"),
    ):
        done = machine.ssh(user, f"cat {path}")
        assert done.returncode != 0, f"{user} can read {path}"
        assert "Permission denied" in done.stderr


def test_the_index_accepts_the_token_until_it_is_revoked_and_the_next_one_comes_by_itself(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    old = {user: token_of(machine, user) for user in USERS}
    assert {answer(machine, token) for token in old.values()} == {200}
    machine.control.revoke_all()
    assert {answer(machine, token) for token in old.values()} == {401}
    took = eventually(lambda: all(token_of(machine, user) != old[user] for user in USERS), seconds=LOOK + 10)
    assert {answer(machine, token_of(machine, user)) for user in USERS} == {200}
    with capsys.disabled():
        print(f"\n  a new token arrived {took:.1f} s after the old one was revoked (interval {INTERVAL} s)")


# What a boot finds: nothing in /run, the units enabled but not started, and then the targets that want them.
BOOT = """\
set -eu
systemctl stop 'gar-auth-*.timer' 'gar-auth-*.path' 'gar-auth-*.service'
rm -rf /run/gar-auth /run/gar-auth-user
systemd-tmpfiles --create
systemctl start timers.target paths.target multi-user.target
"""


def test_right_after_boot_every_user_has_a_token_that_works(machine: Machine) -> None:
    machine.control.revoke_all()
    machine.ssh("admin", "sudo sh -s", input=BOOT, check=True)
    eventually(lambda: {answer(machine, token_of(machine, user)) for user in USERS} == {200}, seconds=60)
