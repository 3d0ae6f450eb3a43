# SPDX-License-Identifier: GPL-3.0-or-later
"""A Poetry as pip installs it, which is never run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from unit.plugins.homes import script


@pytest.fixture
def poetry(tmp_path: Path) -> Path:
    """Poetry's script in a virtual environment, as pip makes it."""
    directory = tmp_path / "venv" / "bin"
    directory.mkdir(parents=True)
    (directory / "python").symlink_to(os.path.realpath(sys.executable))
    return script(directory / "poetry", f"#!{directory}/python -I")
