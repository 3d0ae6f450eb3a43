# SPDX-License-Identifier: GPL-3.0-or-later
"""Generated TOML texts as people write them: every layout of the tables that Poetry uses, with comments."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

SECTIONS = ("http-basic", "repositories", "certificates", "virtualenvs", "other")
NAMES = ("private-repo", "mine", "a.b", "ünï", "x y")
KEYS = ("username", "password", "url", "cert", "in-project")
TEXTS = (
    '"plain"',
    "'lite\\ral'",
    '"with # and = and \\" and ]"',
    "'[http-basic.private-repo]'",
    "42",
    "-1.5e3",
    "true",
    "1979-05-27T07:32:00Z",
    "1979-05-27 07:32:00.5",
    "[]",
    '[ 1, "two", [3.0] ]',
    "[\n  1, # one ]\n  # two\n  2,\n]",
    '"""\nfirst\n[http-basic.private-repo]\nusername = "no" \\\n  end"""',
    "'''\n# no comment\n'''",
    '""""quoted""""',
    "{}",
    "{ deep = { deeper = 1 }, 'q' = [ {a=1} ] }",
)
COMMENTS = ("", " # why", "\t#", "# [other]", " # ünï \\")
LOOSE = ("", "\n", "# a comment\n", "  # indented\n", "\n\n", "#[http-basic]\n# x = 1\n\n")


def spelled(key: str, style: int) -> str:
    """A key as it can be written: bare where that is possible, or in quotes."""
    if style == 0 and key.replace("-", "").isalnum() and key.isascii():
        return key
    return f"'{key}'" if style == 1 else f'"{key}"'


@st.composite
def documents(draw: Callable[..., Any]) -> str:
    """A TOML text that is valid by the standard library's parser."""
    key = st.integers(0, 2)
    equals = st.sampled_from([" = ", "=", "  =\t"])
    comment = st.sampled_from(COMMENTS)
    loose = st.sampled_from(LOOSE)
    value = st.sampled_from(TEXTS)

    def path(*keys: str) -> str:
        dot: str = draw(st.sampled_from([".", ".", " . "]))
        return dot.join(spelled(part, draw(key)) for part in keys)

    def line(text: str) -> str:
        return f"{draw(loose)}{draw(st.sampled_from(['', '', '  ']))}{text}{draw(comment)}\n"

    def pair(*keys: str) -> str:
        return f"{path(*keys)}{draw(equals)}{draw(value)}"

    def table(name: str) -> dict[str, list[str]]:
        chosen = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=3))
        return {entry: draw(st.lists(st.sampled_from(KEYS), unique=True, max_size=3)) for entry in chosen}

    top = [line(pair(name)) for name in draw(st.lists(st.sampled_from(["cache-dir", "z", "ö"]), unique=True))]
    blocks: list[str] = []
    for section in draw(st.lists(st.sampled_from(SECTIONS), unique=True)):
        entries = table(section)
        style = draw(st.sampled_from(["headers", "half", "dotted", "inline", "loose", "array"]))
        if style == "headers":
            group = [line(f"[{path(section)}]") + line(pair("own"))] if draw(st.booleans()) else []
            for name, keys in entries.items():
                group.append(line(f"[{path(section, name)}]") + "".join(line(pair(k)) for k in keys))
            blocks.extend(group)
        elif style == "half":
            block = line(f"[ {path(section)} ]")
            for name, keys in entries.items():
                if draw(st.booleans()):
                    inner = ", ".join(pair(k) for k in keys if k != "cert")
                    block += line(f"{path(name)}{draw(equals)}{{{inner}}}")
                else:
                    block += "".join(line(pair(name, k)) for k in keys)
            blocks.append(block)
        elif style == "dotted":
            top += [line(pair(section, name, k)) for name, keys in entries.items() for k in keys]
        elif style == "inline":
            inner = ", ".join(
                f"{path(name)} = {{ {', '.join(pair(k) for k in keys)} }}" for name, keys in entries.items()
            )
            top.append(line(f"{path(section)}{draw(equals)}{{{inner}}}"))
        elif style == "loose":
            block = line(f"[{path(section)}]")
            block += "".join(line(pair(name, k)) for name, keys in entries.items() for k in keys)
            blocks.append(block)
        else:
            blocks.append("".join(line(f"[[{path(section)}]]") + line(pair("k")) for _ in entries or [0]))
    text: str = "".join(draw(st.permutations(top))) + "".join(draw(st.permutations(blocks))) + draw(loose)
    if draw(st.booleans()):
        text = text.rstrip("\n")
    if draw(st.integers(0, 4)) == 0:
        text = text.replace("\n", "\r\n")
    return next(candidate for candidate in (text, "".join(top), "") if is_valid(candidate))


def is_valid(text: str) -> bool:
    """Whether the standard library's parser takes the text."""
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True
