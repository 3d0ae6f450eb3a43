# SPDX-License-Identifier: GPL-3.0-or-later
"""Pull mode, with the example of the documentation: a machine configures itself from a git repository."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.machines import Machine
from lab.playbook import Collection
from uses import people
from uses.plays import CHECKOUT

EXAMPLE = CHECKOUT / "docs" / "examples" / "pull"
SERVER = "/srv/devboxes.git"
#: What an image or cloud-init does: the distribution's Ansible, and the two units.
PREPARE = f"""\
set -eu
apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends git ansible-core >/dev/null
git init --quiet --bare --initial-branch=main {SERVER}
"""
UNIT = "artifact-registry-pull"
REPORT = f"/var/lib/{UNIT}/report.json"


class Team:
    """Who commits: a clone on the controller, and the server's repository, which lies on the machine."""

    def __init__(self, machine: Machine, place: Path) -> None:
        self.machine = machine
        self.place = place / "devboxes"
        shutil.copytree(EXAMPLE, self.place)
        collection = Collection.install(place)
        shutil.copytree(collection.place / "collections", self.place / "collections")
        unit = self.place / f"{UNIT}.service"
        text = unit.read_text(encoding="utf-8")
        assert "https://git.example.com/devboxes.git" in text
        unit.write_text(text.replace("https://git.example.com/devboxes.git", f"file://{SERVER}"))
        self.variables = {
            **json.loads(machine.variables.read_text(encoding="utf-8")),
            "artifact_registry_roles": ["poetry", "poetry_repositories", "gar_auth"],
            "rollout_report": REPORT,
        }
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        ssh = [*self.machine.ssh_command("admin")[:-1], "-o", "BatchMode=yes"]
        identity = ["-c", "user.name=team", "-c", "user.email=team@example.com", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", "-C", str(self.place), *identity, *arguments],
            env={**os.environ, "GIT_SSH_COMMAND": shlex.join(ssh), "GIT_CONFIG_GLOBAL": "/dev/null"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def push(self, text: str) -> None:
        """Commit these group_vars and push."""
        (self.place / "group_vars" / "all.yml").write_text(text, encoding="utf-8")
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "--allow-empty", "--message=Change the machines")
        url = f"admin@{self.machine.address}:{SERVER}"
        self.git("push", "--quiet", "--receive-pack=sudo git-receive-pack", url, "main")

    def declare(self, *users: str) -> None:
        self.push(json.dumps({**self.variables, "artifact_registry_users": users}, indent=2))


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine.start(name="dv-pull", suite="debian13") as machine:
        machine.ssh("admin", "sudo sh -s", input=PREPARE, check=True)
        yield machine


@pytest.fixture(scope="module")
def team(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Team:
    return Team(machine, tmp_path_factory.mktemp("team"))


def pull(machine: Machine) -> subprocess.CompletedProcess[str]:
    """Let systemd run the service, as the timer does, to its end."""
    return machine.ssh("admin", f"sudo systemctl start {UNIT}.service", timeout=600)


def journal(machine: Machine) -> str:
    command = f"sudo journalctl --unit={UNIT}.service --output=cat --no-pager _SYSTEMD_INVOCATION_ID="
    last = f"$(systemctl show --value --property=InvocationID {UNIT}.service)"
    return machine.ssh("admin", command + last, check=True).stdout


@pytest.fixture(scope="module")
def first(machine: Machine, team: Team) -> None:
    """The units are there, and the service runs for the first time."""
    team.declare("dev")
    for kind in ("service", "timer"):
        text = (team.place / f"{UNIT}.{kind}").read_text(encoding="utf-8")
        put = f"sudo tee /etc/systemd/system/{UNIT}.{kind} >/dev/null"
        machine.ssh("admin", put, input=text, check=True)
    machine.ssh("admin", f"sudo systemctl enable --quiet --now {UNIT}.timer", check=True)
    done = pull(machine)
    assert done.returncode == 0, journal(machine)


def test_the_first_run_sets_the_machine_up(machine: Machine, first: None) -> None:
    people.publish(machine, "dev", "from_dev")
    assert people.token_of(machine, "ops") is None


def test_a_run_without_a_new_commit_changes_nothing(machine: Machine, first: None) -> None:
    assert pull(machine).returncode == 0, journal(machine)
    recaps = [
        line for line in journal(machine).splitlines() if line.startswith("localhost ") and "ok=" in line
    ]
    assert recaps
    assert "changed=0" in recaps[-1]


def test_machines_have_a_minute_each_to_pull_in(machine: Machine, first: None) -> None:
    asked = "RandomizedDelayUSec,FixedRandomDelay,Persistent,ActiveState,UnitFileState"
    shown = machine.ssh("admin", f"systemctl show {UNIT}.timer --property={asked}", check=True).stdout
    assert sorted(shown.split()) == [
        "ActiveState=active",
        "FixedRandomDelay=yes",
        "Persistent=yes",
        "RandomizedDelayUSec=1h",
        "UnitFileState=enabled",
    ]


@pytest.fixture(scope="module")
def one_more(machine: Machine, team: Team, first: None) -> None:
    """A commit adds a user."""
    team.declare("dev", "ops")
    assert pull(machine).returncode == 0, journal(machine)


def test_a_commit_with_one_more_user_arrives_at_the_next_run(machine: Machine, one_more: None) -> None:
    people.publish(machine, "dev", "from_dev_too")
    people.start_project(machine, "ops", "mine", source=True)
    people.add(machine, "ops", "mine", "from_dev_too", seconds=60)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ('{"artifact_registry_users": ["dev", "nobody-here"]}', "artifact_registry_users: found nobody-here"),
        # ansible-pull mixes the letters of its child's two streams, so what is said cannot be told apart
        ("artifact_registry_users: [dev, ops", None),
    ],
    ids=["a user who does not exist", "no YAML"],
)
def test_a_broken_commit_is_seen_and_leaves_the_machine_working(
    machine: Machine, team: Team, one_more: None, broken: str, said: str | None
) -> None:
    if broken.startswith("{"):
        broken = json.dumps({**team.variables, **json.loads(broken)})
    team.push(broken)
    assert pull(machine).returncode != 0
    assert machine.ssh("admin", f"systemctl is-failed {UNIT}.service").stdout.strip() == "failed"
    if said is not None:
        assert said in journal(machine)
    machine.ssh("admin", "sudo gar-auth check", check=True)
    assert people.owner(machine, people.token_of(machine, "ops")) is not None


def test_a_commit_that_does_not_work_is_taken_back_and_reported(
    machine: Machine, team: Team, one_more: None
) -> None:
    """Nothing is wrong with its variables: only the index can say that there is no such repository."""
    before = people.entries(machine, "ops", "config.toml")
    (repository,) = team.variables["artifact_registry_repositories"]
    missing = {**repository, "name": "more", "project": "no-such-project"}
    more = {"artifact_registry_repositories": [repository, missing]}
    team.push(json.dumps({**team.variables, **more, "artifact_registry_users": ["dev", "ops"]}))
    assert pull(machine).returncode != 0
    assert machine.ssh("admin", f"systemctl is-failed {UNIT}.service").stdout.strip() == "failed"
    host = json.loads(machine.ssh("admin", f"sudo cat {REPORT}", check=True).stdout)["hosts"]["localhost"]
    assert host["state"] == "failed"
    assert "Check that everything works for everybody" in host["cause"], "the gate, and nothing before it"
    assert "no repository python in project no-such-project" in host["cause"]
    assert people.entries(machine, "ops", "config.toml") == before
    machine.ssh("admin", "sudo gar-auth check", check=True)
    people.publish(machine, "ops", "after_it_was_taken_back")


def test_the_next_good_commit_mends_it(machine: Machine, team: Team, one_more: None) -> None:
    team.declare("dev")
    assert pull(machine).returncode == 0, journal(machine)
    assert machine.ssh("admin", f"systemctl is-failed {UNIT}.service").stdout.strip() == "inactive"
    assert people.token_of(machine, "ops") is None
