# SPDX-License-Identifier: GPL-3.0-or-later
"""How exposed the two services are, as the machine's own systemd judges; 0 is best, 10 is worst."""

from __future__ import annotations

import re

import pytest

from lab.machines import Machine


@pytest.mark.parametrize(
    ("unit", "limit"),
    [
        ("gar-auth-fetch@default.service", 1.5),
        ("gar-auth-write@dev.service", 0.5),
        ("gar-auth-write@ops.service", 0.5),
    ],
)
def test_exposure_stays_low(
    machine: Machine, capsys: pytest.CaptureFixture[str], unit: str, limit: float
) -> None:
    shown = machine.ssh("admin", f"LC_ALL=C.UTF-8 systemd-analyze security --no-pager {unit}").stdout
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", shown)
    assert level, shown
    with capsys.disabled():
        print(f"\n  exposure of {unit}: {level[1]} (at most {limit})")
    assert float(level[1]) <= limit, shown
