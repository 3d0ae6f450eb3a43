# SPDX-License-Identifier: GPL-3.0-or-later
"""artifact_registry_state: absent takes everything back, and leaves what was never ours."""

from __future__ import annotations

from pathlib import Path

import pytest
import testinfra.host

from lab.machines import Machine
from machine import canary, leftovers, plays
from machine.listing import Listing

OWN = Path(__file__).parent.parent / "files"
ABSENT = {"artifact_registry_state": "absent"}
UNITS = "for what in 'units --all' unit-files; do systemctl list-$what --plain --no-legend 'gar-auth*'; done"

# What the users made on the way is theirs.
OF_USERS = [
    r"/home/dev/(my_private_package|myproject|\.cache|\.local)(/.*)?",
    r"/home/ops/(\.cache|\.local)(/.*)?",
    r"/home/dev/\.config(/gcloud(/.*)?)?",  # what gcloud wrote when dev ran it
]


@pytest.fixture(scope="module")
def removal(machine: Machine) -> plays.Play:
    """Take all back."""
    play = plays.run(variables=ABSENT)
    assert play.code == 0, play.output
    assert play.changed > 0, play.output
    return play


def test_nothing_of_ours_is_left(machine: Machine, before: Listing, removal: plays.Play) -> None:
    assert leftovers.find(machine, before, apart_from=OF_USERS) == []


def test_no_unit_process_or_token_is_left(machine: Machine, removal: plays.Play) -> None:
    assert machine.ssh("admin", UNITS).stdout == ""
    assert machine.ssh("admin", "systemctl --failed --no-legend --plain", check=True).stdout == ""
    assert machine.ssh("admin", "pgrep -a -f gar-auth").stdout == ""
    assert machine.ssh("admin", "ls -A /run | grep gar-auth").stdout == ""
    assert canary.holders(machine, canary.tokens(machine)) == []


def test_the_account_is_gone(host: testinfra.host.Host, removal: plays.Play) -> None:
    assert not host.user("gar-auth").exists
    assert not host.group("gar-auth").exists


@pytest.mark.parametrize("name", ["config.toml", "auth.toml"])
def test_a_users_own_files_are_as_before(machine: Machine, removal: plays.Play, name: str) -> None:
    now = machine.ssh("ops", f"cat ~/.config/pypoetry/{name}", check=True).stdout
    assert now == (OWN / name).read_text(encoding="utf-8")


def test_a_second_removal_changes_nothing(removal: plays.Play) -> None:
    again = plays.run(variables=ABSENT)
    assert again.code == 0, again.output
    assert again.changed == 0, again.output
