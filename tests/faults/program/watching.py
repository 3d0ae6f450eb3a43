# SPDX-License-Identifier: GPL-3.0-or-later
"""Watches all processes' arguments and environment for a secret while something runs (I5)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

__all__ = ["seen_while"]


def seen_while(work: Callable[[], None], *, secret: str, program: str) -> list[str]:
    """Where the secret was seen; fails where the program itself was never seen: then nothing was watched."""
    found: set[str] = set()
    own: set[str] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.005):
            for pid in filter(str.isdecimal, os.listdir("/proc")):
                for name in ("cmdline", "environ"):
                    try:
                        data = Path("/proc", pid, name).read_bytes()
                    except OSError:
                        continue  # it has ended
                    if secret.encode() in data:
                        found.add(f"{name} of {pid}: {data[:120]!r}")
                    if name == "cmdline" and program.encode() in data:
                        own.add(pid)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        ended.set()
        watcher.join()
    assert own, "the watcher did not see the program"
    return sorted(found)
