# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet of the lab: machines of both Debians, each with three users, five repositories and two identities.

The machines start from images on which the release of yesterday is installed, made by the playbook devbox.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import host, images
from lab.machines import Machine
from uses import plays

__all__ = ["NEW", "NEXT", "OLD", "REPOSITORIES", "ROBOT", "USERS", "Fleet", "started"]

OLD, NEW = "2.4.3", "2.5.1"
"""Poetry's versions of yesterday's release and of today's."""

USERS = ("dev", "ops", "third")
ROBOT = "robot@demo-project.iam.gserviceaccount.com"
#: Whom a release may bring.
NEXT = "next@demo-project.iam.gserviceaccount.com"
KEYS = {ROBOT: "/etc/devbox/robot.json", NEXT: "/etc/devbox/next.json"}
CERTIFICATE = "/usr/local/share/ca-certificates/lab-ca.crt"
#: By name: project, and identity.
REPOSITORIES = {
    "private-repo": ("demo-project", "default"),
    "tools": ("demo-project", "default"),
    "data": ("demo-project", "robot"),
    "shared": ("other-project", "default"),
    "models": ("other-project", "robot"),
}
_EMULATOR = [
    word
    for name, (project, _identity) in REPOSITORIES.items()
    for word in ("--repository", f"{project}/{name}")
]


def release(*, poetry: str, **changes: Any) -> dict[str, Any]:
    """Return the variables of a release."""
    repositories = [
        {
            "name": name,
            "project": project,
            "location": "europe-west1",
            "identity": identity,
            "ca_cert": CERTIFICATE,
        }
        for name, (project, identity) in REPOSITORIES.items()
    ]
    return {
        "artifact_registry_users": list(USERS),
        "artifact_registry_repositories": repositories,
        "artifact_registry_identities": {
            "default": {"type": "metadata"},
            "robot": {"type": "service_account_key", "file": KEYS[ROBOT]},
            "next": {"type": "service_account_key", "file": KEYS[NEXT]},
        },
        "poetry_version": poetry,
        **changes,
    }


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Machines that run, and the place of the controller.

    :ivar known: the lab's own variables, such as the fingerprints of gcloud's repository.
    """

    machines: list[Machine]
    place: Path
    known: dict[str, Any]

    @property
    def names(self) -> list[str]:
        """The machines' names, in the order of the rollout."""
        return [machine.name for machine in self.machines]

    def inventory(self, *extra: str) -> Path:
        """Write the inventory; C(extra) are hosts that nobody can reach, after the first half."""
        path = plays.inventory(self.place / "inventory.json", self.machines)
        if extra:
            hosts = json.loads(path.read_text(encoding="utf-8"))["all"]["hosts"]
            some = next(iter(hosts.values()))
            named = list(hosts.items())
            middle = len(named) // 2
            nowhere = {
                "ansible_host": "127.0.0.1",
                "ansible_port": 9,
                "ansible_control_path": str(self.place / "no"),
            }
            named[middle:middle] = [(name, {**some, **nowhere}) for name in extra]
            path.write_text(json.dumps({"all": {"hosts": dict(named)}}), encoding="utf-8")
        return path

    def rollout(self, *arguments: str, inventory: Path | None = None, **variables: Any) -> plays.Play:
        """Run the playbook fleet."""
        return plays.run(
            "fleet",
            *arguments,
            inventory=inventory or self.inventory(),
            place=self.place,
            variables={**self.known, "rollout_report": str(self.report_file), **variables},
        )

    @property
    def report_file(self) -> Path:
        """Where rollouts report."""
        return self.place / "rollout.json"

    def report(self) -> dict[str, Any]:
        """What the rollout before reported."""
        return dict(json.loads(self.report_file.read_text(encoding="utf-8")))

    def states(self) -> dict[str, str]:
        """By host, the state in that report."""
        return {host: one["state"] for host, one in self.report()["hosts"].items()}

    def poetry(self) -> dict[str, str]:
        """By host, the version that a user runs."""
        script = "poetry --version | grep -o '[0-9.]*[0-9]'"
        return {machine.name: machine.ssh("dev", script).stdout.strip() for machine in self.machines}


@contextlib.contextmanager
def started(number: int, *, place: Path, gcloud: bool = True) -> Iterator[Fleet]:
    """Start a fleet of so many machines, Debian 12 and 13 in turn, with yesterday's release.

    :param gcloud: with the CLI, which takes long to install and no identity here needs.
    """
    roles = [*(["gcloud"] if gcloud else []), "poetry", "poetry_repositories", "gar_auth"]
    variables = {**release(poetry=OLD), "artifact_registry_roles": roles}
    suites = ["debian12", "debian13"][:number]
    host.make_room_for_watches(number)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        made = dict(zip(suites, pool.map(lambda suite: _image(suite, place, variables), suites), strict=True))
    machines: list[Machine] = []
    try:
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            waiting = [
                pool.submit(_start, f"fleet-{count + 1:02}", suites[count % len(suites)], made)
                for count in range(number)
            ]
            machines += [one.result() for one in waiting]
        known = json.loads(machines[0].variables.read_text(encoding="utf-8"))
        yield Fleet(machines=machines, place=place, known={**known, **variables})
    finally:
        for machine in machines:
            machine.stop()
        for image in made.values():
            images.remove_saved(image)


def _start(name: str, suite: str, made: dict[str, str]) -> Machine:
    machine = Machine.start(name=name, suite=suite, image=made[suite], emulator_options=_EMULATOR)
    give_keys(machine)
    machine.ssh("admin", "sudo systemctl restart 'gar-auth-fetch@*.timer'", check=True)
    return machine


def give_keys(machine: Machine) -> None:
    """Let the machine have keys that its own emulator knows."""
    for account, path in KEYS.items():
        key = json.dumps(machine.control.create_key(account))
        machine.ssh("admin", f"sudo install -D -m 0600 /dev/stdin {path}", input=key, check=True)


def _image(suite: str, place: Path, release: dict[str, Any]) -> str:
    """Install yesterday's release on a machine, and make an image of it."""
    with Machine.start(name=f"golden-{suite}", suite=suite, emulator_options=_EMULATOR) as machine:
        machine.ssh("admin", "sudo useradd --create-home --shell /bin/bash third", check=True)
        machine.ssh(
            "admin",
            "sudo cp -a /home/dev/.ssh /home/third; sudo chown -R third: /home/third/.ssh",
            check=True,
        )
        give_keys(machine)
        own = place / f"golden-{suite}"
        own.mkdir()
        known = json.loads(machine.variables.read_text(encoding="utf-8"))
        done = plays.run(
            "devbox",
            inventory=machine.inventory,
            place=own,
            variables={**known, **release},
        )
        assert done.code == 0, done.output[-4000:]
        return machine.save(f"golden-{suite}")
