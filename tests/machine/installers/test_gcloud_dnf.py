# SPDX-License-Identifier: GPL-3.0-or-later
"""The CLI by a real dnf from a repository of signed packages, as far as Debian's dnf goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lab import mirror
from lab.machines import Machine
from lab.signing import GnuPG
from machine import plays
from machine.installers.conftest import NEW, OLD


def play(*arguments: str, **variables: Any) -> plays.Play:
    method = {"artifact_registry_roles": ["gcloud"], "gcloud_method": "dnf"}
    return plays.run(*arguments, variables={**method, **variables})


def version(machine: Machine) -> str:
    """Of the package that is installed."""
    return machine.ssh("admin", "sudo rpm -q --qf '%{VERSION}' google-cloud-cli").stdout


def trusted(machine: Machine) -> list[str]:
    """The ends of the fingerprints of the keys that rpm has."""
    lines = machine.ssh("admin", "sudo rpm -qa --qf '%{VERSION}\\n' gpg-pubkey", check=True).stdout
    return sorted(lines.upper().split())


@pytest.fixture(scope="module")
def repository(machine: Machine, gpg: GnuPG, key: str) -> Iterator[dict[str, Any]]:
    """The variables for a repository with two versions, and dnf itself on the machine."""
    machine.ssh(
        "admin",
        "sudo apt-get -q update && sudo apt-get -qy install dnf rpm"
        " && sudo mkdir -p /etc/yum.repos.d /etc/pki/rpm-gpg",
        check=True,
    )
    directory, url = mirror.place(machine, "yum")
    mirror.rpm_packages(directory, [OLD, NEW], gpg=gpg, key=key)
    (directory / "key.gpg").write_text(gpg.export(key), encoding="ascii")
    yield {
        "gcloud_repository_url": url,
        "gcloud_key_url": f"{url}/key.gpg",
        "gcloud_key_fingerprints": [key],
    }
    play(gcloud_state="absent")


def test_a_package_that_another_key_has_signed_is_not_installed(
    machine: Machine, gpg: GnuPG, repository: dict[str, Any]
) -> None:
    other = gpg.generate("Lab key that did not sign the packages")
    (machine.emulator_directory / "mirrors/yum/other.gpg").write_text(gpg.export(other), encoding="ascii")
    url = f"{repository['gcloud_repository_url']}/other.gpg"
    refused = play(**{**repository, "gcloud_key_url": url, "gcloud_key_fingerprints": [other]})
    assert refused.code == 2
    assert version(machine) in ("", "package google-cloud-cli is not installed\n")
    assert machine.ssh("admin", "ls /etc/yum.repos.d /etc/pki/rpm-gpg").stdout.count("devbox") == 0
    assert trusted(machine) == []


def test_exact_versions_up_and_down(machine: Machine, repository: dict[str, Any]) -> None:
    assert play("--check", **repository, gcloud_version=OLD).changed > 0
    for number in (OLD, NEW, OLD):
        done = play(**repository, gcloud_version=number)
        assert done.code == 0, done.output
        assert version(machine) == number
        assert play(**repository, gcloud_version=number).changed == 0
    assert machine.ssh("dev", "gcloud --version", check=True).stdout.startswith(f"Google Cloud SDK {OLD}")


def test_a_key_that_is_not_declared_any_longer_is_not_trusted(
    machine: Machine, gpg: GnuPG, key: str, repository: dict[str, Any]
) -> None:
    assert trusted(machine) == [key[-8:]]
    other = gpg.generate("Lab key of tomorrow")
    place = machine.emulator_directory / "mirrors/yum/key.gpg"
    place.write_text(gpg.export(key, other), encoding="ascii")
    assert play(**{**repository, "gcloud_key_fingerprints": [other]}).code == 0
    assert trusted(machine) == [other[-8:]]
    assert play(**{**repository, "gcloud_key_fingerprints": [key, other]}, gcloud_version=NEW).code == 0
    assert version(machine) == NEW


def test_what_is_held_stays(machine: Machine, repository: dict[str, Any]) -> None:
    assert play(**repository, gcloud_version=OLD, gcloud_hold=True).code == 0
    machine.ssh("admin", "sudo dnf -qy upgrade google-cloud-cli")
    assert version(machine) == OLD
    assert play(**repository, gcloud_version="latest").code == 0
    assert version(machine) == NEW


def test_absent_takes_everything_back(machine: Machine, repository: dict[str, Any]) -> None:
    assert play(gcloud_state="absent").code == 0
    left = "ls -d /usr/bin/gcloud /usr/lib64/google-cloud-sdk/bin; ls -A /etc/yum.repos.d /etc/pki/rpm-gpg"
    assert machine.ssh("admin", left).stdout == "/etc/pki/rpm-gpg:\n\n/etc/yum.repos.d:\n"
    assert trusted(machine) == []
    assert play(gcloud_state="absent").changed == 0
    assert play(gcloud_state="absent").changed == 0
