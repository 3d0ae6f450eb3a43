# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines for the tests below; a failing test shows the journal of our units on each machine it used."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from typing import Any

import pytest

from lab.machines import Machine
from lab.system import LabError

#: Rollouts of `make test-all` only: each goes over all hosts twice.
LONG = ("second_batch", "fail_for_themselves", "was_killed")
_JOURNAL = "sudo journalctl --no-pager --lines=40 --output=short-precise --unit='gar-auth-*'"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the longest out of what runs every time; pytest says how many it has deselected."""
    if os.environ.get("FAULTS") == "full":
        return
    long = [
        item for item in items if item.path.stem == "test_fleet" and any(word in item.name for word in LONG)
    ]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Add the journal to the report of a failure."""
    report = yield
    if report.failed:
        for machine in machines(getattr(item, "funcargs", {}).values()):
            report.sections.append((f"journal of gar-auth-* on {machine.name}", journal(machine)))
    return report


def machines(fixtures: Iterable[object]) -> list[Machine]:
    """The machines among fixtures, and those that a fixture has as C(machine) or C(machines)."""
    found: dict[str, Machine] = {}
    for one in fixtures:
        several = getattr(one, "machines", None)
        inside = several if isinstance(several, (list, tuple)) else ()
        for machine in (one, getattr(one, "machine", None), *inside):
            if isinstance(machine, Machine):
                found[machine.name] = machine
    return list(found.values())


def journal(machine: Machine) -> str:
    """What our units have logged there, or why nobody knows."""
    try:
        shown = machine.ssh("admin", _JOURNAL, timeout=60)
    except LabError as error:
        return str(error)
    return shown.stdout + shown.stderr
