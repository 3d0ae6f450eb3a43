# SPDX-License-Identifier: GPL-3.0-or-later
"""Run another program bounded: one at a time, until a deadline, and not beyond its caller's end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import signal
import subprocess
import threading
import time
import types
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass, field

from gar_auth.errors import Exit, Failure, Reason

__all__ = ["MAX_OUTPUT", "Done", "TooLate", "TooMuch", "locked", "run"]

MAX_OUTPUT = 1024 * 1024
#: What ends a process without a chance to tidy up, where it does not ask for one.
_ENDING = (signal.SIGTERM, signal.SIGHUP)


class TooLate(Exception):
    """The program did not end in time."""


class TooMuch(Exception):
    """The program printed more than an answer can be."""


@dataclass(frozen=True)
class Done:
    """What a program that has ended has printed, and its exit code, or less the signal that killed it."""

    code: int
    output: bytes = field(repr=False)
    errors: bytes = field(repr=False)


@contextlib.contextmanager
def locked(directory: str, *, deadline: float) -> Iterator[None]:
    """Be the only one of us that uses the directory; no program that is run inherits the lock.

    :raises Failure: another one keeps it until the deadline (75).
    """
    with contextlib.ExitStack() as stack:
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            while not _lock(descriptor):
                if time.monotonic() >= deadline:
                    message = f"{directory} is locked by another gar-auth; the next run tries again"
                    raise Failure(message, code=Exit.TEMPORARY, reason=Reason.FILE)
                time.sleep(0.05)
        except OSError as error:
            message = f"{directory} cannot be locked ({error.strerror}); the next run tries again"
            raise Failure(message, code=Exit.TEMPORARY, reason=Reason.FILE) from None
        yield


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def run(command: list[str], environment: dict[str, str], *, deadline: float, directory: str = "/") -> Done:
    """Run a program in a session of its own; whatever happens, its process group is killed at the end.

    :param deadline: by the monotonic clock.
    :param directory: where it works.
    :raises TooLate: it has not ended by then.
    :raises TooMuch: it prints more than 1 MiB.
    :raises OSError: it cannot be started.
    """
    with _ended_with_us() as started:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            started(process.pid)
            output, errors = _collected(process, deadline=deadline)
        finally:
            _kill(process.pid)  # also what it may have left behind
            for stream in (process.stdout, process.stderr):
                if stream:
                    stream.close()
            process.wait()
    return Done(process.returncode, output, errors)


@contextlib.contextmanager
def _ended_with_us() -> Iterator[t.Callable[[int], None]]:
    """Until the end, a signal that ends this process kills the process group first that is named here."""
    leaders: list[int] = []
    came: list[int] = []

    def end(number: int, _frame: types.FrameType | None = None) -> None:
        came.append(number)
        if leaders:  # else it is just being started
            _kill(leaders[0])
            _die(number)

    def started(leader: int) -> None:
        leaders.append(leader)
        if came:
            end(came[0])

    main = threading.current_thread() is threading.main_thread()  # the only one that may handle signals
    kept = [number for number in _ENDING if main and signal.getsignal(number) == signal.SIG_DFL]
    for number in kept:
        signal.signal(number, end)
    try:
        yield started
    finally:
        for number in kept:
            signal.signal(number, signal.SIG_DFL)
        if came:
            _die(came[0])


def _die(number: int) -> None:
    """End this process by the signal, as if nobody had caught it."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _kill(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _collected(process: subprocess.Popen[bytes], *, deadline: float) -> tuple[bytes, bytes]:
    """What it prints on both channels until it has ended."""
    channels = [stream for stream in (process.stdout, process.stderr) if stream]
    said = {stream: bytearray() for stream in channels}
    with selectors.DefaultSelector() as selector:
        for stream in channels:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready or time.monotonic() >= deadline:
                raise TooLate
            for key, _events in ready:
                stream = t.cast("t.IO[bytes]", key.fileobj)
                chunk = os.read(key.fd, 65536)
                said[stream] += chunk
                if len(said[stream]) > MAX_OUTPUT:
                    raise TooMuch
                if not chunk:
                    selector.unregister(stream)
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise TooLate from None
    output, errors = said.values()
    return bytes(output), bytes(errors)
