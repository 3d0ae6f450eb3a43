# SPDX-License-Identifier: GPL-3.0-or-later
"""A user who installs again and again while something happens to the machine."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lab.machines import Machine
from uses import people

__all__ = ["PACKAGE", "Loop", "failures", "installing", "publish"]

PACKAGE = "my_private_package"
_SOURCE = "https://europe-west1-python.pkg.dev/demo-project/private-repo/simple/"
#: Seconds between two rounds on a machine, for each of them: they all share this host's processors.
_PAUSE = 3
#: Without a cache and an environment each round asks the index again; what failed is kept.
_LOOP = """\
set -u
cd ~/looping
while [ ! -e stop ]; do
  rm -rf .venv
  if poetry install --no-cache --no-root --no-interaction --no-ansi > last 2>&1; then echo fine >> rounds
  else { echo '{"round": "failed"}'; cat last; } >> failures; echo failed >> rounds; fi
  sleep PAUSE
done
"""


@dataclass(kw_only=True)
class Loop:
    """How often it was done on a machine, and what was said where it failed."""

    machine: str
    rounds: int = 0
    failures: str = ""


def publish(machine: Machine, *, user: str = "dev") -> None:
    """Publish the package that the loops install."""
    people.publish(machine, user, PACKAGE)


def _prepare(machine: Machine, *, user: str) -> None:
    script = f"""\
set -eu
rm -rf looping
mkdir looping
cd looping
version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
cat > pyproject.toml <<END
[tool.poetry]
name = "looping"
version = "0"
description = ""
authors = []
package-mode = false
[tool.poetry.dependencies]
python = ">=$version"
{PACKAGE} = {{version = "*", source = "private-repo"}}
[[tool.poetry.source]]
name = "private-repo"
url = "{_SOURCE}"
priority = "explicit"
END
poetry config --local virtualenvs.in-project true
poetry lock --no-interaction
"""
    done = machine.ssh(user, "bash -s", input=script)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def installing(machines: Iterable[Machine], *, user: str = "dev") -> Iterator[list[Loop]]:
    """Install a private package in a loop on each machine while the block runs.

    :returns: what the loops saw, filled when the block has ended.
    """
    machines = list(machines)
    for machine in machines:
        _prepare(machine, user=user)
    script = _LOOP.replace("PAUSE", str(_PAUSE * len(machines)))
    running = [
        (machine, _start(machine, script, user=user), Loop(machine=machine.name)) for machine in machines
    ]
    try:
        yield [loop for _machine, _process, loop in running]
    finally:
        for machine, _process, _loop in running:
            machine.ssh(user, "touch ~/looping/stop")
        for machine, process, loop in running:
            assert process.wait(timeout=120) == 0, f"the loop on {machine.name} was cut off"
            said = machine.ssh(user, "cat ~/looping/rounds; echo; cat ~/looping/failures 2>/dev/null").stdout
            rounds, _empty, loop.failures = said.partition("\n\n")
            loop.rounds = len(rounds.split())


def failures(loops: Iterable[Loop]) -> dict[str, str]:
    """By machine, what was said by each round that failed; nothing of the machines where none did."""
    return {loop.machine: loop.failures for loop in loops if loop.failures}


def _start(machine: Machine, script: str, *, user: str) -> subprocess.Popen[str]:
    command = [*machine.ssh_command(user, "-o", "BatchMode=yes"), "--", "bash -s"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdin is not None
    process.stdin.write(script)
    process.stdin.close()
    return process
