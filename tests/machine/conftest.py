# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenario's machine for all tests below; a failing test shows the journal of our units."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import pytest

from lab.machines import Machine
from machine import plays
from machine.listing import Listing

BEFORE = "before.json"


@pytest.fixture(scope="session")
def machine() -> Machine:
    """The lab's machine, with ssh for its users and the switches of its emulated Google."""
    (name,) = json.loads((plays.inventory() / "machine.json").read_text(encoding="utf-8"))["all"]["hosts"]
    found = Machine.find(name)
    assert found is not None, f"no machine {name} is running: molecule create starts it"
    return found


@pytest.fixture(scope="session")
def before() -> Listing:
    """What lay on the machine before the first run of the playbook."""
    return dict(json.loads((plays.state_directory() / BEFORE).read_text(encoding="utf-8")))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    machine = getattr(item, "funcargs", {}).get("machine")
    if report.failed and isinstance(machine, Machine):
        shown = machine.ssh(
            "admin", "sudo journalctl --no-pager --lines=40 --output=short-precise --unit='gar-auth-*'"
        )
        report.sections.append(("journal of gar-auth-*", shown.stdout + shown.stderr))
    return report
