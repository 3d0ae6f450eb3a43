# SPDX-License-Identifier: GPL-3.0-or-later
"""What the emulator and its control client exchange: names and plain records, standard library only."""

from __future__ import annotations

import dataclasses

__all__ = [
    "CERTIFICATES",
    "DEFAULT_ACCOUNT",
    "MODES",
    "TARGETS",
    "IssuedToken",
    "SeenRequest",
    "Stats",
    "principal",
]

DEFAULT_ACCOUNT = "dev-vm@demo-project.iam.gserviceaccount.com"
"""The service account that the emulated machine runs as."""

TARGETS = ("metadata", "token", "sts", "iam", "index", "apt")
"""The parts that faults can be switched on for: ``token`` is oauth2.googleapis.com, ``sts`` the exchange of
subject tokens, ``iam`` iamcredentials.googleapis.com (impersonation)."""

CERTIFICATES = ("valid", "expired", "wrong_name", "untrusted")
"""What the emulator can present: its own, the same of last year, one for another host, one of no authority
that the machine trusts."""

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


def principal(audience: str, subject: str) -> str:
    """Return whom a subject token of that provider stands for, as grants and the request log name it."""
    pool, _, _ = audience.partition("/providers/")
    return f"principal:{pool}/subject/{subject}"
