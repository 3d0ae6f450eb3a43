# SPDX-License-Identifier: GPL-3.0-or-later
"""Input that cannot work stops the playbook before its first change, with a message that says what to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from lab.machines import Machine
from machine import listing, plays
from machine.listing import Listing

REPOSITORY = {"name": "private-repo", "project": "demo-project", "location": "europe-west1"}
SECRET = "s3cret"
PRETEND = """\
set -eu
printf '%s\\n' 'NAME="Alpine Linux"' ID=alpine VERSION_ID=3.24 > /run/other-release
mount --bind /run/other-release /usr/lib/os-release
"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Variables, and what the message has to say: what was found, what is allowed, what to do."""

    name: str
    variables: dict[str, Any] = field(default_factory=dict)
    says: tuple[str, ...]


CASES = [
    Case(
        name="unknown user",
        variables={"artifact_registry_users": ["dev", "stranger"]},
        says=(
            "artifact_registry_users: found stranger, unknown on",
            "allowed: users that exist",
            "example: ",
        ),
    ),
    Case(
        name="bad repository name",
        variables={"artifact_registry_repositories": [{**REPOSITORY, "name": "private repo"}]},
        says=("artifact_registry_repositories[0].name: found 'private repo'", "allowed: ", "example: name: "),
    ),
    Case(
        name="bad repository URL",
        variables={
            "artifact_registry_repositories": [
                {
                    "name": "private-repo",
                    "url": f"https://me:{SECRET}@europe-west1-python.pkg.dev/demo-project/python/",
                }
            ]
        },
        says=(
            "artifact_registry_repositories[0].url: found 'https://***@europe-west1",
            "allowed: ",
            "example: ",
        ),
    ),
    Case(
        name="fingerprint of another key",
        variables={"gcloud_key_fingerprints": ["0123456789ABCDEF0123456789ABCDEF01234567"]},
        says=(
            "has no key that is trusted and has not expired; nothing was changed",
            "found: ",
            "expected: 0123456789ABCDEF",
            "Compare it with",
        ),
    ),
]
WITHOUT_PACKAGES = Case(
    name="system without apt and dnf",
    says=(
        "gcloud: the version or a component cannot be used",
        "method archive",
        "gcloud_archive_sha256: found nothing",
        "example: gcloud_archive_sha256",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_stops_before_any_change(machine: Machine, before: Listing, case: Case) -> None:
    stops(machine, before, case)


def test_a_system_without_apt_and_dnf_needs_an_archive(machine: Machine, before: Listing) -> None:
    # The machine passes for an Alpine Linux for as long as that is what its release file says.
    machine.ssh("admin", "sudo sh -s", input=PRETEND, check=True)
    try:
        stops(machine, before, WITHOUT_PACKAGES)
    finally:
        machine.ssh("admin", "sudo umount /usr/lib/os-release", check=True)


def stops(machine: Machine, before: Listing, case: Case) -> None:
    """Run the playbook: it fails, says why, shows no traceback and no secret, and changes nothing."""
    play = plays.run(variables=case.variables)
    assert play.code == 2, play.output
    assert play.changed == 0, play.output
    plain = " ".join(play.output.replace("\\n", " ").split())
    for words in case.says:
        assert words in plain, f"{words!r} is missing in:\n{play.output}"
    assert "Traceback" not in plain
    assert SECRET not in plain
    assert listing.differences(before, listing.take(machine), apart_from=[r"/usr/lib/os-release"]) == []
