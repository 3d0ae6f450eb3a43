# SPDX-License-Identifier: GPL-3.0-or-later
"""The identities to test: how each is declared, the files behind it, and what the emulator knows of it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.emulator.launch import Emulator
from lab.emulator.records import DEFAULT_ACCOUNT
from tokens.clock import Clock

__all__ = ["SOURCES", "Place", "Source", "secrets_of"]

ROBOT = "robot@demo-project.iam.gserviceaccount.com"
TARGET = "publisher@demo-project.iam.gserviceaccount.com"
PERSON = "dev@example.com"
SUBJECT = "ci-runner"
AUDIENCE = (
    "//iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/ci/providers/runner"
)
REPLACED_SECONDS = 3000
"""How often the process outside replaces the file of the source token_file."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """An emulator, and a directory for the files of the identities."""

    emulator: Emulator
    files: Path

    def put(self, name: str, content: object) -> str:
        """Write a file (JSON unless it is text) for its owner only, in one step, and return its path."""
        text = content if isinstance(content, str) else json.dumps(content)
        path, new = self.files / name, self.files / f".{name}.new"
        self.files.mkdir(exist_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            stream.write(text)
        new.replace(path)
        return str(path)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A kind of identity.

    :ivar declare: makes the files and returns the identity as in config.json.
    :ivar on_demand: whether each request brings a token with its full lifetime.
    :ivar asks: the emulator's parts that one new token takes a request to.
    :ivar outside: what goes on outside of the program, called before each tick.
    """

    name: str
    declare: Callable[[Place], dict[str, Any]]
    on_demand: bool
    asks: tuple[str, ...]
    outside: Callable[[Place, Clock], None] | None = None


def _metadata(_place: Place) -> dict[str, Any]:
    return {"type": "metadata", "account": "default"}


def _key(place: Place) -> dict[str, Any]:
    key = place.emulator.control.create_key(ROBOT)
    return {"type": "service_account_key", "file": place.put("key.json", key)}


def _external(place: Place) -> dict[str, Any]:
    control = place.emulator.control
    subject = place.put("subject", control.create_subject_token(SUBJECT, AUDIENCE))
    configuration = control.external_account(subject, audience=AUDIENCE)
    return {"type": "external_account", "file": place.put("external.json", configuration)}


def _adc(place: Place) -> dict[str, Any]:
    return {"type": "adc", "file": place.put("adc.json", place.emulator.control.authorized_user(PERSON))}


def _token_file(place: Place) -> dict[str, Any]:
    _put_token(place, time.time())
    return {"type": "token_file", "file": str(place.files / "token.json")}


def _replace(place: Place, clock: Clock) -> None:
    """The process outside: a new token each 50 minutes."""
    path = place.files / "token.json"
    if clock.now - path.stat().st_mtime >= REPLACED_SECONDS:
        clock.tell()
        _put_token(place, clock.now)


def _put_token(place: Place, now: float) -> None:
    path = place.files / "token.json"
    token = place.emulator.control.issue(ROBOT)
    (known,) = [known for known in place.emulator.control.tokens() if known.value == token]
    place.put("token.json", {"access_token": token, "expiry": int(known.expires_at)})
    os.utime(path, (now, now))


def _impersonated(base: Callable[[Place], dict[str, Any]], *, by: str) -> Callable[[Place], dict[str, Any]]:
    def declare(place: Place) -> dict[str, Any]:
        place.emulator.control.grant(by, TARGET)
        return {**base(place), "impersonate_service_account": TARGET}

    return declare


SOURCES = [
    Source(name="metadata", declare=_metadata, on_demand=False, asks=("metadata",)),
    Source(name="token_file", declare=_token_file, on_demand=False, asks=(), outside=_replace),
    Source(name="service_account_key", declare=_key, on_demand=True, asks=("token",)),
    Source(name="external_account", declare=_external, on_demand=True, asks=("sts",)),
    Source(name="adc", declare=_adc, on_demand=True, asks=("token",)),
    Source(
        name="metadata_impersonated",
        declare=_impersonated(_metadata, by=DEFAULT_ACCOUNT),
        on_demand=True,
        asks=("metadata", "iam"),
    ),
    Source(
        name="key_impersonated",
        declare=_impersonated(_key, by=ROBOT),
        on_demand=True,
        asks=("token", "iam"),
    ),
]


def secrets_of(place: Place) -> set[str]:
    """Whatever must be seen nowhere: what is secret in the files, and every token that was issued."""
    found = {token.value for token in place.emulator.control.tokens()}
    for path in place.files.iterdir():
        text = path.read_text()
        try:
            content = json.loads(text)
        except ValueError:
            content = {"subject": text}
        for name in ("private_key", "client_secret", "refresh_token", "access_token", "subject"):
            lines = str(content.get(name, "")).split("\n")
            found |= {line for line in lines if len(line) > 16 and "-----" not in line}
    return found
