# SPDX-License-Identifier: GPL-3.0-or-later
"""Do a piece of work as another user: in a child process that dropped all privileges for good."""

from __future__ import annotations

import json
import os
import pwd
import select
import signal
import time
import typing as t
from dataclasses import dataclass, field

__all__ = ["WorkFailed", "run_all", "run_as"]

_MAX_ANSWER = 16 * 1024 * 1024


class WorkFailed(Exception):
    """The child process ended without an answer; the message says how."""


def run_as(account: pwd.struct_passwd, work: t.Callable[[], t.Any], *, seconds: float = 60.0) -> t.Any:
    """Run C(work) with the uid, gid and groups of C(account) and return its JSON-like result.

    Where the process already runs as that account nothing is dropped, but the work still happens in a
    child process with umask 077 and C(/) as its directory.

    :param account: entry of the passwd database.
    :param work: called once in the child; its result must be serialisable as JSON.
    :param seconds: deadline; a child that takes longer is killed.
    :raises WorkFailed: the child raised, was killed, or ran out of time.
    """
    (result,) = run_all([(account, work)], seconds=seconds)
    if isinstance(result, WorkFailed):
        raise result
    return result


def run_all(
    jobs: t.Iterable[tuple[pwd.struct_passwd, t.Callable[[], t.Any]]],
    *,
    seconds: float = 60.0,
    at_once: int = 32,
) -> list[t.Any]:
    """Do many users' work as C(run_as) does, some of them at the same time.

    :param seconds: deadline of each child.
    :param at_once: most children at one time: they mostly wait, for the disk and for each other.
    :returns: the result of each, in order; a WorkFailed where there is none.
    """
    results: list[t.Any] = []
    children: dict[int, _Child] = {}  # by the descriptor of its answer
    waiting = iter(jobs)
    try:
        while True:
            while len(children) < at_once and (job := next(waiting, None)):
                child = _start(*job, number=len(results), seconds=seconds)
                children[child.descriptor] = child
                results.append(None)
            if not children:
                return results
            for child in _heard(children):
                del children[child.descriptor]
                results[child.number] = child.end()
    finally:
        for child in children.values():  # only where the caller was interrupted
            child.end()


@dataclass
class _Child:
    """A child at work, and what it has answered so far."""

    name: str
    number: int
    process: int
    descriptor: int
    seconds: float
    deadline: float
    answer: bytearray = field(default_factory=bytearray)
    late: bool = False

    def end(self) -> t.Any:
        """End the process; what it answered, or a WorkFailed."""
        os.close(self.descriptor)
        os.kill(self.process, signal.SIGKILL)  # it has answered, or it is late
        os.waitpid(self.process, 0)
        if self.late:
            return WorkFailed(f"no answer from the process of user {self.name} within {self.seconds:g} s")
        try:
            message = json.loads(bytes(self.answer))
        except ValueError:
            return WorkFailed(f"the process of user {self.name} ended without an answer")
        return WorkFailed(str(message["error"])) if "error" in message else message["result"]


def _start(account: pwd.struct_passwd, work: t.Callable[[], t.Any], *, number: int, seconds: float) -> _Child:
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        code = 1
        try:
            os.close(reading)
            _become(account)
            _answer(writing, {"result": work()})
            code = 0
        except BaseException as error:  # the child must never return into the caller's code
            _answer(writing, {"error": f"{type(error).__name__}: {error}"})
        finally:
            os._exit(code)
    os.close(writing)
    return _Child(account.pw_name, number, process, reading, seconds, time.monotonic() + seconds)


def _heard(children: t.Mapping[int, _Child]) -> list[_Child]:
    """Wait for the next answers, or the next deadline; the children that are done or late."""
    first = min(child.deadline for child in children.values())
    ready, _w, _x = select.select(list(children), [], [], max(0.0, first - time.monotonic()))
    done: list[_Child] = []
    for descriptor in ready:
        child = children[descriptor]
        chunk = os.read(descriptor, 65536)
        child.answer += chunk
        child.late = len(child.answer) > _MAX_ANSWER
        if not chunk or child.late:
            done.append(child)
    for child in children.values():
        if child not in done and time.monotonic() >= child.deadline:
            child.late = True
            done.append(child)
    return done


def _become(account: pwd.struct_passwd) -> None:
    os.umask(0o077)
    os.chdir("/")
    if os.getresuid() == (account.pw_uid,) * 3:
        return
    if os.geteuid() != 0:
        raise PermissionError(f"cannot become {account.pw_name}: run as root (become: true)")
    os.initgroups(account.pw_name, account.pw_gid)
    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    if (os.getresuid(), os.getresgid()) != ((account.pw_uid,) * 3, (account.pw_gid,) * 3):
        raise PermissionError(f"could not become {account.pw_name}")


def _answer(descriptor: int, message: dict[str, t.Any]) -> None:
    data = json.dumps(message).encode()
    while data:
        data = data[os.write(descriptor, data) :]
