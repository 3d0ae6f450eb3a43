# SPDX-License-Identifier: GPL-3.0-or-later
"""Homes: all that is new belongs to its user, and what the user had before is still there."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.images import ACCOUNTS
from lab.machines import Machine
from machine import listing
from machine.listing import Listing

OWN = Path(__file__).parent.parent / "files"


def test_nothing_in_a_home_was_written_as_root(machine: Machine, before: Listing) -> None:
    found = listing.take(machine, "/home")
    new = [path for path in found if found[path] != before.get(path)]
    assert any(path.endswith("auth.toml") for path in new)
    strangers = [
        f"{path}: {found[path]}"
        for path in new
        if not found[path].startswith(f"{ACCOUNTS[path.split('/')[2]]}:{ACCOUNTS[path.split('/')[2]]} ")
    ]
    assert strangers == []


def test_nothing_was_written_into_the_homes_of_others(machine: Machine, before: Listing) -> None:
    # What Ansible itself keeps there while it runs is not ours.
    found = listing.differences(
        {path: line for path, line in before.items() if path.startswith("/root/")},
        listing.take(machine, "/root"),
        apart_from=[r"/root/\.ansible(/.*)?"],
    )
    assert found == []


@pytest.mark.parametrize("name", ["config.toml", "auth.toml"])
def test_a_users_own_entries_and_comments_stay(machine: Machine, name: str) -> None:
    own = (OWN / name).read_text(encoding="utf-8")
    now = machine.ssh("ops", f"cat ~/.config/pypoetry/{name}", check=True).stdout
    assert "private-repo" in now
    rest = now
    for paragraph in own.split("\n\n"):  # ours may stand between two of them, but not within one
        assert paragraph.strip("\n") + "\n" in rest, now
        rest = rest.partition(paragraph.strip("\n"))[2]
