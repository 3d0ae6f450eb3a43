# SPDX-License-Identifier: GPL-3.0-or-later
"""Start and stop the emulated Google beside a machine, as a process that ends with the machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.system import LabError, as_root, run

__all__ = ["Emulator", "launch"]

_TESTS = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class Emulator:
    """A running emulator: its directory and the process that we started (sudo's, where we are not root)."""

    directory: Path
    process: subprocess.Popen[bytes]

    def wait(self, *, deadline: float = 30.0) -> None:
        """Wait until it listens; its files then belong to the caller. The deadline is in seconds."""
        end = time.monotonic() + deadline
        while not (self.directory / "ready.json").exists():
            if self.process.poll() is not None:
                raise LabError(
                    f"the emulator ended with code {self.process.returncode}: {self._last_words()}"
                )
            if time.monotonic() > end:
                raise LabError(f"the emulator was not ready within {deadline:.0f} s: {self._last_words()}")
            time.sleep(0.02)
        if os.geteuid() != 0:
            run(["chown", "-R", f"{os.getuid()}:{os.getgid()}", str(self.directory)], root=True)

    def authority(self) -> str:
        """Return the certificate authority that signs its certificates, in PEM."""
        return (self.directory / "ca.pem").read_text(encoding="ascii")

    def _last_words(self) -> str:
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return " / ".join(lines[-3:]) or f"nothing in {self.log_file}"

    @property
    def log_file(self) -> Path:
        """Return where its output goes."""
        return log_file(self.directory)


def log_file(directory: Path) -> Path:
    """Return the file for the output of the emulator in a directory."""
    return directory.parent / "emulator.log"


def launch(*, directory: Path, machine_pid: int, apt: Path | None, options: Sequence[str] = ()) -> Emulator:
    """Start an emulator that listens in a machine's network namespace and ends when the machine ends."""
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    command = [
        "env",
        f"PYTHONPATH={_TESTS}",
        "PYTHONDONTWRITEBYTECODE=1",
        sys.executable,
        "-m",
        "lab.emulator",
    ]
    command += [
        "--state",
        str(directory),
        "--netns",
        f"/proc/{machine_pid}/ns/net",
        "--watch-pid",
        str(machine_pid),
    ]
    if apt is not None:
        command += ["--apt", str(apt)]
    with log_file(directory).open("ab") as log:
        process = subprocess.Popen(
            as_root([*command, *options]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    return Emulator(directory=directory, process=process)


def end(directory: Path, *, deadline: float = 5.0) -> None:
    """Wait until the emulator of a machine that is gone has ended too; kill it after the deadline."""
    limit = time.monotonic() + deadline
    while running := _processes(directory):
        if time.monotonic() > limit:
            run(["kill", "-KILL", *map(str, running)], root=True, check=False)
            return
        time.sleep(0.02)


def _processes(directory: Path) -> list[int]:
    """Return the emulators of a directory, known by their command line, whoever started them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"lab.emulator" in words and os.fsencode(directory) in words:
            found.append(int(path.parent.name))
    return found
