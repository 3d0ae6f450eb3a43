# SPDX-License-Identifier: GPL-3.0-or-later
"""How to reach a machine: ssh options, and the inventory and variables files for Ansible."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["inventory", "ssh_options", "variables", "write"]

_LAB_AUTHORITY = "/usr/local/share/ca-certificates/lab-ca.crt"


def ssh_options(directory: Path, *, identity: bool = True) -> list[str]:
    """Return ssh's options: no file of the user's own counts, and the machine's key is known beforehand."""
    options = [
        "-F",
        "none",
        "-o",
        f"UserKnownHostsFile={directory / 'known_hosts'}",
        "-o",
        "GlobalKnownHostsFile=none",
    ]
    options += ["-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=10"]
    return [*options, "-i", str(directory / "id_ed25519")] if identity else options


def inventory(*, name: str, address: str, directory: Path) -> dict[str, Any]:
    """Return an inventory with one host; Ansible logs in as `admin`, and plays become root themselves."""
    host = {
        "ansible_host": address,
        "ansible_user": "admin",
        "ansible_ssh_private_key_file": str(directory / "id_ed25519"),
        "ansible_ssh_common_args": shlex.join(ssh_options(directory, identity=False)),
        # A fixed short name: molecule's own is too long for a Unix socket below many homes.
        "ansible_control_path": str(directory / "cp" / "m"),
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    return {"all": {"hosts": {name: host}}}


def variables(*, fingerprints: Sequence[str] | None) -> dict[str, Any]:
    """Return the lab's overrides: who, which repository, and whose key signs gcloud's repository."""
    values: dict[str, Any] = {
        "artifact_registry_users": ["dev", "ops"],
        "artifact_registry_repositories": [
            {
                "name": "private-repo",
                "project": "demo-project",
                "location": "europe-west1",
                "repository": "python",
                "ca_cert": _LAB_AUTHORITY,
            }
        ],
        "artifact_registry_identities": {"default": {"type": "metadata"}},
    }
    if fingerprints is not None:
        values["gcloud_key_fingerprints"] = list(fingerprints)
    return values


def write(path: Path, value: dict[str, Any]) -> None:
    """Write JSON, which is YAML too, under a name that appears only when it is complete."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
