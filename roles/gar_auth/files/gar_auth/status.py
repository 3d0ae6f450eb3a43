# SPDX-License-Identifier: GPL-3.0-or-later
"""Say how long each identity's token still lives and which users have it; never shows a token."""

from __future__ import annotations

import functools
import os
import pwd
import time
import typing as t
from dataclasses import asdict, dataclass

from gar_auth._as_user import WorkFailed, run_as
from gar_auth.config import Config, account_of
from gar_auth.errors import Failure
from gar_auth.store import Status, Store, digest
from gar_auth.write import passwords

__all__ = ["Report", "inspect"]


@dataclass(frozen=True)
class Report:
    """The state of the machine, or of what this user may see of it.

    :ivar identities: by name.
    :ivar users: by name: repository -> C(fresh), C(stale) or C(missing), or a single C(error).
    """

    identities: dict[str, Status]
    users: dict[str, dict[str, str]]
    now: float

    @property
    def fine(self) -> bool:
        """Whether every identity has a valid token and every user that was looked at has it."""
        valid = all(
            status.expiry is not None and status.expiry > self.now for status in self.identities.values()
        )
        return valid and all(set(states.values()) <= {"fresh"} for states in self.users.values())

    def as_dict(self) -> dict[str, t.Any]:
        identities = {}
        for name, status in self.identities.items():
            left = None if status.expiry is None else max(0, int(status.expiry - self.now))
            identities[name] = {**asdict(status), "seconds_left": left}
        return {"fine": self.fine, "identities": identities, "users": self.users}

    def as_text(self) -> str:
        lines = []
        for name, status in self.identities.items():
            left = 0 if status.expiry is None else int(status.expiry - self.now)
            state = f"valid for {left // 60} min {left % 60} s" if left > 0 else "no valid token"
            lines.append(f"identity {name} ({status.source}): {state}")
            if status.error:
                lines.append(f"  last error: {status.error}")
        for user, states in self.users.items():
            lines += [f"user {user}: {repository}: {state}" for repository, state in states.items()]
        return "\n".join(lines)


def inspect(config: Config, store: Store) -> Report:
    """Look at the store and, as root, at every user's auth.toml (as that user); otherwise at one's own."""
    identities = {
        name: store.status(name) or Status(identity=name, source=f"metadata:{identity.account}")
        for name, identity in config.identities.items()
    }
    users = {}
    for user in config.users:
        try:
            account = account_of(user)
            if os.geteuid() in (0, account.pw_uid):
                answer = run_as(account, functools.partial(_look, config, account))
                found = answer.get("found")
                users[user] = answer if found is None else _compare(config, found, identities)
        except (Failure, WorkFailed) as problem:
            users[user] = {"error": str(problem)}
    return Report(identities=identities, users=users, now=time.time())


def _look(config: Config, account: pwd.struct_passwd) -> dict[str, t.Any]:
    try:
        return {"found": passwords(config, account)}
    except Failure as problem:
        return {"error": str(problem)}


def _compare(config: Config, found: dict[str, str], identities: dict[str, Status]) -> dict[str, str]:
    states = {}
    for repository in config.repositories:
        password = found.get(repository.name)
        if password is None:
            states[repository.name] = "missing"
        else:
            fresh = digest(password) == identities[repository.identity].digest
            states[repository.name] = "fresh" if fresh else "stale"
    return states
