# SPDX-License-Identifier: GPL-3.0-or-later
"""The validator of checkouts: which repositories are sources of which Poetry project. Pure."""

from __future__ import annotations

import posixpath
import typing as t

from ._poetry_sources import parse_sources
from ._validate import InvalidInput, Problem

__all__ = ["parse_checkouts"]

_KEYS = {"path", "repositories", "priority", "state"}
_PRIORITIES = ("explicit", "supplemental", "primary")
_STATES = ("present", "absent")
_EXAMPLE = "{path: /home/alice/app, repositories: [private-repo], priority: explicit}"


def parse_checkouts(
    declared: t.Any,
    *,
    repositories: t.Any,
    variable: str = "artifact_registry_checkouts",
    present: bool = True,
    allow_other_hosts: bool = False,
) -> list[dict[str, t.Any]]:
    """Check declared checkouts; return C(path), C(state), and C(sources) for C(poetry_source) of each.

    :param repositories: the declared repositories, from which the URLs come; they are checked elsewhere.
    :param present: whether a checkout has its sources, unless it says C(state: absent) itself.
    :raises InvalidInput: with every problem found.
    """
    problems: list[Problem] = []
    if not isinstance(declared, list):
        raise InvalidInput([Problem(variable, _kind(declared), "a list of checkouts", f"[{_EXAMPLE}]")])
    known = {one["name"]: one for one in repositories if isinstance(one, dict) and "name" in one}
    checkouts: list[dict[str, t.Any]] = []
    for number, item in enumerate(declared):
        path = f"{variable}[{number}]"
        if not isinstance(item, dict):
            problems.append(Problem(path, _kind(item), "a mapping", _EXAMPLE))
            continue
        given = {str(key): value for key, value in item.items() if value is not None}
        problems += [
            Problem(f"{path}.{key}", "an unknown option", ", ".join(sorted(_KEYS)), _EXAMPLE)
            for key in sorted(given.keys() - _KEYS)
        ]
        for key, choices in (("priority", _PRIORITIES), ("state", _STATES)):
            if given.get(key, choices[0]) not in choices:
                problems.append(Problem(f"{path}.{key}", _kind(given[key]), ", ".join(choices), _EXAMPLE))
        state = given.get("state", "present") if present else "absent"
        checkouts.append(
            {
                "path": _directory(given.get("path"), f"{path}.path", checkouts, problems),
                "state": state,
                "sources": _sources(given, path, known, state == "present", problems),
            }
        )
    if not problems:
        for number, checkout in enumerate(checkouts):
            parse_sources(
                checkout["sources"],
                present=checkout["state"] == "present",
                allow_other_hosts=allow_other_hosts,
                variable=f"{variable}[{number}].repositories",
            )
    if problems:
        raise InvalidInput(problems)
    return checkouts


def _directory(
    value: t.Any, path: str, checkouts: t.Sequence[dict[str, t.Any]], problems: list[Problem]
) -> str:
    """The project's directory, normalised."""
    allowed = "the absolute path of a directory with a pyproject.toml, each once"
    if not isinstance(value, str) or not value.startswith("/") or not value.isprintable():
        problems.append(Problem(path, "nothing" if value is None else _kind(value), allowed, _EXAMPLE))
        return ""
    directory = posixpath.normpath(value)
    if any(checkout["path"] == directory for checkout in checkouts):
        problems.append(Problem(path, f"{directory!r} a second time", allowed, _EXAMPLE))
    return directory


def _sources(
    given: dict[str, t.Any],
    path: str,
    known: dict[str, dict[str, t.Any]],
    present: bool,
    problems: list[Problem],
) -> list[dict[str, t.Any]]:
    """The sources of one checkout; to take one out its name is enough, even if it is declared no more."""
    names = given.get("repositories", list(known))
    allowed = f"names of artifact_registry_repositories, one or more: {', '.join(known) or 'there is none'}"
    if not isinstance(names, list) or not names:
        problems.append(Problem(f"{path}.repositories", _kind(names), allowed, _EXAMPLE))
        return []
    unknown = [name for name in names if not isinstance(name, str) or (present and name not in known)]
    for name in unknown:
        problems.append(Problem(f"{path}.repositories", _kind(name), allowed, _EXAMPLE))
    if unknown or not present:
        return [{"name": name} for name in names]
    priority = {"priority": given["priority"]} if "priority" in given else {}
    return [{**known[name], **priority} for name in names]


def _kind(value: t.Any) -> str:
    """What was found, for a message; a mapping or list may be long."""
    return (
        "a mapping"
        if isinstance(value, dict)
        else "a list"
        if isinstance(value, list) and value
        else repr(value)
    )
