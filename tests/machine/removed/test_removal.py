# SPDX-License-Identifier: GPL-3.0-or-later
"""artifact_registry_state: absent takes everything back, and leaves what was never ours."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import testinfra.host

from lab.machines import Machine
from machine import canary, listing, plays
from machine.listing import Listing

OWN = Path(__file__).parent.parent / "files"
INFO = re.compile(r"/var/lib/dpkg/info/.+\.list")
ABSENT = {"artifact_registry_state": "absent"}
UNITS = "for what in 'units --all' unit-files; do systemctl list-$what --plain --no-legend 'gar-auth*'; done"

# What may differ from the machine before the first run, and why.
EXPECTED = {
    r"/home/dev/(my_private_package|myproject|\.cache|\.local)(/.*)?": "what dev made with Poetry is dev's",
    r"/home/ops/(\.cache|\.local)(/.*)?": "the same for ops",
    r"/home/dev/\.config(/gcloud(/.*)?)?": "what gcloud wrote when dev ran it is dev's, too",
    r"/(home/admin|root)/\.ansible(/.*)?": "Ansible's own, for its modules' files",
    r"/etc/(passwd|group|shadow|gshadow)-": "the accounts as they were before the last change",
    r"/var/lib/apt/(lists(/.*)?|extended_states)": "apt's lists are newer now",
    r"/var/lib/dpkg/(status|status-old|available|lock|triggers/.*)": "dpkg's records of the packages",
}
# Packages that stay, as apt keeps what a package needed: other programs may use them by now.
PREREQUISITES = r"python3(\.\d+)?-venv|python3-(pip|setuptools)-whl|python3-(distutils|lib2to3)"
PACKAGES = "dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p'"


@pytest.fixture(scope="module")
def removal(machine: Machine) -> plays.Play:
    """Take all back."""
    play = plays.run(variables=ABSENT)
    assert play.code == 0, play.output
    assert play.changed > 0, play.output
    return play


def test_nothing_of_ours_is_left(machine: Machine, before: Listing, removal: plays.Play) -> None:
    installed = machine.ssh("admin", PACKAGES, check=True).stdout.split()
    had = {
        path.rpartition("/")[2].removesuffix(".list").partition(":")[0]
        for path in before
        if INFO.fullmatch(path)
    }
    added = sorted(set(installed) - had)
    assert [name for name in added if not re.fullmatch(PREREQUISITES, name)] == []
    files = (
        machine.ssh("admin", f"dpkg-query --listfiles {' '.join(added)}", check=True).stdout.split("\n")
        if added
        else []
    )
    apart_from = [
        *EXPECTED,
        *(rf"{re.escape(path)}(/__pycache__(/.*)?)?" for path in files if path.startswith("/")),
    ]
    apart_from += [rf"/var/lib/dpkg/info/{re.escape(name)}(:\w+)?\.\w+" for name in added]
    assert listing.differences(before, listing.take(machine), apart_from=apart_from) == []


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
