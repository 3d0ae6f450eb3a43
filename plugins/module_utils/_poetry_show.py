# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be shown of Poetry's files: dotted keys with values, secrets masked, and the repositories."""

from __future__ import annotations

import re
import typing as t

from ._poetry_plan import HTTP_BASIC
from ._poetry_settings import BUILD_SETTINGS
from ._toml_edit import in_toml, key_in_toml
from ._toml_read import same
from ._validate import redact

__all__ = [
    "SECTIONS",
    "changed_keys",
    "index_url",
    "listing",
    "public_login",
    "public_url",
    "repositories_of",
]

Values = t.Mapping[str, t.Any]

_ARTIFACT_REGISTRY = re.compile(r"https://[a-z0-9-]+-python\.pkg\.dev/[^/]+/[^/]+/?")
#: Top-level keys of settings, of all releases; a misspelt one may hold a secret.
SECTIONS = (
    "cache-dir",
    "data-dir",
    "experimental",
    "installer",
    "keyring",
    "python",
    "requests",
    "solver",
    "system-git-client",
    "virtualenvs",
    "warnings",
)
#: Beside these the user name may be a token, as some hosts want it.
_NO_PASSWORDS = ("", "x-oauth-basic")


def changed_keys(before: Values, after: Values) -> list[str]:
    """The dotted keys that are new, gone or have another value."""
    old, new = _flat(before), _flat(after)
    return [
        key_in_toml(path)
        for path in {**old, **new}
        if path not in old or path not in new or not same(old[path], new[path])
    ]


def listing(tree: Values, *, other: Values) -> str:
    """One line for each value, as C(poetry config --list) has them, but without secrets.

    :param other: the values of the other side of a diff: a secret that differs is marked.
    """
    compared = _flat(other)
    lines = []
    for path, value in sorted(_flat(tree).items()):
        shown = _shown(path, value, tree)
        if shown is None:
            differs = path in compared and not same(compared[path], value)
            shown = "*** (another one)" if differs else "***"
        lines.append(f"{key_in_toml(path)} = {shown}\n")
    return "".join(lines)


def _shown(path: tuple[str, ...], value: t.Any, tree: Values) -> str | None:
    """The value as it may be shown; None for all that is or may be a secret."""
    if path[0] == HTTP_BASIC and len(path) == 3 and path[2] == "username":
        login = public_login(value, tree[HTTP_BASIC][path[1]].get("password"))
        return None if login is None else in_toml(login)
    if path[0] == "repositories" and path[-1] == "url" and isinstance(value, str):
        return in_toml(public_url(value))
    if path[0] == "certificates" and path[-1] in ("cert", "client-cert"):
        return redact(_as_text(value))
    if path[0] in SECTIONS and path[:2] != BUILD_SETTINGS:
        return redact(_as_text(value))
    return None


def public_login(username: t.Any, password: t.Any) -> str | None:
    """The user name where it is no secret: some hosts take a token as the user name, and no true password."""
    if not isinstance(username, str) or not isinstance(password, str):
        return None
    return username if password not in _NO_PASSWORDS and len(username) <= 64 else None


def public_url(url: str) -> str:
    """The URL without what may be a secret in it."""
    found = re.match(r"[a-z]+://", url)
    scheme = found[0] if found else ""
    if "@" in url:
        url = f"{scheme}***@{url.rpartition('@')[2]}"
    return re.split(r"[?#]", url, maxsplit=1)[0]


def repositories_of(config: Values, auth: Values) -> list[dict[str, t.Any]]:
    """What Poetry can publish to: C(name), C(publish_url), C(index_url) (None outside Artifact Registry)."""
    urls: dict[str, str] = {}
    for tree in (config, auth):  # in Poetry's order: the last one wins
        table = tree.get("repositories")
        for name, entry in table.items() if isinstance(table, dict) else ():
            url = entry.get("url") if isinstance(entry, dict) else None
            if isinstance(url, str):
                urls[name] = url
    return [
        {"name": name, "publish_url": public_url(url), "index_url": index_url(url)}
        for name, url in urls.items()
    ]


def index_url(publish_url: str) -> str | None:
    """Where packages of a repository in Artifact Registry are installed from; None for another URL."""
    return f"{publish_url.rstrip('/')}/simple/" if _ARTIFACT_REGISTRY.fullmatch(publish_url) else None


def _flat(tree: Values, prefix: tuple[str, ...] = ()) -> dict[tuple[str, ...], t.Any]:
    found: dict[tuple[str, ...], t.Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found.update(_flat(value, (*prefix, key)))
        else:
            found[(*prefix, key)] = value
    return found


def _as_text(value: t.Any) -> str:
    if isinstance(value, (str, bool, int, float, list)):
        return in_toml(value)
    return str(value)
