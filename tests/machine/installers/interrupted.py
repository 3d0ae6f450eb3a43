# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill a run of the playbook at each of its tasks, one after the other, as when a controller goes away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Container, Mapping
from typing import Any

from machine import plays

__all__ = ["at_each_task"]


def at_each_task(variables: Mapping[str, Any], look: Callable[[str], None]) -> int:
    """Kill a run when it begins a task of a role at which none was killed before, until one ends by itself.

    :param look: called after each kill with the task's name; says by an assertion what has broken.
    :returns: at how many tasks.
    """
    killed: set[str] = set()
    while (task := _kill(variables, apart_from=killed)) is not None:
        killed.add(task)
        look(task)
    return len(killed)


def _kill(variables: Mapping[str, Any], *, apart_from: Container[str]) -> str | None:
    """Run it until another task of a role begins; None where there was none."""
    argv = ["ansible-playbook", str(plays.ROLES), "-i", str(plays.inventory())]
    with subprocess.Popen(
        [*argv, "--extra-vars", json.dumps(dict(variables))],
        env={**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1", "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            task = line.rstrip(" *\n")
            if task.startswith("TASK [devbox.artifact_registry.") and task not in apart_from:
                os.killpg(process.pid, signal.SIGKILL)
                return task
        assert process.wait() == 0, "".join(lines)
        return None
