# SPDX-License-Identifier: GPL-3.0-or-later
"""A clock that only the test moves, for the program and google-auth in this process and for the emulator."""

from __future__ import annotations

import contextlib
import datetime
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from google.auth import _helpers

from lab.emulator.client import Control

__all__ = ["Clock"]

_REAL = time.time
_JUST_NOW = 60.0


@dataclass
class Clock:
    """The time of day, in seconds since the epoch; a pause of the program moves it too."""

    now: float
    control: Control

    def move_to(self, moment: float) -> None:
        """Set the clock; never back."""
        self.now = max(self.now, moment)

    def tell(self) -> None:
        """Set the emulator's clock too: needed before anything is asked of it, and only then."""
        self.control.set_clock(self.now - _REAL(), assertions=True)

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Let this process see this clock. Deadlines go by the monotonic one, which stays the real one."""
        with (
            mock.patch("time.time", self._time),
            mock.patch("time.clock_gettime", self._uptime),
            mock.patch("time.sleep", self._sleep),
            mock.patch.object(_helpers, "utcnow", self._utcnow),
        ):
            yield

    def stamp(self, path: Path) -> None:
        """Give a file that the kernel has just stamped with the real time the time of this clock."""
        with contextlib.suppress(FileNotFoundError):
            if abs(path.stat().st_mtime - _REAL()) < _JUST_NOW:
                os.utime(path, (self.now, self.now))

    def _time(self) -> float:
        return self.now

    def _uptime(self, _which: int) -> float:
        return self.now  # time passes, and nobody sets the clock

    def _sleep(self, seconds: float) -> None:
        self.move_to(self.now + seconds)
        self.tell()

    def _utcnow(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.now, datetime.UTC).replace(tzinfo=None)
