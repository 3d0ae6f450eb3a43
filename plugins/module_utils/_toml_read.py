# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse TOML with the standard library, or before Python 3.11 with tomli, which Poetry depends on."""

from __future__ import annotations

import sys
import typing as t

if sys.version_info >= (3, 11):
    import tomllib

    HAS_TOML = True
else:
    try:
        import tomli as tomllib
    except ImportError:
        # Ansible loads module_utils before a module can move to Poetry's interpreter, where tomli is.
        HAS_TOML = False
    else:
        HAS_TOML = True

__all__ = ["HAS_TOML", "NotToml", "is_valid", "same", "values"]


class NotToml(Exception):
    """The text is no TOML; the message names line and column."""


def values(text: str) -> dict[str, t.Any]:
    """Parse a TOML text into plain Python values.

    :raises NotToml: the message names line and column.
    """
    try:
        return tomllib.loads(text)
    except ValueError as error:  # also a number with thousands of digits
        if text.startswith("\ufeff"):
            raise NotToml("a byte order mark (at line 1, column 1); save it as UTF-8 without one") from error
        raise NotToml(f"invalid TOML: {error}") from error
    except RecursionError as error:
        raise NotToml("invalid TOML: nested too deeply") from error


def is_valid(text: str) -> bool:
    """Whether the text parses as TOML."""
    try:
        values(text)
    except NotToml:
        return False
    return True


def same(one: t.Any, other: t.Any) -> bool:
    """Equal as TOML: 1, 1.0 and true differ, and nan is nan."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) or repr(one) == repr(other) == "nan"
