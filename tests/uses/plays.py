# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the collection's playbooks from the checkout against machines of the lab."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import connection
from lab.machines import Machine

__all__ = ["CHECKOUT", "Play", "environment", "inventory", "run"]

CHECKOUT = Path(__file__).resolve().parents[2]
_RECAP = re.compile(r"^(\S+)\s+: (ok=\d+ .*)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Play:
    """How a run ended.

    :ivar recap: by host, Ansible's own counts: ok, changed, unreachable, failed, skipped, rescued, ignored.
    """

    code: int
    output: str
    recap: dict[str, dict[str, int]]

    @property
    def changed(self) -> int:
        """How many tasks changed something, on all hosts together."""
        return sum(counts["changed"] for counts in self.recap.values())


def inventory(
    path: Path, machines: Iterable[Machine], *, hosts: Mapping[str, Mapping[str, Any]] | None = None
) -> Path:
    """Write an inventory of these machines and return its path.

    :param hosts: further variables, by host.
    """
    found = {}
    for machine in machines:
        own = json.loads(machine.inventory.read_text(encoding="utf-8"))["all"]["hosts"][machine.name]
        found[machine.name] = {**own, **(hosts or {}).get(machine.name, {})}
    connection.write(path, {"all": {"hosts": found}})
    return path


def environment(place: Path) -> dict[str, str]:
    """Return an environment in which nothing of the caller's Ansible takes part."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    return {
        **own,
        "ANSIBLE_CONFIG": str(CHECKOUT / ".config" / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".ansible" / "collections"),
        "ANSIBLE_HOME": str(place / "ansible"),
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_TIMEOUT": "60",  # of the connection and of sudo: the machines share two processors
        "ANSIBLE_FORCE_COLOR": "0",
        "ANSIBLE_NOCOLOR": "1",
        "LC_ALL": "C.UTF-8",
    }


def run(
    playbook: str,
    *arguments: str,
    inventory: Path,
    place: Path,
    variables: Mapping[str, Any] | None = None,
) -> Play:
    """Run a playbook of the collection by its name.

    :param place: a directory of the test, for Ansible's home and as the working directory.
    :param variables: go before all others, as with --extra-vars.
    """
    command = [
        str(Path(sys.executable).parent / "ansible-playbook"),
        f"devbox.artifact_registry.{playbook}",
    ]
    command += ["-i", str(inventory), "--extra-vars", json.dumps(dict(variables or {})), *arguments]
    done = subprocess.run(
        command,
        cwd=place,
        env=environment(place),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    recap = {
        found[1]: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", found[2])}
        for found in _RECAP.finditer(done.stdout)
    }
    return Play(code=done.returncode, output=done.stdout, recap=recap)
