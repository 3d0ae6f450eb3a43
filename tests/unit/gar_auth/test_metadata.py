# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking the metadata server: what is taken, what is refused, and how long a bad server can keep us."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from gar_auth import metadata
from gar_auth.errors import Exit, Failure
from gar_auth.metadata import parse_reply, request_token
from lab.emulator.launch import Emulator

CANARY = "ya29.c.x"
ROBOT = "dev-vm@demo-project.iam.gserviceaccount.com"


def reply(*, token: object = CANARY, expires_in: object = 3599) -> str:
    return json.dumps({"access_token": token, "expires_in": expires_in, "token_type": "Bearer"})


@pytest.mark.parametrize(
    ("body", "lifetime"),
    [
        (reply(), 3599),
        (reply(expires_in=30), 30),
        (reply(expires_in=1), 1),
        (reply(expires_in=10**9), 12 * 3600),
        (reply(token="A-z0.9_~+/=="), 3599),
        (reply(token="x" * 16384), 3599),
    ],
)
def test_a_usable_reply(body: str, lifetime: int) -> None:
    parsed = parse_reply(body.encode())
    assert (parsed.token, parsed.lifetime) == (json.loads(body)["access_token"], lifetime)
    assert parsed.token not in repr(parsed)


BAD_LIFETIMES: list[object] = [0, -1, -(10**9), 1.5, 3599.0, True, None, "3599", []]
NOT_JSON = "the metadata server's answer is not JSON"
NO_TOKEN = "the metadata server's answer holds no usable access_token"
NO_LIFETIME = "the metadata server's answer holds no usable expires_in"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", NOT_JSON),
        ("<!DOCTYPE html><html><body>Sign in</body></html>", NOT_JSON),
        (reply()[:-20], NOT_JSON),
        (reply() + "x", NOT_JSON),
        ("\xff\xfe\x00", NOT_JSON),
        ("[" * 60_000, NOT_JSON),
        (reply(expires_in=0).replace(": 0", ": " + "9" * 5000), NOT_JSON),
        ("null", NO_TOKEN),
        ("[]", NO_TOKEN),
        ('"ya29.x"', NO_TOKEN),
        ("{}", NO_TOKEN),
        *((reply(token=token), NO_TOKEN) for token in (None, "", 1, True, ["x"], {"x": 1}, "=", "x" * 16385)),
        *(
            (reply(token=token), NO_TOKEN)
            for token in ("a\x00b", "a\rb", "a\nb", "a\n", "a b", "a\tb", "é", '"', "{a}")
        ),
        *((reply(expires_in=value), NO_LIFETIME) for value in BAD_LIFETIMES),
        (reply(expires_in=float("nan")), NO_LIFETIME),
        (reply(expires_in=float("inf")), NO_LIFETIME),
    ],
)
def test_an_unusable_reply(body: str, message: str) -> None:
    with pytest.raises(metadata._Retry) as caught:
        parse_reply(body.encode("latin-1"))
    assert str(caught.value) == message


def failure(account: str = "default") -> Failure:
    with pytest.raises(Failure) as caught:
        request_token(account)
    assert "\n" not in str(caught.value)
    return caught.value


def asked(google: Emulator, *, since: float) -> list[int]:
    return [seen.status for seen in google.control.requests(since=since, target="metadata")]


@pytest.mark.parametrize("account", ["default", ROBOT])
def test_the_machines_token(google: Emulator, account: str) -> None:
    token = request_token(account)
    (issued,) = [token for token in google.control.tokens() if token.valid]
    assert token.token == issued.value
    assert 3590 <= token.lifetime <= 3600
    assert request_token(account).token == token.token


def test_a_proxy_of_the_environment_is_not_used(google: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert request_token("default").token


def test_without_a_named_host_the_link_local_address_is_asked() -> None:
    assert metadata.DEFAULT_HOST == "169.254.169.254"
    assert (metadata.TRIES, metadata.TOTAL_SECONDS) == (3, 20.0)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_in_trouble_is_asked_again(
    google: Emulator, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    monkeypatch.setattr(metadata, "TOTAL_SECONDS", 20.0)
    start = time.time()
    google.control.set_fault("metadata", f"status:{status}", count=2)
    assert request_token("default").token
    assert asked(google, since=start) == [status, status, 200]
    assert pauses == ([0.01, 0.02] if status == 500 else [1.0, 1.0]), "Retry-After: 1 is obeyed"


def test_a_server_that_stays_in_trouble_is_asked_three_times(google: Emulator) -> None:
    start = time.time()
    google.control.set_fault("metadata", "status:500")
    problem = failure()
    assert str(problem) == "the metadata server answers 500 (3 tries); the next run tries again"
    assert problem.code == Exit.TEMPORARY
    assert asked(google, since=start) == [500] * 3


@pytest.mark.parametrize("seconds", [60, 999])
def test_a_wait_beyond_the_deadline_is_left_to_the_next_run(
    google: Emulator, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    monkeypatch.setattr(metadata, "_retry_after", lambda _response: float(seconds))
    google.control.set_fault("metadata", "status:503")
    start = time.monotonic()
    assert failure().code == Exit.TEMPORARY
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("status:404", "the metadata server knows no service account 'default'; attach one to this VM"),
        (
            "status:403",
            "the metadata server refuses the token (403); give the VM the access scope cloud-platform",
        ),
        ("status:400", "the metadata server answers 400"),
        ("no_flavor", "HOST is not a metadata server (no Metadata-Flavor: Google in its answer)"),
        ("redirect", "HOST is not a metadata server (it redirects, 302)"),
        ("huge", "the metadata server's answer is larger than 64 KiB"),
    ],
)
def test_a_permanent_failure_names_the_cure_and_is_not_tried_again(
    google: Emulator, fault: str, message: str
) -> None:
    start = time.time()
    google.control.set_fault("metadata", fault)
    problem = failure()
    assert str(problem) == message.replace("HOST", google.metadata[0])
    assert problem.code == Exit.CONFIGURATION
    assert len(asked(google, since=start)) == 1, "nor was a redirect followed"


def test_an_unknown_account(google: Emulator) -> None:
    problem = failure("../default/x?y")
    assert "knows no service account '../default/x?y'" in str(problem)
    assert problem.code == Exit.CONFIGURATION


@pytest.mark.parametrize("fault", ["html", "truncated", "json:", "json:{}", 'json:{"access_token": "a\\nb"}'])
def test_a_broken_answer_is_temporary_and_never_echoed(google: Emulator, fault: str) -> None:
    google.control.set_fault("metadata", fault)
    problem = failure()
    assert problem.code == Exit.TEMPORARY
    assert str(problem).startswith("the metadata server's answer ")
    assert "Sign in" not in str(problem)
    assert "ya29" not in str(problem)


@pytest.mark.parametrize("fault", ["hang", "slow"])
def test_a_server_that_hangs_or_drips_keeps_us_only_so_long(google: Emulator, fault: str) -> None:
    google.control.set_fault("metadata", fault)
    start = time.monotonic()
    problem = failure()
    assert 0.8 <= time.monotonic() - start < 4
    expected = f"the metadata server {google.metadata[0]} does not answer in time (3 tries)"
    assert str(problem) == f"{expected}; the next run tries again"
    assert problem.code == Exit.TEMPORARY


@contextlib.contextmanager
def server(answer: bytes, *, pause: float = 0.0) -> Iterator[str]:
    """A server that sends the same bytes to everybody, one by one where there is a pause."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                with contextlib.suppress(OSError):
                    connection, _peer = listening.accept()
                    with connection:
                        connection.recv(4096)
                        step = 1 if pause else len(answer) or 1
                        for position in range(0, len(answer), step):
                            connection.sendall(answer[position : position + step])
                            if pause and stop.wait(pause):
                                return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            stop.set()
            thread.join()


@pytest.mark.usefixtures("google")
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 4000,
        b"HTTP/1.0 200 OK\r\nMetadata-Flavor: Google\r\nConnection: close\r\n\r\n" + b" " * 4000,
    ],
    ids=["headers", "body"],
)
def test_a_server_that_drips_from_the_first_byte_keeps_us_only_so_long(
    monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    with server(answer, pause=0.002) as address:
        monkeypatch.setenv("GCE_METADATA_HOST", address)
        start = time.monotonic()
        problem = failure()
        assert time.monotonic() - start < 4
    assert "does not answer in time" in str(problem)
    assert problem.code == Exit.TEMPORARY


@pytest.mark.usefixtures("google")
@pytest.mark.parametrize(
    ("answer", "reason"),
    [(b"", "RemoteDisconnected"), (b"nonsense\r\n\r\n", "BadStatusLine")],
)
def test_a_server_that_speaks_no_http(monkeypatch: pytest.MonkeyPatch, answer: bytes, reason: str) -> None:
    with server(answer) as address:
        monkeypatch.setenv("GCE_METADATA_HOST", address)
        problem = failure()
    expected = f"the metadata server {address} cannot be reached ({reason}); is this a Google Cloud VM?"
    assert str(problem) == f"{expected} (3 tries); the next run tries again"


@pytest.mark.usefixtures("google")
def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("GCE_METADATA_HOST", address)
    problem = failure()
    assert "cannot be reached (Connection refused); is this a Google Cloud VM?" in str(problem)
    assert problem.code == Exit.TEMPORARY


@pytest.mark.parametrize("host", ["host:port", "ho st", "a\nb", "x" * 300 + ".é"])
def test_a_host_that_is_none(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", host)
    problem = failure()
    assert str(problem) == f"GCE_METADATA_HOST is {host!r}; set it to HOST or HOST:PORT"
    assert problem.code == Exit.CONFIGURATION
