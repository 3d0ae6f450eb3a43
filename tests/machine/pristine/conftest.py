# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes the list of the pristine machine, which all later phases compare with."""

from __future__ import annotations

import json

import pytest

from lab.machines import Machine
from machine import listing, plays
from machine.conftest import BEFORE
from machine.listing import Listing


@pytest.fixture(scope="session")
def before(machine: Machine) -> Listing:
    found = listing.take(machine)
    (plays.state_directory() / BEFORE).write_text(json.dumps(found), encoding="utf-8")
    return found
