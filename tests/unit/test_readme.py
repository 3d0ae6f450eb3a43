# SPDX-License-Identifier: GPL-3.0-or-later
"""What the README shows can be typed: its variables are valid, its commands and files exist."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from ansible_collections.devbox.artifact_registry.plugins.module_utils import _validate

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)]


def test_the_variables_file_is_valid() -> None:
    variables = BLOCKS[0]
    assert _validate.parse_users(variables["artifact_registry_users"]) == ["alice", "bob"]
    (repository,) = _validate.parse_repositories(variables["artifact_registry_repositories"])
    assert repository.index_url == "https://europe-west1-python.pkg.dev/my-project/python/simple/"


def test_the_identities_are_valid_and_those_that_repositories_name() -> None:
    variables = BLOCKS[1]
    repositories = _validate.parse_repositories(variables["artifact_registry_repositories"])
    identities = variables["artifact_registry_identities"]
    used = {repository.identity for repository in repositories}
    assert _validate.parse_identities(identities, used=used).keys() == used


def test_the_play_uses_roles_and_variables_that_exist() -> None:
    for use in BLOCKS[3][0]["roles"]:
        role = use["role"].removeprefix("devbox.artifact_registry.")
        defaults = yaml.safe_load(
            (ROOT / "roles" / role / "defaults" / "main.yml").read_text(encoding="utf-8")
        )
        assert set(use.get("vars", {})) <= set(defaults)


def test_the_providers_variables_exist() -> None:
    defaults = yaml.safe_load((ROOT / "roles/gar_auth/defaults/main.yml").read_text(encoding="utf-8"))
    assert BLOCKS[2].keys() <= defaults.keys()


def test_every_make_command_exists() -> None:
    targets = set(
        re.findall(
            r"^([a-z][a-z-]*)(?=[ a-z-]*:)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
        )
    )
    assert set(re.findall(r"^make ([a-z-]+)", README, re.MULTILINE)) == {"demo", "test"} <= targets
