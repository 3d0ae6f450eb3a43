# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the module poetry_config, and Poetry itself, as processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from faults.machine import Machine, User

__all__ = ["Outcome", "Process", "Subject", "state_of", "until"]

_WARM = Path(__file__).with_name("warm.py")


def until(condition: Callable[[], bool], *, what: str, seconds: float = 20.0) -> None:
    """Wait until something holds, or fail."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.001)


def state_of(pid: int) -> str:
    """The state of a process, such as T for stopped; X where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "X"
    return text.rpartition(")")[2].split()[0]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a process ended."""

    code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def data(self) -> dict[str, Any]:
        """The module's result."""
        lines = [line for line in self.stdout.splitlines() if line.startswith("{")]
        assert len(lines) == 1, f"no result: {self}"
        result: dict[str, Any] = json.loads(lines[0])
        return result

    @property
    def failed(self) -> bool:
        return bool(self.data.get("failed"))

    @property
    def changed(self) -> bool:
        return bool(self.data.get("changed"))

    def failure(self, user: str = "dev") -> str:
        """What the module says about a user that failed; empty where that user did not."""
        failure = str(self.data.get("users", {}).get(user, {}).get("failure", ""))
        assert bool(failure) <= self.failed, f"a user failed, the task did not: {self.data}"
        assert failure in self.data.get("msg", ""), f"the message leaves the failure out: {self.data}"
        return failure


@dataclass(kw_only=True)
class Process:
    """A process that does one request."""

    pid: int
    connection: socket.socket
    lines: IO[bytes]
    files: list[IO[bytes]]
    code: int | None = None
    started: float = field(default_factory=time.monotonic)

    def outcome(self, *, seconds: float = 90.0) -> Outcome:
        """Wait for the end."""
        self.connection.settimeout(seconds)
        with self.connection, self.lines:
            self.code = int(self.lines.readline())
        texts = []
        for stream in self.files:
            with stream:
                stream.seek(0)
                texts.append(stream.read().decode("utf-8", "replace"))
        ended = time.monotonic() - self.started
        return Outcome(code=self.code, stdout=texts[0], stderr=texts[1], seconds=ended)

    def kill(self) -> None:
        """End the process where it is still there."""
        with contextlib.suppress(ProcessLookupError):
            if self.code is None:
                os.kill(self.pid, signal.SIGKILL)


class Subject:
    """Starts requests in a warm Python (see warm.py), or in one of their own."""

    def __init__(self, machine: Machine, *, library: Path, poetry: Path, scratch: Path) -> None:
        self.machine = machine
        self.poetry = poetry
        self.scratch = scratch
        self._socket = scratch / "warm.socket"
        self._environment = {
            **machine.environment,
            "PATH": os.environ["PATH"],
            "HOME": str(machine.dev.home),
            "PYTHONPATH": f"{machine.packages}:{library}",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
            "POETRY_KEYRING_ENABLED": "false",
        }

    @contextmanager
    def serving(self) -> Iterator[Subject]:
        """Have the warm Python while the block runs."""
        with subprocess.Popen(
            [self.machine.python, str(_WARM), str(self._socket)],
            env=self._environment,
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as server:
            assert server.stdin is not None
            assert server.stdout is not None
            assert any(line == b"ready\n" for line in server.stdout), "the warm Python ended"
            try:
                yield self
            finally:
                server.stdin.close()
                server.wait(timeout=30)

    def start(self, request: dict[str, Any]) -> Process:
        """Start a request in the warm Python."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self._socket))
        # The files have no names, and a limit in size: the module itself is what fills disks here.
        files: list[IO[bytes]] = [os.fdopen(os.memfd_create("output"), "w+b") for _number in range(2)]
        socket.send_fds(connection, [json.dumps(request).encode()], [stream.fileno() for stream in files])
        lines = connection.makefile("rb")
        process = Process(pid=int(lines.readline()), connection=connection, lines=lines, files=files)
        if request.get("stop"):
            until(lambda: state_of(process.pid) == "T", what="stopped before the first step")
        return process

    def request(
        self, options: dict[str, Any], *, check: bool = False, user: str = "dev", **more: Any
    ) -> dict[str, Any]:
        """A request to run the module for one user, unless the options name others."""
        arguments = {
            "users": [user],
            "poetry": str(self.poetry),
            **options,
            "_ansible_check_mode": check,
            "_ansible_diff": True,
            "_ansible_verbosity": 4,
        }
        return {"module": arguments, **more}

    def module(self, options: dict[str, Any], **more: Any) -> Outcome:
        """Run the module."""
        return self.start(self.request(options, **more)).outcome()

    def start_poetry(self, *argv: str, stop: bool = False) -> Process:
        """Start `poetry ARGV` as dev."""
        dev = self.machine.dev
        ids = {"uid": dev.uid, "gid": dev.uid}
        return self.start({"poetry": argv, "cwd": str(dev.home), "stop": stop, **ids})

    def cold(self, request: dict[str, Any], **environment: str) -> Outcome:
        """Do a request in a Python of its own, with more environment."""
        started = time.monotonic()
        done = subprocess.run(
            [self.machine.python, str(_WARM)],
            env={**self._environment, **environment},
            cwd="/",
            input=json.dumps(request).encode(),
            capture_output=True,
            check=False,
            timeout=120,
        )
        stdout, stderr = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
        return Outcome(code=done.returncode, stdout=stdout, stderr=stderr, seconds=time.monotonic() - started)

    def cold_poetry(
        self, *argv: str, user: User | None = None, **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start a real `poetry ARGV` as a user, by default dev: a new Python, as from a shell."""
        user = user or self.machine.dev
        return subprocess.Popen(
            [self.machine.python, "-m", "poetry", *argv],
            env={**self._environment, "HOME": str(user.home), **environment},
            cwd=user.home,
            user=user.uid,
            group=user.uid,
            extra_groups=[],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def resume(self, pid: int) -> None:
        """Let a stopped process go on."""
        os.kill(pid, signal.SIGCONT)
