# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for edits of any TOML text: exactly the changes, once, and foreign bytes stay."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from typing import Any

import tomlkit
import tomlkit.exceptions
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from unit.plugins.toml_documents import KEYS, NAMES, documents

from ansible_collections.devbox.artifact_registry.plugins.module_utils._toml_edit import (
    REMOVE,
    Changes,
    EditFailed,
    edit,
    look_up,
)

OURS: Changes = {
    ("cache-dir",): "/var/cache",
    ("http-basic", "private-repo", "username"): "oauth2accesstoken",
    ("http-basic", "private-repo", "password"): 'a "secret"\n',
    ("repositories", "private-repo", "url"): "https://europe-west1-python.pkg.dev/my-project/python/",
    ("certificates", "a.b", "cert"): "/etc/ca.pem",
    ("virtualenvs", "in-project"): True,
    ("virtualenvs", "options", "no-binary"): ["a", "b"],
}
THOROUGH = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
VALUES = st.one_of(
    st.text(max_size=8), st.booleans(), st.integers(), st.floats(), st.lists(st.text(max_size=2))
)
PATHS = st.one_of(
    st.tuples(
        st.sampled_from(["http-basic", "repositories", "other"]),
        st.sampled_from(NAMES),
        st.sampled_from(KEYS),
    ),
    st.tuples(st.just("virtualenvs"), st.sampled_from(KEYS)),
    st.tuples(st.sampled_from(["cache-dir", "z", "new"])),
    st.tuples(st.just("http-basic"), st.sampled_from(NAMES)),
)


def mingled(paths: Sequence[tuple[str, ...]]) -> bool:
    """Whether one path leads through another one."""
    return any(a != b and a == b[: len(a)] for a in paths for b in paths)


@st.composite
def changes(draw: st.DrawFn) -> Changes:
    paths = draw(st.lists(PATHS, unique=True, max_size=6))
    assume(not mingled(paths))
    return {
        path: REMOVE if path[:1] == ("http-basic",) and len(path) == 2 else draw(st.just(REMOVE) | VALUES)
        for path in paths
    }


def merged(before: dict[str, Any], changes: Changes) -> dict[str, Any] | None:
    """What the text has to mean: ours on top, tables that lose their last value gone; None: not possible."""
    for path, value in changes.items():
        tables = [before]
        for key in path[:-1]:
            if value is REMOVE and key not in tables[-1]:
                break
            tables.append(tables[-1].setdefault(key, {}))
            if not isinstance(tables[-1], dict):
                return None
        else:
            if value is not REMOVE and isinstance(tables[-1].get(path[-1]), dict):
                return None
            if value is not REMOVE:
                tables[-1][path[-1]] = value
            elif tables[-1].pop(path[-1], None) is not None:
                while len(tables) > 1 and not tables[-1]:
                    tables.pop()
                    del tables[-1][path[len(tables) - 1]]
    return before


def ordered(tree: Any) -> str:
    """A text that is the same for trees that mean the same, nan included."""
    if isinstance(tree, dict):
        return f"{{{', '.join(f'{key!r}: {ordered(tree[key])}' for key in sorted(tree))}}}"
    return repr(tree)


@THOROUGH
@given(text=documents(), changes=changes())
def test_any_document_gets_exactly_the_changes(text: str, changes: Changes) -> None:
    wanted = merged(tomllib.loads(text), changes)
    try:
        after = edit(text, changes)
    except EditFailed:
        assert wanted is None
        return
    assert wanted is not None
    assert ordered(tomllib.loads(after)) == ordered(wanted)
    assert edit(after, changes) == after


SAME_LINES_AFTER_A_REMOVED_TABLE = """\
[http-basic.private-repo]
username = "plain"
[http-basic.mine]
username = "plain"
"""


@THOROUGH
@given(text=documents(), changes=changes())
@example(text=SAME_LINES_AFTER_A_REMOVED_TABLE, changes={("http-basic", "private-repo"): REMOVE})
def test_every_line_without_a_changed_value_stays_in_its_order(text: str, changes: Changes) -> None:
    assume(text.endswith("\n"))
    assume(not re.search(r"\[\r?\n|[\"']{3}", text))  # values of several lines
    if merged(tomllib.loads(text), changes) is None:
        return
    after = edit(text, changes).split("\n")
    touched = {key for path in changes for key in path}
    gone = [
        (path[-1], keys(look_up(tomllib.loads(text), path)))
        for path, change in changes.items()
        if change is REMOVE
    ]
    position, header = 0, ""
    for line in text.split("\n"):
        if line.lstrip().startswith("["):
            header = line
        # a removed table takes its lines along, and no other table's that look the same
        own = set[str]().union(*(inside for name, inside in gone if name in header))
        if line.strip() and not any(key in line for key in touched | own):
            assert line in after[position:], line
            position = after.index(line, position) + 1


def keys(value: object) -> set[str]:
    """All keys of a table and of the tables in it; none of any other value."""
    if not isinstance(value, dict):
        return set()
    return set(value).union(*(keys(one) for one in value.values()))


@THOROUGH
@given(text=documents(), ours=st.sets(st.sampled_from(sorted(OURS)), min_size=1))
def test_what_is_added_and_removed_again_leaves_the_same_bytes(text: str, ours: set[tuple[str, ...]]) -> None:
    before = tomllib.loads(text)
    for path in ours:
        for depth in range(1, len(path) + 1):
            there = look_up(before, path[:depth])
            # Ours must not be there, nor an empty table of the user's where ours go: it goes with them.
            assume(
                there is REMOVE
                if depth == len(path)
                else there is REMOVE or (there and isinstance(there, dict))
            )
    assume(text.strip())
    after = edit(text, {path: OURS[path] for path in ours})
    again = edit(after, dict.fromkeys(ours, REMOVE))
    assert again == text if text.endswith("\n") else again.rstrip("\r\n") == text


@THOROUGH
@given(text=documents(), changes=changes())
def test_poetrys_own_parser_reads_the_result_alike(text: str, changes: Changes) -> None:
    try:
        poetrys = tomlkit.parse(text).unwrap()
    except tomlkit.exceptions.TOMLKitError:
        return  # Poetry cannot read the file before either
    assume(ordered(poetrys) == ordered(tomllib.loads(text)))
    try:
        after = edit(text, changes)
    except EditFailed:
        return
    assert ordered(tomlkit.parse(after).unwrap()) == ordered(tomllib.loads(after))
