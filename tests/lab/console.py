# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what is being done, how long it took, and that it is still alive when it takes long."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["exit_on_signals", "fail", "say", "seconds", "step", "uninterrupted"]

HEARTBEAT = 10.0
"""Seconds between two signs of life of a step that takes long."""

_CLEAR_LINE = "\r\033[K"
_ENDING = (signal.SIGTERM, signal.SIGHUP)
_running: list[str] = []
"""Titles of the steps that are running, outermost first."""


def seconds(value: float) -> str:
    """Spell a duration for people: `0.4 s`, `31 s`, `2 min 05 s`."""
    if value < 10:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def say(text: str) -> None:
    """Print one line, indented below the step that is running."""
    print(_CLEAR_LINE * sys.stdout.isatty() + "  " * len(_running) + text, flush=True)


def fail(text: str) -> None:
    """Print one line on standard error: what was found and what to do."""
    sys.stdout.flush()
    print(f"error: {text}", file=sys.stderr, flush=True)


class _Heartbeat(threading.Thread):
    """Reports that a step is still running; rewrites its line where the output is a terminal."""

    def __init__(self, start: float) -> None:
        super().__init__(daemon=True)
        self._start_time = start
        self._over = threading.Event()

    def run(self) -> None:
        terminal = sys.stdout.isatty()
        while not self._over.wait(HEARTBEAT):
            line = "  " * len(_running) + f"still working, {seconds(time.monotonic() - self._start_time)} ..."
            print(_CLEAR_LINE + line if terminal else line, end="" if terminal else "\n", flush=True)

    def stop(self) -> None:
        self._over.set()
        self.join()


@contextmanager
def step(title: str) -> Iterator[None]:
    """Announce a step, show progress while it runs, and say how long it took.

    Steps nest. An exception passes through and is reported as a failure of the step.
    """
    say(f"- {title}")
    _running.append(title)
    start = time.monotonic()
    heartbeat = _Heartbeat(start)
    if len(_running) == 1:
        heartbeat.start()
    outcome = "failed after"
    try:
        yield
        outcome = "done in"
    finally:
        if len(_running) == 1:
            heartbeat.stop()
        say(f"{outcome} {seconds(time.monotonic() - start)}")
        _running.pop()


def exit_on_signals() -> None:
    """Let SIGTERM and SIGHUP end the program as Ctrl-C does: through `finally`, with cleanup."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    for number in _ENDING:
        signal.signal(number, leave)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Finish a cleanup even when Ctrl-C is pressed again; the processes it starts are spared too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, *_ENDING)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
