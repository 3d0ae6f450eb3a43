# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode on a machine that the playbook has never seen."""

from __future__ import annotations

from lab.machines import Machine
from machine import listing, plays
from machine.listing import Listing


def test_check_mode_announces_changes_and_makes_none(machine: Machine, before: Listing) -> None:
    play = plays.run("--check", "--diff")
    assert play.code == 0, play.output
    assert play.changed > 0, play.output
    assert listing.differences(before, listing.take(machine)) == []
