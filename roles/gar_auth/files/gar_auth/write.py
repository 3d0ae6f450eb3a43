# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the tokens into one user's auth.toml, as that user; has no network."""

from __future__ import annotations

import pwd
import time
import typing as t

from gar_auth._home_file import ConfigDirectory, FileProblem
from gar_auth._toml_edit import REMOVE, Changes, EditFailed, edit
from gar_auth._toml_read import NotToml, is_valid, values
from gar_auth.config import Config
from gar_auth.errors import Exit, Failure
from gar_auth.store import Store, Token

__all__ = ["USERNAME", "passwords", "remove", "tokens", "write"]

#: What Artifact Registry expects beside an access token:
#: https://cloud.google.com/artifact-registry/docs/python/authentication
USERNAME = "oauth2accesstoken"

_FILE = "auth.toml"
_TRIES = 5
#: Poetry takes about as long from reading auth.toml to writing it back.
_READ_BACK_SECONDS = 0.3


def tokens(config: Config, store: Store) -> dict[str, Token | None]:
    """The token of each identity in use; read before root becomes the user, who may not read it."""
    return {name: store.token(name) for name in {repository.identity for repository in config.repositories}}


def write(config: Config, known: t.Mapping[str, Token | None], account: pwd.struct_passwd) -> bool:
    """Merge an http-basic entry for each repository whose identity has a valid token.

    :returns: whether the file was changed.
    :raises Failure: no valid token for some repository (75, after the others were written), or the file
        cannot be used, replaced or trusted (65, 75, 77); the file is then as it was.
    """
    wanted: dict[tuple[str, ...], str] = {}
    missing: set[str] = set()
    now = time.time()
    for repository in config.repositories:
        token = known[repository.identity]
        if token is None or token.expiry <= now:
            missing.add(repository.identity)
            continue
        wanted["http-basic", repository.name, "username"] = USERNAME
        wanted["http-basic", repository.name, "password"] = token.token
    changed = bool(wanted) and _merge(config, account, wanted)
    if missing:
        names = ", ".join(sorted(missing))
        raise Failure(f"no valid token for {names}; see: gar-auth status", code=Exit.TEMPORARY)
    return changed


def remove(config: Config, account: pwd.struct_passwd) -> bool:
    """Take our http-basic entries out again; an entry with another user name is the user's own and stays.

    :returns: whether the file was changed.
    :raises Failure: as C(write).
    """
    ours = [name for name, entry in _entries(config, account).items() if entry.get("username") == USERNAME]
    names = {repository.name for repository in config.repositories}
    gone: dict[tuple[str, ...], object] = {
        ("http-basic", name, key): REMOVE
        for name in ours
        if name in names
        for key in ("username", "password")
    }
    return bool(gone) and _merge(config, account, gone)


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
    except (FileProblem, NotToml) as problem:
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
    except (FileProblem, EditFailed) as problem:
        raise _failure(problem, config, account) from None
    raise Failure(
        f"{config.directory_of(account)}/{_FILE} is written by somebody else all the time",
        code=Exit.TEMPORARY,
    )


def _failure(
    problem: FileProblem | EditFailed | NotToml, config: Config, account: pwd.struct_passwd
) -> Failure:
    if isinstance(problem, FileProblem):
        return Failure(str(problem), code=Exit(problem.code))
    path = f"{config.directory_of(account)}/{_FILE}"
    return Failure(f"{path}: {problem}; repair it or move it away: mv {path} {path}.old", code=Exit.UNUSABLE)
