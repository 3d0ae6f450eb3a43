# SPDX-License-Identifier: GPL-3.0-or-later
"""Get an identity's access token from its source and keep it in the store; sees no home."""

from __future__ import annotations

import time
from dataclasses import replace

from gar_auth.config import Identity
from gar_auth.errors import Failure
from gar_auth.metadata import request_token
from gar_auth.store import Status, Store, Token, digest

__all__ = ["fetch"]


def fetch(identity: Identity, store: Store) -> bool:
    """Ask the source once; write only what changed.

    A source that fails leaves the old token in place: it may still be valid.

    :returns: whether there is a new token.
    :raises Failure: as the source says; also noted in the status file.
    """
    source = f"metadata:{identity.account}"
    known = store.status(identity.name) or Status(identity=identity.name, source=source)
    try:
        reply = request_token(identity.account)
    except Failure as problem:
        if known.error != str(problem):
            store.write(identity.name, replace(known, error=str(problem)))
        raise
    now = int(time.time())
    old = store.token(identity.name)
    if old is not None and old.token == reply.token:
        if known.error is not None:
            store.write(identity.name, replace(known, error=None))
        return False
    token = Token(token=reply.token, expiry=now + reply.lifetime, source=source)
    store.write(identity.name, token)
    status = Status(
        identity=identity.name, source=source, expiry=token.expiry, obtained=now, digest=digest(token.token)
    )
    store.write(identity.name, status)
    return True
