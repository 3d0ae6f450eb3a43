# SPDX-License-Identifier: GPL-3.0-or-later
"""Run C(gar-auth get) for a client: bounded, without its terminal, and gone when it has answered."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time

__all__ = ["ask"]

_MAX_OUTPUT = 64 * 1024


def ask(command: list[str], environment: dict[str, str], *, seconds: float) -> tuple[str, str]:
    """Run the program; whatever happens, its process group is killed at the end.

    :param seconds: the deadline, also where something that it started keeps its output open.
    :returns: its output where it has succeeded, else an empty text; and a line that says what went wrong.
    """
    deadline = time.monotonic() + seconds
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        return "", f"gar-auth: {command[0]}: {error.strerror}; run the playbook again"
    try:
        said = _collected(process, deadline=deadline)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
        process.wait()
    if said is None:
        return "", f"gar-auth: no answer within {seconds:g} s; see: gar-auth doctor"
    output, errors = said
    if process.returncode == 0:
        return output.decode("ascii", "replace").strip(), ""
    lines = errors.decode("utf-8", "replace").strip().splitlines()
    return "", lines[-1] if lines else f"gar-auth: it ended with code {process.returncode}"


def _collected(process: subprocess.Popen[bytes], *, deadline: float) -> tuple[bytes, bytes] | None:
    """What it prints on both channels until it has ended; None where that takes too long or is too much."""
    said = {stream: bytearray() for stream in (process.stdout, process.stderr) if stream}
    with selectors.DefaultSelector() as selector:
        for stream in said:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready or time.monotonic() >= deadline:
                return None
            for key, _events in ready:
                chunk = os.read(key.fd, 65536)
                content = said[key.fileobj]  # type: ignore[index]
                content += chunk
                if len(content) > _MAX_OUTPUT:
                    return None
                if not chunk:
                    selector.unregister(key.fileobj)
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return None
    output, errors = said.values()
    return bytes(output), bytes(errors)
