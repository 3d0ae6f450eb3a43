# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring planned sources into the text of a pyproject.toml by splices; all other bytes stay.

Pure. A table C([[tool.poetry.source]]) goes and moves with the comment lines directly above its header.
"""

from __future__ import annotations

import re
import typing as t

from ._poetry_sources import Entry, SourcesProblem, Table, read
from ._toml_edit import in_toml, splice
from ._toml_read import NotToml, same, values
from ._toml_scan import ARRAY_TABLE, LOOSE, PAIR, TABLE, statements

__all__ = ["edit"]

_POETRY = ("tool", "poetry")
_SOURCE = ("tool", "poetry", "source")
_INDENT = re.compile(r"[ \t]*")
_LAYOUT = (
    "the sources are written in a way that cannot be edited safely; write each one as a table of its own:"
    " [[tool.poetry.source]] with name, url and priority on the lines below it"
)


def edit(text: str, entries: t.Sequence[Entry]) -> str:
    """Make the text hold these tables; the same text comes back where nothing changes.

    A new table stands behind the last source, else behind the other tables of Poetry, else at the end.

    :param entries: as C(plan) returns them for this text.
    :raises SourcesProblem: the text's layout does not allow it.
    """
    before, wanted = read(text), [entry.values for entry in entries if entry.kept]
    if same(before, wanted):
        return text
    line_break = "\r\n" if text.partition("\n")[0].endswith("\r") else "\n"
    whole = text if text.endswith("\n") else text + line_break
    result = _edited(whole if before else _without_empty_list(whole), entries, before, line_break)
    if whole != text:
        result = re.sub(r"\r?\n\Z", "", result)
    try:
        done = same(_parts(result), (wanted, _parts(text)[1]))
    except NotToml:
        done = False
    if not done:
        raise SourcesProblem(_LAYOUT)
    return result


def _parts(text: str) -> tuple[list[Table], Table]:
    """The text's sources, and all its other values."""
    tree = values(text)
    poetry = dict(tree.get("tool", {}).get("poetry", {}))
    sources = poetry.pop("source", [])
    return sources, {**tree, "tool": {**tree.get("tool", {}), "poetry": poetry}}


def _without_empty_list(text: str) -> str:
    """The text without the C(source = []) that Poetry leaves behind when it removes the last source."""
    header: tuple[str, ...] = ()
    places: list[tuple[int, int, str]] = []
    for line in statements(text):
        if line.kind in (TABLE, ARRAY_TABLE):
            header = line.path
        elif line.kind == PAIR and header + line.path == _SOURCE:
            places.append((line.start, line.end, ""))
    return splice(text, places)


def _edited(text: str, entries: t.Sequence[Entry], before: t.Sequence[Table], line_break: str) -> str:
    slots = _spans(text, _SOURCE)
    if len(slots) != len(before):
        raise SourcesProblem(_LAYOUT)
    old = [text[start:end] for start, end in slots]
    behind = max((end for _start, end in slots or _spans(text, _POETRY)), default=len(text))
    places: list[tuple[int, int, str]] = []
    for entry in entries:
        if entry.origin is not None:
            table = _updated(old[entry.origin], before[entry.origin], entry.values, line_break)
            places.append((*slots.pop(0), table if entry.kept else ""))
        elif slots:
            places.append((slots[0][0], slots[0][0], _written(entry.values, line_break) + line_break))
        else:
            places.append((behind, behind, line_break + _written(entry.values, line_break)))
    for start, end, new in reversed(places):  # so that the positions before stay right
        head, tail = text[:start], text[end:]
        if not new and head.endswith("\n" + line_break):  # one blank line goes too
            head = head[: -len(line_break)]
        elif not new and tail.startswith(line_break):
            tail = tail[len(line_break) :]
        text = head + new + tail
    return text


def _spans(text: str, path: tuple[str, ...]) -> list[tuple[int, int]]:
    """Start and end of each table at the path, those inside it included.

    From the comment lines directly above its header to the comment lines directly below its last value,
    unless these stand directly above the next header.
    """
    lines = list(statements(text))
    headers = [n for n, line in enumerate(lines) if line.kind in (TABLE, ARRAY_TABLE)]
    comments = [line.kind == LOOSE and bool(text[line.start : line.end].strip()) for line in lines]
    spans: list[tuple[int, int]] = []
    for header in headers:
        if lines[header].path[: len(path)] != path:
            continue
        following = next((n for n in headers if n > header), len(lines))
        first, last = header, max(n for n in range(header, following) if lines[n].kind != LOOSE)
        end = next((n for n in range(last + 1, following) if not comments[n]), following)
        if end == following < len(lines):
            end = last + 1
        while first and comments[first - 1]:
            first -= 1
        if lines[header].path == path or not spans:
            spans.append((lines[first].start, lines[end - 1].end))
        else:
            spans[-1] = (spans[-1][0], lines[end - 1].end)
    return spans


def _written(table: Table, line_break: str) -> str:
    lines = ["[[tool.poetry.source]]", *(f"{key} = {in_toml(value)}" for key, value in table.items())]
    return line_break.join([*lines, ""])


def _updated(text: str, before: Table, after: Table, line_break: str) -> str:
    """The table's text with its changed, added and removed values."""
    places: list[tuple[int, int, str]] = []
    last, indent = 0, ""
    for line in statements(text):
        if line.kind == LOOSE:
            continue
        if line.kind != PAIR and last:
            break  # a table inside it
        last = line.end
        if line.kind == PAIR:
            key = line.path[0]
            indent = _INDENT.match(text, line.start)[0]  # type: ignore[index]
            if key not in after:
                places.append((line.start, line.end, ""))
            elif not same(before[key], after[key]):
                places.append((line.value, line.value_end, in_toml(after[key])))
    for key in [key for key in after if key not in before]:
        places.append((last, last, f"{indent}{key} = {in_toml(after[key])}{line_break}"))
    return splice(text, places)
