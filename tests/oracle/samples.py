# SPDX-License-Identifier: GPL-3.0-or-later
"""Values for every setting that a Poetry knows, found by asking its own validators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["CANDIDATES", "Sample", "first_samples", "nested", "refused_values", "second_samples"]

#: As text -> as it is written in a playbook. Every kind of setting accepts two of one row, and by their type
#: once Poetry has normalised them it can be told which row that is.
_BOOLEANS: dict[str, Any] = {"true": True, "false": False}
_INTEGERS: dict[str, Any] = {"3": 3, "5": 5}
_LISTS: dict[str, Any] = {"one,two-b,three": ["one", "two-b", "three"], "four,five": ["four", "five"]}
_TEXTS: dict[str, Any] = {"/srv/one": "/srv/one", "/srv/two": "/srv/two"}
#: Texts that some kinds refuse: not a boolean and not a number; not a package's name; nothing.
_BAD = ["maybe", "a b!", " ", ""]

CANDIDATES = [*_BOOLEANS, *_INTEGERS, *_LISTS, *_TEXTS, *_BAD]


@dataclass(frozen=True)
class Sample:
    """A value for a setting: as an argument of `poetry config`, and as it is written in a playbook."""

    key: str
    text: str
    given: Any


def _row(accepted: Mapping[str, Any]) -> dict[str, Any]:
    """The row of values for a setting, by what Poetry makes of the candidates that it accepts."""
    for row, kind in ((_BOOLEANS, bool), (_INTEGERS, int), (_LISTS, list), (_TEXTS, str)):
        if all(type(accepted.get(text)) is kind for text in row):
            return row
    raise AssertionError(f"a kind of setting that these tests do not know: {accepted}")


def _samples(settings: Mapping[str, Mapping[str, Any]], number: int) -> list[Sample]:
    return [Sample(key, *list(_row(accepted).items())[number]) for key, accepted in sorted(settings.items())]


def first_samples(settings: Mapping[str, Mapping[str, Any]]) -> list[Sample]:
    """A valid value for each setting."""
    return _samples(settings, 0)


def second_samples(settings: Mapping[str, Mapping[str, Any]]) -> list[Sample]:
    """Another valid value for each setting."""
    return _samples(settings, 1)


def refused_values(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """For each setting a text that this Poetry refuses, where there is one."""
    found = {key: [text for text in _BAD if text not in accepted] for key, accepted in settings.items()}
    return {key: texts[0] for key, texts in sorted(found.items()) if texts}


def nested(samples: list[Sample]) -> dict[str, Any]:
    """The values as nested mappings instead of dotted names."""
    tree: dict[str, Any] = {}
    for sample in samples:
        *parents, last = sample.key.split(".")
        table = tree
        for parent in parents:
            table = table.setdefault(parent, {})
        table[last] = sample.given
    return tree
