# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole playbook on a machine without any route: all it installs comes from the controller."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.machines import Machine
from machine import plays
from machine.installers import archives, wheelhouse
from machine.installers.conftest import NEW


@pytest.fixture
def alone(machine: Machine) -> Iterator[None]:
    """The machine has no way out, only the link to the controller."""
    gateway = machine.ssh("admin", "ip route show default", check=True).stdout.strip()
    machine.ssh("admin", "sudo ip route del default", check=True)
    assert "unreachable" in machine.ssh("admin", "ip route get 1.1.1.1").stderr
    yield
    machine.ssh("admin", f"sudo ip route add {gateway}", check=True)


def test_everything_comes_from_the_controller(machine: Machine, alone: None, tmp_path: Path) -> None:
    version = machine.ssh(
        "dev", "python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'", check=True
    )
    archive = archives.ensure(NEW)
    variables: dict[str, Any] = {
        "gcloud_method": "archive",
        "gcloud_version": NEW,
        "gcloud_archive": str(archive),
        "gcloud_archive_sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "poetry_wheelhouse": str(
            wheelhouse.make(tmp_path, python=version.stdout.strip(), files=wheelhouse.locks("2.5.1"))
        ),
    }
    done = plays.run(variables=variables)
    assert done.code == 0, done.output
    assert machine.ssh("dev", "gcloud --version", check=True).stdout.startswith(f"Google Cloud SDK {NEW}")
    assert machine.ssh("dev", "poetry --version", check=True).stdout.strip() == "Poetry (version 2.5.1)"
    machine.ssh("dev", "gar-auth doctor", check=True)
    assert plays.run(variables=variables).changed == 0
    back = plays.run(variables={**variables, "artifact_registry_state": "absent"})
    assert back.code == 0, back.output
