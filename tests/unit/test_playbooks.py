# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks work out on the controller: who stays, and the cause where a host has failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"


def noted(result: dict[str, Any]) -> str:
    """The cause that the rescue notes after a task that ended with this result."""
    loader = DataLoader()
    rollout, _last = loader.load_from_file(str(PLAYBOOKS / "fleet.yml"), trusted_as_template=True)
    (rescue,) = [task["rescue"] for task in rollout["tasks"] if "rescue" in task]
    known = {
        **rescue[0]["vars"],
        "ansible_failed_task": {"name": "Start it"},
        "ansible_failed_result": result,
        "__rollout": {"batch": 1, "state": "begun"},
    }
    note = Templar(loader, known).template(rescue[0]["ansible.builtin.set_fact"]["__rollout"])
    assert note["state"] == "failing"
    return str(note["cause"])


@pytest.mark.parametrize(
    ("result", "cause"),
    [
        ({"msg": "no such user"}, "Start it: no such user"),
        ({"msg": ["one", "two"]}, "Start it: one two"),
        ({}, "Start it: it failed"),
        (
            {"msg": "The command exited with a non-zero return code.", "stderr": "Failed to start x.path\n"},
            "Start it: The command exited with a non-zero return code. Failed to start x.path",
        ),
        ({"msg": "ended", "stderr": "1\n2\n3\n4\n"}, "Start it: ended 2 / 3 / 4"),
    ],
)
def test_the_cause_is_what_the_failed_task_said(result: dict[str, Any], cause: str) -> None:
    assert noted(result) == cause


def test_those_who_stay_stay_in_their_order() -> None:
    """Ansible's set filters shuffle: the second run would write the same users in another order."""
    loader = DataLoader()
    tasks = loader.load_from_file(str(PLAYBOOKS / "tasks/teardown_users.yml"), trusted_as_template=True)
    (known,) = [task["vars"] for task in tasks if "gar_auth_users" in task.get("vars", {})]
    users = [f"user{number}" for number in range(40)]
    declared = {"artifact_registry_users": users, "artifact_registry_teardown_users": ["user7"]}
    stay = Templar(loader, {**known, **declared}).template(known["gar_auth_users"])
    assert stay == [user for user in users if user != "user7"]
