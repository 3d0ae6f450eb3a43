# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders gar_auth's templates and variables with Ansible's own engine, without running a play."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.devbox.artifact_registry.plugins.module_utils import _validate as validate

__all__ = [
    "HARDENING",
    "IDENTITIES",
    "ROLE",
    "ROOT",
    "getent",
    "machine",
    "refusals",
    "settings",
    "template",
    "variable",
    "variables",
]

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles" / "gar_auth"
ROBOT = "robot@demo-project.iam.gserviceaccount.com"
HARDENING = ("full", "compat", "off")
IDENTITIES: dict[str, dict[str, Any]] = {
    "default": {"type": "metadata"},
    "key": {"type": "service_account_key", "file": "/etc/devbox/ci key 100%.json"},
    "federation": {
        "type": "external_account",
        "file": "/etc/devbox/federation.json",
        "subject_token_file": "/run/agent/subject",
    },
    "cli": {"type": "gcloud", "account": "me@example.com"},
    "login": {"type": "adc", "file": "/etc/devbox/adc.json"},
    "file": {"type": "token_file", "file": "/run/agent/token"},
    "robot": {"type": "metadata", "impersonate_service_account": ROBOT, "lifetime": 3600},
    "own": {"type": "gcloud", "per_user": True},
}
"""One identity of each kind; `own` is each user's own login."""


@functools.cache
def _declared() -> Mapping[str, Any]:
    """The role's defaults and internal variables, which Ansible may take for templates."""
    loader = DataLoader()
    files = (ROLE / "defaults" / "main.yml", ROLE / "vars" / "main.yml")
    found: dict[str, Any] = {}
    for file in files:
        found.update(loader.load_from_file(str(file), trusted_as_template=True))
    return found


def machine(**homes: str) -> dict[str, Any]:
    """Return what C(files/preflight.py) says of a machine with systemd that has these users."""
    return {
        "service_manager": "systemd",
        "passwd": {user: ["x", "1000", "1000", user, home, "/bin/bash"] for user, home in homes.items()},
        "files": {},
        "directories": {},
        "python_version": "3.11",
        "environments": {"all": [], "complete": []},
    }


def getent(**homes: str) -> dict[str, Any]:
    """Return what is registered of C(getent passwd) for the users of the run before."""
    return {"stdout_lines": [f"{user}:x:1000:1000:{user}:{home}:/bin/bash" for user, home in homes.items()]}


def variables(**changes: Any) -> dict[str, Any]:
    """Return the variables of a run for two users, and for a repository of each identity.

    What the collection's own filters make of the declared is made by the validator at once: Ansible's loader
    of collections must not come into the other tests of this process.
    """
    identities = changes.get("gar_auth_identities", IDENTITIES)
    each = [
        {"name": f"{name}-repo", "project": "demo-project", "location": "us", "identity": name}
        for name in identities
    ]
    repositories = [
        one.as_dict()
        for one in validate.parse_repositories(changes.get("gar_auth_repositories", each), allow_empty=True)
    ]
    used = {str(one["identity"]) for one in repositories}
    return {
        **_declared(),
        "ansible_managed": "Ansible managed",
        "ansible_check_mode": False,
        "gar_auth_service_manager": "systemd",
        "__gar_auth_users": changes.get("gar_auth_users", ["dev", "ops"]),
        "__gar_auth_identities": validate.parse_identities(identities, used=used),
        "__gar_auth_repositories": repositories,
        "__gar_auth_machine": machine(dev="/home/dev", ops="/home/ops"),
        "item": "dev",
        **changes,
    }


def variable(name: str, **changes: Any) -> Any:
    """Return the value of a variable."""
    known = variables(**changes)
    return Templar(DataLoader(), known).template(known[name])


def refusals(file: str, task: str, **changes: Any) -> list[str]:
    """Return what an ansible.builtin.assert of the role says, for each item of its loop that it refuses."""
    loader = DataLoader()
    path = ROLE / "tasks" / file
    (found,) = [
        one for one in loader.load_from_file(str(path), trusted_as_template=True) if one["name"] == task
    ]
    known = variables(**changes) | found.get("vars", {})
    if not isinstance(loop := found.get("loop", [None]), list):
        loop = Templar(loader, known).template(loop)
    said = []
    for item in loop:
        templar = Templar(loader, known)
        templar.available_variables = {**templar.available_variables, "item": templar.template(item)}
        check = found["ansible.builtin.assert"]
        conditions = check["that"] if isinstance(check["that"], list) else [check["that"]]
        if not all(templar.evaluate_conditional(condition) for condition in conditions):
            said.append(str(templar.template(check["fail_msg"])))
    return said


def template(name: str, **changes: Any) -> str:
    """Return the text that ansible.builtin.template makes of a template."""
    templar = Templar(DataLoader(), variables(**changes))
    searching = templar.copy_with_new_env(searchpath=[str(ROLE / "templates")])
    text = (ROLE / "templates" / f"{name}.j2").read_text(encoding="utf-8")
    overrides = {"trim_blocks": True}
    return str(
        searching.template(trust_as_template(text), escape_backslashes=False, overrides=overrides) or ""
    )


def settings(text: str) -> dict[str, list[str]]:
    """Return the settings of a unit, whatever their section."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if "=" in line and not line.startswith("#"):
            name, _equals, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found
