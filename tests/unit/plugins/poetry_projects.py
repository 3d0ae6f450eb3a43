# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts of pyproject.toml as people and Poetry write them, and the change of their sources as one step.

Each comment of a generated text carries a tag: C(# f1.) what is not a source's, C(# NAME.1.) what goes and
moves with that source.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

from ansible_collections.devbox.artifact_registry.plugins.module_utils._poetry_sources import (
    parse_sources,
    plan,
    read,
)
from ansible_collections.devbox.artifact_registry.plugins.module_utils._poetry_sources_edit import edit

HOST = "https://europe-west1-python.pkg.dev"
PYPI = {"name": "PyPI", "priority": "primary"}
PRIVATE = {
    "name": "private-repo",
    "project": "my-project",
    "location": "europe-west1",
    "repository": "python",
    "priority": "supplemental",
}
PYPI_TABLE = '[[tool.poetry.source]]\nname = "PyPI"\npriority = "primary"\n'
PRIVATE_TABLE = (
    f'[[tool.poetry.source]]\nname = "private-repo"\nurl = "{HOST}/my-project/python/simple/"\n'
    'priority = "supplemental"\n'
)
#: Names that can be declared; the project of a generated text may have any of them but the last two.
NAMES = ("PyPI", "private-repo", "Mirror", "torch", "new", "newer")
_FOREIGN = (
    "[project]\nname = 'x' FOREIGN\n",
    "[build-system]\nrequires = [\n  'poetry-core', FOREIGN\n]\n",
    "[tool.black]\ntext = '''\n[[tool.poetry.source]]\nname = 'no'\n'''\n",
    "[[tool.mypy.overrides]]\nsource = 'no' FOREIGN\n",
    "[tool.poetry.dependencies]\nin-house = { version = '1', source = 'private-repo' }\n",
    "[tool.poetry.group.dev]\nFOREIGN\noptional = true\n",
)


def change(text: str, declared: list[dict[str, Any]], *, present: bool = True, purge: bool = False) -> str:
    """The text with the declared sources."""
    sources = parse_sources(declared, present=present)
    return edit(text, plan(read(text), sources, present=present, purge=purge))


def sources(text: str) -> list[dict[str, Any]]:
    """The sources, by the standard library's parser."""
    found: list[dict[str, Any]] = tomllib.loads(text).get("tool", {}).get("poetry", {}).get("source", [])
    return found


@st.composite
def projects(draw: Callable[..., Any]) -> str:
    """A pyproject.toml that Poetry uses."""
    numbers: Iterator[int] = itertools.count()

    def comment(tag: str) -> str:
        return f"# {tag}{next(numbers)}."

    def loose(tag: str, *, most: int = 2) -> str:
        indent = st.sampled_from(["", "  "])
        return "".join(f"{draw(indent)}{comment(tag)}\n" for _ in range(draw(st.integers(0, most))))

    def blank() -> str:
        return str(draw(st.sampled_from(["\n", "\n", "", "\n\n", " \n"])))

    def foreign(text: str) -> str:
        filled = re.sub("FOREIGN", lambda _match: comment("f"), text)
        closing = draw(st.sampled_from(["", f"{comment('f')}\n\n"]))
        return f"{loose('f')}{filled}{blank()}{closing}"

    def source(name: str) -> str:
        tag = f"{name}."
        header = draw(
            st.sampled_from(
                ["[[tool.poetry.source]]", '  [[ tool . "poetry".source]]', "[[tool.poetry.'source']]"]
            )
        )
        url = draw(st.sampled_from([f"{HOST}/my-project/python/simple", "https://u:p@example.com/#x"]))
        pairs = [f'name = "{name}"' if draw(st.booleans()) else f"'name'='{name}'"]
        if name != "PyPI":
            pairs.append(f'url = "{url}"')
        # Poetry refuses a project whose sources are all explicit, PyPI too.
        last = [
            "",
            "priority = 'supplemental'" if name == "PyPI" else "priority = 'explicit'",
            'priority="primary"',
            "default = true",
            "secondary = false",
        ]
        pairs += [
            draw(st.sampled_from(last)),
            draw(st.sampled_from(["", "links = true", "x.y = [ 1,\n 2 ]"])),
        ]
        lines = [
            f"{draw(st.sampled_from(['', '    ']))}{pair}{draw(st.sampled_from(['', ' ' + comment(tag)]))}\n"
            for pair in draw(st.permutations([pair for pair in pairs if pair]))
        ]
        inside = draw(st.sampled_from(["", "\n[tool.poetry.source.more]\na = 1\n"]))
        return f"{loose(tag)}{header}\n{loose(tag, most=1)}{''.join(lines)}{inside}{blank()}"

    names = draw(st.lists(st.sampled_from([*NAMES[:4], "x y"]), unique=True, max_size=4))
    tables = [source(name) for name in names]
    others = [foreign(text) for text in draw(st.lists(st.sampled_from(_FOREIGN), unique=True))]
    blocks = tables + others if draw(st.booleans()) else draw(st.permutations(tables + others))
    text = foreign("[tool.poetry]\npackage-mode = false FOREIGN\n") + "".join(blocks)
    if draw(st.booleans()):
        text = re.sub(r"(?<=.)\n\s*\Z", "", text)
    return text.replace("\n", "\r\n") if draw(st.integers(0, 4)) == 0 else text


@st.composite
def declarations(draw: Callable[..., Any], *, names: tuple[str, ...] = NAMES) -> list[dict[str, Any]]:
    """Sources as a task declares them."""
    declared = []
    for name in draw(st.lists(st.sampled_from(names), unique=True, min_size=1, max_size=4)):
        item = {"name": draw(st.sampled_from([name, name.lower()]))}
        if name != "PyPI":
            item["url"] = f"{HOST}/my-project/{draw(st.sampled_from(['python', 'other']))}/"
        if priority := draw(st.sampled_from([None, "primary", "supplemental"])):
            item["priority"] = priority
        declared.append(item)
    return declared
