# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the tokens into one user's auth.toml, as that user; has no network."""

from __future__ import annotations

import pwd
import shlex
import time
import typing as t

from gar_auth._home_file import ConfigDirectory, FileProblem, problem_of
from gar_auth._toml_edit import REMOVE, Changes, EditFailed, edit
from gar_auth._toml_read import NotToml, is_valid, values
from gar_auth.config import Config
from gar_auth.errors import Exit, Failure, Reason
from gar_auth.store import Store, Token

__all__ = ["USERNAME", "passwords", "remove", "tokens", "write"]

#: What Artifact Registry expects beside an access token:
#: https://cloud.google.com/artifact-registry/docs/python/authentication
USERNAME = "oauth2accesstoken"

_FILE = "auth.toml"
_TRIES = 5
#: Poetry takes about as long from reading auth.toml to writing it back.
_READ_BACK_SECONDS = 0.3


def tokens(
    config: Config,
    store: Store,
    problems: list[Failure],
    *,
    per_user: bool = False,
    only: t.Collection[str] | None = None,
) -> dict[str, Token | None]:
    """The token of each identity in use; read before root becomes the user, who may not read it.

    A damaged one counts as missing: the next fetch writes it anew.

    :param problems: takes up why a token cannot be read; its identity is left out.
    :param per_user: the identities that are the user's own login, instead of the machine's.
    :param only: of these repositories.
    """
    wanted = {item.identity for item in config.repositories if only is None or item.name in only}
    identities = config.user_identities() if per_user else config.host_identities()
    known: dict[str, Token | None] = {}
    for name in (one.name for one in identities if one.name in wanted):
        try:
            known[name] = store.token(name)
        except Failure as problem:
            if problem.code == Exit.UNUSABLE:
                known[name] = None
            else:
                problems.append(problem)
    return known


def write(
    config: Config,
    known: t.Mapping[str, Token | None],
    account: pwd.struct_passwd,
    *,
    only: t.Collection[str] | None = None,
    if_any: bool = False,
) -> bool:
    """Merge an http-basic entry for each repository whose identity has a valid token.

    :param known: the identities whose repositories are written, with their tokens.
    :param only: these repositories.
    :param if_any: a token that is missing is no failure.
    :returns: whether the file was changed.
    :raises Failure: no valid token for some repository (75, after the others were written), or the file
        cannot be used, replaced or trusted (65, 75, 77); the file is then as it was.
    """
    wanted: dict[tuple[str, ...], str] = {}
    missing: set[str] = set()
    now = time.time()
    for repository in config.repositories:
        if repository.identity not in known or (only is not None and repository.name not in only):
            continue
        token = known[repository.identity]
        if token is None or token.expiry <= now:
            missing.add(repository.identity)
            continue
        wanted["http-basic", repository.name, "username"] = USERNAME
        wanted["http-basic", repository.name, "password"] = token.token
    changed = bool(wanted) and _merge(config, account, wanted)
    if missing and not if_any:
        names = ", ".join(sorted(missing))
        raise Failure(f"no valid token for {names}; see: gar-auth status", code=Exit.TEMPORARY)
    return changed


def remove(
    config: Config,
    account: pwd.struct_passwd,
    *,
    only: t.Collection[str] | None = None,
    check: bool = False,
) -> bool:
    """Take our http-basic entries out again; an entry with another user name is the user's own and stays.

    :param only: these repositories, also such as are no longer declared.
    :param check: change nothing.
    :returns: whether the file was changed, or would be.
    :raises Failure: as C(write).
    """
    names = {repository.name for repository in config.repositories} if only is None else set(only)
    gone: dict[tuple[str, ...], object] = {
        ("http-basic", name, key): REMOVE
        for name, entry in _entries(config, account).items()
        if name in names and entry.get("username") == USERNAME
        for key in ("username", "password")
    }
    return bool(gone) and (check or _merge(config, account, gone))


def passwords(config: Config, account: pwd.struct_passwd) -> dict[str, str]:
    """The passwords that stand in the user's auth.toml beside our user name, by repository."""
    return {
        name: str(entry.get("password", ""))
        for name, entry in _entries(config, account).items()
        if entry.get("username") == USERNAME
    }


def _entries(config: Config, account: pwd.struct_passwd) -> dict[str, dict[str, object]]:
    try:
        with ConfigDirectory(config.directory_of(account), home=account.pw_dir) as directory:
            snapshot = directory.read(_FILE, complete=is_valid, private=True)
        table = values(snapshot.text).get("http-basic", {})
    except (FileProblem, NotToml, OSError) as problem:
        raise _failure(problem, config, account) from None
    return (
        {name: entry for name, entry in table.items() if isinstance(entry, dict)}
        if isinstance(table, dict)
        else {}
    )


def _merge(config: Config, account: pwd.struct_passwd, changes: Changes) -> bool:
    changed = False
    try:
        with (
            ConfigDirectory(config.directory_of(account), home=account.pw_dir, create=True) as directory,
            directory.locked(),
        ):
            directory.sweep()
            for _attempt in range(_TRIES):
                snapshot = directory.read(_FILE, complete=is_valid, private=True)
                text = edit(snapshot.text, changes)
                if text == snapshot.text:
                    return changed
                if directory.replace(_FILE, text, previous=snapshot):
                    changed = True
                    # Then read back: Poetry knows no lock and may just overwrite it.
                    time.sleep(_READ_BACK_SECONDS)
    except (FileProblem, EditFailed, OSError) as problem:
        raise _failure(problem, config, account, changed=changed) from None
    raise Failure(
        f"{config.directory_of(account)}/{_FILE} is written by somebody else all the time",
        code=Exit.TEMPORARY,
    )


def _failure(
    problem: FileProblem | EditFailed | NotToml | OSError,
    config: Config,
    account: pwd.struct_passwd,
    *,
    changed: bool = False,
) -> Failure:
    """The problem as the program's own.

    :param changed: the file was replaced before, and then could not be read back.
    """
    path = f"{config.directory_of(account)}/{_FILE}"
    if isinstance(problem, OSError):
        problem = problem_of(problem, path)
    if isinstance(problem, FileProblem):
        text = str(problem)
        if changed:
            text = text.replace("nothing was changed", "the tokens are in it, but it was not read again")
        return Failure(text, code=Exit(problem.code), reason=Reason.FILE)
    move = f"mv {shlex.quote(path)} {shlex.quote(f'{path}.old')}"
    return Failure(
        f"{path}: {problem}; repair it or move it away: {move}", code=Exit.UNUSABLE, reason=Reason.FILE
    )
