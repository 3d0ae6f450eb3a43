# SPDX-License-Identifier: GPL-3.0-or-later
"""A proxy through which Google's names lead to the emulator: clients keep the real URLs, and the real TLS.

It takes CONNECT only, and connects to one address whatever the name.
"""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Proxy", "proxy_to"]

_CHUNK = 65536
_SECONDS = 30.0


@dataclass
class Proxy:
    """A running proxy; while `cut` is set it answers 502, as one does that cannot reach the other side.

    :ivar url: for HTTPS_PROXY.
    :ivar asked: HOST:PORT of every CONNECT.
    """

    url: str = ""
    cut: bool = False
    asked: list[str] = field(default_factory=list)


@contextlib.contextmanager
def proxy_to(address: str) -> Iterator[Proxy]:
    """Run a proxy to ADDR:PORT on a free port of 127.0.0.1, until the block ends."""
    host, _, port = address.rpartition(":")
    proxy = Proxy()

    class Handler(socketserver.StreamRequestHandler):
        timeout = _SECONDS

        def handle(self) -> None:
            method, _, rest = self.rfile.readline(_CHUNK).decode("latin-1").partition(" ")
            while self.rfile.readline(_CHUNK).strip():
                pass
            if method != "CONNECT":
                self.wfile.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
                return
            proxy.asked.append(rest.partition(" ")[0])
            if proxy.cut:
                self.wfile.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                return
            with socket.create_connection((host, int(port)), timeout=_SECONDS) as far:
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                with contextlib.suppress(OSError):
                    _pass_on(self.connection, far)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        proxy.url = "http://{}:{}".format(*server.server_address)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()


def _pass_on(near: socket.socket, far: socket.socket) -> None:
    """Pass bytes both ways until one side has ended."""
    other = {near: far, far: near}
    for end in other:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while True:
        ready, _w, _x = select.select([near, far], [], [], _SECONDS)
        if not ready:
            return
        for end in ready:
            chunk = end.recv(_CHUNK)
            if not chunk:
                return
            other[end].sendall(chunk)
