# SPDX-License-Identifier: GPL-3.0-or-later
"""Exit codes and the one error type of the program."""

from __future__ import annotations

import enum

__all__ = ["Exit", "Failure"]


class Exit(enum.IntEnum):
    """What the program's exit status says (sysexits.h)."""

    FINE = 0
    UNUSABLE = 65
    TEMPORARY = 75
    REFUSED = 77
    CONFIGURATION = 78


class Failure(Exception):
    """One line that says what was found and what to do; never holds a token or a key."""

    def __init__(self, message: str, *, code: Exit) -> None:
        super().__init__(message)
        self.code = code
