# SPDX-License-Identifier: GPL-3.0-or-later
"""Code of a user never runs as root: modules in the working directory, a Poetry of the user's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faults.files import DECLARED, assert_invariants, prepare, texts
from faults.machine import Machine, User
from faults.play import run_play
from faults.subject import Subject

#: What the module, Ansible, Poetry and a starting Python may look for.
NAMES = """
    ansible ansible_collections argparse cleo collections contextlib dataclasses errno fcntl functools
    inspect json keyring os poetry pwd re runpy secrets select site sitecustomize stat subprocess
    tomli tomlkit tomllib typing usercustomize
"""


@pytest.fixture
def traces(machine: Machine) -> Path:
    """Where planted code leaves the uid that it ran with."""
    path = machine.top / "traces"
    path.mkdir(exist_ok=True)
    path.chmod(0o1777)
    for trace in path.iterdir():
        trace.unlink()
    return path


def planted(user: User, directory: Path, traces: Path) -> Path:
    """A directory with modules of all those names."""
    code = f"import os\nopen('{traces}/' + __name__ + '-as-' + str(os.geteuid()), 'w').close()\n"
    for name in NAMES.split():
        path = directory / f"{name}.py"
        path.write_text(code)
        user.own(path)
    return directory


def wrapped(machine: Machine, subject: Subject, directory: Path) -> Path:
    """The same Poetry, run by an interpreter that does not show where its packages are."""
    directory.mkdir(exist_ok=True)
    interpreter = directory / "python3-of-poetry"
    interpreter.write_text(f'#!/bin/sh\nexec "{subject.poetry.parent}/python" "$@"\n')
    script = directory / "poetry"
    script.write_text(f"#!{interpreter}\n" + subject.poetry.read_text().partition("\n")[2])
    for path in (interpreter, script):
        path.chmod(0o755)
    return script


@pytest.mark.parametrize("respawns", [False, True], ids=["in one Python", "under Poetry's interpreter"])
def test_modules_in_the_working_directory_are_not_run(
    subject: Subject, machine: Machine, dev: User, traces: Path, respawns: bool
) -> None:
    poetry = wrapped(machine, subject, subject.scratch / "bin") if respawns else subject.poetry
    options = {**DECLARED, "users": ["dev"], "poetry": str(poetry)}
    play = run_play(
        subject,
        [{"devbox.artifact_registry.poetry_config": options}],
        variables={},
        cwd=Path("/"),
        interpreter=machine.python,
        environment={"ANSIBLE_KEEP_REMOTE_FILES": "1"},
    )
    assert play.code == 0, play.output
    assert "changed=1" in play.output
    prepare(dev)
    place = dev.home / "project"
    place.mkdir()
    dev.own(place)
    planted(dev, place, traces)
    (payload,) = play.state.rglob("AnsiballZ_poetry_config.py")
    done = subprocess.run([machine.python, payload], cwd=place, capture_output=True, text=True, check=False)
    shutil.rmtree(place)
    shutil.rmtree(play.state)
    assert [trace.name for trace in traces.iterdir()] == [], "code of the user was run with this uid"
    assert json.loads(done.stdout)["changed"] is True
    assert_invariants(subject, dev)


def trap(path: Path, traces: Path, *, first: str = "#!/bin/sh") -> Path:
    """A program that leaves a trace."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{first}\ntouch {traces}/{path.name}-as-$(id -u)\n")
    path.chmod(0o755)
    return path


def users_own(machine: Machine, subject: Subject, traces: Path) -> Path:
    """A Poetry of the user's own, whole."""
    interpreter = trap(machine.dev.home / "bin" / "python3", traces)
    script = trap(interpreter.with_name("poetry"), traces, first=f"#!{interpreter}")
    machine.dev.own(interpreter.parent, interpreter, script)
    return script


def users_interpreter(machine: Machine, subject: Subject, traces: Path) -> Path:
    """A script of root that runs an interpreter of the user."""
    own = users_own(machine, subject, traces)
    return trap(subject.scratch / "bin2" / "poetry", traces, first=f"#!{own.with_name('python3')}")


def writable_by_all(machine: Machine, subject: Subject, traces: Path) -> Path:
    """A script of root that everybody may write to."""
    script = wrapped(machine, subject, subject.scratch / "bin3")
    script.chmod(0o757)
    return script


def in_directory_of_the_user(machine: Machine, subject: Subject, traces: Path) -> Path:
    """A script of root in a directory of the user, who can put another one in its place."""
    script = wrapped(machine, subject, machine.dev.home / "bin")
    machine.dev.own(script.parent)
    return script


def below_directory_of_the_user(machine: Machine, subject: Subject, traces: Path) -> Path:
    """A directory of root in the home, which the user can rename and replace as a whole."""
    return wrapped(machine, subject, machine.dev.home / "bin")


POETRIES: list[Callable[[Machine, Subject, Path], Path]] = [
    users_own,
    users_interpreter,
    writable_by_all,
    in_directory_of_the_user,
    below_directory_of_the_user,
]


@pytest.mark.parametrize("by", ["path", "name"])
@pytest.mark.parametrize("make", POETRIES)
def test_a_poetry_that_the_user_can_replace_is_not_run(
    subject: Subject,
    machine: Machine,
    dev: User,
    traces: Path,
    make: Callable[[Machine, Subject, Path], Path],
    by: str,
) -> None:
    script = make(machine, subject, traces)
    before = texts(dev)
    options: dict[str, Any] = {**DECLARED, "poetry": str(script) if by == "path" else "poetry"}
    environment = {"PATH": f"{script.parent}:{os.environ['PATH']}"}
    done = subject.module(options, environment=environment)
    shutil.rmtree(dev.home / "bin", ignore_errors=True)
    assert [trace.name for trace in traces.iterdir()] == []
    assert texts(dev) == before
    assert done.failed
    assert "can be changed by others" in done.data["msg"]
