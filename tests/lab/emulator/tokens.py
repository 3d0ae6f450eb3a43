# SPDX-License-Identifier: GPL-3.0-or-later
"""Every access token that the emulator has issued, and whether it is good at this moment."""

from __future__ import annotations

import collections
import dataclasses
import secrets
import time
from collections.abc import Callable, Iterator

__all__ = ["Clock", "Token", "TokenStore"]

PREFIX = "ya29.c."
RANDOM_BYTES = 108
LONGEST_OFFSET = 10 * 365 * 86400


@dataclasses.dataclass
class Token:
    """An access token; times are seconds since the epoch."""

    value: str
    identity: str
    issued_at: float
    expires_at: float
    revoked: bool = False


@dataclasses.dataclass
class Clock:
    """The emulated Google's clock: the real one, ``offset`` seconds ahead.

    ``date_skew`` goes on top of it in the header ``Date`` alone; ``assertions`` says that what keys sign is
    checked by this clock and not by the real one.
    """

    offset: float = 0.0
    date_skew: float = 0.0
    assertions: bool = False

    def __call__(self) -> float:
        return time.time() + self.offset

    def move(self, offset: float) -> None:
        """Set the offset; ValueError for one that looks like a date."""
        if not abs(offset) <= LONGEST_OFFSET:
            raise ValueError(
                f"found an offset of {offset:g} s, need seconds from the real time, not an epoch"
            )
        self.offset = offset


class TokenStore:
    """Issues access tokens that look like Google's and remembers them all.

    ``lifetime`` is how long a new token lives, ``window`` how long before its end the metadata server
    replaces it; both are in seconds and may change at any time.
    """

    def __init__(
        self, *, lifetime: float = 3600, window: float = 300, clock: Callable[[], float] = time.time
    ) -> None:
        self.lifetime = lifetime
        self.window = window
        self.clock = clock
        self._tokens: dict[str, Token] = {}
        self._current: dict[str, Token] = {}

    def __iter__(self) -> Iterator[Token]:
        return iter(self._tokens.values())

    def issue(self, identity: str, *, lifetime: float | None = None) -> Token:
        """Mint a new token, as Google does for keys and refresh tokens; ``lifetime`` replaces the store's."""
        now = self.clock()
        lives = self.lifetime if lifetime is None else lifetime
        value = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
        token = Token(value=value, identity=identity, issued_at=now, expires_at=now + lives)
        self._tokens[value] = token
        return token

    def current(self, identity: str) -> Token:
        """Return the same token until ``window`` seconds before its end, as the metadata server does."""
        token = self._current.get(identity)
        if token is None or not self._good(token) or token.expires_at - self.clock() <= self.window:
            token = self._current[identity] = self.issue(identity)
        return token

    def identity(self, value: str) -> str | None:
        """Return whose token this is, or None if it was never issued, is revoked, or has expired."""
        token = self._tokens.get(value)
        return token.identity if token and self._good(token) else None

    def valid(self, value: str) -> bool:
        """Tell whether the token was issued here, is not revoked and has not expired."""
        return self.identity(value) is not None

    def remaining(self, token: Token) -> int:
        """Return the whole seconds that the token still lives, as ``expires_in`` states them."""
        return max(0, int(token.expires_at - self.clock()))

    def expire_all(self) -> int:
        """End the life of every token so far; returns how many were alive."""
        now = self.clock()
        alive = [token for token in self if self._good(token)]
        for token in alive:
            token.expires_at = now
        return len(alive)

    def revoke_all(self) -> int:
        """Revoke every token so far; returns how many were not revoked before."""
        standing = [token for token in self if not token.revoked]
        for token in standing:
            token.revoked = True
        return len(standing)

    def issued(self) -> dict[str, int]:
        """Count the tokens issued per identity."""
        return dict(collections.Counter(token.identity for token in self))

    def _good(self, token: Token) -> bool:
        return not token.revoked and self.clock() < token.expires_at
