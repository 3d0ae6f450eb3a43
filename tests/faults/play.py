# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the module by ansible-playbook, as users of the collection do: AnsiballZ, respawn, output and log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults.subject import Subject

__all__ = ["Play", "run_play"]

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Play:
    """A finished ansible-playbook with all its output, and the directory of all that it leaves behind."""

    code: int
    output: str
    state: Path


def run_play(
    subject: Subject,
    tasks: list[dict[str, Any]],
    *,
    variables: dict[str, Any],
    cwd: Path,
    interpreter: Path,
    environment: dict[str, str] | None = None,
) -> Play:
    """Run tasks on this machine as root.

    :param variables: in a file that only root may read, as a vault would be.
    :param interpreter: the Python that Ansible starts the module with.
    """
    state = Path(tempfile.mkdtemp(prefix="play-", dir=subject.scratch))
    secrets = subject.scratch / "variables.json"
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False}
    play |= {"vars_files": [str(secrets)], "tasks": tasks}
    (state / "play.yml").write_text(json.dumps([play]))
    secrets.write_text(json.dumps({"ansible_python_interpreter": str(interpreter), **variables}))
    secrets.chmod(0o600)
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-vvvv", "--diff", state / "play.yml"],
        cwd=cwd,
        env={
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_HOME": str(state / "home"),
            "ANSIBLE_LOCAL_TEMP": str(state / "local"),
            "ANSIBLE_REMOTE_TEMP": str(state / "remote"),
            "ANSIBLE_COLLECTIONS_PATH": str(_ROOT / ".ansible" / "collections"),
            "ANSIBLE_LOG_PATH": str(state / "log"),
            "ANSIBLE_RETRY_FILES_ENABLED": "1",
            "ANSIBLE_RETRY_FILES_SAVE_PATH": str(state / "retry"),
            "ANSIBLE_CACHE_PLUGIN": "jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(state / "facts"),
            **(environment or {}),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=120,
    )
    secrets.unlink()
    return Play(code=done.returncode, output=done.stdout.decode("utf-8", "replace"), state=state)
