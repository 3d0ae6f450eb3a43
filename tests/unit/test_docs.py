# SPDX-License-Identifier: GPL-3.0-or-later
"""What the guides show as variables is valid; test_guides.py has links, names and messages."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from ansible_collections.devbox.artifact_registry.plugins.module_utils import _validate
from ansible_collections.devbox.artifact_registry.plugins.module_utils._checkouts import parse_checkouts

ROOT = Path(__file__).resolve().parents[2]
DEVBOX = (ROOT / "docs" / "devbox.md").read_text(encoding="utf-8")


def test_the_variables_of_a_developer_vm_are_valid() -> None:
    declared, identities, checkouts = (
        yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", DEVBOX, re.DOTALL)
    )
    assert _validate.parse_users(declared["artifact_registry_users"]) == ["alice", "bob"]
    repositories = declared["artifact_registry_repositories"]
    (repository,) = _validate.parse_repositories(repositories)
    assert (repository.index_url or "none") in DEVBOX, "the URL that developers type"
    assert _validate.parse_identities(identities["artifact_registry_identities"], used={"default"})
    assert parse_checkouts(checkouts["artifact_registry_checkouts"], repositories=repositories)


def test_the_variables_of_the_pull_example_are_valid() -> None:
    text = (ROOT / "docs/examples/pull/group_vars/all.yml").read_text(encoding="utf-8")
    declared = yaml.safe_load(text)
    assert _validate.parse_users(declared["artifact_registry_users"])
    assert _validate.parse_repositories(declared["artifact_registry_repositories"])


def test_the_tarball_of_the_execution_environment_has_the_collections_version() -> None:
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))
    name = f"{galaxy['namespace']}-{galaxy['name']}-{galaxy['version']}.tar.gz"
    text = (ROOT / "docs/examples/execution-environment/execution-environment.yml").read_text(
        encoding="utf-8"
    )
    assert set(re.findall(r"devbox-artifact_registry-\S+", text)) == {name}
