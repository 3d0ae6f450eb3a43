# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmarks of poetry_config declare, once for the module and once for `poetry config`."""

from __future__ import annotations

import os
import pwd
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.place import BenchError
from bench.plays import Task

__all__ = ["SETTINGS", "Declared", "check_same_work", "present_user", "repositories"]

#: Ten settings, none of them Poetry's default: as the module takes them and as `poetry config` does.
SETTINGS: dict[str, bool | int | str] = {
    "virtualenvs.in-project": True,
    "virtualenvs.prompt": "bench",
    "virtualenvs.use-poetry-python": True,
    "virtualenvs.options.always-copy": True,
    "virtualenvs.options.no-pip": True,
    "installer.parallel": False,
    "installer.max-workers": 4,
    "installer.re-resolve": False,
    "requests.max-retries": 3,
    "solver.lazy-wheel": False,
}


def repositories(number: int) -> list[dict[str, str]]:
    """Declare repositories of one project."""
    return [
        {
            "name": f"private-{index:03}",
            "project": "bench-project",
            "location": "europe-west1",
            "repository": f"python-{index:03}",
        }
        for index in range(number)
    ]


@dataclass(frozen=True, kw_only=True)
class Declared:
    """Settings and repositories for some users, and the Poetry that is configured."""

    poetry: Path
    users: Sequence[str]
    repositories: list[dict[str, str]]
    settings: dict[str, bool | int | str]
    config_dir: str = ".config/pypoetry"

    def module(self, name: str, *, changes: bool) -> Task:
        """One task with our module."""
        arguments: dict[str, Any] = {
            "poetry": str(self.poetry),
            "users": list(self.users),
            "allow_root": list(self.users) == ["root"],
            "config_dir": self.config_dir,
            "repositories": self.repositories,
            "settings": self.settings,
        }
        return Task(name=name, action={"devbox.artifact_registry.poetry_config": arguments}, changes=changes)

    def loop(self, name: str, *, home: Path) -> Task:
        """One task that loops over the keys with `poetry config KEY VALUE`, for an absolute `config_dir`."""
        keys = [
            {"key": key, "value": str(value).lower() if isinstance(value, bool) else str(value)}
            for key, value in self.settings.items()
        ]
        for entry in self.repositories:
            url = "https://{location}-python.pkg.dev/{project}/{repository}/".format(**entry)
            keys.append({"key": f"repositories.{entry['name']}", "value": url})
        command = {"argv": [str(self.poetry), "config", "{{ item.key }}", "{{ item.value }}"], "chdir": "/"}
        return Task(
            name=name,
            action={
                "ansible.builtin.command": command,
                "environment": {"HOME": str(home), "POETRY_CONFIG_DIR": self.config_dir},
                "loop": keys,
                "loop_control": {"label": "{{ item.key }}"},
            },
        )


def present_user() -> str:
    """The name of the user who runs the benchmark."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise BenchError(f"uid {os.geteuid()} has no name: run as a user of this machine") from None


def check_same_work(ours: Path, theirs: Path) -> None:
    """Compare what two directories' config.toml say: a comparison of times needs the same result."""
    first, second = (
        tomllib.loads((path / "config.toml").read_text(encoding="utf-8")) for path in (ours, theirs)
    )
    if first != second:
        raise BenchError(f"the module and the loop did not do the same: {first} against {second}")
