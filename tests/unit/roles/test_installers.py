# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles gcloud and poetry make of their variables and of what they have found on a machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

ROLES = Path(__file__).resolve().parents[3] / "roles"
KEY = "0" * 40


def value(role: str, name: str, found: dict[str, Any], **changes: Any) -> Any:
    """A variable of a role, with what its look has found."""
    loader = DataLoader()
    known: dict[str, Any] = {}
    for file in ("defaults", "vars"):
        path = ROLES / role / file / "main.yml"
        known.update(loader.load_from_file(str(path), trusted_as_template=True))
    known[f"__{role}_look"] = {"stdout": json.dumps(found), "rc": 0}
    known.update(changes)
    return Templar(loader, known).template(known[name])


def gcloud(
    name: str, *, packages: dict[str, str] | None = None, family: str = "debian", **changes: Any
) -> Any:
    there = {one: {"version": version, "held": False} for one, version in (packages or {}).items()}
    found = {
        "family": family,
        "release": "12",
        "machine": "x86_64",
        "packages": {"apt": there, "dnf": there},
        "files": {},
        "versions": {"there": False},
    }
    return value("gcloud", name, found, **changes)


CLI, PLUGIN = "google-cloud-cli", "google-cloud-cli-gke-gcloud-auth-plugin"


@pytest.mark.parametrize("family", ["debian", "rhel"])
@pytest.mark.parametrize(
    ("packages", "version", "components", "expected"),
    [
        ({}, "", [], {CLI}),
        ({CLI: "527.0.0"}, "", [], set()),
        ({CLI: "527.0.0"}, "", ["gke-gcloud-auth-plugin"], {PLUGIN}),
        ({CLI: "527.0.0"}, "527.0.0", [], set()),
        ({CLI: "527.0.0"}, "528.0.0", [], {CLI}),
        ({CLI: "528.0.0", PLUGIN: "527.0.0"}, "528.0.0", ["gke-gcloud-auth-plugin"], {PLUGIN}),
        ({CLI: "528.0.0", PLUGIN: "527.0.0"}, "528.0.0", [], set()),
        ({CLI: "527.0.0"}, "latest", [], {CLI}),
    ],
)
def test_what_is_installed_is_what_is_missing_or_another_version(
    family: str, packages: dict[str, str], version: str, components: list[str], expected: set[str]
) -> None:
    wanted = gcloud(
        "__gcloud_to_install",
        packages=packages,
        family=family,
        gcloud_version=version,
        gcloud_components=components,
    )
    assert set(wanted) == expected


@pytest.mark.parametrize(
    ("family", "chosen", "method"),
    [("debian", "", "apt"), ("rhel", "", "dnf"), ("", "", "archive"), ("debian", "archive", "archive")],
)
def test_the_method_is_the_platforms_unless_chosen(family: str, chosen: str, method: str) -> None:
    assert gcloud("__gcloud_method", family=family, gcloud_method=chosen) == method


def test_a_mirror_has_the_key_where_google_has_it() -> None:
    url = "https://mirror.example.com/gcloud"
    assert gcloud("__gcloud_key_url", gcloud_repository_url=url) == f"{url}/doc/apt-key.gpg"
    assert gcloud("__gcloud_key_url", gcloud_key_url=f"{url}/key") == f"{url}/key"


def test_googles_keys_are_trusted_where_none_is_declared() -> None:
    assert gcloud("__gcloud_fingerprints") == ["35BAA0B33E9EB396F59CA838C0BA5CE6DC6315A3"]
    assert gcloud("__gcloud_fingerprints", gcloud_key_fingerprints=[KEY]) == [KEY]


def poetry(name: str, *, python: str = "3.11", **changes: Any) -> Any:
    found = {"python": "/usr/bin/python3", "python_version": python, "versions": {}}
    return value("poetry", name, found, role_path=str(ROLES / "poetry"), __poetry_texts="lock", **changes)


@pytest.mark.parametrize(
    ("python", "version"), [("3.9", "2.2.1"), ("3.10", "2.5.1"), ("3.11", "2.5.1"), ("3.14", "2.5.1")]
)
def test_the_newest_poetry_that_a_python_supports(python: str, version: str) -> None:
    assert poetry("__poetry_version", python=python) == version


@pytest.mark.parametrize(
    ("version", "python", "fits"),
    [
        ("", "3.9", True),
        ("", "3.8", False),
        ("2.5.1", "3.9", False),
        ("2.5.1", "3.14", True),
        ("1.8.5", "3.12", True),
        ("1.8.5", "3.13", False),  # dulwich has no wheel for it
    ],
)
def test_which_python_a_version_needs(version: str, python: str, fits: bool) -> None:
    assert poetry("__poetry_python_fits", python=python, poetry_version=version) is fits


def test_another_lock_python_or_plugin_is_another_environment() -> None:
    names = [
        poetry("__poetry_name"),
        poetry("__poetry_name", python="3.13"),
        poetry("__poetry_name", poetry_unlocked=True, poetry_version="2.5.1"),
        poetry("__poetry_name", poetry_unlocked=True, poetry_version="2.5.1", poetry_plugins=["x"]),
    ]
    assert len(set(names)) == len(names)
    assert all(name.startswith("2.5.1-") for name in names)
    assert poetry("__poetry_name") == names[0]


def test_plugins_come_with_the_locks_of_their_version() -> None:
    chosen = poetry("__poetry_locks", poetry_version="2.2.1", poetry_plugins=["poetry-plugin-export"])
    names = ["poetry-2.2.1.txt", "poetry-2.2.1-poetry-plugin-export.txt"]
    assert [Path(path).name for path in chosen] == names
    assert all(Path(path).exists() for path in chosen)
    assert poetry("__poetry_locks", poetry_version="9.9.9", poetry_lock="/own.txt") == ["/own.txt"]


def test_there_is_a_lock_for_each_version_and_plugin_and_no_other() -> None:
    settings = yaml.safe_load((ROLES / "poetry/vars/main.yml").read_text(encoding="utf-8"))
    expected = {
        f"poetry-{version}{plugin}.txt"
        for version in settings["__poetry_versions"]
        for plugin in ["", *(f"-{name}" for name in settings["__poetry_plugins"])]
    }
    assert {path.name for path in (ROLES / "poetry/files").glob("*.txt")} == expected
    for version in settings["__poetry_versions"]:
        text = (ROLES / "poetry/files" / f"poetry-{version}.txt").read_text(encoding="utf-8")
        assert f"\npoetry=={version} " in text
        assert "://" not in text
