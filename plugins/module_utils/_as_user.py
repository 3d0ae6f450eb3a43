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

__all__ = ["WorkFailed", "run_as"]

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
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
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
    try:
        answer = _read_all(reading, deadline=time.monotonic() + seconds)
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)  # it has answered, or it is late
        os.waitpid(child, 0)
    if answer is None:
        raise WorkFailed(f"no answer from the process of user {account.pw_name} within {seconds:g} s")
    try:
        message = json.loads(answer)
    except ValueError:
        raise WorkFailed(f"the process of user {account.pw_name} ended without an answer") from None
    if "error" in message:
        raise WorkFailed(str(message["error"]))
    return message["result"]


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


def _read_all(descriptor: int, *, deadline: float) -> bytes | None:
    chunks: list[bytes] = []
    size = 0
    while True:
        ready, _w, _x = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        chunk = os.read(descriptor, 65536)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        size += len(chunk)
        if size > _MAX_ANSWER:
            return None
