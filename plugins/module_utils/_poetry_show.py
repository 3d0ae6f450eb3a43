# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be shown of Poetry's files: dotted keys with values, secrets masked, and the repositories."""

from __future__ import annotations

import re
import typing as t

from ._toml_edit import in_toml
from ._toml_read import same
from ._validate import redact

__all__ = ["changed_keys", "index_url", "listing", "repositories_of"]

Values = t.Mapping[str, t.Any]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_ARTIFACT_REGISTRY = re.compile(r"https://[a-z0-9-]+-python\.pkg\.dev/[^/]+/[^/]+/?")
_SECRET_TABLES = ("http-basic", "pypi-token")


def changed_keys(before: Values, after: Values) -> list[str]:
    """The dotted keys that are new, gone or have another value."""
    old, new = _flat(before), _flat(after)
    return [
        _dotted(path)
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
        if path[0] in _SECRET_TABLES and path[-1] != "username":
            differs = path in compared and not same(compared[path], value)
            shown = "*** (another one)" if differs else "***"
        else:
            shown = redact(_as_text(value))
        lines.append(f"{_dotted(path)} = {shown}\n")
    return "".join(lines)


def repositories_of(config: Values) -> list[dict[str, t.Any]]:
    """What Poetry can publish to: C(name), C(publish_url), C(index_url) (None outside Artifact Registry)."""
    table = config.get("repositories")
    found = []
    for name, entry in table.items() if isinstance(table, dict) else ():
        url = entry.get("url") if isinstance(entry, dict) else None
        if isinstance(url, str):
            found.append({"name": name, "publish_url": redact(url), "index_url": index_url(url)})
    return found


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


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(key if _BARE.fullmatch(key) else in_toml(key) for key in path)
