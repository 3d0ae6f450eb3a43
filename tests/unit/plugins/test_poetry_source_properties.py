# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for any pyproject.toml: it gets exactly the declared sources, once, and foreign bytes stay."""

from __future__ import annotations

import itertools
import re
import tomllib
from typing import Any

import tomlkit
import tomlkit.exceptions
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from unit.plugins.poetry_projects import NAMES, change, declarations, projects, sources

THOROUGH = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def named(tables: list[dict[str, Any]]) -> list[str]:
    return [table["name"].lower() for table in tables]


def others(text: str) -> dict[str, Any]:
    """All values of the text but the sources."""
    tree = tomllib.loads(text)
    tree["tool"]["poetry"].pop("source", None)
    return tree


def lines(text: str, tag: str) -> list[str]:
    return [line for line in text.splitlines() if re.search(rf"# {tag}\d+\.", line)]


@THOROUGH
@given(text=projects(), declared=declarations(), purge=st.booleans())
def test_a_project_gets_exactly_the_declared_sources(
    text: str, declared: list[dict[str, Any]], purge: bool
) -> None:
    after = change(text, declared, purge=purge)
    before, done = sources(text), sources(after)
    listed = named(declared)
    assert [name for name in named(done) if name in listed] == listed, "in the declared order"
    stay = ["*" if name in listed else name for name in named(before)]
    old = [name for name in named(done) if name in named(before)]
    assert ["*" if name in listed else name for name in old] == [
        name for name in stay if name == "*" or not purge
    ], "all others where they were"
    for wish in declared:
        (table,) = (table for table in done if table["name"].lower() == wish["name"].lower())
        had = next((old for old in before if old["name"].lower() == table["name"].lower()), None)
        if "url" in wish:
            assert table["name"] == wish["name"]
            assert table["url"].rstrip("/") == f"{wish['url']}simple"
        else:
            assert "url" not in table
        if "priority" in wish:
            assert table.get("priority", "primary") == wish["priority"]
            assert not {"default", "secondary"} & table.keys()
        elif had:
            kept = ("priority", "default", "secondary")
            assert {key: table.get(key) for key in kept} == {key: had.get(key) for key in kept}
        for key in ("links", "x", "more"):
            assert table.get(key) == (had or {}).get(key)
    for name in set(named(done)) - set(listed):
        assert done[named(done).index(name)] == before[named(before).index(name)]
    assert others(after) == others(text)
    assert change(after, declared, purge=purge) == after, "the second time nothing changes"


@THOROUGH
@given(text=projects(), declared=declarations())
def test_every_comment_stays_or_goes_with_its_source(text: str, declared: list[dict[str, Any]]) -> None:
    after = change(text, declared)
    removed = change(text, declared, present=False)
    assert lines(after, "f") == lines(removed, "f") == lines(text, "f")
    listed = named(declared)
    for table in sources(text):
        tag = re.escape(f"{table['name']}.")
        gone = table["name"].lower() in listed
        assert lines(removed, tag) == ([] if gone else lines(text, tag))
        same = [line for line in lines(after, tag) if line in lines(text, tag)]
        assert len(lines(after, tag)) >= len(lines(text, tag)) - 1, "but for a deprecated key's own line"
        assert len(same) >= len(lines(text, tag)) - 3, "but for the changed name, URL and priority"
    owners = [owner.lower() for owner in re.findall(r"# ([\w -]+)\.\d+\.", after)]
    groups = [owner for owner, _group in itertools.groupby(owners)]
    assert groups == [name for name in named(sources(after)) if name in groups], "each at its source"


@THOROUGH
@given(text=projects(), declared=declarations())
def test_a_removed_source_is_gone_and_nothing_else(text: str, declared: list[dict[str, Any]]) -> None:
    after = change(text, declared, present=False)
    assert sources(after) == [
        table for table in sources(text) if table["name"].lower() not in named(declared)
    ]
    assert others(after) == others(text)
    assert change(after, declared, present=False) == after


@THOROUGH
@given(text=projects(), declared=declarations(names=("new", "newer", "PyPI", "Mirror")), data=st.data())
def test_what_is_added_and_removed_again_leaves_the_same_bytes(
    text: str, declared: list[dict[str, Any]], data: st.DataObject
) -> None:
    known = named(sources(text))
    assume(not set(named(declared)) & set(known))
    # One that is there already and needs no change says where the new ones go.
    if kept := [name for name in known if name in NAMES[1:]]:
        place = data.draw(st.integers(0, len(declared)))
        after = change(
            text,
            [
                *declared[:place],
                {"name": next(table["name"] for table in sources(text) if table["name"].lower() == kept[0])},
                *declared[place:],
            ],
        )
    else:
        after = change(text, declared)
    assert change(after, declared, present=False) == text


@THOROUGH
@given(text=projects(), declared=declarations(), present=st.booleans())
def test_poetrys_own_parser_reads_the_result_alike(
    text: str, declared: list[dict[str, Any]], present: bool
) -> None:
    try:
        poetrys = tomlkit.parse(text).unwrap()
    except tomlkit.exceptions.TOMLKitError:
        return  # Poetry cannot read the file before either
    assume(poetrys == tomllib.loads(text))
    after = change(text, declared, present=present)
    assert tomlkit.parse(after).unwrap() == tomllib.loads(after)
