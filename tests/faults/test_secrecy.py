# SPDX-License-Identifier: GPL-3.0-or-later
"""A canary password: in no argument, environment, output, log or other file, also where tasks fail."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from faults.files import DECLARED, SECRET, assert_invariants, prepare, texts
from faults.machine import Machine, User
from faults.play import run_play
from faults.subject import Subject

FORMS = [
    SECRET.encode(),
    base64.b64encode(SECRET.encode()),
    base64.b64encode(f"oauth2accesstoken:{SECRET}".encode()),
]
MODULE = "devbox.artifact_registry.poetry_config"
TASK: dict[str, dict[str, Any]] = {
    MODULE: {
        "users": "{{ names }}",
        "poetry": "{{ poetry }}",
        "repositories": "{{ repositories }}",
        "credentials": "{{ credentials }}",
        "settings": "{{ settings }}",
    }
}


class Watcher(threading.Thread):
    """Reads all processes' arguments and environment over and over."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = threading.Event()
        self.found: set[str] = set()
        self.modules: set[str] = set()

    def run(self) -> None:
        while not self.ended.is_set():
            self.ended.wait(0.01)
            for pid in filter(str.isdecimal, os.listdir("/proc")):
                for name in ("cmdline", "environ"):
                    try:
                        data = Path("/proc", pid, name).read_bytes()
                    except OSError:
                        continue  # it has ended
                    if any(form in data for form in FORMS):
                        self.found.add(f"{name} of {data[:200]!r}")
                    if name == "cmdline" and b"AnsiballZ_poetry_config" in data:
                        self.modules.add(pid)


@contextmanager
def watching() -> Iterator[Watcher]:
    watcher = Watcher()
    watcher.start()
    try:
        yield watcher
    finally:
        watcher.ended.set()
        watcher.join()


def holders(top: Path) -> list[str]:
    """Every file below a directory that holds the canary in any form."""
    found = []
    for directory, _names, files in os.walk(top):
        for path in (Path(directory, name) for name in files):
            if path.is_file() and not path.is_symlink():
                data = path.read_bytes()
                if any(form in data for form in FORMS):
                    found.append(str(path))
    return found


def test_the_canary_is_where_it_belongs_only_whatever_happens(
    subject: Subject, machine: Machine, dev: User, eve: User
) -> None:
    prepare(
        dev,
        config=f"[repositories.theirs]\nurl = 'https://dev:{SECRET}-url@pypi.example.com/'\n".encode(),
        auth=f"[http-basic.theirs]\nusername = 'dev'\npassword = '{SECRET}-theirs'\n".encode(),
    )
    eve.auth.write_text(f"[broken\npassword = '{SECRET}-eve'\n")
    variables = {**DECLARED, "names": ["dev"], "poetry": str(subject.poetry)}
    variables["no_name"] = [{"name": "ours", "password": SECRET}]
    removal = {MODULE: {**TASK[MODULE], "state": "absent"}}
    tasks: list[dict[str, Any]] = [
        {"name": "Predict", **TASK, "check_mode": True},
        {"name": "Change", **TASK, "register": "done"},
        {"name": "Show", "debug": {"var": "done"}},
        {"name": "Fail for eve", **TASK, "vars": {"names": ["eve"]}, "ignore_errors": True},
        {"name": "Be wrong", **TASK, "vars": {"credentials": "{{ no_name }}"}, "ignore_errors": True},
        {"name": "Remove", **removal, "check_mode": True},
        {"name": "Fail at last", **TASK, "vars": {"names": ["eve"]}},
    ]
    with machine.log() as log, watching() as watcher:
        play = run_play(subject, tasks, variables=variables, cwd=Path("/"), interpreter=machine.python)
    shown = play.output
    assert "ok=6    changed=3" in shown, shown
    assert "failed=1    skipped=0    rescued=0    ignored=2" in shown, shown
    assert "repositories.ours.url" in shown, "no diff"
    assert not any(form.decode() in shown for form in FORMS)
    assert len(watcher.modules) >= 6, "the watcher did not see the module"
    assert watcher.found == set()
    journal = b"\n".join(log)
    assert journal.count(b"Invoked with") == 6, "the module did not log"
    assert not any(form in journal for form in FORMS)
    expected = [dev.auth, dev.config, eve.auth]
    assert sorted(holders(machine.top / "homes")) == sorted(map(str, expected))
    assert holders(play.state) == []
    assert SECRET.encode() in (texts(dev)["auth.toml"] or b"")
    assert_invariants(subject, dev)
