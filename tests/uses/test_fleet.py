# SPDX-License-Identifier: GPL-3.0-or-later
"""Rollouts to a fleet over real SSH: all well, hosts that fail, bad releases, an interruption.

Four hosts without the CLI; with FAULTS=full twelve, with it. One rollout follows the other on the same fleet,
each from what the one before left.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.machines import Machine
from uses import fleet as lab
from uses import loops, plays
from uses.fleet import NEW, NEXT, OLD, Fleet, release

FULL = os.environ.get("FAULTS") == "full"
SIZE = 12 if FULL else 4
#: The batches behind a canary of one.
BATCHES = [3, 4] if FULL else [1, 2]

_WHAT = """\
for link in /opt/poetry/current; do readlink $link; done
dpkg-query --show google-cloud-cli || true
cd /
find etc/systemd/system etc/gar-auth opt/gar-auth/lib -type f \\
  '(' -name '*gar-auth*' -o -name '*.py' -o -name '*.json' ')' \\
  | sort | xargs sha256sum
for user in dev ops third; do runuser -u $user -- cat /home/$user/.config/pypoetry/config.toml; done
ls -A /var/lib/devbox-rollout /opt/gar-auth 2>&1 || true
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with lab.started(SIZE, place=tmp_path_factory.mktemp("controller"), gcloud=FULL) as found:
        yield found


def what(machine: Machine) -> str:
    """All that a release decides on a machine: versions, program, units, configuration, registrations."""
    return machine.ssh("admin", "sudo sh -s", input=_WHAT, check=True).stdout


def works(machine: Machine, *users: str) -> None:
    """The machine says that everything works for these users, and no trace of a rollout is left."""
    done = machine.ssh("admin", f"sudo gar-auth check {' '.join(users)}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.ssh("admin", "sudo ls /var/lib/devbox-rollout").returncode != 0


def brings(name: str, *, project: str = "demo-project", **changes: Any) -> dict[str, Any]:
    """A release with one repository more, or with another one under a name that is known."""
    variables = release(poetry=OLD, **changes)
    repositories = variables["artifact_registry_repositories"]
    one = {**repositories[0], "name": name, "project": project}
    variables["artifact_registry_repositories"] = [
        *(known for known in repositories if known["name"] != name),
        one,
    ]
    return variables


def test_all_well_and_no_install_of_a_user_fails_meanwhile(fleet: Fleet) -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(loops.publish, fleet.machines))
    with loops.installing(fleet.machines) as running:
        play = fleet.rollout(**release(poetry=NEW), rollout_batches=BATCHES)
    assert play.code == 0, play.output[-6000:]
    assert set(fleet.states().values()) == {"done"}
    assert set(fleet.poetry().values()) == {NEW}
    assert loops.failures(running) == {}
    assert min(loop.rounds for loop in running) >= 3
    before, now = (fleet.report()["hosts"][fleet.names[-1]][which]["poetry"] for which in ("before", "now"))
    assert (before, now) == (OLD, NEW)
    for machine in fleet.machines:
        works(machine)


def test_the_same_release_again_changes_nothing(fleet: Fleet) -> None:
    play = fleet.rollout(**release(poetry=NEW), rollout_batches=BATCHES)
    assert (play.code, play.changed) == (0, 0), play.output[-6000:]
    assert set(fleet.states().values()) == {"done"}


def test_check_mode_predicts_changes_makes_none_and_does_not_hide_a_mistake(fleet: Fleet) -> None:
    canary = fleet.machines[0]
    before = what(canary)
    play = fleet.rollout("--check", "--limit", canary.name, **release(poetry=OLD))
    assert (play.code, play.changed > 0) == (0, True), play.output[-3000:]
    play = fleet.rollout("--check", "--limit", canary.name, **release(poetry=OLD), gar_auth_interval=999)
    assert play.code != 0
    assert "gar_auth_interval: found 999" in play.output
    moved = brings("tools", project="no-such-project")
    play = fleet.rollout("--check", "--limit", canary.name, **moved)
    assert play.code != 0
    assert "no repository tools in project no-such-project" in play.output
    assert what(canary) == before


def test_a_release_that_is_refused_before_its_first_change_takes_nothing_from_a_user(fleet: Fleet) -> None:
    """Not even what a user had registered under the name of a repository that the release brings."""
    canary = fleet.machines[0]
    canary.ssh("dev", "poetry config repositories.more https://example.com/more/", check=True)
    before = what(canary)
    play = fleet.rollout("--limit", canary.name, **brings("more"), gar_auth_interval=999)
    assert play.code != 0
    assert fleet.states() == {canary.name: "failed"}
    assert "gar_auth_interval: found 999" in fleet.report()["hosts"][canary.name]["cause"]
    assert what(canary) == before
    canary.ssh("dev", "poetry config --unset repositories.more", check=True)
    works(canary)


def test_a_bad_release_that_fails_in_the_canary_changes_nothing_beyond_it_and_nothing_in_it(
    fleet: Fleet,
) -> None:
    before = {machine.name: what(machine) for machine in fleet.machines}
    missing = brings("more", project="no-such-project")
    with loops.installing(fleet.machines) as running:
        play = fleet.rollout(**missing, rollout_batches=BATCHES, rollout_failures="50%")
    assert play.code != 0
    assert loops.failures(running) == {}
    canary, *others = fleet.names
    assert fleet.states() == {canary: "failed", **dict.fromkeys(others, "not reached")}
    assert "no repository more in project no-such-project" in play.output
    assert set(play.recap) == {canary}
    assert {machine.name: what(machine) for machine in fleet.machines} == before
    works(fleet.machines[0])


def test_a_bad_release_that_fails_in_the_second_batch_is_taken_back_there_and_resumed_when_it_is_mended(
    fleet: Fleet,
) -> None:
    first = fleet.machines[: 1 + BATCHES[0]]
    second = fleet.machines[len(first) : len(first) + BATCHES[1]]
    lacking, *refusing, fine = second  # the last one goes back with its batch all the same
    variables = brings("more")
    for one in variables["artifact_registry_repositories"]:
        one["identity"] = "next"
    for machine in fleet.machines:
        if machine is not lacking:  # seen by the gate, when the host has all of the release
            machine.control.create_repository("demo-project/more")
    for machine in refusing:  # seen before the first change: users' tokens would be of that identity
        machine.control.deny(NEXT, permission="download")
    before = {machine.name: what(machine) for machine in fleet.machines}
    with loops.installing(fleet.machines) as running:
        # fewer forks than a batch has hosts: the verdict is one for all of them
        play = fleet.rollout("--forks", str(BATCHES[1] - 1), **variables, rollout_batches=BATCHES)
    assert play.code != 0
    assert loops.failures(running) == {}
    expected = {
        **{machine.name: "done" for machine in first},
        **{machine.name: "failed" for machine in (lacking, *refusing)},
        fine.name: "taken back",
    }
    assert fleet.states() == {**dict.fromkeys(fleet.names, "not reached"), **expected}
    causes = {host: str(one["cause"]) for host, one in fleet.report()["hosts"].items()}
    assert "no repository more in project demo-project" in causes[lacking.name]
    for machine in refusing:
        assert f"{NEXT} may not read the repository" in causes[machine.name]
    assert {machine.name: what(machine) for machine in second} == {
        machine.name: before[machine.name] for machine in second
    }
    assert set(fleet.poetry().values()) == {NEW, OLD}
    for machine in fleet.machines:
        works(machine)
        machine.control.allow_all()
    lacking.control.create_repository("demo-project/more")
    play = fleet.rollout(**variables, rollout_batches=BATCHES)
    assert play.code == 0, play.output[-6000:]
    assert set(fleet.states().values()) == {"done"}
    assert set(fleet.poetry().values()) == {OLD}


def test_hosts_that_fail_for_themselves_are_left_as_they_were_and_the_rest_goes_on(fleet: Fleet) -> None:
    full, broken = fleet.machines[-1], fleet.machines[-2]
    fill(full)
    broken.ssh("ops", "echo 'x = [' >> ~/.config/pypoetry/auth.toml", check=True)
    inventory = fleet.inventory("nowhere")
    # in the middle, and a batch of its own: one that fails as a whole, and does not end the rollout
    batches = [SIZE // 2 - 1, 1, "100%"]
    with loops.installing(fleet.machines) as running:
        play = fleet.rollout(
            **release(poetry=NEW), rollout_batches=batches, rollout_failures=3, inventory=inventory
        )
    assert play.code != 0
    assert loops.failures(running) == {}
    states = fleet.states()
    assert {states.pop(full.name), states.pop(broken.name)} == {"failed"}
    assert states.pop("nowhere") == "unreachable"
    assert set(states.values()) == {"done"}
    causes = {host: str(one["cause"]) for host, one in fleet.report()["hosts"].items()}
    assert "No space left on device" in causes[full.name]
    assert "auth.toml: invalid TOML" in causes[broken.name]
    assert fleet.poetry()[full.name] == fleet.poetry()[broken.name] == OLD
    works(full)
    works(broken, "dev", "third")
    broken.ssh("ops", "sed -i '/^x = /d' ~/.config/pypoetry/auth.toml", check=True)
    full.ssh("admin", "sudo umount /opt/poetry", check=True)
    play = fleet.rollout(**release(poetry=NEW), rollout_batches=BATCHES)
    assert play.code == 0, play.output[-6000:]
    assert set(fleet.poetry().values()) == {NEW}
    for machine in fleet.machines:
        works(machine)


def test_a_rollout_that_was_killed_is_resumed_by_the_same_command(fleet: Fleet) -> None:
    variables = {**release(poetry=OLD), "gar_auth_interval": 20, "rollout_batches": BATCHES}
    with loops.installing(fleet.machines) as running:
        before = {machine.name: what(machine) for machine in fleet.machines}
        kill_in(fleet, batch=2, variables=variables)
        begun = [host for host, state in fleet.states().items() if state == "begun"]
        # the first of them goes back, fails with the next release, and goes back again
        failing = brings("lost", project="no-such-project")
        play = fleet.rollout("--limit", ",".join(begun), **failing, rollout_batches=["100%"])
        assert play.code != 0
        assert "Put back versions" in play.output
        assert fleet.states() == {begun[0]: "failed", **dict.fromkeys(begun[1:], "not reached")}
        (first,) = [machine for machine in fleet.machines if machine.name == begun[0]]
        assert what(first) == before[first.name]
        play = fleet.rollout(**variables)
    assert play.code == 0, play.output[-6000:]
    assert loops.failures(running) == {}
    assert "Put back versions" in play.output
    assert set(fleet.states().values()) == {"done"}
    assert set(fleet.poetry().values()) == {OLD}
    for machine in fleet.machines:
        works(machine)


def fill(machine: Machine) -> None:
    """Let the version in use lie on a small disk that has no room for one more."""
    script = """\
set -eu
mkdir -p /small
mount -t tmpfs -o size=200m,mode=0755 tmpfs /small
cp -a "/opt/poetry/$(readlink /opt/poetry/current)" /opt/poetry/current /small/
mount --bind /small /opt/poetry
dd if=/dev/zero of=/small/notes bs=1M status=none || true
rm -f /small/notes
size=$(df --output=avail -k /small | tail -1)
dd if=/dev/zero of=/small/notes bs=1k count=$((size - 20000)) status=none
"""
    machine.ssh("admin", "sudo sh -s", input=script, check=True)


def kill_in(fleet: Fleet, *, batch: int, variables: dict[str, Any]) -> None:
    """Kill a rollout, with all its processes, when that batch comes to the program's configuration."""
    inventory, place = fleet.inventory(), fleet.place
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "devbox.artifact_registry.fleet"]
    extra = {**fleet.known, "rollout_report": str(fleet.report_file), **variables}
    command += ["-i", str(inventory), "--extra-vars", json.dumps(extra)]
    with subprocess.Popen(
        command,
        cwd=place,
        env={**plays.environment(place), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        seen = 0
        for line in process.stdout:
            seen += "Note the batch]" in line
            if seen == batch and "gar_auth : Configure the program]" in line:
                os.killpg(process.pid, signal.SIGKILL)
                break
        else:
            pytest.fail(f"the rollout ended before batch {batch} came to that")
