# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of files in a home share: a directory, a file in it, and how they are used."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.devbox.artifact_registry.plugins.module_utils._home_file import (
    ConfigDirectory,
    Snapshot,
)
from ansible_collections.devbox.artifact_registry.plugins.module_utils._toml_read import is_valid

SECRET = "[http-basic.mine]\npassword = 'foreign'\n"
NEW = "[http-basic.ours]\npassword = 'ours'\n"


def opened(poetry_dir: Path, *, create: bool = False) -> ConfigDirectory:
    return ConfigDirectory(str(poetry_dir), home=str(poetry_dir.parents[1]), create=create)


def read(poetry_dir: Path, *, private: bool = True) -> Snapshot:
    with opened(poetry_dir) as directory:
        return directory.read("auth.toml", complete=is_valid, private=private)


def replace(poetry_dir: Path, text: str, *, previous: Snapshot) -> bool:
    with opened(poetry_dir) as directory:
        return directory.replace("auth.toml", text, previous=previous)


def secret(poetry_dir: Path, text: str = SECRET, *, mode: int = 0o600) -> Path:
    path = poetry_dir / "auth.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def script(path: Path, first: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{first}\nprint()\n")
    path.chmod(0o755)
    return path
