# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs commands and tells what each took: seconds, processor time and memory, its children included.

Standard input is a JSON object: `commands`, a list of {argv, env, uid?, groups?}, and `at_once`. Standard
output is a list with {seconds, cpu, rss, code, output} for each, in that order; `rss` is the peak in MB. It
is a process of its own because the kernel counts what the starting process holds as the started one's: so
nothing below the 10 MB of this one can be seen.

Usage: python -I -S rusage.py
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from io import BufferedRandom


def start(command: dict[str, object], output: int) -> int:
    """Start a command; its process id."""
    process = os.fork()
    if process == 0:
        try:
            os.chdir("/")
            for number in (1, 2):
                os.dup2(output, number)
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            if command.get("uid") is not None:
                os.setgroups(command.get("groups") or [])  # type: ignore[arg-type]
                os.setgid(command["uid"])  # type: ignore[arg-type]
                os.setuid(command["uid"])  # type: ignore[arg-type]
            argv: list[str] = command["argv"]  # type: ignore[assignment]
            os.execve(argv[0], argv, command["env"])  # type: ignore[arg-type]  # noqa: S606
        except BaseException as error:  # the child must never return into the parent's code
            os.write(output, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(127)
    return process


def main() -> int:
    """Run them all, at most `at_once` at the same time."""
    asked = json.load(sys.stdin)
    commands, at_once = asked["commands"], asked["at_once"]
    results: list[dict[str, object]] = [{} for _command in commands]
    running: dict[int, tuple[int, float, BufferedRandom]] = {}
    waiting = list(enumerate(commands))
    while waiting or running:
        if waiting and len(running) < at_once:
            number, command = waiting.pop(0)
            stream = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the command has ended
            running[start(command, stream.fileno())] = (number, time.monotonic(), stream)
            continue
        process, status, used = os.wait4(-1, 0)
        number, began, stream = running.pop(process)
        stream.seek(0)
        results[number] = {
            "seconds": time.monotonic() - began,
            "cpu": used.ru_utime + used.ru_stime,
            "rss": used.ru_maxrss / 1024,
            "code": os.waitstatus_to_exitcode(status),
            "output": stream.read().decode("utf-8", "replace")[-2000:],
        }
        stream.close()
    json.dump(results, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
