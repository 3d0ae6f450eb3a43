# SPDX-License-Identifier: GPL-3.0-or-later
"""Roll out to 1, 4 and 12 machines where nothing is to change, in turn with pings and with the usual way.

Both ways are installed on the same machines: the usual one has a Poetry of its own beside ours, writes the
same registrations into the same files, and its cron jobs do not run meanwhile.
"""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench import installers
from bench.place import CHECKOUT, BenchError, run
from bench.report import Goal, Report, Row, Table, duration, spread
from lab.console import step
from uses import fleet, plays
from uses.fleet import Fleet

__all__ = ["measure"]

SIZES = (1, 4, 12)
FORKS = 12
#: Where the usual way has its Poetry, and its source of gcloud: apt allows a URL one key only.
PIPX = {"PIPX_HOME": "/opt/pipx", "PIPX_BIN_DIR": "/opt/pipx/bin"}
POETRY = f"{PIPX['PIPX_BIN_DIR']}/poetry"
APT = "https://packages.cloud.google.com:443/apt"
#: What people write: a job for each user that puts a token into auth.toml before the last one is dead.
CRON = (
    "t=$(gcloud auth print-access-token) && "
    "for r in {names}; do poetry config http-basic.$r oauth2accesstoken $t; done"
)
PREREQUISITES: list[dict[str, Any]] = [
    {
        "name": "What the usual way needs",
        "ansible.builtin.apt": {"name": ["cron", "gnupg", "python3-debian"], "install_recommends": False},
    },
    {
        "name": "No job is to start in the middle of a measurement",
        "ansible.builtin.systemd_service": {"name": "cron", "state": "stopped"},
    },
]
OLD_APT = "ansible_facts.distribution_major_version == '12'"
#: The role of google.cloud calls apt-key, which Debian 13 has no more.
WITHOUT_APT_KEY: list[dict[str, Any]] = [
    {
        "name": "gcloud's repository",
        "ansible.builtin.deb822_repository": {
            "name": "google-cloud-sdk",
            "uris": APT,
            "suites": "cloud-sdk",
            "components": "main",
            "signed_by": "https://packages.cloud.google.com/apt/doc/apt-key.gpg",
        },
        "register": "source",
        "when": f"not {OLD_APT}",
    },
    {
        "name": "gcloud",
        "ansible.builtin.apt": {
            "name": "google-cloud-cli",
            "update_cache": "{{ source is changed }}",
            "install_recommends": False,
        },
        "when": f"not {OLD_APT}",
    },
]
_COUNTS = re.compile(r" ok=(\d+) +changed=(\d+)")


@dataclass(frozen=True, kw_only=True)
class Bed:
    """A fleet, and how plays run against a part of it."""

    fleet: Fleet
    scratch: Path
    public: Path

    def inventory(self, size: int) -> Path:
        """Write the inventory of the first machines."""
        return plays.inventory(self.scratch / f"{size}.json", self.fleet.machines[:size])

    def play(self, playbook: str, size: int, **variables: Any) -> tuple[float, str]:
        """Run a playbook and return the seconds of the whole command, and what it printed."""
        command = [sys.executable, "-m", "ansible", "playbook", "-i", str(self.inventory(size)), playbook]
        command += ["--extra-vars", json.dumps({**self.fleet.known, **variables})]
        environment = {
            "ANSIBLE_CONFIG": str(CHECKOUT / ".config" / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.scratch / "ansible"),
            "ANSIBLE_COLLECTIONS_PATH": f"{CHECKOUT / '.ansible' / 'collections'}:{self.public}",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_FORKS": str(FORKS),
            "ANSIBLE_NOCOLOR": "1",
        }
        began = time.monotonic()
        output = run(command, variables=environment, timeout=3600)
        return time.monotonic() - began, output

    def tasks(self, tasks: Sequence[dict[str, Any]], size: int, *, facts: bool) -> tuple[float, str]:
        """Run tasks as root on all of them at once."""
        path = self.scratch / "play.json"
        play = {"hosts": "all", "become": True, "gather_facts": facts, "tasks": list(tasks)}
        path.write_text(json.dumps([play]), encoding="utf-8")
        return self.play(str(path), size)

    def ours(self, size: int) -> tuple[float, str]:
        """Roll out: the canary, then all the rest."""
        return self.play(
            "devbox.artifact_registry.fleet",
            size,
            rollout_report=str(self.scratch / "rollout.json"),
            rollout_batches=["100%"],
        )

    def pings(self, number: int, size: int) -> tuple[float, str]:
        """Run that many pings."""
        ping = {"name": "Ping", "ansible.builtin.ping": {}}
        return self.tasks([ping] * number, size, facts=False)

    def usual(self, size: int) -> tuple[float, str]:
        """Converge in the usual way."""
        role, *pipx = installers.USUAL
        old = {**role, "vars": {"gcloud_apt_url": APT}, "when": OLD_APT}
        own = [{**task, "environment": PIPX} if "environment" in task else task for task in pipx]
        return self.tasks([old, *WITHOUT_APT_KEY, *own, *_usual_configuration()], size, facts=True)


def _usual_configuration() -> list[dict[str, Any]]:
    urls = {
        name: f"https://europe-west1-python.pkg.dev/{project}/{name}/"
        for name, (project, _identity) in fleet.REPOSITORIES.items()
    }
    found: list[dict[str, Any]] = []
    for user in fleet.USERS:
        as_user = {"become": True, "become_user": user, "changed_when": False}
        for name, url in urls.items():
            command = {"argv": [POETRY, "config", f"repositories.{name}", url]}
            found.append({"name": f"{user}: {name}", "ansible.builtin.command": command, **as_user})
        job = {"name": "token", "minute": "*/30", "user": user, "job": CRON.format(names=" ".join(urls))}
        found.append({"name": f"{user}: token", "ansible.builtin.cron": job})
    return found


def measure(report: Report, *, scratch: Path, repetitions: int) -> None:
    """Measure everything and add it to the report."""
    public = installers.public()
    with fleet.started(max(SIZES), place=scratch) as machines:
        bed = Bed(fleet=machines, scratch=scratch, public=public)
        with step("Install in the usual way beside ours"):
            bed.tasks(PREREQUISITES, max(SIZES), facts=False)
            bed.usual(max(SIZES))
        ours: dict[int, list[float]] = {size: [] for size in SIZES}
        pings: dict[int, list[float]] = {size: [] for size in SIZES}
        usual: dict[int, list[float]] = {size: [] for size in SIZES}
        work: dict[int, list[float]] = {size: [] for size in SIZES}
        tasks: dict[int, int] = {}
        for size in SIZES:
            with step(f"Roll out to {size}, ping as often, and the usual way, {repetitions} times in turn"):
                tasks[size] = _tasks(bed.ours(size)[1])
                bed.usual(size)
                for _round in range(repetitions):
                    before = _processor_time()
                    ours[size].append(_unchanged(bed.ours(size)))
                    work[size].append(_processor_time() - before)
                    pings[size].append(_unchanged(bed.pings(tasks[size], size)))
                    usual[size].append(_unchanged(bed.usual(size)))
    for size in SIZES:
        report.rows.append(
            Row(
                work=f"no-op rollout to {size} host{'s' * (size > 1)}",
                ours=ours[size],
                against="google.cloud.gcloud, pipx, poetry config, cron",
                other=usual[size],
                goal=Goal(figure="faster", limit=5),
            )
        )
    report.tables += [_beside_pings(ours, pings, tasks), _projection(ours, work)]


def _beside_pings(
    ours: dict[int, list[float]], pings: dict[int, list[float]], tasks: dict[int, int]
) -> Table:
    lines = [
        [
            *(str(size), spread(ours[size]), duration(median(ours[size]) / size), str(tasks[size])),
            *(spread(pings[size]), f"{median(ours[size]) / median(pings[size]):.2f}"),
        ]
        for size in SIZES
    ]
    heads = ["hosts", "no-op rollout", "for each host", "tasks per host", "as many pings", "ratio"]
    return Table(title=f"No-op rollout, {FORKS} forks, canary of one", heads=heads, lines=lines)


def _projection(ours: dict[int, list[float]], work: dict[int, list[float]]) -> Table:
    """From the least and the greatest size: what a run costs whatever its size, and what each host adds."""
    small, large = SIZES[0], SIZES[-1]
    start, each = _line(ours)
    _once, busy = _line(work)
    lines = [
        [f"{size:,}", duration(start + size * each), f"{(start + size * each) / 3600:.2f} h"]
        for size in (1_000, 10_000)
    ]
    first, last = median(ours[small]), median(ours[large])
    added = f"each host adds ({last:.1f} s - {first:.1f} s) / ({large} - {small}) = {each:.2f} s"
    fixed = f"each run costs {first:.1f} s - {small} x {each:.2f} s = {start:.1f} s besides"
    shared = (
        f"controller and hosts share the processors here; the controller's part is {busy:.2f} s of processor"
        " time for each host"
    )
    notes = [added, fixed, shared]
    heads = ["hosts", "seconds", "hours"]
    return Table(title="Projection, one controller", heads=heads, lines=lines, notes=notes)


def _line(samples: dict[int, list[float]]) -> tuple[float, float]:
    """What a run costs, and what each host adds, in seconds."""
    small, large = SIZES[0], SIZES[-1]
    each = (median(samples[large]) - median(samples[small])) / (large - small)
    return median(samples[small]) - small * each, each


def _processor_time() -> float:
    """Seconds of processors that all commands so far have used, with their own children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _tasks(output: str) -> int:
    """How many tasks ran on the host with the most."""
    return max(int(found[1]) for found in _COUNTS.finditer(output))


def _unchanged(run: tuple[float, str]) -> float:
    """The seconds of a run that has changed nothing."""
    seconds, output = run
    if any(int(found[2]) for found in _COUNTS.finditer(output)):
        raise BenchError(f"a second run changed something:\n{output[-2000:]}")
    return seconds
