# SPDX-License-Identifier: GPL-3.0-or-later
"""Which users a module works for, where their Poetry's configuration is, and the work for each of them."""

from __future__ import annotations

import functools
import os
import pwd
import typing as t

from ._as_user import WorkFailed, run_all
from ._poetry_plan import AUTH, CONFIG
from ._validate import InvalidInput, Problem, parse_users

__all__ = ["ARGUMENTS", "accounts", "for_each"]

#: The options of doc_fragments/users.py.
ARGUMENTS: dict[str, t.Any] = {
    "users": {"type": "list", "elements": "str"},
    "config_dir": {"type": "str", "default": ".config/pypoetry"},
    "symlink": {"type": "str", "choices": ["refuse", "follow"], "default": "refuse"},
    "poetry": {"type": "str", "default": "poetry"},
    "allow_root": {"type": "bool", "default": False},
}


def accounts(users: list[str] | None, *, allow_root: bool) -> list[pwd.struct_passwd]:
    """The users' entries in the passwd database; for None that of the present user.

    :raises InvalidInput: unknown users, root without C(allow_root), and what C(parse_users) says.
    """
    if users is None:
        try:
            present = pwd.getpwuid(os.geteuid())
        except KeyError:
            raise InvalidInput(
                [
                    Problem(
                        "users", f"nothing, and uid {os.geteuid()} has no account", "existing users", "[dev]"
                    )
                ]
            ) from None
        users = [present.pw_name]
    found, problems = [], []
    for number, name in enumerate(parse_users(users, variable="users", allow_root=allow_root)):
        try:
            found.append(pwd.getpwnam(name))
            if os.geteuid() not in (0, found[-1].pw_uid):
                problem = Problem(
                    f"users[{number}]", f"{name!r}", "the own user; others only with become: true"
                )
                problems.append(problem)
        except KeyError:
            problems.append(
                Problem(f"users[{number}]", f"{name!r}, unknown on this machine", "existing users")
            )
    if problems:
        raise InvalidInput(problems)
    return found


def for_each(
    users: t.Sequence[pwd.struct_passwd],
    params: t.Mapping[str, t.Any],
    work: t.Callable[..., dict[str, t.Any]],
) -> dict[str, dict[str, t.Any]]:
    """Do the work as each user, for the user's Poetry configuration directory.

    :param params: the module's.
    :param work: takes the directory, C(home) and C(follow); what it returns says C(failure) where it failed.
    :returns: user -> C(config_file) and C(auth_file) (paths), and what the work returned.
    :raises InvalidInput: C(config_dir) cannot be used.
    """
    directories = [_directory_of(account, params["config_dir"]) for account in users]
    follow = params["symlink"] == "follow"
    answers = run_all(
        (account, functools.partial(work, directory, home=account.pw_dir, follow=follow))
        for account, directory in zip(users, directories)
    )
    return {
        account.pw_name: {
            "config_file": f"{directory}/{CONFIG}",
            "auth_file": f"{directory}/{AUTH}",
            **({"failure": str(answer)} if isinstance(answer, WorkFailed) else answer),
        }
        for account, directory, answer in zip(users, directories, answers)
    }


def _directory_of(account: pwd.struct_passwd, config_dir: str) -> str:
    """The user's Poetry configuration directory.

    :raises InvalidInput: it is no directory of its own, or written as only a shell would understand it.
    """
    path = os.path.normpath(config_dir or ".")
    if path in (".", "/") or config_dir[:1] in "~$" or ".." in path.split("/"):
        raise InvalidInput(
            [
                Problem(
                    "config_dir",
                    repr(config_dir),
                    "an absolute path, or one below each user's home, without ~, $ and ..",
                    ".config/pypoetry",
                )
            ]
        )
    return os.path.join(os.path.normpath(account.pw_dir), path)
