# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that was away, by a reboot or a long pause, serves its users again by itself within a minute.

The playbook has run once, in its default configuration but for the CLI, which no part of this needs. No
token of before is good afterwards: the index has lost, revoked or outlived them all. Nobody runs Ansible
in between. A minute begins when the reboot does, and when the pause ends.

The pause is podman's: it stops all processes, and the monotonic clock runs on, so that timers are overdue
afterwards. In a virtual machine that was suspended this clock stood still; there the fetchers start because
the time of day has changed (C(OnClockChange=)), or else at the end of their interval, 30 seconds. That is not
shown here.

All is scaled to a sixtieth; with PAUSE_SCALE=1 in the environment the two hours are two hours.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import pytest

from lab.machines import Machine
from machine import oracle
from uses import people, plays

PACKAGE = "from_before"
SECONDS = 60.0
#: How many times shorter an hour, the 5 minutes before its end, and a bit more than two hours are.
SCALE = float(os.environ.get("PAUSE_SCALE", "60"))
LIFETIME, WINDOW, PAUSE = (seconds / SCALE for seconds in (3600.0, 300.0, 7500.0))


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine that was set up, with a published package."""
    place = tmp_path_factory.mktemp("controller")
    with Machine.start(name="dv-interrupted", suite="debian12") as machine:
        variables = json.loads(machine.variables.read_text(encoding="utf-8"))
        roles = ["poetry", "poetry_repositories", "gar_auth"]
        done = plays.run(
            "devbox",
            inventory=machine.inventory,
            place=place,
            variables={**variables, "artifact_registry_roles": roles},
        )
        assert done.code == 0, done.output
        people.publish(machine, "dev", PACKAGE)
        yield machine


@pytest.fixture
def machine(started: Machine) -> Machine:
    """The machine as it is now: a reboot may have made it another one."""
    found = Machine.find(started.name)
    assert found is not None
    return found


def test_an_unattended_reboot(machine: Machine) -> None:
    """Whatever was in memory is gone, and the emulated Google knows no token of before."""
    people.start_project(machine, "ops", "after_reboot", source=True)
    old = people.token_of(machine, "ops")
    begin = time.monotonic()
    machine = machine.restart()
    assert people.owner(machine, old) is None
    people.add(machine, "ops", "after_reboot", PACKAGE, seconds=SECONDS, since=begin)
    assert people.token_of(machine, "ops") != old
    failed = machine.ssh("admin", "systemctl --failed --no-legend --plain", check=True).stdout
    assert failed == ""


def test_a_resume_from_a_pause_of_two_hours(machine: Machine) -> None:
    """By default tokens live a minute, the pause is two, and the window is 5 seconds."""
    people.start_project(machine, "ops", "after_pause", source=True)
    machine.control.set_tokens(lifetime=LIFETIME, window=WINDOW)
    machine.control.revoke_all()
    machine.ssh("admin", "sudo rm /run/gar-auth/default/status.json", check=True)  # so that one is due
    oracle.eventually(lambda: people.owner(machine, people.token_of(machine, "ops")) is not None, seconds=60)
    issued = len(machine.control.tokens())
    with machine.paused():
        time.sleep(PAUSE)
        assert [token for token in machine.control.tokens() if token.valid] == []
        assert len(machine.control.tokens()) == issued, "a paused machine asks for nothing"
        begin = time.monotonic()
    people.add(machine, "ops", "after_pause", PACKAGE, seconds=SECONDS, since=begin)
