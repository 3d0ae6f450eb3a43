# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the collection, installs its tarball into an empty place and runs its playbooks from there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.console import say
from lab.system import LabError

__all__ = ["Collection"]

CHECKOUT = Path(__file__).resolve().parents[2]
_BIN = Path(sys.executable).parent
_ROLE = re.compile(r"^TASK \[devbox\.artifact_registry\.(\w+) : ")


@dataclass(frozen=True, kw_only=True)
class Collection:
    """The collection as its users have it: from the tarball, with nothing else of the checkout."""

    place: Path

    @classmethod
    def install(cls, place: Path) -> Collection:
        """Build the tarball from the checkout and install it below `place`."""
        collection = cls(place=place)
        collection._galaxy("build", "--force", "--output-path", str(place), str(CHECKOUT))
        tarball = next(place.glob("devbox-artifact_registry-*.tar.gz"))
        collection._galaxy(
            "install", "--offline", "--no-deps", "-p", str(place / "collections"), str(tarball)
        )
        return collection

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return an environment in which no other Ansible configuration or collection takes part."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        return {
            **kept,
            "ANSIBLE_COLLECTIONS_PATH": str(self.place / "collections"),
            "ANSIBLE_HOME": str(self.place / "ansible"),
            "ANSIBLE_PIPELINING": "1",
            "LC_ALL": "C.UTF-8",
            **(extra or {}),
        }

    def play(
        self,
        playbook: str,
        *arguments: str,
        inventory: Path,
        variables: Mapping[str, Any],
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Run a playbook by its name and return its output; show which role is at work.

        :raises LabError: it failed; with what Ansible said of the failure.
        """
        file = self.place / "variables.json"
        file.write_text(json.dumps(variables), encoding="utf-8")
        argv = [str(_BIN / "ansible-playbook"), f"devbox.artifact_registry.{playbook}"]
        argv += ["-i", str(inventory), "-e", f"@{file}", *arguments]
        lines: list[str] = []
        role = ""
        with subprocess.Popen(
            argv,
            cwd=self.place,
            env=self.environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                started = _ROLE.match(line)
                if started and started[1] != role:
                    role = started[1]
                    say(f"role {role}")
        if process.returncode:
            first = next(
                (number for number, line in enumerate(lines) if "ERROR" in line or "fatal:" in line), -30
            )
            raise LabError(f"the playbook {playbook} failed:\n{''.join(lines[first:])[:4000]}")
        return "".join(lines)

    def _galaxy(self, command: str, *arguments: str) -> None:
        argv = [str(_BIN / "ansible-galaxy"), "collection", command, *arguments]
        done = subprocess.run(
            argv,
            cwd=self.place,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise LabError(f"ansible-galaxy collection {command} failed: {done.stderr.strip()[-1000:]}")
