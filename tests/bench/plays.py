# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a play on localhost and tell how long each of its tasks took."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.place import CHECKOUT, PYTHON, BenchError, run

__all__ = ["Player", "Task", "Time"]

_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task: its name, what it does in Ansible's words, and whether it has to change something.

    `changes` is None where the task cannot tell, as a command cannot.
    """

    name: str
    action: dict[str, Any]
    changes: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Time:
    """Seconds that a task took: with all that Ansible does for it, and its module's processes alone.

    `module` is 0 where modules are not timed.
    """

    task: float
    module: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Player:
    """Runs plays of one task after the other, in a scratch directory."""

    scratch: Path

    def play(self, tasks: Sequence[Task], *, inside: Sequence[str] = (), modules: bool = False) -> list[Time]:
        """Run a play and return the times of its tasks, in order.

        :param inside: a command that runs the command put after it, such as `unshare`.
        :param modules: time the modules' processes too, by a stand-in for their interpreter. That makes the
            tasks a little slower, so it is only for plays whose tasks are not compared as a whole.
        :raises BenchError: a task failed, or did not do what it should.
        """
        playbook, times, clock = (self.scratch / name for name in ("play.json", "times", "clock"))
        playbook.write_text(json.dumps([self._play(tasks, modules=modules)]), encoding="utf-8")
        for file in (times, clock):
            file.write_text("")
        variables = {
            "ANSIBLE_CONFIG": str(CHECKOUT / ".config" / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.scratch / "ansible"),
            "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".ansible" / "collections"),
            "ANSIBLE_CALLBACK_PLUGINS": str(_HERE / "callback"),
            "ANSIBLE_CALLBACKS_ENABLED": "bench_times",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_RETRY_FILES_ENABLED": "0",
            "BENCH_TIMES": str(times),
        }
        ansible = [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", str(playbook)]
        output = run([*inside, *ansible], variables=variables)
        lines = [json.loads(line) for line in times.read_text(encoding="utf-8").splitlines()]
        clocked = [float(line) for line in clock.read_text(encoding="ascii").splitlines()]
        if [line["task"] for line in lines] != [task.name for task in tasks]:
            raise BenchError(f"not every task was timed; Ansible printed:\n{output}")
        if modules and len(clocked) != len(tasks):
            raise BenchError(f"{len(tasks)} tasks ran {len(clocked)} modules: each should run one")
        for task, line in zip(tasks, lines, strict=True):
            if task.changes not in (None, line["changed"]):
                raise BenchError(
                    f"task {task.name!r} reported changed={line['changed']}: not what is measured"
                )
        own = clocked if modules else [0.0] * len(tasks)
        return [Time(task=line["seconds"], module=seconds) for line, seconds in zip(lines, own, strict=True)]

    def _play(self, tasks: Sequence[Task], *, modules: bool) -> dict[str, Any]:
        interpreter = PYTHON
        if modules:
            stand_in = self.scratch / "python"
            command = [PYTHON, "-I", "-S", str(_HERE / "stopwatch.py"), str(self.scratch / "clock"), PYTHON]
            stand_in.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', encoding="utf-8")
            stand_in.chmod(0o755)
            interpreter = str(stand_in)
        return {
            "name": "Benchmark",
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "vars": {"ansible_python_interpreter": interpreter},
            "tasks": [{"name": task.name, **task.action} for task in tasks],
        }
