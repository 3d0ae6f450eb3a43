# SPDX-License-Identifier: GPL-3.0-or-later
"""The CLI from a signed repository: versions, keys, what is not what was signed; nothing left half done."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from lab import mirror
from lab.machines import Machine
from lab.signing import GnuPG
from machine import plays
from machine.installers import interrupted
from machine.installers.conftest import NEW, OLD

ETC = "find /etc/apt -type f | sort | xargs sha256sum; find /etc/apt -printf '%p %m %u\\n' | sort"
DPKG = "dpkg-query -W -f '${db:Status-Abbrev}${Package} ${Version}\\n' 'google-cloud-*'"


def play(*arguments: str, **variables: Any) -> plays.Play:
    return plays.run(*arguments, variables={"artifact_registry_roles": ["gcloud"], **variables})


def packages_there(machine: Machine) -> dict[str, str]:
    """By name, the version of each package that is installed."""
    lines = [line.split() for line in machine.ssh("admin", DPKG).stdout.splitlines()]
    return {name: version for status, name, version in (line for line in lines if line[0] in ("ii", "hi"))}


@pytest.fixture(scope="module")
def repository(
    machine: Machine, gpg: GnuPG, key: str, packages: Mapping[str, mirror.Package]
) -> Iterator[dict[str, Any]]:
    """The variables for a mirror with both versions, signed by the key of today."""
    url = mirror.publish(machine, "good", packages.values(), gpg=gpg, key=key, offered=[key])
    yield {"gcloud_repository_url": url, "gcloud_key_fingerprints": [key]}
    play(gcloud_state="absent")


@pytest.mark.parametrize("case", ["wrong", "expired", "missing", "replaced"])
def test_a_key_that_is_not_trusted_stops_before_any_change(
    machine: Machine, gpg: GnuPG, key: str, packages: Mapping[str, mirror.Package], case: str
) -> None:
    before = machine.ssh("admin", ETC, check=True).stdout
    old = gpg.generate(f"Lab key that expired {case}", made="20240101T000000", lifetime="1m")
    other = gpg.generate(f"Lab key of another {case}")
    signer, offered, declared = {
        "wrong": (other, [other], [key]),
        "expired": (old, [old], [old]),
        "missing": (key, [key], [key]),
        "replaced": (key, [other], [key]),
    }[case]
    when = "20240110T000000" if case == "expired" else ""
    chosen = [packages["alien"]]
    url = mirror.publish(machine, case, chosen, gpg=gpg, key=signer, offered=offered, when=when)
    if case == "missing":
        (machine.emulator_directory / "mirrors" / case / "doc/apt-key.gpg").unlink()
    done = play(gcloud_repository_url=url, gcloud_key_fingerprints=declared)
    assert done.code == 2
    assert "nothing was changed" in done.output
    if case == "missing":
        assert "gcloud_key_url" in done.output
    else:
        assert f"found: {offered[0]}" in done.output
        assert f"expected: {declared[0]}" in done.output
        assert ("(expired on 2024-01-31)" in done.output) == (case == "expired")
    assert done.changed == 0
    assert machine.ssh("admin", ETC, check=True).stdout == before


@pytest.mark.parametrize("case", ["release", "package"])
def test_what_is_not_what_was_signed_is_not_installed(
    machine: Machine, gpg: GnuPG, key: str, packages: Mapping[str, mirror.Package], case: str
) -> None:
    machine.ssh("admin", "sudo apt-get clean", check=True)
    before = machine.ssh("admin", ETC, check=True).stdout
    url = mirror.publish(machine, case, [packages[NEW]], gpg=gpg, key=key, offered=[key])
    top = machine.emulator_directory / "mirrors" / case
    if case == "release":
        for name in ("InRelease", "Release"):
            path = top / "dists/cloud-sdk" / name
            path.write_text(path.read_text().replace("Label: cloud-sdk", "Label: clown-sdk"))
    else:
        (path,) = (top / "pool").iterdir()
        size = path.stat().st_size
        path.unlink()
        with path.open("wb") as stream:
            os.truncate(stream.fileno(), size)
    done = play(gcloud_repository_url=url, gcloud_key_fingerprints=[key])
    assert done.code == 2
    assert "is not what was signed; do not install from it" in done.output
    assert packages_there(machine) == {}
    assert machine.ssh("admin", ETC, check=True).stdout == before
    assert machine.ssh("admin", "sudo apt-get -q update && sudo dpkg --audit", check=True).stderr == ""


def test_a_full_disk_leaves_nothing_half_installed(machine: Machine, repository: Mapping[str, Any]) -> None:
    full = "sudo mkdir -p {0} && sudo mount -t tmpfs -o size=40m lab {0}"
    for place in ("/var/cache/apt/archives", "/usr/lib/google-cloud-sdk"):
        machine.ssh("admin", full.format(place), check=True)
        machine.ssh("admin", "sudo mkdir -p /var/cache/apt/archives/partial", check=True)
        try:
            done = play(**repository, gcloud_version=NEW)
        finally:
            machine.ssh("admin", f"sudo umount {place}", check=True)
        assert done.code == 2
        assert "Free some space" in done.output
        assert packages_there(machine) == {}
        assert machine.ssh("admin", "sudo dpkg --audit", check=True).stdout == ""
    machine.ssh("admin", "sudo rmdir /usr/lib/google-cloud-sdk", check=True)


def test_an_exact_version_with_a_component(machine: Machine, repository: Mapping[str, Any]) -> None:
    wanted = {
        **repository,
        "gcloud_version": OLD,
        "gcloud_components": ["gke-gcloud-auth-plugin"],
        "gcloud_properties": {"core/disable_usage_reporting": True, "core/project": "demo-project"},
    }
    before = machine.ssh("admin", ETC, check=True).stdout
    assert play("--check", **wanted).changed > 0
    assert machine.ssh("admin", ETC, check=True).stdout == before
    done = play(**wanted)
    assert done.code == 0, done.output
    assert packages_there(machine) == {
        "google-cloud-cli": f"{OLD}-0",
        "google-cloud-cli-gke-gcloud-auth-plugin": f"{OLD}-0",
    }
    assert machine.ssh("dev", "gcloud config get core/project", check=True).stdout.strip() == "demo-project"
    assert play(**wanted).changed == 0
    assert play("--check", **wanted).changed == 0


def test_the_repository_supplies_no_other_package(machine: Machine, repository: Mapping[str, Any]) -> None:
    shown = machine.ssh("admin", "LC_ALL=C apt-cache policy hello", check=True).stdout
    assert "Version table" in shown
    assert "99 -1" in " ".join(shown.split())
    assert "Candidate: 99" not in shown


def test_an_upgrade_to_a_repository_that_is_signed_by_the_next_key(
    machine: Machine,
    gpg: GnuPG,
    key: str,
    packages: Mapping[str, mirror.Package],
    repository: Mapping[str, Any],
) -> None:
    following = gpg.generate("Lab key of tomorrow")
    stranger = gpg.generate("Lab key of a stranger")
    url = mirror.publish(
        machine, "rotated", packages.values(), gpg=gpg, key=following, offered=[stranger, key, following]
    )
    common = {
        "gcloud_repository_url": url,
        "gcloud_version": NEW,
        "gcloud_hold": True,
        "gcloud_components": ["gke-gcloud-auth-plugin"],
    }
    refused = play(**common, gcloud_key_fingerprints=[key])  # declared alone, it no longer signs
    assert refused.code == 2
    assert "add its fingerprint to gcloud_key_fingerprints" in refused.output
    assert set(packages_there(machine).values()) == {f"{OLD}-0"}
    done = play(**common, gcloud_key_fingerprints=[key, following])
    assert done.code == 0, done.output
    assert set(packages_there(machine).values()) == {f"{NEW}-0"}
    trusted = machine.ssh(
        "admin", "gpg --show-keys --with-colons /etc/apt/keyrings/devbox-google-cloud.asc"
    ).stdout
    assert stranger not in trusted
    assert play(**common, gcloud_key_fingerprints=[key, following]).changed == 0


def test_what_is_held_stays_until_the_role_moves_it(machine: Machine, repository: Mapping[str, Any]) -> None:
    held = machine.ssh("admin", "apt-mark showhold", check=True).stdout.split()
    assert held == ["google-cloud-cli", "google-cloud-cli-gke-gcloud-auth-plugin"]
    refused = machine.ssh("admin", f"sudo apt-get -qy install google-cloud-cli={OLD}-0")
    assert refused.returncode == 100
    down = play(**repository, gcloud_version=OLD, gcloud_components=["gke-gcloud-auth-plugin"])
    assert down.code == 0, down.output
    assert set(packages_there(machine).values()) == {f"{OLD}-0"}
    assert machine.ssh("admin", "apt-mark showhold", check=True).stdout == ""


def test_latest_and_nothing_are_two_things(machine: Machine, repository: Mapping[str, Any]) -> None:
    assert play(**repository).code == 0  # unpins it
    assert packages_there(machine)["google-cloud-cli"] == f"{OLD}-0"
    assert play(**repository).changed == 0
    assert play(**repository, gcloud_version="latest").changed > 0
    assert packages_there(machine)["google-cloud-cli"] == f"{NEW}-0"


def test_an_upgrade_that_is_killed_at_any_task_leaves_one_that_works(
    machine: Machine, repository: Mapping[str, Any]
) -> None:
    assert play(**repository, gcloud_version=OLD).code == 0
    seen = set()

    def works(task: str) -> None:
        # What apt has begun on the machine it ends there, without the controller.
        machine.ssh(
            "admin", "while sudo fuser -s /var/lib/dpkg/lock-frontend; do sleep 0.5; done", check=True
        )
        done = machine.ssh("dev", "gcloud --version")
        assert done.returncode == 0, task + done.stderr
        seen.add(packages_there(machine)["google-cloud-cli"])

    upgrade = {"artifact_registry_roles": ["gcloud"], **repository, "gcloud_version": NEW}
    assert interrupted.at_each_task(upgrade, works) >= 8
    assert packages_there(machine)["google-cloud-cli"] == f"{NEW}-0"
    assert seen == {f"{OLD}-0", f"{NEW}-0"}
    assert plays.run(variables=upgrade).changed == 0


def test_a_second_file_for_the_same_repository_is_named(
    machine: Machine, repository: Mapping[str, Any]
) -> None:
    url = repository["gcloud_repository_url"]
    line = f"deb [signed-by=/usr/share/keyrings/cloud.google.gpg] {url} cloud-sdk main"
    other = "/etc/apt/sources.list.d/google-cloud-sdk.list"
    machine.ssh("admin", f"echo {line!r} | sudo tee {other}", check=True)
    try:
        done = play(**repository)
    finally:
        machine.ssh("admin", f"sudo rm {other}", check=True)
    assert (done.code, done.changed) == (2, 0)
    assert other in done.output


def test_absent_takes_everything_back_and_present_comes_again(
    machine: Machine, repository: Mapping[str, Any]
) -> None:
    assert play("--check", gcloud_state="absent").changed > 0
    assert play(gcloud_state="absent").code == 0
    assert packages_there(machine) == {}
    left = "ls -d /usr/lib/google-cloud-sdk /usr/bin/gcloud; grep -rl devbox-google /etc/apt"
    assert machine.ssh("admin", left).stdout == ""
    assert play(gcloud_state="absent").changed == 0
    assert play(**repository).code == 0
    assert packages_there(machine)["google-cloud-cli"] == f"{NEW}-0"
