# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines for the tests below; a failing test shows the journal of our units on each machine it used."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from lab.machines import Machine

_JOURNAL = "sudo journalctl --no-pager --lines=40 --output=short-precise --unit='gar-auth-*'"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Add the journal to the report of a failure."""
    report = yield
    if report.failed:
        for machine in getattr(item, "funcargs", {}).values():
            if isinstance(machine, Machine):
                shown = machine.ssh("admin", _JOURNAL)
                report.sections.append(
                    (f"journal of gar-auth-* on {machine.name}", shown.stdout + shown.stderr)
                )
    return report
