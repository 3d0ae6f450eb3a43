# SPDX-License-Identifier: GPL-3.0-or-later
"""What wraps every part of the emulator: the record of its requests, and the faults that can be switched on.

The modes of a fault (see ``records.MODES``):

ok            no fault
status:CODE   answers with that status; 429 and 503 come with ``Retry-After: 1``
hang          accepts the request and never answers
slow          the true answer, its body at one byte a second
html          200 with an HTML page
truncated     the first half of the true answer's body
huge          200 with 10 MB of JSON that hold one long access token
redirect      302 to another path of the same server
no_flavor     the true answer without the metadata server's header
json:LITERAL  200 with LITERAL as JSON body, whatever it is; may be empty
"""

from __future__ import annotations

import asyncio
import dataclasses
import email.utils
import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .records import MODES, TARGETS, SeenRequest
from .tokens import Clock

__all__ = ["Entry", "Fault", "Faults", "RequestLog", "dated", "watched"]

PLAIN_MODES = ("ok", "hang", "slow", "html", "truncated", "huge", "redirect", "no_flavor")
HUGE = 10_000_000
SECONDS_PER_BYTE = 1.0

_logger = logging.getLogger(__name__)


@dataclasses.dataclass
class Entry:
    """A request on its way; handlers find it as ``scope["lab.entry"]`` and note the identity."""

    started: float
    identity: str | None = None
    recorded: bool = False


@dataclasses.dataclass
class Fault:
    """A fault for the next ``count`` requests (None: all) whose path contains ``path``."""

    mode: str
    count: int | None = None
    path: str = ""


class Faults:
    """The faults that are switched on, at most one per target."""

    def __init__(self) -> None:
        self._faults: dict[str, Fault] = {}

    def set(self, target: str, fault: Fault) -> None:
        """Switch a fault on or, with the mode ``ok``, off; ValueError for unknown targets and modes."""
        if target not in TARGETS:
            raise ValueError(f"found the target {target!r}, need one of {', '.join(TARGETS)}")
        status = fault.mode.removeprefix("status:")
        if not (
            fault.mode in PLAIN_MODES
            or fault.mode.startswith("json:")
            or (status != fault.mode and status.isdecimal() and 200 <= int(status) <= 599)
        ):
            raise ValueError(f"found the fault {fault.mode!r}, need {MODES}")
        self._faults[target] = fault

    def clear(self) -> None:
        """Switch all faults off."""
        self._faults.clear()

    def take(self, target: str, path: str) -> str:
        """Return the mode for a request, and count it."""
        fault = self._faults.get(target)
        if fault is None or fault.path not in path or fault.count == 0:
            return "ok"
        if fault.count is not None:
            fault.count -= 1
        return fault.mode


class RequestLog(list[SeenRequest]):
    """All requests, in the order of their answers."""

    def record(self, target: str, scope: Scope, entry: Entry, *, status: int) -> None:
        """Add a request; status 0 means that it was not answered."""
        entry.recorded = True
        host = Headers(scope=scope).get("host", "")
        seen = SeenRequest(
            time=entry.started,
            target=target,
            method=scope["method"],
            host=host,
            path=scope["path"],
            status=status,
            identity=entry.identity,
        )
        self.append(seen)
        who = entry.identity or "-"
        _logger.info("%s %s %s%s %s %s", target, seen.method, host, seen.path, status, who)


def watched(
    app: ASGIApp, *, target: str, log: RequestLog, faults: Faults, headers: dict[str, str]
) -> ASGIApp:
    """Return the app with its requests recorded and its faults applied; those answer with ``headers`` too."""

    async def wrapper(scope: Scope, receive: Receive, send: Send) -> None:
        entry = scope["lab.entry"] = Entry(started=time.time())
        body_left = scope["method"] in ("POST", "PUT")

        async def counted_receive() -> Message:
            nonlocal body_left
            message = await receive()
            body_left = message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def recorded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                while body_left:  # an answer amid an upload looks like a broken connection
                    await counted_receive()
                log.record(target, scope, entry, status=message["status"])
            await send(message)

        mode = faults.take(target, scope["path"])
        try:
            await _answer(mode, app, headers, scope, counted_receive, recorded_send)
        finally:
            if not entry.recorded:
                log.record(target, scope, entry, status=0)

    return wrapper


def dated(app: ASGIApp, clock: Clock) -> ASGIApp:
    """Return the app with a ``Date`` in all its answers, faults included."""

    async def wrapper(scope: Scope, receive: Receive, send: Send) -> None:
        async def dated_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["date"] = email.utils.formatdate(clock() + clock.date_skew, usegmt=True)
            await send(message)

        await app(scope, receive, dated_send)

    return wrapper


async def _answer(
    mode: str, app: ASGIApp, headers: dict[str, str], scope: Scope, receive: Receive, send: Send
) -> None:
    if mode == "ok":
        await app(scope, receive, send)
    elif mode == "hang":
        while not await _gone(receive, seconds=None):
            pass
    elif mode in ("slow", "truncated", "no_flavor"):
        start, body = await _true_answer(app, scope, receive)
        body = body[: len(body) // 2] if mode == "truncated" else body
        true_headers = MutableHeaders(scope=start)
        true_headers["content-length"] = str(len(body))
        if mode == "no_flavor":
            del true_headers["metadata-flavor"]
        await send(start)
        for index in range(len(body) if mode == "slow" else 0):
            await send({"type": "http.response.body", "body": body[index : index + 1], "more_body": True})
            if await _gone(receive, seconds=SECONDS_PER_BYTE):
                return
        await send({"type": "http.response.body", "body": b"" if mode == "slow" else body})
    else:
        await _made_up(mode, path=scope["path"], headers=headers)(scope, receive, send)


def _made_up(mode: str, *, path: str, headers: dict[str, str]) -> Response:
    """Return an answer that has nothing to do with the request."""
    kind, _, argument = mode.partition(":")
    if kind == "status":
        status = int(argument)
        retry = {"Retry-After": "1"} if status in (429, 503) else {}
        error = {"code": status, "message": "Fault switched on by the lab.", "status": "LAB"}
        return JSONResponse({"error": error}, status, {**headers, **retry})
    if kind == "json":
        return Response(argument, 200, headers, "application/json")
    if kind == "huge":
        content = {"access_token": "ya29.c." + "A" * HUGE, "expires_in": 3600, "token_type": "Bearer"}
        return JSONResponse(content, 200, headers)
    if kind == "redirect":
        return RedirectResponse(f"{path.rstrip('/')}/redirected", 302, headers)
    return HTMLResponse(
        "<!DOCTYPE html><html><body><h1>Sign in to the guest network</h1></body></html>", 200, headers
    )


async def _true_answer(app: ASGIApp, scope: Scope, receive: Receive) -> tuple[Message, bytes]:
    """Return the start message and the whole body of what the app would have sent."""
    start: Message = {}
    chunks: list[bytes] = []

    async def collect(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message, headers=list(message.get("headers", [])))
        else:
            chunks.append(message.get("body", b""))

    await app(scope, receive, collect)
    return start, b"".join(chunks)


async def _gone(receive: Receive, *, seconds: float | None) -> bool:
    """Wait at most that long for the client to hang up; tells whether it did."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True
