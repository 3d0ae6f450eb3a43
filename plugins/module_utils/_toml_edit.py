# SPDX-License-Identifier: GPL-3.0-or-later
"""Set and remove single values in a TOML text; everything else stays as it is, byte for byte.

Needs tomlkit, which Poetry depends on.
"""

from __future__ import annotations

import copy
import math
import re
import typing as t

try:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError
    from tomlkit.items import InlineTable
except ImportError:
    # Ansible loads module_utils before a module can move to Poetry's interpreter, where tomlkit is.
    HAS_TOMLKIT = False
else:
    HAS_TOMLKIT = True

__all__ = ["HAS_TOMLKIT", "REMOVE", "Changes", "EditFailed", "edit", "is_valid", "values"]


class _Remove:
    """The wish that a value is not there."""

    def __repr__(self) -> str:
        return "REMOVE"


REMOVE: t.Final = _Remove()

_LINE = re.compile(r"[^\n]*\n|[^\n]+")

#: Key path -> value (a TOML scalar or array) or REMOVE. No path leads through another one.
Changes = t.Mapping[tuple[str, ...], t.Any]


class EditFailed(Exception):
    """The text is no TOML, or holds something else where a table of ours belongs."""


def is_valid(text: str) -> bool:
    """Whether the text parses as TOML."""
    try:
        tomlkit.parse(text)
    except (TOMLKitError, ValueError):
        return False
    return True


def values(text: str) -> dict[str, t.Any]:
    """Parse a TOML text into plain Python values.

    :raises EditFailed: not TOML; the message names line and column.
    """
    try:
        return dict(tomlkit.parse(text).unwrap())
    except (TOMLKitError, ValueError) as error:
        raise EditFailed(f"invalid TOML: {error}") from error


def edit(text: str, changes: Changes) -> str:
    """Apply the changes; the same text comes back where nothing changes in meaning.

    Tables that lose their last value through a removal are removed too. The result is parsed and compared:
    exactly the changes, nothing else.

    :raises EditFailed: the text cannot be edited safely.
    """
    before = values(text)
    wanted = _apply(before, changes)
    if _same(wanted, before):
        return text
    document = tomlkit.parse(text)
    for path, value in changes.items():
        if value is not REMOVE and not _same(_look_up(before, path), value):
            _set(document, path, value)
    added = tomlkit.dumps(document)
    for path, value in changes.items():
        if value is REMOVE:
            _remove(document, path)
    result = _with_comments(added, tomlkit.dumps(document))
    if result.endswith("\n\n") and not text.endswith("\n\n"):
        result = result[:-1]  # the blank line that came with the last table, which is gone
    elif text.endswith("\n\n") and result.startswith(text):
        result = f"{text}\n{result[len(text) :]}"  # so that the user's own stays when our table goes
    if not _same(values(result), wanted):
        raise EditFailed(
            "the file's layout cannot be edited safely; write the tables that Poetry uses as [table.name]"
        )
    return result if result.strip() else ""


def _apply(before: t.Mapping[str, t.Any], changes: Changes) -> dict[str, t.Any]:
    """The parsed text with the changes: what the edited text has to mean."""
    wanted = copy.deepcopy(dict(before))
    for path, value in changes.items():
        parents = [wanted]
        for key in path[:-1]:
            deeper = parents[-1].get(key)
            if deeper is None:
                if value is REMOVE:
                    break
                deeper = parents[-1][key] = {}
            if not isinstance(deeper, dict):
                raise EditFailed(f"{'.'.join(path[: len(parents)])} is not a table; remove it or make it one")
            parents.append(deeper)
        else:
            if value is not REMOVE:
                parents[-1][path[-1]] = value
            elif path[-1] in parents[-1]:
                del parents[-1][path[-1]]
                _prune(parents, path)
    return wanted


def _set(document: t.Any, path: tuple[str, ...], value: t.Any) -> None:
    container: t.Any = document
    for depth, key in enumerate(path[:-1], start=1):
        if key not in container:
            if isinstance(container, InlineTable):
                container[key] = tomlkit.inline_table()
            else:
                container[key] = tomlkit.table(is_super_table=depth < len(path) - 1)
        container = container[key]
    container[path[-1]] = value


def _remove(document: t.Any, path: tuple[str, ...]) -> None:
    parents: list[t.Any] = [document]
    for key in path[:-1]:
        if key not in parents[-1]:
            return
        parents.append(parents[-1][key])
    if path[-1] in parents[-1]:
        del parents[-1][path[-1]]
        _prune(parents, path)


def _prune(parents: list[t.Any], path: tuple[str, ...]) -> None:
    """Remove the tables on a path that hold nothing any more, innermost first."""
    for depth in range(len(parents) - 1, 0, -1):
        if len(parents[depth]):
            return
        del parents[depth - 1][path[depth - 1]]


def _with_comments(text: str, shortened: str) -> str:
    """Put back the comment lines that went together with a removed table."""
    left = _LINE.findall(shortened)[::-1]
    lines: list[str] = []
    for line in _LINE.findall(text):
        if left and line == left[-1]:
            lines.append(left.pop())
        elif line.lstrip().startswith("#"):
            lines.append(line)
    return shortened if left else "".join(lines)


def _same(one: t.Any, other: t.Any) -> bool:
    """Equal as TOML: 1, 1.0 and true differ, and nan is nan."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, str) and isinstance(other, str):
        return str(one) == str(other)
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return type(one) is type(other) and bool(one == other)


def _look_up(tree: t.Mapping[str, t.Any], path: tuple[str, ...]) -> t.Any:
    value: t.Any = tree
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return REMOVE
        value = value[key]
    return value
