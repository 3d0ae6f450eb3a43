# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role fleet_status sees of a machine: by its files, and by a gar-auth that may do anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LOOK = Path(__file__).resolve().parents[3] / "roles/fleet_status/files/look.py"
Program = Callable[..., None]


def look(*directories: Path) -> dict[str, Any]:
    """Run the file as the role does, by standard input."""
    done = subprocess.run(
        [sys.executable, "-I", "-", *map(str, directories)],
        input=LOOK.read_text(encoding="utf-8"),
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def functions() -> dict[str, Any]:
    """The names that the file defines."""
    names: dict[str, Any] = {"__name__": "look"}
    exec(compile(LOOK.read_text(encoding="utf-8"), LOOK, "exec"), names)  # noqa: S102 - the role's own file
    return names


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    path = tmp_path / "bin"
    path.mkdir()
    return path


@pytest.fixture
def program(bin_dir: Path) -> Program:
    """Make a program of a shell script."""

    def make(script: str, *, name: str = "gar-auth") -> None:
        path = bin_dir / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return make


def test_the_report_of_status_is_handed_on_and_doctor_is_not_asked(bin_dir: Path, program: Program) -> None:
    program('case $1 in status) echo \'{"fine": true}\';; *) echo asked >> "$0.asked";; esac')
    found = look(bin_dir)
    assert found["status"] == {"code": 0, "report": {"fine": True}, "error": None}
    assert "doctor" not in found
    assert not (bin_dir / "gar-auth.asked").exists()


def test_doctor_is_asked_where_not_all_is_fine(bin_dir: Path, program: Program) -> None:
    program('echo "{\\"is\\": \\"$1 $2\\"}"; exit 75')
    found = look(bin_dir)
    assert found["status"]["code"] == 75
    assert found["doctor"]["report"] == {"is": "doctor --json"}


def test_the_last_line_of_errors_is_handed_on(bin_dir: Path, program: Program) -> None:
    program("echo one >&2; echo 'gar-auth: two' >&2; exit 78")
    assert look(bin_dir)["status"] == {"code": 78, "report": None, "error": "gar-auth: two"}


def test_what_is_no_json_is_not_handed_on(bin_dir: Path, program: Program) -> None:
    program("echo ya29.secret")
    assert look(bin_dir)["status"] == {"code": 0, "report": None, "error": None}


@pytest.mark.parametrize("script", ["sleep 600", "sleep 600 & exit 0", "exec >&- 2>&-; sleep 600"])
def test_a_program_that_hangs_is_killed_with_what_it_started(
    bin_dir: Path, program: Program, script: str
) -> None:
    program(f"echo $$ > {bin_dir}/pid; {script}")
    start = time.monotonic()
    found = functions()["ask"]([str(bin_dir / "gar-auth")], 1)
    assert time.monotonic() - start < 10
    assert found == {"code": None, "report": None, "error": "did not end in time"}
    deadline = time.monotonic() + 10
    while (
        alive := subprocess.run(["pgrep", "-g", (bin_dir / "pid").read_text()], check=False).returncode == 0
    ):
        assert time.monotonic() < deadline
    assert not alive


def test_a_program_that_prints_without_end_is_killed(bin_dir: Path, program: Program) -> None:
    program("exec yes")
    found = functions()["ask"]([str(bin_dir / "gar-auth")], 30)
    assert (found["code"], found["error"]) == (None, "printed too much")


def test_versions_come_from_files_and_no_program_is_started(
    tmp_path: Path, bin_dir: Path, program: Program
) -> None:
    for name, place in (("poetry", "opt/poetry"), ("gcloud", "opt/sdk"), ("gar-auth", "opt/gar-auth")):
        (tmp_path / place / "bin").mkdir(parents=True)
        path = tmp_path / place / "bin" / name
        path.write_text(f"#!/bin/sh\necho '{{}}'; [ {name} = gar-auth ] || touch {tmp_path}/started\n")
        path.chmod(0o755)
        (bin_dir / name).symlink_to(path)
    (tmp_path / "opt/poetry/lib/python3.11/site-packages/poetry-2.5.1.dist-info").mkdir(parents=True)
    (tmp_path / "opt/poetry/lib/python3.11/site-packages/poetry_core-2.2.0.dist-info").mkdir()
    (tmp_path / "opt/sdk/VERSION").write_text("528.0.0\n")
    (tmp_path / "opt/gar-auth/lib/gar_auth").mkdir(parents=True)
    (tmp_path / "opt/gar-auth/lib/gar_auth/__init__.py").write_text('__version__ = "0.9.0"\n')
    assert look(bin_dir)["versions"] == {"gar_auth": "0.9.0", "poetry": "2.5.1", "gcloud": "528.0.0"}
    assert not (tmp_path / "started").exists()


def test_a_machine_without_anything_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    names = functions()
    monkeypatch.setitem(names, "PLACES", ())
    found = names["main"]()
    assert found["versions"] == {"gar_auth": None, "poetry": None, "gcloud": None}
    assert "status" not in found
    assert found["python"].startswith("3.")


def test_a_directory_or_a_file_that_cannot_run_is_no_program(
    bin_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bin_dir / "gar-auth").mkdir()
    (bin_dir / "poetry").write_text("")
    os.chmod(bin_dir / "poetry", 0o644)
    names = functions()
    monkeypatch.setitem(names, "PLACES", ())
    assert names["which"]("gar-auth", [str(bin_dir)]) is None
    assert names["which"]("poetry", [str(bin_dir)]) is None
