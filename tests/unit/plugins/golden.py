# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the validator share: the form of a message, and how one is got."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.devbox.artifact_registry.plugins.module_utils import _validate as validate

NAME = "a string of letters, digits, '-', '_' and '.', at most 64 characters, starting with a letter or digit"
QUOTE = "(YAML changed its type: quote it)"


def text(path: str, found: str, allowed: str, example: str) -> str:
    return f"{path}: found {found}\n  allowed: {allowed}\n  example: {example}"


def refusal(check: Any, declared: object, **options: Any) -> str:
    with pytest.raises(validate.InvalidInput) as caught:
        check(declared, **options)
    for problem in caught.value.problems:
        assert str(problem).count("\n") <= 2, "three lines at most"
    return str(caught.value)
