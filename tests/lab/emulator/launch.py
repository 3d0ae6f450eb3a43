# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts the emulator as a process, waits until it listens, and stops it; standard library only."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from .client import Control

__all__ = ["Emulator", "LaunchError", "start"]

TESTS = Path(__file__).resolve().parents[2]
POLL = 0.02


class LaunchError(Exception):
    """The emulator did not come up; the message holds what it said."""


@dataclasses.dataclass(frozen=True)
class Emulator:
    """A running emulator; ``metadata`` and ``https`` are ADDR:PORT, one per network namespace."""

    process: subprocess.Popen[bytes]
    state: Path
    metadata: list[str]
    https: list[str]
    ca: Path
    control: Control

    def stop(self, *, timeout: float = 10) -> int:
        """Stop it and return its exit status; kill it when it does not obey in time."""
        self.process.terminate()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def __enter__(self) -> Emulator:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(state: Path, *arguments: str, outlive: bool = False, timeout: float = 20) -> Emulator:
    """Run the emulator with its files in ``state``; it ends with this process unless ``outlive`` is set."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    ready = state / "ready.json"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "lab.emulator", "--state", str(state), *arguments]
    if not outlive:
        command += ["--watch-pid", str(os.getpid())]
    with (state / "output").open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + timeout
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            said = (state / "output").read_text(errors="replace").strip()
            raise LaunchError(f"the emulator did not start ({said or 'no message'}); see {state / 'log'}")
        time.sleep(POLL)
    content = json.loads(ready.read_text())
    control = Control(content["control"])
    return Emulator(process, state, content["metadata"], content["https"], Path(content["ca"]), control)
