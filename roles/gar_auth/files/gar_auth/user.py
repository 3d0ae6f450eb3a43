# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch and write in one, as the user: for a developer's own login, and where nothing is scheduled."""

from __future__ import annotations

import contextlib
import os
import pwd
import time
from collections.abc import Mapping

from gar_auth.config import Config, Identity
from gar_auth.errors import Exit, Failure, Reason
from gar_auth.fetch import fetch
from gar_auth.idle import is_changed
from gar_auth.store import Store, Token, user_store
from gar_auth.write import tokens, write

__all__ = ["HINT", "refresh", "refresh_user"]

#: Lies in the user's store while there is something to do at the next login; a shell shows it.
HINT = ".hint"
#: After that long a run of the unit asks no further source, but writes what it has: it is killed after 60 s
#: or more (under cron; 90 by systemd), and one source may take 40.
ENOUGH_SECONDS = 15.0
_LOGIN = (Reason.NOT_LOGGED_IN, Reason.LOGIN_EXPIRED)


def refresh(config: Config, store: Store, account: pwd.struct_passwd, *, now: bool = False) -> bool:
    """Fetch every identity in use and write all, by oneself.

    A source that mints on demand is asked when it is due, another one at each call.

    :param now: also ask where there is no valid token and a failure is still waited out.
    :returns: whether auth.toml was changed.
    :raises Failure: the first of the problems; what could be fetched is written.
    """
    own = user_store(config, account)
    jobs = [(identity, store) for identity in config.host_identities()]
    jobs += [(identity, own) for identity in config.user_identities()]
    problems: list[Failure] = []
    for identity, place in jobs:
        force = not identity.on_demand or _logged_in_since(identity, place, config)
        try:
            fetch(identity, place, config, force=force or (now and not _valid(identity, place)))
        except Failure as problem:
            problems.append(problem)
    known = {**tokens(config, own, problems, per_user=True), **tokens(config, store, problems)}
    return _written(config, account, known, problems)


def refresh_user(
    config: Config,
    account: pwd.struct_passwd,
    *,
    known: Mapping[str, Token | None] | None = None,
    now: bool = False,
) -> bool:
    """Fetch what is this user's own login and write it; somebody who has not logged in yet is no failure.

    :param known: tokens of the machine's, to be written too.
    :param now: as of C(refresh).
    :returns: whether auth.toml was changed.
    :raises Failure: as C(refresh).
    """
    store = user_store(config, account)
    problems: list[Failure] = []
    began = time.monotonic()
    for identity in config.user_identities():
        if time.monotonic() > began + ENOUGH_SECONDS:
            break  # those that failed are waited out at the next run: it gets to the others
        try:
            force = _logged_in_since(identity, store, config) or (now and not _valid(identity, store))
            fetch(identity, store, config, force=force)
        except Failure as problem:
            problems.append(problem)
    waiting = _waiting(config, store)
    store.note(HINT, _hint(waiting[0]) if waiting else None)
    told = [problem for problem in problems if problem.reason != Reason.NOT_LOGGED_IN]
    own = tokens(config, store, told, per_user=True)
    for identity in waiting:
        if not _valid(identity, store):
            own.pop(identity.name, None)
    return _written(config, account, {**own, **(known or {})}, told)


def _valid(identity: Identity, store: Store) -> bool:
    """Whether there is a token that has not expired."""
    try:
        token = store.token(identity.name)
    except Failure:
        return False
    return token is not None and token.expiry > time.time()


def _written(
    config: Config, account: pwd.struct_passwd, known: dict[str, Token | None], problems: list[Failure]
) -> bool:
    """Write, and then tell what went wrong before."""
    try:
        changed = bool(known) and config.writes and write(config, known, account)
    except Failure as problem:
        if problem.code != Exit.TEMPORARY or not problems:
            raise
        changed = False
    if problems:
        raise next((problem for problem in problems if problem.code != Exit.TEMPORARY), problems[0])
    return changed


def _logged_in_since(identity: Identity, store: Store, config: Config) -> bool:
    """Whether there may be another login than the one that was seen: it is looked at without waiting."""
    looked = store.looked(identity.name)
    return identity.per_user and looked is not None and is_changed(looked, *_logins(identity, config))


def _logins(identity: Identity, config: Config) -> list[str]:
    if identity.type == "gcloud":
        from gar_auth.gcloud import login_of

        directory = login_of(identity, config)
        return [os.path.join(directory, name) for name in ("credentials.db", "active_config")]
    from gar_auth.material import own_login

    return [own_login(identity)]


def _waiting(config: Config, store: Store) -> list[Identity]:
    """The identities that wait for the user to log in."""
    found: list[Identity] = []
    for identity in config.user_identities():
        with contextlib.suppress(Failure):
            status = store.status(identity.name)
            if status and status.error_class in {reason.value for reason in _LOGIN}:
                found.append(identity)
    return found


def _hint(identity: Identity) -> str:
    return f"gar-auth: run `{identity.login}` once and private packages work; more: gar-auth status"
