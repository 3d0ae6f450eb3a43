# SPDX-License-Identifier: GPL-3.0-or-later
"""Get an identity's access token from its source and keep it in the store; sees no home."""

from __future__ import annotations

import time
import typing as t
from dataclasses import replace

from gar_auth.config import Identity
from gar_auth.errors import Failure
from gar_auth.metadata import request_token
from gar_auth.store import Status, Store, Token, digest

__all__ = ["fetch"]

_Kept = t.TypeVar("_Kept")

#: The same token with another expiry than this: the clock was set, for example at boot.
_CLOCK_SECONDS = 60


def fetch(identity: Identity, store: Store) -> bool:
    """Ask the source once; write only what changed.

    A source that fails leaves the old token in place: it may still be valid.

    :returns: whether there is a new token.
    :raises Failure: as the source says; also noted in the status file.
    """
    source = f"metadata:{identity.account}"
    known = _readable(store.status, identity) or Status(identity=identity.name, source=source)
    try:
        reply = request_token(identity.account)
    except Failure as problem:
        if known.error != str(problem):
            store.write(identity.name, replace(known, error=str(problem)))
        raise
    now = int(time.time())
    token = Token(token=reply.token, expiry=now + reply.lifetime, source=source)
    old = _readable(store.token, identity)
    new = old is None or old.token != token.token
    if old is not None and not new and abs(old.expiry - token.expiry) <= _CLOCK_SECONDS:
        token = old
    if token != old:
        store.write(identity.name, token)
    obtained = now if new or known.obtained is None else known.obtained
    status = Status(
        identity=identity.name,
        source=token.source,
        expiry=token.expiry,
        obtained=obtained,
        digest=digest(token.token),
    )
    if status != known:
        store.write(identity.name, status)
    return new


def _readable(read: t.Callable[[str], _Kept | None], identity: Identity) -> _Kept | None:
    """What the store holds; a damaged file counts as missing: it is about to be written anew."""
    try:
        return read(identity.name)
    except Failure:
        return None
