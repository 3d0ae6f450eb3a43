# SPDX-License-Identifier: GPL-3.0-or-later
"""The CLI from an archive: by its checksum only, beside the one in use, from a URL or from the controller."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import mirror
from lab.machines import Machine
from machine import plays
from machine.installers import archives as kept
from machine.installers import interrupted
from machine.installers.conftest import NEW, OLD

GCLOUD = {"artifact_registry_roles": ["gcloud"], "gcloud_method": "archive"}


def play(*arguments: str, **variables: Any) -> plays.Play:
    return plays.run(*arguments, variables={**GCLOUD, **variables})


def version(machine: Machine) -> str:
    """What an unprivileged user has on the PATH."""
    return machine.ssh("dev", "gcloud --version", check=True).stdout.splitlines()[0]


@pytest.fixture(scope="module")
def archives(machine: Machine) -> Iterator[dict[str, dict[str, Any]]]:
    """By version, the variables that install it: the old one from a URL, the new one from the controller."""
    found = {}
    for number in (OLD, NEW):
        path = kept.ensure(number)
        with path.open("rb") as stream:
            checksum = hashlib.file_digest(stream, "sha256").hexdigest()
        found[number] = {
            "gcloud_version": number,
            "gcloud_archive": str(path),
            "gcloud_archive_sha256": checksum,
        }
    served, url = mirror.place(machine, "archives")
    (served / "old.tar.gz").symlink_to(found[OLD]["gcloud_archive"])
    found[OLD]["gcloud_archive"] = f"{url}/old.tar.gz"
    yield found
    play(gcloud_state="absent", gcloud_method="")


def test_it_takes_the_place_of_packages(machine: Machine, archives: dict[str, dict[str, Any]]) -> None:
    packages = plays.run(variables={"artifact_registry_roles": ["gcloud"]})
    assert packages.code == 0, packages.output
    assert play("--check", **archives[OLD]).changed > 0
    assert machine.ssh("admin", "ls -d /opt/google-cloud-cli").stdout == ""
    done = play(**archives[OLD], gcloud_properties={"core/project": "demo-project"})
    assert done.code == 0, done.output
    assert version(machine) == f"Google Cloud SDK {OLD}"
    assert machine.ssh("dev", "command -v gcloud", check=True).stdout.strip() == "/usr/local/bin/gcloud"
    assert machine.ssh("dev", "gcloud config get core/project", check=True).stdout.strip() == "demo-project"
    left = "ls -d /usr/bin/gcloud /usr/lib/google-cloud-sdk /etc/apt/*/devbox-google*"
    assert machine.ssh("admin", left).stdout == ""
    assert play(**archives[OLD], gcloud_properties={"core/project": "demo-project"}).changed == 0


def test_another_archive_than_the_declared_one_is_refused(
    machine: Machine, archives: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    for change in ({"gcloud_archive_sha256": "0" * 64}, {}):  # without a change: not the version in it
        number = OLD if change else NEW
        refused = play(**{**archives[number], **change, "gcloud_version": "526.0.0"})
        assert refused.code == 2
        assert "gcloud was not installed by archive, and what is in use was not changed" in refused.output
        assert version(machine) == f"Google Cloud SDK {OLD}"
    assert "526" not in machine.ssh("admin", "ls /opt/google-cloud-cli", check=True).stdout


def test_an_upgrade_that_is_killed_at_any_task_leaves_one_that_works(
    machine: Machine, archives: dict[str, dict[str, Any]]
) -> None:
    seen = set()

    def works(task: str) -> None:
        said = version(machine)
        assert said in (f"Google Cloud SDK {OLD}", f"Google Cloud SDK {NEW}"), task
        seen.add(said)

    assert interrupted.at_each_task({**GCLOUD, **archives[NEW]}, works) > 10
    assert version(machine) == f"Google Cloud SDK {NEW}"
    assert len(seen) == 2
    assert play(**archives[NEW]).changed == 0


def test_going_back_takes_no_download(machine: Machine, archives: dict[str, dict[str, Any]]) -> None:
    down = play(**{**archives[OLD], "gcloud_archive": "https://nowhere.invalid/x.tar.gz"})
    assert (down.code, down.changed) == (0, 2), down.output
    assert version(machine) == f"Google Cloud SDK {OLD}"


def test_a_full_disk_leaves_the_old_one(machine: Machine, archives: dict[str, dict[str, Any]]) -> None:
    assert play(gcloud_state="absent").code == 0
    place = "/opt/google-cloud-cli"
    mount = f"sudo mkdir {place} && sudo mount -t tmpfs -o size=850m,mode=755 lab {place}"
    machine.ssh("admin", mount, check=True)
    try:
        assert play(**archives[OLD]).code == 0
        refused = play(**archives[NEW])
        assert refused.code == 2
        assert "Free some space on the machine" in refused.output
        assert version(machine) == f"Google Cloud SDK {OLD}"
        assert len(machine.ssh("admin", f"ls {place}", check=True).stdout.split()) == 2
    finally:
        machine.ssh("admin", f"sudo umount {place}", check=True)


def test_absent_takes_everything_back(machine: Machine, archives: dict[str, dict[str, Any]]) -> None:
    assert play(gcloud_state="absent").code == 0
    left = "ls -d /opt/google-cloud-cli /usr/local/bin/gcloud /usr/local/bin/gsutil /usr/local/bin/bq"
    assert machine.ssh("admin", left).stdout == ""
    assert play(gcloud_state="absent").changed == 0
