# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the parts of the emulated Google behind their host names and serves them until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.responses import FileResponse, PlainTextResponse
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from . import metadata
from .certificates import Certificates, make_certificates, present
from .control import Parts, control_app
from .faults import Faults, RequestLog, dated, watched
from .federation import Providers, federation_app
from .impersonation import ACCOUNTS, Grants, impersonation_app
from .index import Repositories, index_app
from .keys import Accounts
from .network import Address, check_metadata_address, inside, listen, listen_unix, prepare_loopback
from .oauth import oauth_app
from .tokens import Clock, TokenStore

__all__ = ["Options", "run"]

GRACE = 1
KEEP_ALIVE = 60
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
LOCAL_NAMES = ("localhost", "127.0.0.1", "127.0.0.2")
FILE_CHUNK = 1024 * 1024

FileResponse.chunk_size = FILE_CHUNK  # Starlette's 64 KiB make a package of 500 MB slow


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command line says; times in seconds."""

    state: Path
    namespaces: list[Path]
    metadata: Address
    https: Address
    apt: Path | None
    lifetime: float
    window: float
    repositories: list[str]
    accounts: list[str]
    watch_pid: int | None


@dataclasses.dataclass(frozen=True)
class _Sockets:
    metadata: list[socket.socket] = dataclasses.field(default_factory=list)
    https: list[socket.socket] = dataclasses.field(default_factory=list)
    control: list[socket.socket] = dataclasses.field(default_factory=list)


class _Server(uvicorn.Server):
    """A server among several in one loop: it leaves the signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(options: Options) -> None:
    """Serve until SIGTERM, SIGINT or the end of the watched process; NetworkError, ValueError at once."""
    check_metadata_address(options.metadata, options.namespaces)
    options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    sockets = _open_sockets(options)
    _become_owner(options.state)
    logging.basicConfig(filename=options.state / "log", level=logging.INFO, format=LOG_FORMAT)
    ready, control = options.state / "ready.json", options.state / "control.sock"
    ready.unlink(missing_ok=True)
    repositories = Repositories(options.state / "packages")
    for name in options.repositories:
        repositories.create(name)
    certificates = make_certificates(options.state)
    try:
        sockets.control.append(listen_unix(control))
        asyncio.run(_serve(options, repositories, certificates, sockets))
    finally:
        ready.unlink(missing_ok=True)
        control.unlink(missing_ok=True)


def _open_sockets(options: Options) -> _Sockets:
    opened = _Sockets()
    places: list[Path | None] = [*options.namespaces] or [None]
    for namespace in places:
        with inside(namespace) if namespace else contextlib.nullcontext():
            if namespace:
                prepare_loopback(options.metadata)
            opened.metadata.append(listen(options.metadata))
            opened.https.append(listen(options.https))
    return opened


def _become_owner(directory: Path) -> None:
    """As root (through sudo), go on as the owner of the directory, now that the sockets are open."""
    owner = directory.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


async def _serve(
    options: Options, repositories: Repositories, certificates: Certificates, sockets: _Sockets
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.watch_pid is not None:
        _watch(options.watch_pid, stop)
    clock = Clock()
    parts = Parts(
        clock=clock,
        tokens=TokenStore(lifetime=options.lifetime, window=options.window, clock=clock),
        accounts=Accounts(),
        providers=Providers(),
        grants=Grants(),
        machine=metadata.Machine(dict.fromkeys(options.accounts, metadata.SCOPES)),
        repositories=repositories,
        faults=Faults(),
        log=RequestLog(),
        stop=stop.set,
        present=lambda kind: present(kind, certificates, tls),
    )

    def watch(app: ASGIApp, target: str, headers: dict[str, str] | None = None) -> ASGIApp:
        return watched(app, target=target, log=parts.log, faults=parts.faults, headers=headers or {})

    machine = watch(metadata.metadata_app(parts.tokens, parts.machine), "metadata", metadata.HEADERS)
    google = _by_host(
        token=watch(oauth_app(parts.tokens, parts.accounts, clock), "token"),
        sts=watch(federation_app(parts.tokens, parts.providers), "sts"),
        iam=watch(impersonation_app(parts.tokens, parts.grants), "iam"),
        index=watch(index_app(parts.tokens, parts.accounts, parts.repositories), "index"),
        apt=watch(_apt_app(options.apt, options.state / "mirrors"), "apt"),
    )
    https = _config(dated(google, clock), certificates)
    https.load()
    assert https.ssl is not None
    tls: ssl.SSLContext = https.ssl
    listeners = [
        (_Server(_config(dated(machine, clock))), sockets.metadata),
        (_Server(https), sockets.https),
        (_Server(_config(control_app(parts))), sockets.control),
    ]
    tasks = [asyncio.create_task(server.serve(sockets=list(opened))) for server, opened in listeners]
    _write_ready(options, certificates, sockets)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
    for server, _ in listeners:
        server.should_exit = True
    stopping.cancel()
    await asyncio.gather(*tasks)


def _config(app: ASGIApp, certificates: Certificates | None = None) -> uvicorn.Config:
    config = uvicorn.Config(
        app, http="h11", ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
        date_header=False, timeout_keep_alive=KEEP_ALIVE, timeout_graceful_shutdown=GRACE,
    )  # fmt: skip
    if certificates:
        config.ssl_certfile, config.ssl_keyfile = certificates.chain, certificates.key
    return config


def _by_host(*, token: ASGIApp, sts: ASGIApp, iam: ASGIApp, index: ASGIApp, apt: ASGIApp) -> ASGIApp:
    """Route by the name that the client asked for, and this machine's own names by the path."""
    hosts = {
        "oauth2.googleapis.com": token,
        "sts.googleapis.com": sts,
        "iamcredentials.googleapis.com": iam,
        "packages.cloud.google.com": apt,
    }

    def local(path: str) -> ASGIApp:
        if path == "/token":
            return token
        if path in ("/v1/token", "/v1/introspect"):
            return sts
        return iam if path.startswith(f"/v1/{ACCOUNTS}") else index

    async def google(scope: Scope, receive: Receive, send: Send) -> None:
        host = Headers(scope=scope).get("host", "").partition(":")[0].lower()
        if host.endswith("-python.pkg.dev"):
            app: ASGIApp = index
        elif host in LOCAL_NAMES:
            app = local(scope["path"])
        else:
            app = hosts.get(host) or PlainTextResponse(f"the lab emulates no host {host!r}\n", 404)
        await app(scope, receive, send)

    return google


def _apt_app(directory: Path | None, mirrors: Path) -> ASGIApp:
    """Google's repository, and below /mirrors what a test puts there."""
    routes = [
        Mount("/mirrors", StaticFiles(directory=mirrors, check_dir=False, follow_symlink=True, html=True))
    ]
    if directory is not None:
        routes.append(Mount("/apt", StaticFiles(directory=directory, follow_symlink=True)))
    return Starlette(routes=routes)


def _watch(pid: int, stop: asyncio.Event) -> None:
    """Stop when the process is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        stop.set()
    else:
        asyncio.get_running_loop().add_reader(descriptor, stop.set)


def _write_ready(options: Options, certificates: Certificates, sockets: _Sockets) -> None:
    """State the true addresses, one per namespace; the sockets listen already."""

    def addresses(listeners: list[socket.socket]) -> list[str]:
        return [str(Address(*listener.getsockname())) for listener in listeners]

    content = {
        "pid": os.getpid(),
        "metadata": addresses(sockets.metadata),
        "https": addresses(sockets.https),
        "control": str(options.state / "control.sock"),
        "ca": str(certificates.authority),
    }
    ready = options.state / "ready.json"
    partial = ready.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    partial.replace(ready)
