# SPDX-License-Identifier: GPL-3.0-or-later
"""Hand out one identity's token, to whoever may have it: the machine's, the user's own, or one fetched now.

Serves C(gar-auth get), and through it the keyring backend where it has found no fresh token itself.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import time
import types
import typing as t

from gar_auth.bounded import locked
from gar_auth.config import Config, Identity
from gar_auth.errors import Exit, Failure, Reason
from gar_auth.fetch import fetch
from gar_auth.store import Store, Token, digest, own_store, user_store
from gar_auth_keyring import lookup

__all__ = ["SECONDS", "get", "identity_for"]

#: In all; the keyring backend waits for ten.
SECONDS = 9.0
#: What ends sooner is fetched anew: a client may take that long until it uses it.
_LEFT_SECONDS = 60
#: After a failure the next call within that time is told the same: a client asks for each of its URLs.
_AGAIN_SECONDS = 15
#: What only the machine's own unit may read, or whose login is the machine's.
_MACHINES_ONLY = ("service_account_key", "external_account", "adc", "token_file", "gcloud")


def identity_for(url: str, config_file: str) -> str:
    """The name of the identity whose token a repository at that URL takes.

    :raises Failure: no repository is there (78).
    """
    found = lookup.settings(config_file)
    name = found and lookup.identity_of(url, found)
    if not name:
        message = f"{_shown(url)} is not the https URL of a repository of this machine; see: gar-auth status"
        raise Failure(message, code=Exit.CONFIGURATION)
    return name


def _shown(url: str) -> str:
    """Without what may be a password, on one line."""
    text = "".join(one if one.isprintable() else "?" for one in url[:200])
    scheme, found, rest = text.partition("://")
    return f"{scheme}{found}{rest.rpartition('@')[2]}" if found else text.rpartition("@")[2]


class _TooLate(BaseException):
    """The time is over; nothing on the way takes it for a failure of its own."""


def get(config: Config, store: Store, identity: Identity, account: pwd.struct_passwd) -> str:
    """A token that is valid for another minute, or at least for now.

    :param account: who runs the program.
    :raises Failure: none can be had: see C(fetch), or what this user may not read (77).
    """
    with _within(SECONDS):
        return _get(config, store, identity, account)


def _get(config: Config, store: Store, identity: Identity, account: pwd.struct_passwd) -> str:
    shared = config.shared_run_dir is not None
    own = user_store(config, account) if identity.per_user else own_store()
    places = [own] if identity.per_user or not shared else [store, own]
    if token := _fresh(places, identity) or _written(config, store, identity, account):
        return token
    problem: Failure | None = None
    if shared and not identity.per_user and identity.type in _MACHINES_ONLY:
        problem = _wait(config, store, identity)
    else:
        problem = _fetch(config, own, identity)
    token = _fresh(places, identity) or _fresh(places, identity, left=0)  # old ones may do, if nothing else
    if token:
        return token
    raise problem or Failure(f"no valid token for {identity.name}; see: gar-auth doctor", code=Exit.TEMPORARY)


def _fresh(places: t.Iterable[Store], identity: Identity, *, left: int = _LEFT_SECONDS) -> str | None:
    for store in places:
        token = _readable(store, identity)
        if token and token.expiry > time.time() + left:
            return token.token
    return None


def _written(config: Config, store: Store, identity: Identity, account: pwd.struct_passwd) -> str | None:
    """The present token as this user's auth.toml has it, where the provider writes it there."""
    if not config.writes or identity.per_user:
        return None
    from gar_auth.write import passwords

    with contextlib.suppress(Failure):
        status = store.status(identity.name)
        if status is None or status.expiry is None or status.expiry <= time.time():
            return None
        for repository, value in passwords(config, account).items():
            known = next((one for one in config.repositories if one.name == repository), None)
            if known and known.identity == identity.name and digest(value) == status.digest:
                return value
    return None


def _readable(store: Store, identity: Identity) -> Token | None:
    """What this user may read."""
    try:
        return store.token(identity.name)
    except Failure:
        return None


def _fetch(config: Config, own: Store, identity: Identity) -> Failure | None:
    """Ask the source, one process at a time; the others then find the token."""
    directory = own.directory(identity.name)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        return Failure(f"{directory}: {error.strerror}", code=Exit.REFUSED, reason=Reason.FILE)
    try:
        with locked(os.fspath(directory), deadline=time.monotonic() + SECONDS):
            if _fresh([own], identity):
                return None
            if known := _just_failed(own, identity):
                return known
            fetch(identity, own, config, force=True)
    except Failure as problem:
        return problem
    return None


def _just_failed(own: Store, identity: Identity) -> Failure | None:
    with contextlib.suppress(Failure):
        status = own.status(identity.name)
        if status and status.error and status.failed_at and status.source == identity.source:
            ago = time.time() - status.failed_at
            if 0 <= ago < _AGAIN_SECONDS:
                return Failure(f"{status.error} ({int(ago)} s ago)", code=Exit.TEMPORARY)
    return None


def _wait(config: Config, store: Store, identity: Identity) -> Failure | None:
    """Wait for the machine's own unit: it is the only one that can ask this source.

    There is nothing to wait for where this user may not read the token, or the unit has failed.
    """
    path = store.directory(identity.name) / "token"
    if config.writes:
        return Failure(
            f"the machine's token of {identity.name} is only for those who write it into auth.toml; for"
            " scripts set gar_auth_provider: keyring",
            code=Exit.REFUSED,
        )
    while not _fresh([store], identity):
        try:
            with open(path, "rb"):
                pass
        except PermissionError:
            return Failure(
                f"{path}: this session may not read it; who is one of artifact_registry_users may, from the"
                " next login on; see: gar-auth doctor",
                code=Exit.REFUSED,
                reason=Reason.FILE,
            )
        except OSError:
            pass  # not there: after a boot it may come
        status = None
        with contextlib.suppress(Failure):
            status = store.status(identity.name)
        if status and status.error:
            return Failure(f"{status.error}; see: gar-auth doctor", code=Exit.TEMPORARY)
        if status and status.expiry and time.time() > status.expiry + 2 * config.interval:
            message = f"the token of {identity.name} has expired and nobody renews it; see: gar-auth doctor"
            return Failure(message, code=Exit.TEMPORARY)
        time.sleep(0.1)
    return None


@contextlib.contextmanager
def _within(seconds: float) -> t.Iterator[None]:
    """End what takes longer, wherever it is."""

    def late(_number: int, _frame: types.FrameType | None) -> None:
        raise _TooLate

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except _TooLate:
        message = f"no token within {seconds:g} s; see: gar-auth doctor"
        raise Failure(message, code=Exit.TEMPORARY, reason=Reason.UNREACHABLE) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
