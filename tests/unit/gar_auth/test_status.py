# SPDX-License-Identifier: GPL-3.0-or-later
"""gar-auth status: fresh, stale or missing, as text and as JSON, and never a token."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from unit.gar_auth.program import CANARY, Program

from gar_auth.store import Store, Token
from lab.emulator.launch import Emulator


def test_fetch_write_status_and_removal(
    program: Program, google: Emulator, poetry_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert program("fetch", "default") == (0, "new token for identity default\n", "")
    assert program("fetch", "default") == (0, "", "")
    assert program("write") == (0, "new tokens in auth.toml of dev\n", "")
    assert program("write", "dev") == (0, "", "")
    (issued,) = [token.value for token in google.control.tokens() if token.valid]
    assert issued in (poetry_dir / "auth.toml").read_text()
    code, output, errors = program("status")
    assert (code, errors) == (0, "")
    first, second = output.splitlines()
    assert re.fullmatch(r"identity default \(metadata:default\): valid for 59 min \d+ s", first)
    assert second == "user dev: private-repo: fresh"
    assert program("write", "--remove") == (0, "removed the tokens from auth.toml of dev\n", "")
    assert program("write", "--remove") == (0, "", "")
    assert not (poetry_dir / "auth.toml").exists()


def test_status_as_json(program: Program, canary: Store, google: Emulator, poetry_dir: Path) -> None:
    program("fetch", "default")
    program("write")
    code, output, errors = program("status", "--json")
    report = json.loads(output)
    assert (code, errors, report["fine"], report["users"]) == (
        0,
        "",
        True,
        {"dev": {"private-repo": "fresh"}},
    )
    identity = report["identities"]["default"]
    assert 3500 < identity["seconds_left"] <= 3600
    assert identity.keys() == {"identity", "source", "expiry", "obtained", "digest", "error", "seconds_left"}


def states(program: Program) -> Any:
    code, output, _errors = program("status", "--json")
    assert code == 75
    return json.loads(output)["users"]["dev"]


def test_status_tells_missing_from_stale(program: Program, google: Emulator, poetry_dir: Path) -> None:
    assert states(program) == {"private-repo": "missing"}
    program("fetch", "default")
    assert states(program) == {"private-repo": "missing"}
    program("write")
    google.control.expire_all()
    program("fetch", "default")
    assert states(program) == {"private-repo": "stale"}
    (poetry_dir / "auth.toml").chmod(0o644)
    (error,) = states(program).values()
    expected = f"{poetry_dir}/auth.toml has mode 0644, others may use it"
    assert error == f"{expected}; repair with: chmod 600 {poetry_dir}/auth.toml"


def test_status_without_a_token_shows_the_last_error(program: Program, google: Emulator) -> None:
    google.control.set_fault("metadata", "status:403")
    failed = "the metadata server refuses the token (403); give the VM the access scope cloud-platform"
    assert program("fetch", "default") == (78, "", f"gar-auth: {failed}\n")
    code, output, _errors = program("status")
    lines = ["identity default (metadata:default): no valid token", f"  last error: {failed}"]
    assert (code, output.splitlines()) == (75, [*lines, "user dev: private-repo: missing"])


@pytest.mark.parametrize("content", ["{", '{"identity": "a", "source": "b", "expiry": "soon"}'])
def test_status_says_that_its_file_is_damaged(
    program: Program, store: Store, tmp_path: Path, content: str
) -> None:
    store.write("default", Token(token=CANARY, expiry=1, source="x"))
    path = tmp_path / "run" / "default" / "status.json"
    path.write_text(content)
    code, output, errors = program("status")
    assert (code, output, errors.count("\n")) == (65, "", 1)
    assert errors.startswith(f"gar-auth: {path} is damaged")


def test_status_waits_until_all_is_fine(program: Program, google: Emulator, poetry_dir: Path) -> None:
    start = time.monotonic()
    assert program("status", "--wait", "0.5")[0] == 75
    assert 0.5 <= time.monotonic() - start < 10
    program("refresh")
    start = time.monotonic()
    assert program("status", "--wait", "30")[0] == 0
    assert time.monotonic() - start < 10
