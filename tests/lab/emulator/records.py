# SPDX-License-Identifier: GPL-3.0-or-later
"""What the emulator and its control client exchange: names and plain records, standard library only."""

from __future__ import annotations

import dataclasses

__all__ = ["DEFAULT_ACCOUNT", "MODES", "TARGETS", "IssuedToken", "SeenRequest", "Stats"]

DEFAULT_ACCOUNT = "dev-vm@demo-project.iam.gserviceaccount.com"
"""The service account that the emulated machine runs as."""

TARGETS = ("metadata", "token", "index", "apt")
"""The parts that faults can be switched on for."""

MODES = "ok | status:CODE | hang | slow | html | truncated | huge | redirect | no_flavor | json:LITERAL"
"""What a fault switch accepts; ``lab.emulator.faults`` says what each does."""


@dataclasses.dataclass(frozen=True)
class SeenRequest:
    """One request; ``status`` is 0 if it was never answered, ``identity`` whose token it came with or got."""

    time: float
    target: str
    method: str
    host: str
    path: str
    status: int
    identity: str | None


@dataclasses.dataclass(frozen=True)
class IssuedToken:
    """One access token with its value, so that a test can search files and journals for it."""

    value: str
    identity: str
    issued_at: float
    expires_at: float
    valid: bool


@dataclasses.dataclass(frozen=True)
class Stats:
    """Counts since the start: tokens issued per identity, tokens valid now, requests per target."""

    issued: dict[str, int]
    valid: int
    requests: dict[str, int]
