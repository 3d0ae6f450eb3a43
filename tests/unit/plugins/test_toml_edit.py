# SPDX-License-Identifier: GPL-3.0-or-later
"""Edits of Poetry's TOML: ours are made, everything else stays byte for byte, or the edit is refused."""

from __future__ import annotations

import tomllib

import pytest

from ansible_collections.devbox.artifact_registry.plugins.module_utils._toml_edit import (
    REMOVE,
    Changes,
    EditFailed,
    edit,
)
from ansible_collections.devbox.artifact_registry.plugins.module_utils._toml_read import is_valid

OURS: Changes = {
    ("http-basic", "private-repo", "username"): "u",
    ("http-basic", "private-repo", "password"): "p",
}
GONE: Changes = dict.fromkeys(OURS, REMOVE)
ENTRY = '[http-basic.private-repo]\nusername = "u"\npassword = "p"\n'

SET = {
    "nothing": ("", ENTRY),
    "only a comment": ("# mine\n", f"# mine\n\n{ENTRY}"),
    "no newline at the end": ("a = 1", f"a = 1\n\n{ENTRY}"),
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
        'http-basic = {a = {username = "x"}, private-repo = {username = "u", password = "p"}} # one line\n',
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
    "dotted keys at the top": (
        "http-basic.a.username = 'x' # c\n\n[z]\n",
        (
            "http-basic.a.username = 'x' # c\n"
            'http-basic.private-repo.username = "u"\nhttp-basic.private-repo.password = "p"\n\n[z]\n'
        ),
    ),
    "an indented table": (
        "[http-basic]\n  [http-basic.private-repo]\n    username = 'x'\n",
        '[http-basic]\n  [http-basic.private-repo]\n    username = "u"\n    password = "p"\n',
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
    "a table where a value belongs": (
        "[http-basic.private-repo.username]\nx = 1\n",
        "http-basic.private-repo.username is a table where a value belongs; remove it",
    ),
    "a table twice": (
        "[a]\nx = 1\n\n[a]\ny = 2\n",
        "invalid TOML: Cannot declare ('a',) twice (at line 4, column 3)",
    ),
    "a key twice": ("a = 1\na = 2\n", "invalid TOML: Cannot overwrite a value (at line 2, column 6)"),
    "an unclosed header": (
        "a = 1\n[b\n",
        "invalid TOML: Expected ']' at the end of a table declaration (at line 2, column 3)",
    ),
    "no value": (
        "a = 1\nb\n",
        "invalid TOML: Expected '=' after a key in a key/value pair (at line 2, column 2)",
    ),
    "a byte order mark": (
        "\ufeffa = 1\n",
        "a byte order mark (at line 1, column 1); save it as UTF-8 without one",
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
    with pytest.raises(EditFailed, match=r"^invalid TOML: "):
        edit(text, GONE)
