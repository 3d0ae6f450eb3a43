# SPDX-License-Identifier: GPL-3.0-or-later
"""An Ansible callback: appends one JSON line a task (name, seconds, changed) to the file BENCH_TIMES names.

Only what the controller needs to run the task counts: from the task's start to its result.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: bench_times
type: aggregate
short_description: Write the time of each task to a file
description: [Appends one JSON line a task to the file that the environment variable BENCH_TIMES names.]
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]  # Ansible is not typed
    """Clock of the tasks of a play for one host."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "bench_times"
    CALLBACK_NEEDS_ENABLED = True

    _started = 0.0

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def v2_runner_on_ok(self, result: Any) -> None:
        """Stop the clock; a task with a loop comes here once, after its last item."""
        seconds = time.monotonic() - self._started
        line = {"task": result.task_name, "seconds": seconds, "changed": result.is_changed()}
        with open(os.environ["BENCH_TIMES"], "a", encoding="utf-8") as stream:
            print(json.dumps(line), file=stream)
