# SPDX-License-Identifier: GPL-3.0-or-later
"""The program as the tests of its command line run it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from gar_auth import __main__ as cli

CANARY = "ya29.c.canary"


@dataclass
class Clock:
    """The time as the program sees it.

    :ivar started: when the machine was started; to set the clock moves it too.
    """

    now: float
    started: float = 0.0

    def set_back(self, seconds: float) -> None:
        self.now -= seconds
        self.started -= seconds


class Program:
    """Runs commands as the machine's link does; remembers all that was ever printed."""

    def __init__(self, capfd: pytest.CaptureFixture[str], path: Path) -> None:
        self.capfd, self.path, self.said = capfd, path, ""

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        code = cli.main(list(arguments), config_file=self.path)
        output, errors = self.capfd.readouterr()
        self.said += output + errors
        return code, output, errors
