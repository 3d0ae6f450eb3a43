# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of the sources of a pyproject.toml, case by case."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest
from unit.plugins.poetry_projects import HOST, PRIVATE, PRIVATE_TABLE, PYPI, PYPI_TABLE, change, sources

from ansible_collections.devbox.artifact_registry.plugins.module_utils._poetry_sources import (
    SourcesProblem,
    effective,
    orphans,
)

URL = f"{HOST}/my-project/python/simple/"
MINE = {"name": "mine", "priority": "explicit"}
MINE_TABLE = (
    '[[tool.poetry.source]]\nname = "mine"\nurl = "https://example.com/whl/cpu"\npriority = "explicit"\n'
)
HEAD = '[tool.poetry]\nname = "x"\n'
LAYOUT = (
    "the sources are written in a way that cannot be edited safely; write each one as a table of its own:"
    " [[tool.poetry.source]] with name, url and priority on the lines below it"
)
REST = '[build-system]\nrequires = ["poetry-core"]\n'


def joined(*parts: str) -> str:
    return "\n".join(parts)


@pytest.mark.parametrize(
    ("before", "declared", "after"),
    [
        pytest.param(
            joined(HEAD, REST),
            [PYPI, PRIVATE],
            joined(HEAD, PYPI_TABLE, PRIVATE_TABLE, REST),
            id="the-article",
        ),
        pytest.param(
            joined('[project]\nname = "x"\n', REST),
            [PRIVATE],
            joined('[project]\nname = "x"\n', REST, PRIVATE_TABLE),
            id="only-project-table",
        ),
        pytest.param(
            joined(HEAD, "# ours\n" + MINE_TABLE, REST),
            [PRIVATE],
            joined(HEAD, "# ours\n" + MINE_TABLE, PRIVATE_TABLE, REST),
            id="a-new-one-comes-last",
        ),
        pytest.param(
            joined(HEAD, "# ours\n" + PRIVATE_TABLE, MINE_TABLE),
            [PYPI, PRIVATE],
            joined(HEAD, PYPI_TABLE, "# ours\n" + PRIVATE_TABLE, MINE_TABLE),
            id="a-new-one-comes-before-the-next-declared",
        ),
        pytest.param(
            joined("# 1\n" + PRIVATE_TABLE, HEAD, MINE_TABLE, REST, "# 2\n" + PYPI_TABLE),
            [PYPI, PRIVATE],
            joined("# 2\n" + PYPI_TABLE, HEAD, MINE_TABLE, REST, "# 1\n" + PRIVATE_TABLE),
            id="reordered-with-their-comments-among-their-own-places",
        ),
        pytest.param(
            joined(
                HEAD, '[[tool.poetry.source]] # a\n  name="Private-Repo" # b\n  # c\n  url="http://x/y"\n'
            ),
            [PRIVATE],
            joined(
                HEAD,
                '[[tool.poetry.source]] # a\n  name="private-repo" # b\n  # c\n'
                f'  url="{URL}"\n  priority = "supplemental"\n',
            ),
            id="changed-where-it-stands",
        ),
        pytest.param(
            HEAD
            + '[[tool.poetry.source]]\nname = "mine"\nurl = "https://h/"\ndefault = true # old\nlinks = true',
            [{"name": "mine", "priority": "supplemental"}],
            HEAD + '[[tool.poetry.source]]\nname = "mine"\nurl = "https://h/"\nlinks = true\n'
            'priority = "supplemental"',
            id="deprecated-key-gives-way-to-the-priority",
        ),
        pytest.param(
            HEAD + '[[tool.poetry.source]]\nname = "pypi"\nurl = "https://pypi.org/simple"\n',
            [PYPI],
            HEAD + '[[tool.poetry.source]]\nname = "pypi"\n',
            id="pypi-must-not-have-a-url",
        ),
        pytest.param(
            "tool.poetry.source = []\n[project]\nname = 'x'\n",
            [PYPI],
            joined("[project]\nname = 'x'\n", PYPI_TABLE),
            id="what-poetry-leaves-behind-when-it-removes-the-last-one",
        ),
        pytest.param(
            f"# 1\r\n[tool.poetry]\r\n\r\n{MINE_TABLE}".replace("\r\n", "\n").replace("\n", "\r\n"),
            [PYPI],
            f"# 1\n[tool.poetry]\n\n{MINE_TABLE}\n{PYPI_TABLE}".replace("\n", "\r\n"),
            id="crlf",
        ),
    ],
)
def test_declared_sources_are_there(before: str, declared: list[dict[str, Any]], after: str) -> None:
    assert change(before, declared) == after
    assert change(after, declared) == after


@pytest.mark.parametrize(
    ("table", "declared"),
    [
        pytest.param('name = "PyPI"\n', PYPI, id="no-priority-is-primary"),
        pytest.param('name = "pypi"\npriority = "primary"\n', PYPI, id="pypi-in-any-case"),
        pytest.param(
            f'name = "private-repo"\nurl = "{URL[:-1]}"\npriority = "supplemental"\n', PRIVATE, id="slash"
        ),
        pytest.param(
            'name = "mine"\nurl = "https://u:p@h/"\nsecondary = true\n', {"name": "mine"}, id="only-a-name"
        ),
    ],
)
def test_what_means_the_same_stays_so_that_the_lock_file_stays_fresh(
    table: str, declared: dict[str, Any]
) -> None:
    text = f"{HEAD}[[tool.poetry.source]]\n{table}"
    assert change(text, [declared]) == text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            joined(HEAD, "# goes\n" + PRIVATE_TABLE, MINE_TABLE), joined(HEAD, MINE_TABLE), id="comment-above"
        ),
        pytest.param(
            joined(HEAD, "# stays\n", PRIVATE_TABLE + "# goes\n", REST),
            joined(HEAD, "# stays\n", REST),
            id="comment-below",
        ),
        pytest.param(
            HEAD + PRIVATE_TABLE + "# stays\n" + REST,
            HEAD + "# stays\n" + REST,
            id="comment-of-the-next-table",
        ),
        pytest.param(joined(HEAD, PRIVATE_TABLE.replace("private", "PRIVATE")), HEAD, id="in-any-case"),
        pytest.param(
            joined(HEAD, PRIVATE_TABLE, MINE_TABLE, PRIVATE_TABLE), joined(HEAD, MINE_TABLE), id="each-of-two"
        ),
        pytest.param(joined(HEAD, MINE_TABLE), joined(HEAD, MINE_TABLE), id="not-there"),
        pytest.param(
            "[tool.poetry]\nsource = [{name = 'mine', url = 'https://h/'}]\n",
            "[tool.poetry]\nsource = [{name = 'mine', url = 'https://h/'}]\n",
            id="not-there-inline",
        ),
    ],
)
def test_a_source_is_removed_by_its_name(before: str, after: str) -> None:
    assert change(before, [{"name": "private-repo"}], present=False) == after


def test_purge_leaves_nothing_but_what_is_declared() -> None:
    text = joined(HEAD, "# ours\n" + MINE_TABLE, PYPI_TABLE, REST)
    assert change(text, [PYPI, PRIVATE], purge=True) == joined(HEAD, PYPI_TABLE, PRIVATE_TABLE, REST)
    assert change(text, [PRIVATE], purge=True) == joined(HEAD, PRIVATE_TABLE, REST)
    assert change(text, [MINE], purge=True) == joined(HEAD, "# ours\n" + MINE_TABLE, REST)


@pytest.mark.parametrize(
    ("text", "declared", "problem"),
    [
        ("a = \n", [PYPI], "invalid TOML: Invalid value (at line 1, column 5)"),
        (
            "[tool.black]\n",
            [PYPI],
            "neither [tool.poetry] nor [project] is there; make it a project: poetry init",
        ),
        ("[tool]\npoetry = 3\n", [PYPI], "tool.poetry is not a table; repair it"),
        (
            "[tool.poetry.source]\nname = 'x'\n",
            [PYPI],
            "tool.poetry.source is not a list of tables; repair it, see: poetry check",
        ),
        (
            HEAD,
            [{"name": "mine"}],
            "the source mine is not there yet; give its url, or project, location and repository",
        ),
        (
            HEAD + PRIVATE_TABLE + PRIVATE_TABLE.replace("private", "Private"),
            [PRIVATE],
            "the source private-repo is there more than once; keep one of them",
        ),
        (
            HEAD + MINE_TABLE,
            [{"name": "PyPI", "priority": "explicit"}],
            "every source would be explicit, PyPI too; Poetry needs one that is not",
        ),
        (
            "[tool.poetry]\nsource = [{name = 'mine', url = 'https://h/'}]\n",
            [PYPI],
            LAYOUT,
        ),
        (
            "[tool]\npoetry = {name = 'x'}\n",
            [PYPI],
            LAYOUT,
        ),
    ],
)
def test_what_cannot_be_changed_is_refused(text: str, declared: list[dict[str, Any]], problem: str) -> None:
    with pytest.raises(SourcesProblem) as caught:
        change(text, declared)
    assert str(caught.value) == problem


def test_an_inline_list_that_needs_no_change_is_accepted() -> None:
    text = "[tool.poetry]\nsource = [{name = 'PyPI', priority = 'primary'}]\n"
    assert change(text, [PYPI]) == text


def test_sources_are_reported_as_poetry_sees_them_without_passwords() -> None:
    text = """
        [[tool.poetry.source]]
        name = "PyPI"
        [[tool.poetry.source]]
        name = "a"
        url = "https://dev:hunter2@example.com/simple/"
        priority = "explicit"
        [[tool.poetry.source]]
        name = "b"
        url = "https://example.com/"
        default = true
    """
    assert effective(sources(textwrap.dedent(text))) == [
        {"name": "PyPI", "url": None, "priority": "primary"},
        {"name": "a", "url": "https://***@example.com/simple/", "priority": "explicit"},
        {"name": "b", "url": "https://example.com/", "priority": "default"},
    ]


def test_dependencies_that_name_a_removed_source_are_found() -> None:
    uses = """
        [tool.poetry.dependencies]
        one = {version = "1", source = "Private-Repo"}
        two = [{version = "1", source = "mine"}, {version = "2", source = "private-repo"}]
        three = {version = "1", source = "other"}
        [tool.poetry.group.dev.dependencies]
        four = {version = "1", source = "private-repo"}
    """
    text = joined(HEAD, MINE_TABLE, PRIVATE_TABLE, textwrap.dedent(uses))
    assert orphans(text, change(text, [PRIVATE], present=False)) == ["four", "one", "two"]
    assert orphans(text, change(text, [PRIVATE])) == []
