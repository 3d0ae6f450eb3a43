# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks work out on the controller: who stays, and the cause where a host has failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOKS = ROOT / "playbooks"
ROLLOUT = ROOT / "roles" / "rollout"


def rollout(**known: Any) -> dict[str, Any]:
    """What the role rollout works with, and what else is known."""
    found = DataLoader().load_from_file(str(ROLLOUT / "vars/main.yml"), trusted_as_template=True)
    return {**found, **known}


def noted(result: dict[str, Any], **inputs: Any) -> str:
    """The cause that a rescue notes after a task that ended with this result."""
    loader = DataLoader()
    (task,) = loader.load_from_file(str(ROLLOUT / "tasks/failed.yml"), trusted_as_template=True)
    known = rollout(
        ansible_failed_task={"name": "Start it"},
        ansible_failed_result=result,
        __rollout={"batch": 1, "state": "begun"},
        __rollout_outcome="failing",
        **inputs,
    )
    note = Templar(loader, known).template(task["ansible.builtin.set_fact"]["__rollout"])
    assert (note["state"], note["batch"]) == ("failing", 1)
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
        (
            {
                "msg": "One or more items failed",
                "results": [
                    {"msg": "fine", "failed": False},
                    {"msg": "fine"},
                    {"msg": "no file", "failed": True},
                    {"msg": ["no", "owner"], "failed": True},
                ],
            },
            "Start it: no file / no owner",
        ),
        ({"msg": "no package", "results": ["a", "b"]}, "Start it: no package"),
    ],
)
def test_the_cause_is_what_the_failed_task_said(result: dict[str, Any], cause: str) -> None:
    assert noted(result) == cause


def test_a_role_that_cannot_be_loaded_has_a_cause_as_well() -> None:
    """Ansible runs the rescue then without saying which task has failed."""
    variables = rollout()
    words = Templar(DataLoader(), variables).template(variables["__rollout_words"])
    assert words == "a role or one of its files cannot be loaded: it failed"


def test_what_was_the_matter_before_stands_before_it() -> None:
    why = ["the index refuses", "it could not be taken back"]
    said = noted({"msg": "full"}, __rollout_why=why)
    assert said == "the index refuses; it could not be taken back; Start it: full"


def test_a_host_that_was_lost_on_the_way_is_not_reported_as_taken_back() -> None:
    known = {
        "a": {"state": "going back", "cause": "2 of 3 hosts failed"},
        "b": {"state": "failing", "cause": "no"},
        "c": {"state": "done"},
        "d": {"state": "passed"},
    }
    templar = Templar(DataLoader(), rollout(__rollout_known=known))
    told = templar.template(rollout()["__rollout_told"])
    lost = "it could not be reached any more"
    assert told == {
        "a": {"state": "broken", "cause": f"2 of 3 hosts failed; {lost}"},
        "b": {"state": "broken", "cause": f"no; {lost}"},
        "c": {"state": "done"},
        "d": {"state": "broken", "cause": lost},
    }


def test_the_line_for_all_sessions_is_the_one_that_gar_auth_writes() -> None:
    loader = DataLoader()
    written = loader.load_from_file(str(ROOT / "roles/gar_auth/vars/main.yml"))["__gar_auth_environment_line"]
    assert rollout()["__rollout_environment_line"] == written


def test_those_who_stay_stay_in_their_order() -> None:
    """Ansible's set filters shuffle: the second run would write the same users in another order."""
    loader = DataLoader()
    tasks = loader.load_from_file(str(PLAYBOOKS / "tasks/teardown_users.yml"), trusted_as_template=True)
    (known,) = [task["vars"] for task in tasks if "gar_auth_users" in task.get("vars", {})]
    users = [f"user{number}" for number in range(40)]
    declared = {"artifact_registry_users": users, "artifact_registry_teardown_users": ["user7"]}
    stay = Templar(loader, {**known, **declared}).template(known["gar_auth_users"])
    assert stay == [user for user in users if user != "user7"]
