# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the roles, or a playbook, on the scenario's machine, with molecule's inventory and environment."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["ROLES", "Play", "inventory", "run", "state_directory"]

ROLES = Path(__file__).resolve().parent / "files" / "roles.yml"
_CHANGED = re.compile(r"ok=\d+ +changed=(\d+)")


@dataclass(frozen=True, kw_only=True)
class Play:
    """How a run ended: its exit code, how many tasks changed something, and all that it printed."""

    code: int
    changed: int
    output: str


def state_directory() -> Path:
    """Return molecule's directory for what belongs to this run of the scenario."""
    return Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])


def inventory() -> Path:
    """Return the inventory directory with the machine and the scenario's variables."""
    return state_directory() / "inventory"


def run(
    *arguments: str,
    variables: Mapping[str, Any] | None = None,
    playbook: str = str(ROLES),
) -> Play:
    """Run a playbook; `variables` go before all others, as with --extra-vars."""
    argv = ["ansible-playbook", playbook, "-i", str(inventory()), *arguments]
    if variables:
        argv += ["--extra-vars", json.dumps(dict(variables))]
    done = subprocess.run(
        argv,
        env={**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    recap = _CHANGED.search(done.stdout)
    return Play(code=done.returncode, changed=int(recap[1]) if recap else -1, output=done.stdout)
