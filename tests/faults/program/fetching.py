# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of sources share: a bad answer, how a fetch fails, and letting time go by."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

from faults.conftest import FULL
from faults.program.google import Google
from faults.program.installed import TOKEN, Ended, Gar

__all__ = ["ROBOT", "SECRET", "asked", "assert_fails", "backdate", "few", "reply", "state"]

ROBOT = "robot@demo-project.iam.gserviceaccount.com"
SECRET = "canary-d41d8cd98f00b204e9800998ecf8427e"


def state(gar: Gar) -> tuple[int, int, bytes]:
    """The token file: when it was written, which file it is, what it holds."""
    path = gar.run_dir / "default" / "token"
    info = path.stat()
    return info.st_mtime_ns, info.st_ino, path.read_bytes()


def asked(google: Google, since: float, target: str = "token") -> list[int]:
    """How the requests to a part of the emulator were answered."""
    return [seen.status for seen in google.control.requests(since=since, target=target)]


def assert_fails(gar: Gar, google: Google, code: int, pattern: str, **env: str) -> Ended:
    """The fetch ends so, the old token stays as it was, and the status says why."""
    before = state(gar)
    done = gar.fetch("--now", env={**google.environment, **env})
    assert (done.code, done.stdout) == (code, ""), done
    assert re.search(pattern, done.said), done.said
    assert SECRET not in done.stderr
    assert state(gar) == before, "the old token was touched"
    assert gar.status()["error"] == done.said
    assert TOKEN not in json.dumps(gar.status())
    return done


def reply(**changes: object) -> str:
    return "json:" + json.dumps(
        {"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer", **changes}
    )


def backdate(directory: Path, *, seconds: float) -> None:
    """Let time go by for what is on record of an identity."""
    for path in (directory / "token", directory / "status.json"):
        data = json.loads(path.read_text())
        data |= {key: data[key] - int(seconds) for key in ("expiry", "obtained") if data.get(key)}
        looked = path.stat().st_mtime - seconds
        path.write_text(json.dumps(data))
        os.utime(path, (looked, looked))


def few(cases: Iterable[str], *, every: int) -> list[str]:
    """One of so many cases; FAULTS=full: all. The unit tests of gar_auth have all of them in one process."""
    return [case for number, case in enumerate(cases) if FULL or number % every == 0]
