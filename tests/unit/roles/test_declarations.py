# SPDX-License-Identifier: GPL-3.0-or-later
"""Every role: defaults equal the argument specification, names are prefixed, and state can be absent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.devbox.artifact_registry.plugins.module_utils import _validate as validate

ROLES = Path(__file__).resolve().parents[3] / "roles"
NAMES = sorted(path.name for path in ROLES.iterdir() if path.is_dir())
SHARED = {
    "artifact_registry_state",
    "artifact_registry_users",
    "artifact_registry_repositories",
    "artifact_registry_identities",
    "artifact_registry_checkouts",
}
#: What stays on machines, and what only looks after it.
LASTING = ("gcloud", "poetry", "poetry_repositories", "gar_auth")
PASSING = ("fleet_status", "rollout")
KINDS = {"str": str, "path": str, "int": int, "bool": bool, "list": list, "dict": dict}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def entry_points(role: str) -> dict[str, Any]:
    specs: dict[str, Any] = load(ROLES / role / "meta" / "argument_specs.yml")["argument_specs"]
    return specs


def options(role: str) -> dict[str, Any]:
    found: dict[str, Any] = entry_points(role)["main"]["options"]
    return found


def test_there_are_the_roles_of_the_design() -> None:
    assert {*LASTING, *PASSING} == set(NAMES)


def defaults(role: str) -> dict[str, Any]:
    found: dict[str, Any] = load(ROLES / role / "defaults" / "main.yml")
    return found


@pytest.mark.parametrize("role", NAMES)
def test_defaults_equal_the_specification(role: str) -> None:
    assert list(defaults(role)) == list(options(role)), "the same names in the same order"
    for name, option in options(role).items():
        default = defaults(role)[name]
        if option["type"] in ("list", "dict") and isinstance(default, str):
            # An expression is no list: the specification names the shared variable in words.
            (shared,) = re.findall(r"artifact_registry_\w+", default)
            assert "default" not in option, name
            assert f"The default is C({shared})" in " ".join(option["description"]), name
        else:
            assert option["default"] == default, name


@pytest.mark.parametrize("role", NAMES)
def test_defaults_have_the_specified_types(role: str) -> None:
    for name, option in options(role).items():
        assert option["description"], name
        default = defaults(role)[name]
        if isinstance(default, str) and "{{" in default:
            continue  # an expression
        assert type(default) is KINDS[option["type"]], name
        for value in default if isinstance(default, list) else [default]:
            assert value in option.get("choices", [value]), name


@pytest.mark.parametrize("role", LASTING)
def test_every_role_can_be_taken_back(role: str) -> None:
    state = options(role)[f"{role}_state"]
    assert state["choices"] == ["present", "absent"]
    assert state["default"] == "{{ artifact_registry_state | default('present') }}"


@pytest.mark.parametrize("role", NAMES)
def test_public_variables_begin_with_the_roles_name_and_internal_ones_with_underscores(role: str) -> None:
    for spec in entry_points(role).values():
        assert [name for name in spec.get("options", {}) if not name.startswith(f"{role}_")] == []
    internal = load(ROLES / role / "vars" / "main.yml")
    assert [name for name in internal if not name.startswith(f"__{role}_")] == []


def tasks(role: str) -> Iterator[dict[str, Any]]:
    """Each task of a role, blocks included."""
    pending: list[Any] = []
    for path in sorted((ROLES / role).glob("tasks/*.yml")) + sorted((ROLES / role).glob("handlers/*.yml")):
        pending += load(path) or []
    while pending:
        task = pending.pop(0)
        yield task
        for key in ("block", "rescue", "always"):
            pending += task.get(key, [])


@pytest.mark.parametrize("role", NAMES)
def test_registered_results_are_internal_and_inputs_are_never_set(role: str) -> None:
    for task in tasks(role):
        assert task.get("register", f"__{role}_x").startswith(f"__{role}_"), task["name"]
        facts = task.get("ansible.builtin.set_fact", {})
        assert [name for name in facts if not name.startswith(f"__{role}")] == [], task["name"]


@pytest.mark.parametrize("role", NAMES)
def test_only_known_variables_are_used(role: str) -> None:
    declared = {name for spec in entry_points(role).values() for name in spec.get("options", {})}
    for playbook in ROLES.parent.glob("playbooks/*.yml"):
        declared |= set(re.findall(rf"(?:artifact_registry|{role})_\w+", playbook.read_text()))
    for path in sorted((ROLES / role).rglob("*")):
        if path.suffix in {".yml", ".j2"} and "meta" not in path.parts:
            text = re.sub(r"devbox\.artifact_registry\.\w+|gar_auth_keyring\.", "", path.read_text())
            used = set(re.findall(rf"(?<![\w.'/-])(?:{role}|artifact_registry)_\w+", text))
            others = {name for other in NAMES for name in options(other)}
            assert used - declared - SHARED - others == set(), path


def test_the_shared_variables_are_the_defaults_of_the_roles() -> None:
    used = {
        name
        for role in NAMES
        for default in defaults(role).values()
        for name in re.findall(r"artifact_registry_\w+", str(default))
    }
    assert used == SHARED


@pytest.mark.parametrize("role", ["gar_auth", "poetry_repositories"])
def test_the_options_of_a_repository_are_those_of_the_validator(role: str) -> None:
    repository = options(role)[f"{role}_repositories"]["options"]
    assert repository.keys() == validate._REPOSITORY_KEYS
    assert {option["type"] for option in repository.values()} == {"raw"}, (
        "the validator must see the true type"
    )


def test_without_users_the_module_is_not_left_to_choose_one() -> None:
    (task,) = (
        task for task in tasks("poetry_repositories") if "devbox.artifact_registry.poetry_config" in task
    )
    assert "__poetry_repositories_there | length > 0" in task["when"]
