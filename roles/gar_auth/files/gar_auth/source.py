# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask an identity's source for an access token, whatever its type; what is answered is checked here."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from gar_auth.schedule import MAX_LIFETIME

if t.TYPE_CHECKING:
    from gar_auth.config import Config, Identity
    from gar_auth.material import Material

__all__ = [
    "MAX_LIFETIME",
    "MAX_TOKEN",
    "UNKNOWN_LIFETIME",
    "Reply",
    "account_name",
    "is_token",
    "lifetime_of",
    "request",
]

MAX_TOKEN = 16 * 1024
#: How long a token lives, from when it was first seen, where its source does not say: Google's default.
UNKNOWN_LIFETIME = 3600

# RFC 6750, section 2.1
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


_ACCOUNT = re.compile(
    r"[A-Za-z0-9._%+-]{1,100}@[A-Za-z0-9.-]{1,150}|principal(Set)?://[A-Za-z0-9./_:@%-]{1,400}"
)


@dataclass(frozen=True)
class Reply:
    """An access token.

    :ivar lifetime: seconds from now on, or from when this token was first seen.
    :ivar account: who the token belongs to, None where the source does not say.
    :ivar from_seen: the lifetime counts from when this token was first seen, or from C(age) seconds ago.
    """

    token: str
    lifetime: int
    account: str | None = None
    from_seen: bool = False
    age: int = 0

    def __repr__(self) -> str:
        return f"Reply(token=..., lifetime={self.lifetime}, account={self.account!r})"


def request(identity: Identity, *, material: Material | None = None, config: Config) -> Reply:
    """Get a token from the identity's source.

    :param material: key material that was read before; None: it is read where it is needed.
    :raises Failure: C(TEMPORARY) where a later call may succeed, C(CONFIGURATION) where somebody has to act.
    """
    reply = _origin(identity, material=material, config=config)
    if identity.impersonate_service_account:
        from gar_auth.minted import impersonate

        reply = impersonate(identity, reply)
    return reply


def _origin(identity: Identity, *, material: Material | None, config: Config) -> Reply:
    if identity.type == "metadata":
        from gar_auth.metadata import request_token

        return request_token(identity.account or "default")
    if identity.type == "gcloud":
        from gar_auth.gcloud import ask

        return ask(identity, config)
    from gar_auth.material import read

    material = read(identity) if material is None else material
    if identity.type == "token_file":
        from gar_auth.token_file import parse

        return parse(material.source, path=material.path, written=material.written)
    from gar_auth.minted import mint

    return mint(identity, material)


def account_name(value: object) -> str | None:
    """The name of an account of Google's, which people may see; None where that is none."""
    return value if isinstance(value, str) and _ACCOUNT.fullmatch(value) else None


def is_token(value: object) -> t.TypeGuard[str]:
    """Whether that can be an access token: RFC 6750 and at most 16 KiB, nothing that could break a line."""
    return isinstance(value, str) and len(value) <= MAX_TOKEN and _TOKEN.fullmatch(value) is not None


def lifetime_of(value: object) -> int | None:
    """The lifetime in seconds, at most twelve hours; None where that is none."""
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        return None
    return min(value, MAX_LIFETIME)
