# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages of the real CLI in two versions, and keys to sign repositories of them with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import mirror
from lab.signing import GnuPG

OLD, NEW = "527.0.0", "528.0.0"
#: What a scenario runs of these without FAULTS=full, in 7 minutes; the others take half an hour.
QUICK = ("test_poetry_versions.py",)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow files out of a whole scenario; pytest says how many it has deselected."""
    if os.environ.get("FAULTS") == "full" or len({item.path for item in items}) == 1:
        return
    slow = [
        item for item in items if item.path.parent == Path(__file__).parent and item.path.name not in QUICK
    ]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]


@pytest.fixture(scope="session")
def gpg() -> Iterator[GnuPG]:
    """A GnuPG home for the keys of this run."""
    with GnuPG() as found:
        yield found


@pytest.fixture(scope="session")
def key(gpg: GnuPG) -> str:
    """The fingerprint of the key that signs until a test says otherwise."""
    return gpg.generate("Lab key of today")


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, mirror.Package]:
    """The real CLI as two versions, a component of each, and a package that is not to be had from there."""
    directory: Path = tmp_path_factory.mktemp("packages")
    found = mirror.debian_packages(directory, [OLD, NEW])
    found["alien"] = mirror.small(
        directory, {"Package": "hello", "Version": "99"}, {"/usr/bin/hello": "#!/bin/sh\n"}
    )
    return found
