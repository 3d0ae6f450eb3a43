# SPDX-License-Identifier: GPL-3.0-or-later
"""Say how long each identity's token still lives and which users have it; never shows a token.

The machine is fine (exit code 0) when every identity has a valid token and every user that was looked at has
it in auth.toml, or with the provider keyring may read it. A user who has not logged in yet is told what to
run, and it is 75 for that user; root, who can do nothing about it, is told the same, and for root it is no
fault of the machine.
"""

from __future__ import annotations

import functools
import grp
import os
import pwd
import time
import typing as t
from dataclasses import asdict, dataclass

from gar_auth._as_user import WorkFailed, run_all
from gar_auth.config import Config, Identity, account_of
from gar_auth.errors import Failure, Reason
from gar_auth.status_text import as_text, utc
from gar_auth.store import Status, Store, digest, user_store
from gar_auth.write import passwords

__all__ = ["Entry", "Report", "inspect", "may_read"]

_LOGIN = (None, Reason.NOT_LOGGED_IN.value, Reason.LOGIN_EXPIRED.value)


@dataclass(frozen=True)
class Entry:
    """An identity's token: the machine's, or one user's own.

    :ivar looked: when the source was last asked, seconds since the epoch.
    """

    identity: Identity
    status: Status
    looked: float | None = None

    def left(self, now: float) -> int | None:
        """Seconds until the token expires, negative afterwards; None without a token."""
        return None if self.status.expiry is None else int(self.status.expiry - now)

    def valid(self, now: float) -> bool:
        return self.status.expiry is not None and self.status.expiry > now

    def awaits_login(self, now: float) -> bool:
        """Whether nothing is missing but that the user logs in."""
        return self.identity.per_user and not self.valid(now) and self.status.error_class in _LOGIN

    def as_dict(self, now: float) -> dict[str, t.Any]:
        status, left = self.status, self.left(now)
        state = "missing" if left is None else "valid" if left > 0 else "expired"
        return {
            **asdict(status),
            "type": self.identity.type,
            "per_user": self.identity.per_user,
            "state": state,
            "expires_at": utc(status.expiry),
            "seconds_left": None if left is None else max(0, left),
            "obtained_at": utc(status.obtained),
            "age_seconds": None if status.obtained is None else max(0, int(now - status.obtained)),
            "looked_at": utc(self.looked),
            "last_failure": utc(status.failed_at),
            "first_failure": utc(status.failing_since),
            "login": self.identity.login if self.awaits_login(now) else None,
        }


@dataclass(frozen=True)
class Report:
    """The state of the machine, or of what this user may see of it.

    :ivar identities: the machine's, by name.
    :ivar logins: by user: the user's own identities, by name.
    :ivar users: by user: repository -> C(fresh), C(stale) or C(missing), or a single C(error). With the
        provider keyring also C(on demand): nothing is scheduled, a client that asks gets one; C(hidden): an
        entry in the user's auth.toml is taken first; C(forbidden): the user may not read the token.
    :ivar repositories: repository -> identity.
    :ivar for_root: root looks; see the module's own text.
    """

    identities: dict[str, Entry]
    logins: dict[str, dict[str, Entry]]
    users: dict[str, dict[str, str]]
    repositories: dict[str, str]
    now: float
    for_root: bool = False
    provider: str = "token_timer"
    on_demand: bool = False

    @property
    def fine(self) -> bool:
        entries = [*self.identities.values(), *(one for own in self.logins.values() for one in own.values())]
        valid = self.on_demand or all(
            one.valid(self.now) or (self.for_root and one.awaits_login(self.now)) for one in entries
        )
        return valid and all(
            state in ("fresh", "on demand") or (self.for_root and self._awaits(user, name))
            for user, states in self.users.items()
            for name, state in states.items()
        )

    def _awaits(self, user: str, repository: str) -> bool:
        entry = self.logins.get(user, {}).get(self.repositories.get(repository, ""))
        return entry is not None and entry.awaits_login(self.now)

    def hints(self) -> list[str]:
        """What users are to run before their own tokens are there."""
        return [
            f"{user}: run `{entry.identity.login}` once, then the repositories of {name} work"
            for user, own in self.logins.items()
            for name, entry in own.items()
            if entry.awaits_login(self.now)
        ]

    def as_dict(self) -> dict[str, t.Any]:
        def entries(found: dict[str, Entry]) -> dict[str, t.Any]:
            return {name: entry.as_dict(self.now) for name, entry in found.items()}

        return {
            "fine": self.fine,
            "provider": self.provider,
            "identities": entries(self.identities),
            "logins": {user: entries(own) for user, own in self.logins.items()},
            "repositories": self.repositories,
            "users": self.users,
            "hints": self.hints(),
        }

    def as_text(self) -> str:
        """Two short tables, each problem below its line."""
        shown: list[tuple[str, dict[str, t.Any]]] = []
        for name, entry in self.identities.items():
            shown.append((name, entry.as_dict(self.now)))
        for user, own in self.logins.items():
            shown += [(f"{name} of {user}", entry.as_dict(self.now)) for name, entry in own.items()]
        where = "AUTH.TOML" if self.provider == "token_timer" else self.provider.upper()
        return as_text(shown, self.users, self.repositories, self.hints(), where=where, now=self.now)


def inspect(config: Config, store: Store) -> Report:
    """Look at the store and, as root, at every user's own files (as that user); otherwise at one's own.

    Where nothing is scheduled machine-wide each user has a store: root looks at theirs.

    :raises Failure: a status file is damaged (65).
    """
    logins: dict[str, dict[str, Entry]] = {}
    users: dict[str, dict[str, str]] = {}
    accounts: dict[str, pwd.struct_passwd] = {}
    for user in config.users:
        try:
            account = account_of(user)
        except Failure as problem:
            users[user] = {"error": str(problem)}
        else:
            if os.geteuid() in (0, account.pw_uid):
                accounts[user] = account
                users[user] = {}  # in the order of the configuration
    others = [account for account in accounts.values() if account.pw_uid != os.geteuid()]
    theirs = config.shared_run_dir is None and bool(others) and len(others) == len(accounts)
    identities = {} if theirs else {one.name: _entry(one, store) for one in config.host_identities()}
    jobs = [
        (account, functools.partial(_look, config, account, other=account in others))
        for account in accounts.values()
    ]
    for user, answer in zip(accounts, run_all(jobs)):
        if isinstance(answer, WorkFailed):
            users[user] = {"error": str(answer)}
            continue
        if answer["own"]:
            logins[user] = {
                name: Entry(config.identities[name], Status(**status), looked)
                for name, (status, looked) in answer["own"].items()
            }
        known = {**identities, **logins.get(user, {})}
        if "error" in answer:
            users[user] = {"error": answer["error"]}
        elif config.writes:
            users[user] = _compare(config, answer["found"], known)
        else:
            users[user] = _reach(config, answer["found"], known, accounts[user])
    return Report(
        identities=identities,
        logins=logins,
        users=users,
        repositories={one.name: one.identity for one in config.repositories},
        now=time.time(),
        for_root=_is_root(),
        provider=config.provider,
        on_demand=_on_demand(config),
    )


def _is_root() -> bool:
    return os.geteuid() == 0


def _entry(identity: Identity, store: Store) -> Entry:
    status = store.status(identity.name) or Status(identity=identity.name, source=identity.source)
    return Entry(identity, status, store.looked(identity.name))


def _look(config: Config, account: pwd.struct_passwd, *, other: bool) -> dict[str, t.Any]:
    """What a user's own files say, as that user; the passwords stay in this process.

    :param other: root looks at somebody else.
    """
    identities = config.user_identities()
    if other and config.shared_run_dir is None:
        _move_into(account)
        identities += config.host_identities()
    own: dict[str, t.Any] = {}
    answer: dict[str, t.Any] = {"own": own}
    try:
        for identity in identities:
            entry = _entry(identity, user_store(config, account))
            own[identity.name] = (asdict(entry.status), entry.looked)
        answer["found"] = {name: digest(one) for name, one in passwords(config, account).items()}
    except Failure as problem:
        answer["error"] = str(problem)
    return answer


def _move_into(account: pwd.struct_passwd) -> None:
    """See the environment in which that user's own store is found."""
    os.environ["HOME"] = account.pw_dir
    for name in ("XDG_RUNTIME_DIR", "XDG_CACHE_HOME"):
        os.environ.pop(name, None)
    session = f"/run/user/{account.pw_uid}"
    if os.path.isdir(f"{session}/gar-auth"):
        os.environ["XDG_RUNTIME_DIR"] = session


def _compare(config: Config, found: t.Mapping[str, str], known: t.Mapping[str, Entry]) -> dict[str, str]:
    states = {}
    for repository in config.repositories:
        held = found.get(repository.name)
        if held is None:
            states[repository.name] = "missing"
        else:
            fresh = held == known[repository.identity].status.digest
            states[repository.name] = "fresh" if fresh else "stale"
    return states


def _on_demand(config: Config) -> bool:
    """Whether a token is fetched when a client asks, and nobody needs one before."""
    return not config.writes and config.shared_run_dir is None


def _reach(
    config: Config, found: t.Collection[str], known: t.Mapping[str, Entry], account: pwd.struct_passwd
) -> dict[str, str]:
    """What the keyring backend has for this user.

    :param found: the repositories with an entry in the user's auth.toml.
    """
    allowed = may_read(config, account)
    states = {}
    for repository in config.repositories:
        entry = known.get(repository.identity)
        if repository.name in found:
            state = "hidden"
        elif entry and entry.valid(time.time()):
            state = "fresh" if allowed or entry.identity.per_user else "forbidden"
        elif _on_demand(config):
            state = "on demand"
        else:
            state = "stale" if entry and entry.status.expiry is not None else "missing"
        states[repository.name] = state
    return states


def may_read(config: Config, account: pwd.struct_passwd) -> bool:
    """Whether the machine's tokens are for this user: one of the group, or nobody else's."""
    if config.shared_run_dir is None or account.pw_uid == 0 or config.keyring_group is None:
        return True
    try:
        group = grp.getgrnam(config.keyring_group).gr_gid
    except KeyError:
        return False
    return group in os.getgrouplist(account.pw_name, account.pw_gid)
