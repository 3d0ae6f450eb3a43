# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens between the fetcher and its readers: one directory for each identity, on tmpfs.

C(token) holds the access token, for the service's group only; C(status.json) holds no secret, for everybody.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import stat
import typing as t
from dataclasses import asdict, dataclass
from pathlib import Path

from gar_auth.errors import Exit, Failure

__all__ = ["Status", "Store", "Token", "digest"]

_MAX_BYTES = 64 * 1024


@dataclass(frozen=True)
class Token:
    """An access token; C(expiry) in seconds since the epoch."""

    token: str
    expiry: int
    source: str

    def __repr__(self) -> str:
        return f"Token(expiry={self.expiry}, source={self.source!r})"


@dataclass(frozen=True)
class Status:
    """What everybody may know of an identity's token.

    :ivar expiry: seconds since the epoch, None without a token.
    :ivar obtained: when the present token was first seen, seconds since the epoch.
    :ivar digest: the start of the token's SHA-256, to compare it without knowing it.
    :ivar error: why the last run failed, None where it did not.
    """

    identity: str
    source: str
    expiry: int | None = None
    obtained: int | None = None
    digest: str | None = None
    error: str | None = None


def digest(token: str) -> str:
    """The first 16 hexadecimal digits of the token's SHA-256: enough to compare, useless to guess from."""
    return hashlib.sha256(token.encode()).hexdigest()[:16]


class Store:
    """The directories below C(run_dir).

    :param shared: the files serve other accounts too (mode 0640 and 0644 instead of 0600).
    """

    def __init__(self, run_dir: Path, *, shared: bool) -> None:
        self._run_dir = run_dir
        self._shared = shared

    def token(self, identity: str) -> Token | None:
        """:raises Failure: there is a token that this user may not read, or a damaged one."""
        data = self._read(identity, "token")
        if data is None:
            return None
        token, expiry = data.get("token"), data.get("expiry")
        if not isinstance(token, str) or not token or not isinstance(expiry, int):
            raise Failure(f"{self._run_dir / identity / 'token'} is damaged", code=Exit.UNUSABLE)
        return Token(token=token, expiry=expiry, source=str(data.get("source", "")))

    def status(self, identity: str) -> Status | None:
        """:raises Failure: a damaged file."""
        data = self._read(identity, "status.json")
        if data is None:
            return None
        try:
            status = Status(**data)
            if not isinstance(status.expiry, (int, type(None))):
                raise TypeError("expiry")
        except TypeError as error:
            raise Failure(
                f"{self._run_dir / identity / 'status.json'} is damaged", code=Exit.UNUSABLE
            ) from error
        return status

    def write(self, identity: str, value: Token | Status) -> None:
        """Publish a token or a status in one step.

        :raises Failure: the directory cannot be written (75).
        """
        name, mode = ("token", 0o640) if isinstance(value, Token) else ("status.json", 0o644)
        directory = self._run_dir / identity
        temporary = directory / f".{name}.{secrets.token_hex(8)}"
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump(asdict(value), stream)
                if self._shared:
                    os.fchmod(descriptor, mode)
            temporary.rename(directory / name)
        except OSError as error:
            raise Failure(f"{directory}/{name}: {error.strerror}", code=Exit.TEMPORARY) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()

    def _read(self, identity: str, name: str) -> dict[str, t.Any] | None:
        path = self._run_dir / identity / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as stream:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise ValueError("not a regular file")
                data = json.loads(stream.read(_MAX_BYTES))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Failure(f"{path}: {error.strerror}", code=Exit.REFUSED) from error
        except (ValueError, RecursionError) as error:
            raise Failure(f"{path} is damaged ({error})", code=Exit.UNUSABLE) from error
        if not isinstance(data, dict):
            raise Failure(f"{path} is damaged (not a JSON object)", code=Exit.UNUSABLE)
        return data
