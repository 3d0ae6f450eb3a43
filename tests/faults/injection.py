# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors, signals and delays at single system calls of the user's process, by strace: no hooks in the code.

The module forks a process that becomes the user. It is stopped right behind its last step as root; a second
strace, attached to it alone, counts the calls from there, so the counts are the same in every run.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults.subject import Outcome, Process, Subject, state_of, until

__all__ = ["Call", "Injected", "hold", "inject", "record", "record_process", "stopped_at", "traced"]

_TRACED = "trace=%file,%desc"
_LINE = re.compile(r"^(?:\d+ +)?(\w+)\((.*)")


@dataclass(frozen=True, kw_only=True)
class Call:
    """A system call of the write path: the nth of its name, and how strace shows it."""

    name: str
    nth: int
    text: str

    def __str__(self) -> str:
        return f"{self.name}#{self.nth} {self.text[:160]}"


@dataclass(frozen=True, kw_only=True)
class Injected:
    """How the module ended, and the user's process as strace saw it."""

    outcome: Outcome
    trace: str

    @property
    def hit(self) -> bool:
        """Whether the error or the delay has happened."""
        return "(INJECTED)" in self.trace or "(DELAYED)" in self.trace

    def killed_at(self, call: Call) -> bool:
        """Whether the process has ended in this call."""
        last = self.trace.splitlines()[-1]
        return last.startswith(f"{call.name}(") and last.endswith("= ?")


@contextmanager
def traced(pid: int, *options: str, log: Path) -> Iterator[None]:
    """Attach strace to a stopped process; let it go at the end."""
    command = ["strace", "-qq", *options, "-o", str(log), "-p", str(pid)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as tracer:
        try:
            until(lambda: _tracer(pid) == tracer.pid or tracer.poll() is not None, what="strace attached")
            assert tracer.poll() is None, tracer.stderr.read() if tracer.stderr else ""
            yield
        finally:
            tracer.terminate()
            tracer.wait(timeout=20)


def _tracer(pid: int) -> int:
    found = re.search(r"^TracerPid:\t(\d+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def hold(process: Process, *, scratch: Path) -> int:
    """Let a stopped module go on until its child has become the user. That one is left stopped."""
    log = scratch / "hold.strace"
    log.unlink(missing_ok=True)
    options = [
        "-f",
        "-e",
        "signal=STOP",
        "-e",
        "trace=setresuid",
        "-e",
        "inject=setresuid:signal=STOP:when=1",
    ]
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    with traced(process.pid, *options, log=log):
        os.kill(process.pid, signal.SIGCONT)
        until(lambda: "setresuid" in log.read_text(), what="the module became the user")
        (child,) = map(int, children.read_text().split())
        stopped = re.compile(rf"^{child} +--- stopped by SIGSTOP", re.MULTILINE)
        until(lambda: stopped.search(log.read_text()) is not None, what="stopped as the user")
    until(lambda: state_of(child) == "T", what="stopped, without the tracer")
    return child


@contextmanager
def stopped_at(process: Process, call: Call, *, scratch: Path) -> Iterator[None]:
    """Let a stopped process go on up to and with a call; there it is stopped while the block runs."""
    log = scratch / "stop.strace"
    log.unlink(missing_ok=True)
    options = ["-e", f"trace={call.name}", "-e", f"inject={call.name}:signal=STOP:when={call.nth}"]
    with traced(process.pid, "-e", "signal=STOP", *options, log=log):
        stops = "--- stopped by SIGSTOP"  # the first of them is the one it is attached in
        until(lambda: stops in log.read_text(), what="seen by the tracer as stopped")
        os.kill(process.pid, signal.SIGCONT)
        until(lambda: log.read_text().count(stops) == 2, what=f"stopped at {call}")
    until(lambda: state_of(process.pid) == "T", what="stopped, without the tracer")
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


def inject(subject: Subject, options: dict[str, Any], *rules: str, scratch: Path, **more: Any) -> Injected:
    """Run the module with strace's rules (such as inject=fsync:error=EIO:when=1) for the user's process."""
    process = subject.start(subject.request(options, stop=True, **more))
    try:
        child = hold(process, scratch=scratch)
        log = scratch / "inject.strace"
        log.unlink(missing_ok=True)
        arguments = [part for rule in (_TRACED, *rules) for part in ("-e", rule)]
        with traced(child, "-y", "-e", "signal=none", *arguments, log=log):
            os.kill(child, signal.SIGCONT)
            outcome = process.outcome()
    finally:
        process.kill()
    return Injected(outcome=outcome, trace=log.read_text(errors="replace"))


def record(subject: Subject, options: dict[str, Any], *, home: Path, scratch: Path) -> list[Call]:
    """The system calls of the write path: all on the user's home, and the answer to the process of root."""
    done = inject(subject, options, scratch=scratch)
    assert not done.outcome.failed, done.outcome
    return _calls(done.trace, home=home)


def record_process(process: Process, *, home: Path, scratch: Path) -> list[Call]:
    """The system calls of a stopped process on the user's home."""
    log = scratch / "record.strace"
    log.unlink(missing_ok=True)
    with traced(process.pid, "-y", "-e", "signal=none", "-e", _TRACED, log=log):
        os.kill(process.pid, signal.SIGCONT)
        assert process.outcome().code == 0
    return _calls(log.read_text(errors="replace"), home=home)


def _calls(trace: str, *, home: Path) -> list[Call]:
    counts: Counter[str] = Counter()
    calls: list[Call] = []
    for line in trace.splitlines():
        found = _LINE.match(line)
        if found:
            counts[found[1]] += 1
            if str(home) in found[2] or "pipe:" in found[2]:
                calls.append(Call(name=found[1], nth=counts[found[1]], text=found[2]))
    return calls
