# SPDX-License-Identifier: GPL-3.0-or-later
"""A Poetry as pip installs it, which is never run."""

from __future__ import annotations

import os
import sys
import types
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


@pytest.fixture
def installed_poetry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Poetry that knows three settings."""

    class ConfigCommand:
        unique_config_values = {  # noqa: RUF012 - as in Poetry
            "virtualenvs.in-project": (lambda text: text in {"true", "false"}, lambda text: text == "true"),
            "installer.max-workers": (str.isdigit, int),
            "cache-dir": (lambda text: True, lambda text: text),
            "installer.no-binary": (bool, lambda text: sorted(text.split(","))[::-1]),
            "requests.max-retries": (lambda text: int(text) >= 0, int),
        }

    module = types.ModuleType("poetry.console.commands.config")
    vars(module)["ConfigCommand"] = ConfigCommand
    for name in ("poetry", "poetry.console", "poetry.console.commands"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
