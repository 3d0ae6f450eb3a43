# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the lab keeps images, packages and the state of machines between runs."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.console import say

__all__ = ["directory", "locked", "root"]


def root() -> Path:
    """Return the lab's cache directory; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    parent = Path(base) if base.startswith("/") else Path.home() / ".cache"
    return parent / "devbox-artifact-registry"


def directory(name: str) -> Path:
    """Return a directory below the cache, made when missing."""
    path = root() / name
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    return path


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Let one process at a time build the thing of that name."""
    with (directory("locks") / name).open("w", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another run that is preparing {name}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
