# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of poetry_config_info with real files: two users, and a Poetry that knows some settings."""

from __future__ import annotations

import json
import os
import pwd
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from unit.plugins.homes import script
from unit.plugins.poetry_facts import DEFAULTS, SETTINGS

from ansible_collections.devbox.artifact_registry.plugins.module_utils import (
    _home_file,
    _poetry_inspect,
    _users,
)
from ansible_collections.devbox.artifact_registry.plugins.modules import poetry_config_info

Run = Callable[..., dict[str, Any]]

# A Poetry of which only the names and defaults of settings are needed.
POETRY = {
    "poetry/__init__.py": "",
    "poetry/config/__init__.py": "",
    "poetry/config/config.py": f"""
class Config:
    default_config = {DEFAULTS!r}

    @staticmethod
    def _get_normalizer(name):
        return int if name == "installer.max-workers" else lambda text: text
""",
    "poetry/console/__init__.py": "",
    "poetry/console/commands/__init__.py": "",
    "poetry/console/commands/config.py": f"""
class ConfigCommand:
    unique_config_values = dict.fromkeys({SETTINGS!r}, ())
""",
    "gar_auth-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: gar-auth\nVersion: 1.0\n",
    "gar_auth-1.0.dist-info/entry_points.txt": "[keyring.backends]\ngar-auth = gar_auth.keyring_backend\n",
}


def install_poetry(venv: Path) -> Path:
    """Poetry 2.5.1 in a virtual environment of this Python's version; its script."""
    packages = venv / "lib/python{}.{}/site-packages".format(*sys.version_info)
    for name, text in {**POETRY, "poetry-2.5.1.dist-info/METADATA": "Name: poetry\n"}.items():
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text(text)
    (venv / "pyvenv.cfg").touch()
    (venv / "bin").mkdir()
    (venv / "bin" / "python").symlink_to(os.path.realpath(sys.executable))
    return script(venv / "bin" / "poetry", f"#!{venv}/bin/python -I")


def runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dev: pwd.struct_passwd, capfd: pytest.CaptureFixture[str]
) -> Run:
    """How to run the module for two users: dev, and ops with a home beside that of dev."""
    ops = pwd.struct_passwd(("ops", *dev[1:5], f"{dev.pw_dir}-ops", dev.pw_shell))
    Path(ops.pw_dir).mkdir(mode=0o700)
    poetry = install_poetry(tmp_path / "venv")
    monkeypatch.setattr(sys, "path", [*sys.path])
    database = {"getpwnam": {"dev": dev, "ops": ops}.__getitem__, "getpwuid": lambda _uid: dev}
    monkeypatch.setattr(_users, "pwd", types.SimpleNamespace(**database))
    monkeypatch.setattr(_poetry_inspect, "ETC_ENVIRONMENT", str(tmp_path / "environment"))
    monkeypatch.setattr(_home_file, "SETTLE_SECONDS", 0.1)
    for name in [*os.environ]:
        if name.startswith(("POETRY_", "XDG_", "NETRC", "PYTHON_KEYRING")):
            monkeypatch.delenv(name)
    warnings: list[str] = []  # the real ones gather over all runs of a process
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, message: warnings.append(message))

    def run(*, check: bool = False, **params: Any) -> dict[str, Any]:
        warnings.clear()
        for name in [name for name in sys.modules if name.partition(".")[0] == "poetry"]:
            monkeypatch.delitem(sys.modules, name)
        options = {"users": ["dev"], "poetry": str(poetry), "_ansible_check_mode": check, **params}
        with patch_module_args(options), pytest.raises(SystemExit) as ended:
            poetry_config_info.main()
        for name in [name for name in sys.modules if name.partition(".")[0] == "poetry"]:
            del sys.modules[name]
        result: dict[str, Any] = json.loads(capfd.readouterr().out)
        assert bool(result.get("failed")) == bool(ended.value.code)
        result.pop("invocation", None)
        return {**result, "warnings": [*warnings]}

    return run


def write(poetry_dir: Path, *, config: str = "", auth: str = "") -> None:
    for name, text in (("config.toml", config), ("auth.toml", auth)):
        (poetry_dir / name).write_text(text)
        (poetry_dir / name).chmod(0o600)
