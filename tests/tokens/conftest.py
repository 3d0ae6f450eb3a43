# SPDX-License-Identifier: GPL-3.0-or-later
"""The program and the tests' packages on sys.path; the Pythons to test, each installed for once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT / "tests") not in sys.path:
    sys.path.insert(0, str(ROOT / "tests"))

import tokens  # noqa: E402, F401 - puts the program on the path
from tokens.pythons import VERSIONS, chosen, found  # noqa: E402


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--python", action="append", choices=VERSIONS, help="only this Python; repeatable")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "version" in metafunc.fixturenames:
        wanted = metafunc.config.getoption("python") or [
            *chosen(),
            *(version for version in VERSIONS if version not in found()),
        ]
        metafunc.parametrize(
            "version", wanted, ids=[f"python-{version}" for version in wanted], scope="module"
        )
