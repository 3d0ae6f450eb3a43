# SPDX-License-Identifier: GPL-3.0-or-later
"""Edits of Poetry's TOML: ours are made, everything else stays byte for byte, or the edit is refused."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.devbox.artifact_registry.plugins.module_utils._toml_edit import (
    REMOVE,
    Changes,
    EditFailed,
    edit,
    is_valid,
    values,
)

OURS: Changes = {
    ("http-basic", "private-repo", "username"): "u",
    ("http-basic", "private-repo", "password"): "p",
}
GONE: Changes = dict.fromkeys(OURS, REMOVE)
ENTRY = '[http-basic.private-repo]\nusername = "u"\npassword = "p"\n'

SET = {
    "nothing": ("", ENTRY),
    "only a comment": ("# mine\n", f"# mine\n\n{ENTRY}"),
    "no newline at the end": ("a = 1", f"a = 1\n{ENTRY}"),
    "other tables": (
        '# head\n[repositories.x]  # why\nurl = "1"\n\n# tail\n',
        f'# head\n[repositories.x]  # why\nurl = "1"\n\n# tail\n\n{ENTRY}',
    ),
    "our table, half of it": (
        "[http-basic.private-repo]\n# hand-made\nusername = 'u' # mine\n[other]\nx = 1\n",
        "[http-basic.private-repo]\n# hand-made\nusername = 'u' # mine\npassword = \"p\"\n[other]\nx = 1\n",
    ),
    "our table with other values": (
        '[http-basic.private-repo]\nusername = 1 # a\npassword = "old" # b\nmore = true\n',
        '[http-basic.private-repo]\nusername = "u" # a\npassword = "p" # b\nmore = true\n',
    ),
    "an inline table": (
        'http-basic = {a = {username = "x"}} # one line\n',
        'http-basic = {a = {username = "x"},private-repo = {username = "u", password = "p"}} # one line\n',
    ),
    "our inline table": (
        '[http-basic]\nprivate-repo = {username="u", password="old"} # d\n',
        '[http-basic]\nprivate-repo = {username="u", password="p"} # d\n',
    ),
    "dotted keys": (
        "[http-basic]\nprivate-repo.username = \"x\" # c\nprivate-repo.password = 'y'\n",
        '[http-basic]\nprivate-repo.username = "u" # c\nprivate-repo.password = "p"\n',
    ),
    "quoted keys": (
        '["http-basic"."private-repo"]\nusername = "u"\n',
        '["http-basic"."private-repo"]\nusername = "u"\npassword = "p"\n',
    ),
    "Windows line ends": (
        "# c\r\n[http-basic.private-repo]\r\nusername = 'u'\r\npassword = 'old'\r\n",
        "# c\r\n[http-basic.private-repo]\r\nusername = 'u'\r\npassword = \"p\"\r\n",
    ),
    "tables out of order": (
        "[http-basic.private-repo]\nusername='x'\n[other]\nz=1\n[http-basic.b]\nusername='y'\n",
        f"{ENTRY.replace('username = ', 'username=')}[other]\nz=1\n[http-basic.b]\nusername='y'\n",
    ),
    "an array of tables": (
        '[[plugins]]\nname = "a"\n[[plugins]]\nname = "b"\n',
        f'[[plugins]]\nname = "a"\n[[plugins]]\nname = "b"\n\n{ENTRY}',
    ),
    "not a number": ("x = nan\n", f"x = nan\n\n{ENTRY}"),
}


@pytest.mark.parametrize(("before", "after"), SET.values(), ids=SET.keys())
def test_set(before: str, after: str) -> None:
    assert edit(before, OURS) == after
    assert edit(after, OURS) == after
    assert tomllib.loads(after)["http-basic"]["private-repo"].items() >= {
        ("username", "u"),
        ("password", "p"),
    }


REMOVED = {
    "nothing there": ("a = 1\n", "a = 1\n"),
    "only ours": (ENTRY, ""),
    "ours before a comment of another table": (
        f"{ENTRY}\n# my other\n[http-basic.other]\nusername = 'x'\n",
        "# my other\n[http-basic.other]\nusername = 'x'\n",
    ),
    "ours with comments in it": (
        '# head\n[http-basic.private-repo]\nusername = "u" # goes\n# note\npassword = "p"\n# tail\n[x]\n',
        "# head\n# note\n# tail\n[x]\n",
    ),
    "ours last": (f"# top\n{ENTRY}# tail without newline", "# top\n# tail without newline"),
    "ours with a key of the user": (f"{ENTRY}note = 1\n", "[http-basic.private-repo]\nnote = 1\n"),
    "an inline table": (
        '[http-basic]\n# c\nprivate-repo = {username="u", password="p"} # d\nother={username="1"}\n',
        '[http-basic]\n# c\nother={username="1"}\n',
    ),
    "dotted keys": (
        "[http-basic]\nprivate-repo.username = 'x'\nb.username = 'y'\n",
        "[http-basic]\nb.username = 'y'\n",
    ),
    "tables out of order": (
        f"[http-basic.b]\nusername='x'\n[other]\nz=1\n{ENTRY}",
        "[http-basic.b]\nusername='x'\n[other]\nz=1\n",
    ),
    "Windows line ends": (f"# c\r\n{ENTRY}".replace("\n", "\r\n").replace("\r\r", "\r"), "# c\r\n"),
    "line separators in a comment": (f"# a\u2028b\n{ENTRY}[c]\n", "# a\u2028b\n[c]\n"),
    "an empty table of the user": (f"[repositories]\n{ENTRY}", "[repositories]\n"),
}


@pytest.mark.parametrize(("before", "after"), REMOVED.values(), ids=REMOVED.keys())
def test_remove(before: str, after: str) -> None:
    assert edit(before, GONE) == after
    assert edit(after, GONE) == after


@pytest.mark.parametrize("text", SET["nothing"] + ("# c\r\n", "x = {a = 1}\n", "[t]\n\n\n[u]\n"))
def test_a_text_that_means_the_same_comes_back_as_it_is(text: str) -> None:
    changes = OURS if text == ENTRY else GONE
    assert edit(text, changes) is text


def test_true_is_not_one() -> None:
    path = ("virtualenvs", "in-project")
    assert edit("virtualenvs.in-project = 1\n", {path: True}) == "virtualenvs.in-project = true\n"
    assert edit("virtualenvs.in-project = true\n", {path: True}) == "virtualenvs.in-project = true\n"


@pytest.mark.parametrize("name", ["a.b", "2", "Foo", "-", 'qu"ote'])
@pytest.mark.parametrize(
    "password", ['"', "\\", "a\nb", "{cache-dir}", "🗝", "'''", "x" * 8192, "\x00\x7f", "# no comment"]
)
def test_odd_names_and_passwords_survive(name: str, password: str) -> None:
    text = edit("# c\n", {("http-basic", name, "password"): password})
    assert tomllib.loads(text) == {"http-basic": {name: {"password": password}}}
    assert edit(text, {("http-basic", name, "password"): REMOVE}).strip() == "# c"


REFUSED = {
    "a number": ("http-basic = 3\n", "http-basic is not a table; remove it or make it one"),
    "a deeper number": (
        "http-basic.private-repo = 3\n",
        "http-basic.private-repo is not a table; remove it or make it one",
    ),
    "an array of tables": ("[[http-basic]]\na = 1\n", "http-basic is not a table; remove it or make it one"),
    "a table twice": ("[a]\nx = 1\n\n[a]\ny = 2\n", 'invalid TOML: Key "a" already exists. at line 5 col 0'),
    "a key twice": ("a = 1\na = 2\n", 'invalid TOML: Key "a" already exists. at line 2 col 0'),
    "an unclosed header": ("a = 1\n[b\n", "invalid TOML: Unexpected character: '\\n' at line 2 col 2"),
    "no value": ("a = 1\nb\n", "invalid TOML: Unexpected character: '\\n' at line 2 col 1"),
    "a byte order mark": ("\ufeffa = 1\n", "invalid TOML: Empty key at line 1 col 0"),
    "dotted keys at the top": (
        "http-basic.a.username = 'x'\nhttp-basic.a.password = 'y'\n",
        "the file's layout cannot be edited safely; write the tables that Poetry uses as [table.name]",
    ),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refusal(text: str, message: str) -> None:
    with pytest.raises(EditFailed) as caught:
        edit(text, OURS)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 5000, "a = '\x00'\n", "a = 01\n", 'a = "\\ud800"\n', "a = 1\rb = 2\n"]
)
def test_nothing_else_than_a_refusal_comes_out_of_broken_texts(text: str) -> None:
    assert not is_valid(text)
    with pytest.raises(EditFailed, match=r"^invalid TOML: .* at line \d+ col \d+"):
        edit(text, GONE)


NAMES = st.sampled_from(["a", "b", "http-basic", "private-repo", "repositories", "url", "x.y", "é"])
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-9, 9),
    st.floats(allow_infinity=False),
    st.text("ab'\"\\#\n[]=é", max_size=6),
    st.datetimes(),
)
TREES = st.recursive(
    SCALARS | st.lists(st.integers(0, 3), max_size=2),
    lambda inner: st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
COMMENTS = st.sampled_from(["", "\n", "# a comment\n", "  # an indented one\n\n"])


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A TOML text with tables, inline tables and comments, LF or CRLF."""
    document = tomlkit.document()
    for key, value in draw(st.dictionaries(NAMES, TREES, max_size=4)).items():
        if isinstance(value, dict) and draw(st.booleans()):
            table = tomlkit.inline_table()
            table.update(value)
            document.append(key, table)
        else:
            document[key] = value
    text = "".join(line + draw(COMMENTS) for line in tomlkit.dumps(document).splitlines(keepends=True))
    text = text if is_valid(text) else tomlkit.dumps(document)
    crlf = text.replace("\n", "\r\n")
    return crlf if draw(st.booleans()) and is_valid(crlf) else text


CHANGES = st.dictionaries(
    st.tuples(
        st.just("http-basic"), st.sampled_from(["private-repo", "b", "x.y"]), st.sampled_from(["u", "url"])
    ),
    st.one_of(st.just(REMOVE), st.text(max_size=5), st.booleans()),
    max_size=3,
)


def merged(before: dict[str, Any], changes: dict[tuple[str, ...], Any]) -> dict[str, Any]:
    """What the text has to mean: tables that lose their last value through a removal go too."""
    for (first, second, third), value in changes.items():
        if value is REMOVE:
            entries = before.get(first, {})
            if third in entries.get(second, {}):
                del entries[second][third]
                if not entries[second]:
                    del entries[second]
                if not entries:
                    del before[first]
        else:
            before.setdefault(first, {}).setdefault(second, {})[third] = value
    return before


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=documents(), changes=CHANGES)
def test_any_document_gets_exactly_the_changes(text: str, changes: dict[tuple[str, ...], Any]) -> None:
    before = values(text)
    try:
        after = edit(text, changes)
    except EditFailed:
        return  # refused: the caller leaves the file alone
    assert ordered(values(after)) == ordered(merged(before, changes))
    assert edit(after, changes) == after
    kept = [line for line in text.splitlines() if line.lstrip().startswith("#")]
    if REMOVE not in changes.values():
        kept += [line for line in text.splitlines() if not re.search(r"http-basic|\bu\b|url", line)]
    assert [line for line in kept if line not in after.splitlines()] == []


def ordered(tree: Any) -> str:
    """A text that is the same for trees that mean the same, nan included."""
    if isinstance(tree, dict):
        return f"{{{', '.join(f'{key!r}: {ordered(tree[key])}' for key in sorted(tree))}}}"
    return repr(tree)
