# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the metadata server of a Google Cloud VM for an access token of its service account.

Protocol: https://cloud.google.com/compute/docs/access/authenticate-workloads
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import replace

from gar_auth.errors import Exit, Failure, Reason
from gar_auth.source import Reply, is_token, lifetime_of

__all__ = ["parse_reply", "request_token"]

#: The server's documented address: no name resolution is needed, so none can be forged or fail at boot.
DEFAULT_HOST = "169.254.169.254"
TRIES = 3
TOTAL_SECONDS = 20.0
TRY_SECONDS = 6.0
MAX_REPLY = 64 * 1024


class _Retry(Exception):
    """This try failed; the next one may not."""

    def __init__(self, message: str, *, reason: Reason, after: float = 0.0) -> None:
        super().__init__(message)
        self.reason = reason
        self.after = after


def request_token(account: str) -> Reply:
    """Ask for the token of one of the machine's service accounts; three tries, 20 s in all.

    The environment variable C(GCE_METADATA_HOST) names another server, as in Google's own libraries.

    :param account: C(default) or the service account's e-mail.
    :raises Failure: C(TEMPORARY) where a later call may succeed, C(CONFIGURATION) where somebody has to act.
    """
    host = os.environ.get("GCE_METADATA_HOST") or DEFAULT_HOST
    deadline = time.monotonic() + TOTAL_SECONDS
    for attempt in range(1, TRIES + 1):
        try:
            reply = _ask(host, account, deadline=min(deadline, time.monotonic() + TRY_SECONDS))
            return replace(reply, account=None if account == "default" else account)
        except _Retry as problem:
            jitter = random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
            pause = max(problem.after, jitter * 2 ** (attempt - 1))
            if attempt == TRIES or time.monotonic() + pause >= deadline:
                message = f"{problem} ({attempt} tries); the next run tries again"
                raise Failure(message, code=Exit.TEMPORARY, reason=problem.reason) from None
            time.sleep(pause)
    raise AssertionError("unreachable")


def _ask(host: str, account: str, *, deadline: float) -> Reply:
    path = f"/computeMetadata/v1/instance/service-accounts/{urllib.parse.quote(account, safe='@')}/token"
    try:
        connection = http.client.HTTPConnection(host, timeout=_left(deadline))
        try:
            connection.connect()
            with _hung_up_at(deadline, connection.sock):
                headers = {"Metadata-Flavor": "Google", "User-Agent": "gar-auth"}
                connection.request("GET", path, headers=headers)
                response = connection.getresponse()
                _left(deadline)  # headers that were cut off look complete
                _check_headers(response, host, account)
                return parse_reply(_body(response, deadline=deadline))
        finally:
            connection.close()
    except (http.client.InvalidURL, UnicodeError):
        message = f"GCE_METADATA_HOST is {host!r}; set it to HOST or HOST:PORT"
        raise Failure(message, code=Exit.CONFIGURATION) from None
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, TimeoutError) or time.monotonic() >= deadline:
            message = f"the metadata server {host} does not answer in time"
            raise _Retry(message, reason=Reason.UNREACHABLE) from error
        reason = getattr(error, "strerror", None) or type(error).__name__
        message = f"the metadata server {host} cannot be reached ({reason}); is this a Google Cloud VM?"
        raise _Retry(message, reason=Reason.UNREACHABLE) from error


def _check_headers(response: http.client.HTTPResponse, host: str, account: str) -> None:
    if response.status >= 500 or response.status == 429:
        message = f"the metadata server answers {response.status}"
        raise _Retry(message, reason=Reason.UNREACHABLE, after=_retry_after(response))
    not_google = f"{host} is not a metadata server"
    if response.getheader("Metadata-Flavor") != "Google":
        raise _permanent(f"{not_google} (no Metadata-Flavor: Google in its answer)", Reason.NOT_GOOGLE)
    if 300 <= response.status < 400:
        raise _permanent(f"{not_google} (it redirects, {response.status})", Reason.NOT_GOOGLE)
    if response.status == 404:
        raise _permanent(
            f"the metadata server knows no service account {account!r}; attach one to this VM",
            Reason.NO_ACCOUNT,
        )
    if response.status == 403:
        raise _permanent(
            "the metadata server refuses the token (403); give the VM the access scope cloud-platform",
            Reason.REFUSED,
        )
    if response.status != 200:
        raise _permanent(f"the metadata server answers {response.status}", Reason.BAD_REPLY)


def _permanent(message: str, reason: Reason) -> Failure:
    return Failure(message, code=Exit.CONFIGURATION, reason=reason)


@contextlib.contextmanager
def _hung_up_at(deadline: float, sock: socket.socket) -> Iterator[None]:
    """Cut the connection at the deadline: a socket's own timeout starts anew with each byte."""

    def hang_up() -> None:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(_left(deadline), hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _body(response: http.client.HTTPResponse, *, deadline: float) -> bytes:
    body = b""
    while len(body) <= MAX_REPLY:
        chunk = response.read1(MAX_REPLY)
        _left(deadline)
        if not chunk:
            return body
        body += chunk
    raise _permanent("the metadata server's answer is larger than 64 KiB", Reason.NOT_GOOGLE)


def parse_reply(body: bytes) -> Reply:
    """Check the server's JSON: nothing of it is trusted.

    :raises _Retry: not a token that could be used now.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise _Retry("the metadata server's answer is not JSON", reason=Reason.BAD_REPLY) from None
    token = data.get("access_token") if isinstance(data, dict) else None
    lifetime = lifetime_of(data.get("expires_in")) if isinstance(data, dict) else None
    if not is_token(token):
        message = "the metadata server's answer holds no usable access_token"
        raise _Retry(message, reason=Reason.BAD_REPLY)
    if lifetime is None:
        raise _Retry("the metadata server's answer holds no usable expires_in", reason=Reason.BAD_REPLY)
    return Reply(token=token, lifetime=lifetime)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _retry_after(response: http.client.HTTPResponse) -> float:
    value = response.getheader("Retry-After") or ""
    return float(value) if re.fullmatch(r"[0-9]{1,3}", value) else 0.0
