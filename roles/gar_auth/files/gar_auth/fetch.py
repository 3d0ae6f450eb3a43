# SPDX-License-Identifier: GPL-3.0-or-later
"""Get an identity's access token from its source and keep it in the store; sees no home."""

from __future__ import annotations

import contextlib
import os
import time
import typing as t
from dataclasses import replace

from gar_auth.config import Config, Identity
from gar_auth.errors import Exit, Failure, Reason
from gar_auth.idle import is_due, started
from gar_auth.schedule import MAX_LIFETIME
from gar_auth.store import Status, Store, Token, digest

if t.TYPE_CHECKING:
    from gar_auth.material import Material

__all__ = ["fetch"]

_Kept = t.TypeVar("_Kept")

#: The same token with another expiry than this: the clock was set, for example at boot.
_CLOCK_SECONDS = 60


def fetch(
    identity: Identity,
    store: Store,
    config: Config,
    *,
    force: bool = False,
    material: Material | Failure | None = None,
) -> bool:
    """Ask the source once, where the schedule says so; write only what changed.

    A source that fails leaves the old token in place: it may still be valid.

    :param force: ask whatever the schedule says.
    :param material: key material that was read before, or why it could not be.
    :returns: whether there is a new token.
    :raises Failure: as the source says; also noted in the status file.
    """
    known = _readable(store.status, identity)
    if known is None or known.source != identity.source:
        known = Status(identity=identity.name, source=identity.source)
    elif not force and not _is_due(identity, store, config):
        return False
    old = _readable(store.token, identity)
    began = time.time()  # what changes from here on, a login or the configuration, was not seen
    try:
        token, account, obtained = _ask(identity, config, material=material, known=known, old=old)
    except Failure as problem:
        _note(store, known, problem, began)
        raise
    new = old is None or old.token != token.token
    if old is not None and not new and abs(old.expiry - token.expiry) <= _CLOCK_SECONDS:
        token = old if old.source == token.source else replace(token, expiry=old.expiry)
    if token != old:
        store.write(identity.name, token)
    status = Status(
        identity=identity.name,
        source=token.source,
        expiry=token.expiry,
        obtained=obtained,
        digest=digest(token.token),
        account=account,
        started=started(),
    )
    if replace(status, started=known.started) == known and _alike(status.started, known.started):
        store.touch(identity.name, at=began)
    else:
        store.write(identity.name, status, at=began)
    return new


def _alike(one: int | None, other: int | None) -> bool:
    """Whether the clock was not set in between; it is never quite steady."""
    return one is not None and other is not None and abs(one - other) <= _CLOCK_SECONDS // 2


def _is_due(identity: Identity, store: Store, config: Config) -> bool:
    return is_due(
        os.fspath(store.directory(identity.name)),
        identity=identity.name,
        source=identity.source,
        on_demand=identity.on_demand,
        interval=config.interval,
    )


def _ask(
    identity: Identity,
    config: Config,
    *,
    material: Material | Failure | None,
    known: Status,
    old: Token | None,
) -> tuple[Token, str | None, int]:
    """The token, whose it is, and when it was first seen."""
    from gar_auth.source import request

    if isinstance(material, Failure):
        raise material
    reply = request(identity, material=material, config=config)
    now = int(time.time())
    seen = old is not None and old.token == reply.token and known.obtained is not None
    obtained = known.obtained if seen and known.obtained is not None and known.obtained <= now else now
    if obtained + MAX_LIFETIME <= now and not reply.from_seen:
        obtained = now  # the clock was set, or the source promises more than a token of Google's can hold
    start = min(obtained, now - reply.age) if reply.from_seen else now
    expiry = min(start + reply.lifetime, obtained + MAX_LIFETIME)
    if expiry <= now:
        raise Failure(
            f"{identity.source} has given the same token for {reply.lifetime // 60} minutes;"
            " it has expired: see to it that there is a new one",
            code=Exit.TEMPORARY,
            reason=Reason.BAD_REPLY,
        )
    return Token(token=reply.token, expiry=expiry, source=identity.source), reply.account, obtained


def _note(store: Store, known: Status, problem: Failure, began: float) -> None:
    """Keep what is known of the token, and say why there is no newer one."""
    now = int(time.time())
    status = replace(
        known,
        error=_line(str(problem)),
        error_class=problem.reason.value,
        failed_at=now,
        failures=known.failures + 1,
        failing_since=now if known.failing_since is None else known.failing_since,
    )
    with contextlib.suppress(Failure):  # then the source's own problem is the one to tell
        store.write(known.identity, status, at=began)


def _line(text: str) -> str:
    """What a status can hold."""
    return "".join(char if char.isprintable() else "?" for char in text)[:900]


def _readable(read: t.Callable[[str], _Kept | None], identity: Identity) -> _Kept | None:
    """What the store holds; a damaged file counts as missing: it is about to be written anew."""
    try:
        return read(identity.name)
    except Failure:
        return None
