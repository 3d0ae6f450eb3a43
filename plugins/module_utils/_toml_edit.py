# SPDX-License-Identifier: GPL-3.0-or-later
"""Set and remove values in a TOML text by splices at their positions; all other bytes stay.

A standard parser says what the text means, before and after: an edit either has exactly the effect that was
asked for, or is refused.
"""

from __future__ import annotations

import copy
import json
import re
import typing as t
from dataclasses import dataclass, field

from ._toml_read import NotToml, same, values
from ._toml_scan import ARRAY_TABLE, PAIR, TABLE, Statement, members, statements

__all__ = ["REMOVE", "Changes", "EditFailed", "apply", "edit", "in_toml", "key_in_toml", "look_up", "splice"]


class _Remove:
    """The wish that a value is not there."""

    def __repr__(self) -> str:
        return "REMOVE"


REMOVE: t.Final = _Remove()

Path = tuple[str, ...]
#: Key path -> value (str, bool, int, float or a list of them), or REMOVE, also for a whole table.
#: No path leads through another one.
Changes = t.Mapping[Path, t.Any]

_BLANKS = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


class EditFailed(Exception):
    """The text is no TOML, or holds something else where a table of ours belongs."""


def edit(text: str, changes: Changes) -> str:
    """Apply the changes; the same text comes back where nothing changes in meaning.

    Values are replaced where they stand. New ones go to the end of their table, in the way in which it is
    written (header, inline, dotted keys), new tables to the end of the text. Tables that lose their last
    value through a removal go too; full-line comments stay. Nothing but comments and blank lines left after
    a removal is left as it is; an empty text means that the file is not needed.

    :raises EditFailed: the text cannot be edited.
    """
    try:
        before = values(text)
    except NotToml as error:
        raise EditFailed(str(error)) from error
    wanted = apply(before, changes)
    if same(wanted, before):
        return text
    line_break = "\r\n" if text.partition("\n")[0].endswith("\r") else "\n"
    result = text
    additions = {
        path: value
        for path, value in changes.items()
        if value is not REMOVE and not same(look_up(before, path), value)
    }
    if additions:
        result = _add(result, additions, line_break)
    if any(value is REMOVE for value in changes.values()):
        result = _drop(result, wanted)
    try:
        done = same(values(result), wanted)
    except NotToml:
        done = False
    if not done:
        raise EditFailed(
            "the file's layout cannot be edited safely; write the tables that Poetry uses as [table.name]"
        )
    return result if result.strip() else ""


def apply(before: t.Mapping[str, t.Any], changes: Changes) -> dict[str, t.Any]:
    """The parsed text with the changes: what the edited text has to mean.

    :raises EditFailed: there is another value where a table belongs, or a table where a value belongs.
    """
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
                if isinstance(parents[-1].get(path[-1]), dict):
                    raise EditFailed(f"{'.'.join(path)} is a table where a value belongs; remove it")
                parents[-1][path[-1]] = value
            elif path[-1] in parents[-1]:
                del parents[-1][path[-1]]
                for depth in range(len(parents) - 1, 0, -1):
                    if parents[depth]:
                        break
                    del parents[depth - 1][path[depth - 1]]
    return wanted


def look_up(tree: t.Mapping[str, t.Any], path: Path) -> t.Any:
    """The value at a path, or REMOVE where there is none."""
    value: t.Any = tree
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return REMOVE
        value = value[key]
    return value


def in_toml(value: t.Any) -> str:
    """A value as TOML, a mapping as an inline table."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_key(key)} = {in_toml(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(in_toml, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower()  # true, 4, 0.5, nan


def key_in_toml(path: t.Iterable[str]) -> str:
    """A key path as TOML, quoted where it has to be."""
    return ".".join(map(_key, path))


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else in_toml(key)


def splice(text: str, splices: t.Iterable[tuple[int, int, str]]) -> str:
    """Replace C(text[start:end]) by another text, for any number of places that do not overlap."""
    parts: list[str] = []
    position = 0
    for start, end, new in sorted(splices, key=lambda place: place[:2]):
        parts += text[position:start], new
        position = max(position, end)
    return "".join([*parts, text[position:]])


@dataclass
class _Section:
    """A header and what is below it; the root has no header."""

    path: Path
    header: Statement | None = None
    pairs: list[Statement] = field(default_factory=list)
    #: Where a new first pair would stand.
    start: int = 0


def _sections(text: str) -> list[_Section]:
    """The text's tables; those below an array of tables cannot be reached by a path and are left out."""
    root = section = _Section(())
    found, arrays = [section], []
    for statement in statements(text):
        if statement.kind in (TABLE, ARRAY_TABLE):
            section = _Section(statement.path, statement, start=statement.end)
            if statement.kind == ARRAY_TABLE:
                arrays.append(statement.path)
            if not any(statement.path[: len(array)] == array for array in arrays):
                found.append(section)
        elif statement.kind == PAIR:
            section.pairs.append(statement)
        elif section is root and not text[statement.start : statement.end].strip():
            root.start = statement.end  # below the file's head, above the first table's own comment
    if section is root:
        root.start = len(text)
    return found


def _add(text: str, additions: Changes, line_break: str) -> str:
    """Replace values, and put new ones where their table is."""
    sections = _sections(text)
    places: list[tuple[int, int, str]] = []
    tables: dict[Path, dict[str, t.Any]] = {}
    inlines: dict[int, dict[str, t.Any]] = {}
    holders = _Holders(text, sections)
    if text and not text.endswith("\n") and not all(map(holders.has_place, additions)):
        return _add(text + line_break, additions, line_break)
    for path, value in additions.items():
        if (found := holders.values.get(path)) is not None:
            places.append((*found, in_toml(value)))
        elif (inline := holders.inline(path)) is not None:
            table = inlines.setdefault(holders.inlines[path[:inline]], {})
            for key in path[inline:-1]:
                table = table.setdefault(key, {})
            table[path[-1]] = value
        elif (place := holders.line(path)) is not None:
            start, like, keys = place
            indent = _BLANKS.match(text, like)[0] if like >= 0 else ""  # type: ignore[index]
            line = f"{indent}{key_in_toml(keys)} = {in_toml(value)}{line_break}"
            places.append((start, start, line))
        else:
            tables.setdefault(path[:-1], {})[path[-1]] = value
    for start, table in inlines.items():
        inside = in_toml(table)[1:-1]
        if known := members(text, start):
            places.append((known[-1].end, known[-1].end, f", {inside}"))
        else:
            places.append((start + 1, start + 1, inside))
    text = splice(text, places)
    for path, table in tables.items():
        lines = [f"[{key_in_toml(path)}]", *(f"{_key(k)} = {in_toml(v)}" for k, v in table.items())]
        text += (line_break if text else "") + line_break.join(lines) + line_break
    return text


class _Holders:
    """Where each value stands, and where a new one would."""

    def __init__(self, text: str, sections: t.Sequence[_Section]) -> None:
        #: Path -> start and end of its value.
        self.values: dict[Path, tuple[int, int]] = {}
        #: Path of an inline table -> its start.
        self.inlines: dict[Path, int] = {}
        #: Path of a table -> its section and the last pair that stands in it.
        self._lines: dict[Path, tuple[_Section, Statement | None]] = {}
        for section in sections:
            self._lines[section.path] = (section, section.pairs[-1] if section.pairs else None)
            for pair in section.pairs:
                path = section.path + pair.path
                for depth in range(len(section.path) + 1, len(path)):
                    self._lines[path[:depth]] = (section, pair)
                self._note(text, path, pair.value, pair.value_end)

    def _note(self, text: str, path: Path, start: int, end: int) -> None:
        self.values[path] = (start, end)
        if text.startswith("{", start):
            self.inlines[path] = start
            for member in members(text, start):
                self._note(text, path + member.path, member.value, member.end)

    def has_place(self, path: Path) -> bool:
        """Whether no new line is needed."""
        return path in self.values or self.inline(path) is not None

    def inline(self, path: Path) -> int | None:
        """How many keys of the path lead to the inline table that has to hold it."""
        return next((depth for depth in range(len(path) - 1, 0, -1) if path[:depth] in self.inlines), None)

    def line(self, path: Path) -> tuple[int, int, Path] | None:
        """Where a line for the path goes, where the line is whose indentation it takes, and its keys."""
        for depth in range(len(path) - 1, -1, -1):
            if path[:depth] not in self._lines:
                continue
            section, pair = self._lines[path[:depth]]
            dotted = depth > len(section.path)
            if not dotted and depth < len(path) - 1:
                return None  # it gets a header of its own
            place, like = (pair.end, pair.start) if pair else (section.start, -1)
            return place, like, path[len(section.path) :]
        return None


def _drop(text: str, wanted: t.Mapping[str, t.Any]) -> str:
    """Take out what is not wanted any more; a table that is emptied goes with the blank line before it."""
    places: list[tuple[int, int, str]] = []
    header: Statement | None = None
    blank: Statement | None = None  # the line before the header
    previous: Statement | None = None
    dropped = kept = 0
    at_top = False

    def end_table() -> None:
        nonlocal at_top
        if header and not kept and (dropped or not _exists(wanted, header.path)):
            places.append((blank.start if blank else header.start, header.end, ""))
            at_top = at_top or not text[: header.start].strip()

    for statement in statements(text):
        if statement.kind in (TABLE, ARRAY_TABLE):
            end_table()
            is_blank = previous and not text[previous.start : previous.end].strip()
            header, blank, dropped, kept = statement, previous if is_blank else None, 0, 0
        elif statement.kind == PAIR:
            path = (header.path if header else ()) + statement.path
            if _exists(wanted, path):
                kept += 1
                places += _drop_members(text, statement.value, path, wanted)
            else:
                dropped += 1
                places.append((statement.start, statement.end, ""))
        previous = statement
    end_table()
    text = splice(text, places)
    if at_top and not text.partition("\n")[0].strip():  # the blank line that was behind the first table
        text = text.partition("\n")[2]
    return text


def _drop_members(
    text: str, start: int, path: Path, wanted: t.Mapping[str, t.Any]
) -> list[tuple[int, int, str]]:
    """What to take out of an inline table, with the commas between."""
    places: list[tuple[int, int, str]] = []
    known = members(text, start)
    kept = [_exists(wanted, path + member.path) for member in known]
    for number, member in enumerate(known):
        if kept[number]:
            places += _drop_members(text, member.value, path + member.path, wanted)
        elif any(kept[number:]):
            places.append((member.start, known[number + 1].start, ""))
        else:  # nothing is kept behind it: the comma before it goes too
            places.append((known[number - 1].end, member.end, ""))
    return places


def _exists(wanted: t.Mapping[str, t.Any], path: Path) -> bool:
    """Whether there is such a value; what is inside an array is never ours, so it stays with its array."""
    tree: t.Any = wanted
    for key in path:
        if not isinstance(tree, dict):
            return True
        if key not in tree:
            return False
        tree = tree[key]
    return True
