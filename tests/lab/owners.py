# SPDX-License-Identifier: GPL-3.0-or-later
"""Who a machine belongs to, so that what an interrupted run left behind can be told from what is in use."""

from __future__ import annotations

import os
import time
from pathlib import Path

__all__ = ["KEPT", "abandoned", "alive", "claim", "identify"]

KEPT = "kept"
"""The owner of a machine that stays until somebody removes it."""

_FILE = "starter"
_GRACE = 60.0
"""Seconds for which a state directory may be without the name of its starter."""


def identify(pid: int) -> str:
    """Return `PID:START`, which no other process has before the next boot; `0:0` for one that is gone."""
    try:
        fields = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except OSError:
        return "0:0"
    return f"{pid}:{fields[19]}"


def alive(owner: str) -> bool:
    """Whether a machine of that owner is still wanted."""
    pid = owner.partition(":")[0]
    return owner == KEPT or (pid.isdecimal() and pid != "0" and identify(int(pid)) == owner)


def claim(directory: Path) -> None:
    """Note in a state directory that this process is about to start its machine."""
    (directory / _FILE).write_text(identify(os.getpid()), encoding="ascii")


def abandoned(directory: Path) -> bool:
    """Whether a state directory that has no machine is nobody's."""
    try:
        return not alive((directory / _FILE).read_text(encoding="ascii"))
    except FileNotFoundError:
        try:
            return time.time() - directory.stat().st_mtime > _GRACE
        except FileNotFoundError:
            return False
