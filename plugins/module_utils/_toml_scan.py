# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things stand in a TOML text: its statements and the members of its inline tables, as positions.

Only for texts that a TOML parser has accepted (see C(_toml_edit.values)); the grammar is that of
https://toml.io/en/v1.0.0.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ._toml_read import values

__all__ = ["ARRAY_TABLE", "LOOSE", "PAIR", "TABLE", "Member", "Statement", "members", "statements"]

#: Kinds of statements: C([a.b]), C([[a.b]]), C(a.b = 1), and a blank or comment line.
TABLE, ARRAY_TABLE, PAIR, LOOSE = "table", "array table", "pair", "loose"

_BLANK = re.compile(r"[ \t]*")
_BLANK_OR_LINES = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:\\.|[^"\\])*"|'[^']*'""")
_LINE = re.compile(r"[^\n]*\n?")
_STRING = re.compile(
    r"""
    \"{3} (?: \\. | (?!\"{3}) [^\\] )* \"{3,5}   # up to two quotation marks belong to the text
    | '{3} (?: (?!'{3}) . )* '{3,5}
    | " (?: \\. | [^"\\] )* "
    | ' [^']* '
    """,
    re.DOTALL | re.VERBOSE,
)
_NESTED = re.compile(rf"{_STRING.pattern} | \#[^\n]* | [\[\]{{}}]", re.DOTALL | re.VERBOSE)
_SCALAR = re.compile(r"[^,\]}#\r\n]*")


@dataclass(frozen=True)
class Member:
    """One C(key = value) of an inline table."""

    path: tuple[str, ...]
    #: From the key's first to the value's last character.
    start: int
    end: int
    #: Where the value starts; it ends at C(end).
    value: int


@dataclass(frozen=True)
class Statement:
    """One statement with its whole lines, the last line break included."""

    kind: str
    #: A header's table, or a pair's keys below the header before it; empty for a loose line.
    path: tuple[str, ...]
    start: int
    end: int
    #: The pair's value.
    value: int = 0
    value_end: int = 0


def statements(text: str) -> t.Iterator[Statement]:
    """Walk through the text; the statements' lines together are the whole text."""
    position = 0
    while position < len(text):
        start, first = position, _skip(_BLANK, text, position)
        if text.startswith("[", first):
            array = text.startswith("[[", first)
            path, position = _keys(text, first + (2 if array else 1))
            position = _skip(_LINE, text, position)
            yield Statement(ARRAY_TABLE if array else TABLE, path, start, position)
        elif first == len(text) or text[first] in "#\r\n":
            position = _skip(_LINE, text, first)
            yield Statement(LOOSE, (), start, position)
        else:
            path, value, value_end = _pair(text, first)
            position = _skip(_LINE, text, value_end)
            yield Statement(PAIR, path, start, position, value, value_end)


def members(text: str, start: int) -> list[Member]:
    """The members of the inline table that starts at a position; empty where there is another value."""
    found: list[Member] = []
    if not text.startswith("{", start):
        return found
    position = _skip(_BLANK_OR_LINES, text, start + 1)
    while text[position] != "}":
        path, value, value_end = _pair(text, position)
        found.append(Member(path, position, value_end, value))
        position = _skip(_BLANK_OR_LINES, text, value_end)
        if text[position] == ",":
            position = _skip(_BLANK_OR_LINES, text, position + 1)
    return found


def _pair(text: str, position: int) -> tuple[tuple[str, ...], int, int]:
    """The keys of a pair, and where its value starts and ends."""
    path, position = _keys(text, position)
    value = _skip(_BLANK, text, position + 1)  # behind the equals sign
    return path, value, _value_end(text, value)


def _keys(text: str, position: int) -> tuple[tuple[str, ...], int]:
    """A dotted key, and where it ends with the blanks behind it."""
    path: list[str] = []
    while True:
        position = _skip(_BLANK, text, position)
        end = _skip(_KEY, text, position)
        key = text[position:end]
        if key.startswith("'"):
            key = key[1:-1]
        elif key.startswith('"'):
            key = next(iter(values(f"{key} = 0"))) if "\\" in key else key[1:-1]
        path.append(key)
        position = _skip(_BLANK, text, end)
        if not text.startswith(".", position):
            return tuple(path), position
        position += 1


def _value_end(text: str, position: int) -> int:
    if text[position] in "\"'":
        return _skip(_STRING, text, position)
    if text[position] not in "[{":
        end = _skip(_SCALAR, text, position)
        return position + len(text[position:end].rstrip(" \t"))
    depth = 0
    for token in _NESTED.finditer(text, position):
        if token[0] in ("[", "{"):
            depth += 1
        elif token[0] in ("]", "}"):
            depth -= 1
            if depth == 0:
                return token.end()
    raise AssertionError("the text has been parsed before")


def _skip(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    if match is None:
        raise AssertionError("the text has been parsed before")
    return match.end()
