# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of faults and attacks: every row has tests, and every test it names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
TEXT = (TESTS / "faults" / "README.md").read_text(encoding="utf-8")
#: How many faults each section has at least.
SECTIONS = {"Token source": 11, "Host": 10, "Files": 11, "Attacks": 9}
_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


def rows(section: str) -> list[list[str]]:
    """The rows of a section's table, each with its cells."""
    _before, found, text = TEXT.partition(f"\n## {section}\n")
    assert found, f"no section {section}"
    table = [line for line in text.partition("\n## ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[2:]]


@cache
def functions(file: str) -> frozenset[str]:
    """The tests in a file, by name."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("section", SECTIONS)
def test_every_row_says_what_is_expected_and_names_its_tests(section: str) -> None:
    found = rows(section)
    assert len(found) >= SECTIONS[section]
    for row in found:
        assert len(row) == 3, row
        assert all(row), row
        named = _TEST.findall(row[2])
        assert named, row[0]
        assert row[2] == ", ".join(f"`{file}::{name}`" for file, name in named), row[0]


def test_every_test_in_the_table_exists() -> None:
    missing = [
        f"{file}::{name}"
        for file, name in _TEST.findall(TEXT)
        if not (TESTS / file).is_file() or name not in functions(file)
    ]
    assert missing == []


def test_every_file_of_fault_tests_is_in_the_table() -> None:
    files = {path.relative_to(TESTS).as_posix() for path in (TESTS / "faults").rglob("test_*.py")}
    assert files - {file for file, _name in _TEST.findall(TEXT)} == set()
