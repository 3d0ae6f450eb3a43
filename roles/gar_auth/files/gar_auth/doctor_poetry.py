# SPDX-License-Identifier: GPL-3.0-or-later
"""C(gar-auth doctor): whether this user's Poetry finds the tokens, or something else hides them.

The rules are those of Poetry 1.8 to 2.5: the environment counts before auth.toml, http-basic is bound to a
repository's name, and netrc to a host. No password leaves C(look): digests and names do.
"""

from __future__ import annotations

import contextlib
import netrc
import os
import pwd
import re
import stat
import typing as t
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from gar_auth._home_file import ConfigDirectory, FileProblem
from gar_auth._toml_read import NotToml, is_valid, values
from gar_auth.config import Config
from gar_auth.errors import Exit, Failure
from gar_auth.store import digest
from gar_auth.write import USERNAME

__all__ = ["Poetry", "address", "look", "variables"]


@dataclass(frozen=True)
class Poetry:
    """The facts, without a secret.

    :ivar directory: where the tokens are written.
    :ivar reads: where Poetry looks, by the environment of this shell.
    :ivar steered_by: the variable that says so.
    :ivar basic: http-basic of auth.toml: name -> the password's digest, None beside another user name.
    :ivar tokens: the names in pypi-token, of both files.
    :ivar registered: repositories of config.toml: name -> URL.
    :ivar certificates: name -> the file of its certificate authority.
    :ivar variables: the names of Poetry's variables that are set.
    :ivar ours: those that hold Artifact Registry's user name.
    :ivar netrc: the file, and the hosts in it.
    :ivar netrc_damaged: it cannot be parsed, so requests ignores it.
    :ivar keyring: Poetry's setting keyring.enabled.
    """

    user: str
    directory: str
    reads: str
    steered_by: str | None = None
    basic: t.Mapping[str, str | None] = field(default_factory=dict)
    tokens: frozenset[str] = frozenset()
    registered: t.Mapping[str, str] = field(default_factory=dict)
    certificates: t.Mapping[str, str] = field(default_factory=dict)
    variables: frozenset[str] = frozenset()
    ours: frozenset[str] = frozenset()
    netrc: str = "~/.netrc"
    netrc_hosts: frozenset[str] = frozenset()
    netrc_damaged: bool = False
    keyring: bool = True


def look(config: Config, account: pwd.struct_passwd) -> tuple[Poetry, dict[str, str]]:
    """Gather the facts, as that user.

    :returns: the facts, and the tokens in auth.toml by repository, to try them.
    :raises Failure: one of the files cannot be used or trusted (65, 75, 77).
    """
    directory = os.path.normpath(config.directory_of(account))
    auth = _file(directory, "auth.toml", account, private=True)
    settings = _file(directory, "config.toml", account, private=False)
    entries = {name: one for name, one in _table(auth, "http-basic").items() if isinstance(one, dict)}
    found = {
        name: str(one.get("password", "")) for name, one in entries.items() if one.get("username") == USERNAME
    }
    steered_by, reads = _steered(account)
    path, hosts = _netrc(account)
    names = frozenset(name for name in os.environ if name.startswith("POETRY_"))
    poetry = Poetry(
        user=account.pw_name,
        directory=directory,
        reads=reads,
        steered_by=steered_by,
        basic={name: digest(found[name]) if name in found else None for name in entries},
        tokens=frozenset(_table(auth, "pypi-token")) | frozenset(_table(settings, "pypi-token")),
        registered=_inner(settings, "repositories", "url"),
        certificates=_inner(settings, "certificates", "cert"),
        variables=names,
        ours=frozenset(name for name in names if os.environ[name] == USERNAME),
        netrc=path,
        netrc_hosts=frozenset(hosts or ()),
        netrc_damaged=hosts is None,
        keyring=_table(settings, "keyring").get("enabled") is not False,
    )
    return poetry, found


def variables(name: str) -> set[str]:
    """What Poetry calls a repository in its variables; before 2.4 a dot became C(_), too."""
    capitals = name.upper().replace("-", "_")
    return {capitals, capitals.replace(".", "_")}


def address(url: str) -> tuple[str, str]:
    """Host (with port) and path of a repository, the same for its publish URL and its index URL."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return "", ""
    path = re.sub("/(simple/?)?$", "", parts.path.rstrip("/") + "/")
    return (host if port in (None, 443) else f"{host}:{port}"), path


def _file(directory: str, name: str, account: pwd.struct_passwd, *, private: bool) -> dict[str, t.Any]:
    try:
        with ConfigDirectory(directory, home=account.pw_dir) as held:
            return values(held.read(name, complete=is_valid, private=private).text)
    except FileProblem as problem:
        raise Failure(str(problem), code=Exit(problem.code)) from None
    except NotToml as problem:
        path = os.path.join(directory, name)
        raise Failure(
            f"{path}: {problem}; repair it or move it away: mv {path} {path}.old", code=Exit.UNUSABLE
        ) from None


def _table(data: t.Mapping[str, t.Any], name: str) -> dict[str, t.Any]:
    table = data.get(name)
    return table if isinstance(table, dict) else {}


def _inner(data: t.Mapping[str, t.Any], table: str, key: str) -> dict[str, str]:
    found = {}
    for name, entry in _table(data, table).items():
        value = entry.get(key) if isinstance(entry, dict) else None
        if isinstance(value, str):
            found[name] = value
    return found


def _steered(account: pwd.struct_passwd) -> tuple[str | None, str]:
    """The variable that moves Poetry's configuration directory, and that directory."""
    for variable, below in (("POETRY_CONFIG_DIR", ""), ("XDG_CONFIG_HOME", "/pypoetry")):
        value = os.environ.get(variable, "")
        if value.strip():
            return variable, os.path.normpath(value + below)
    return None, os.path.normpath(f"{account.pw_dir}/.config/pypoetry")


def _netrc(account: pwd.struct_passwd) -> tuple[str, set[str] | None]:
    """The file that requests would read, and its hosts; None where it cannot be parsed."""
    named = os.environ.get("NETRC")
    paths = [named] if named else [f"{account.pw_dir}/.netrc", f"{account.pw_dir}/_netrc"]
    for path in paths:
        with contextlib.suppress(OSError):
            if stat.S_ISREG(os.stat(path).st_mode):
                try:
                    return path, set(netrc.netrc(path).hosts)
                except (netrc.NetrcParseError, UnicodeDecodeError):
                    return path, None
    return paths[0], set()
