# SPDX-License-Identifier: GPL-3.0-or-later
"""Converge the roles gcloud and poetry on a machine, beside the usual way and beside the bare commands."""

from __future__ import annotations

import json
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.place import CHECKOUT, PLACE, POETRY_VERSION, BenchError, run
from bench.report import Goal, Report, Row
from lab.console import step
from lab.machines import Machine

__all__ = ["USUAL", "measure", "public"]

LOCK = CHECKOUT / "roles" / "poetry" / "files" / f"poetry-{POETRY_VERSION}.txt"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
#: The usual way: the role of the collection google.cloud, and pipx for all users.
USUAL: list[dict[str, Any]] = [
    {
        "name": "gcloud",
        "ansible.builtin.include_role": {"name": "google.cloud.gcloud"},
        "vars": {"gcloud_apt_url": "https://packages.cloud.google.com/apt"},
    },
    {"name": "pipx", "ansible.builtin.apt": {"name": "pipx", "install_recommends": False}},
    {
        "name": "Which of them are there",
        "ansible.builtin.command": {"argv": ["pipx", "list", "--short"]},
        "environment": {"PIPX_HOME": "/opt/pipx", "PIPX_BIN_DIR": "/usr/local/bin"},
        "register": "there",
        "changed_when": False,
    },
    {
        "name": "Poetry",
        "ansible.builtin.command": {"argv": ["pipx", "install", f"poetry=={POETRY_VERSION}"]},
        "environment": {"PIPX_HOME": "/opt/pipx", "PIPX_BIN_DIR": "/usr/local/bin"},
        "when": f"'poetry {POETRY_VERSION}' not in there.stdout_lines",
    },
]
#: What the roles cannot do without: the same package and the same wheels, from the same places.
BARE = """\
apt-get -qq update
apt-get -qqy --no-install-recommends install google-cloud-cli
umask 022
mkdir -p /opt/bare
python3 -I -m venv /opt/bare
/opt/bare/bin/python -I -m pip --quiet --disable-pip-version-check install --no-input --no-cache-dir \\
  --only-binary=:all: --no-deps --require-hashes -r /root/lock.txt
"""
SOURCE = """\
mkdir -p /etc/apt/keyrings
curl -sSf https://packages.cloud.google.com/apt/doc/apt-key.gpg > /etc/apt/keyrings/bare.asc
echo 'deb [signed-by=/etc/apt/keyrings/bare.asc] https://packages.cloud.google.com/apt cloud-sdk main' \\
  > /etc/apt/sources.list.d/bare.list
"""
CLEAR = """\
rm -rf /opt/bare /etc/apt/sources.list.d/bare.list /etc/apt/keyrings/bare.asc
apt-get -qqy purge google-cloud-cli
apt-get clean
"""


@dataclass(frozen=True, kw_only=True)
class Bed:
    """A machine, and plays against it."""

    machine: Machine
    scratch: Path
    public: Path

    def play(
        self, tasks: list[dict[str, Any]], *, facts: bool = False, **variables: Any
    ) -> tuple[float, str]:
        """Run tasks as root and return the seconds of the whole command, and what it printed."""
        playbook = self.scratch / "play.json"
        play = {"hosts": "all", "become": True, "gather_facts": facts, "tasks": tasks}
        playbook.write_text(json.dumps([play]), encoding="utf-8")
        known = json.loads(self.machine.variables.read_text(encoding="utf-8"))
        command = [
            sys.executable,
            "-m",
            "ansible",
            "playbook",
            "-i",
            str(self.machine.inventory),
            str(playbook),
        ]
        command += ["--extra-vars", json.dumps({**known, **variables})]
        environment = {
            "ANSIBLE_CONFIG": str(CHECKOUT / ".config" / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.scratch / "ansible"),
            "ANSIBLE_COLLECTIONS_PATH": f"{CHECKOUT / '.ansible' / 'collections'}:{self.public}",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_NOCOLOR": "1",
        }
        began = time.monotonic()
        output = run(command, variables=environment)
        return time.monotonic() - began, output

    def ours(self, **variables: Any) -> tuple[float, str]:
        """Converge both roles."""
        roles = ("gcloud", "poetry")
        if variables.get("artifact_registry_state") == "absent":
            roles = ("poetry", "gcloud")
        tasks = [
            {"name": role, "ansible.builtin.include_role": {"name": f"devbox.artifact_registry.{role}"}}
            for role in roles
        ]
        return self.play(tasks, **variables)

    def usual(self) -> tuple[float, str]:
        """Converge them in the usual way, whose role asks for facts."""
        return self.play(USUAL, facts=True)

    def root(self, script: str) -> float:
        """Run a script on the machine and return its seconds."""
        began = time.monotonic()
        done = self.machine.ssh("admin", "sudo sh -eus", input=script, timeout=900)
        if done.returncode:
            raise BenchError(f"a script on the machine failed: {done.stderr[-500:]}")
        return time.monotonic() - began


def measure(report: Report, *, scratch: Path, repetitions: int) -> None:
    """Measure everything and add it to the report."""
    shared = public()
    with Machine.start(name="bench-installers", suite="debian12") as machine:
        bed = Bed(machine=machine, scratch=scratch, public=shared)
        bed.root("apt-get -qq update; apt-get -qqy install curl gnupg python3-venv")
        bed.root(f"cat > /root/lock.txt <<'LOCK'\n{LOCK.read_text(encoding='utf-8')}LOCK\n")
        cold: tuple[list[float], list[float]] = ([], [])
        with step(f"Install anew, {repetitions} times each"):
            for _round in range(repetitions):
                bed.root(SOURCE)
                cold[1].append(bed.root(BARE))
                bed.root(CLEAR)
                cold[0].append(bed.ours()[0])
                if _round < repetitions - 1:
                    bed.ours(artifact_registry_state="absent")
                    bed.root("apt-get clean")
        still = ([_unchanged(bed.ours) for _round in range(repetitions + 1)][1:], list[float]())
        bed.ours(artifact_registry_state="absent")
        with step("Install in the usual way"):
            bed.usual()
        still = (still[0], [_unchanged(bed.usual) for _round in range(repetitions + 1)][1:])
    against = "google.cloud.gcloud and pipx"
    report.rows.append(
        Row(
            work="no-op converge of both roles",
            ours=still[0],
            against=against,
            other=still[1],
            goal=Goal(figure="faster", limit=3),
        )
    )
    report.rows.append(
        Row(
            work="cold converge of both roles",
            ours=cold[0],
            against="apt-get install and pip install of the same files",
            other=cold[1],
            goal=Goal(figure="slower", limit=1.15),
        )
    )


def _unchanged(converge: Callable[[], tuple[float, str]]) -> float:
    seconds, output = converge()
    if " changed=0 " not in output:
        raise BenchError(f"a second run changed something:\n{output[-2000:]}")
    return seconds


def public() -> Path:
    """Return where the collection google.cloud lies, from the package ansible; downloaded once."""
    place = PLACE / "public"
    if not (place / "ansible_collections/google/cloud/roles/gcloud").is_dir():
        with step("Get the collection google.cloud from the package ansible"):
            place.mkdir(parents=True, exist_ok=True)
            download = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--only-binary=:all:",
            ]
            run([*download, "--dest", str(place), "ansible"])
            (wheel,) = place.glob("ansible-*.whl")
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(place, [one for one in archive.namelist() if "/google/cloud/" in one])
            wheel.unlink()
    return place
