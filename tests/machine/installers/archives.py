# SPDX-License-Identifier: GPL-3.0-or-later
"""Google's archive of the CLI, made of this host's files once and kept in the lab's cache."""

from __future__ import annotations

from pathlib import Path

from lab import cache, mirror

__all__ = ["ensure"]


_LAYOUT = 2
"""Count up when the archive is made in another way."""


def ensure(version: str) -> Path:
    """Return the archive of a version."""
    path = cache.directory("archives") / f"google-cloud-cli-{version}-{_LAYOUT}.tar.gz"
    with cache.locked("archives"):
        if not path.exists():
            mirror.archive(path.with_suffix(".partial"), version=version).rename(path)
    return path
