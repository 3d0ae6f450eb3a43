# SPDX-License-Identifier: GPL-3.0-or-later
"""The emulated Google under its real names, for programs in this mount namespace only."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.machine import Machine, _run

from lab.emulator.launch import Emulator, start

__all__ = ["NAMES", "Google", "listening", "named"]

NAMES = (
    "oauth2.googleapis.com",
    "sts.googleapis.com",
    "iamcredentials.googleapis.com",
    "www.googleapis.com",
    "europe-west1-python.pkg.dev",
)


class Google:
    """The emulator, and how the program finds it."""

    def __init__(self, emulator: Emulator, *, authority: Path) -> None:
        self.emulator = emulator
        self.control = emulator.control
        self.authority = authority

    @property
    def environment(self) -> dict[str, str]:
        """What the program needs to ask this one: the metadata server's address, the authority to trust."""
        return {"GCE_METADATA_HOST": self.emulator.metadata[0], "REQUESTS_CA_BUNDLE": str(self.authority)}

    @classmethod
    @contextmanager
    def serving(cls, machine: Machine, *, state: Path, place: Path) -> Iterator[Google]:
        """Have it on an address of this machine's loopback."""
        address = ".".join(["127", *(str(secrets.randbelow(200) + 20) for _part in range(3))])
        listens = ("--metadata", f"{address}:0", "--https", f"{address}:443")
        with named(machine, dict.fromkeys(NAMES, address)), start(state, *listens) as emulator:
            authority = place / "ca.pem"
            shutil.copyfile(emulator.ca, authority)
            authority.chmod(0o644)
            yield cls(emulator, authority=authority)

    def reset(self) -> None:
        """No faults, new tokens."""
        self.control.clear_faults()
        self.control.set_certificate("valid")
        self.control.set_clock(0)
        self.control.set_date_skew(0)
        self.control.set_tokens(lifetime=3600, window=300)
        self.control.expire_all()


@contextmanager
def named(machine: Machine, addresses: dict[str, str]) -> Iterator[None]:
    """Have these names in /etc/hosts for a while."""
    hosts = machine.top / f"hosts-{secrets.token_hex(4)}"
    lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in addresses.items())]
    hosts.write_text("\n".join(lines) + "\n")
    hosts.chmod(0o644)
    _run("mount", "--bind", hosts, "/etc/hosts")
    try:
        yield
    finally:
        _run("umount", "/etc/hosts")


@contextmanager
def listening(*, answer: bytes = b"") -> Iterator[tuple[str, list[bytes]]]:
    """A trap on the loopback: its address, and what was sent to it."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                with contextlib.suppress(OSError):
                    connection, _peer = server.accept()
                    with connection:
                        connection.settimeout(5)
                        seen.append(connection.recv(4096))
                        connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}", seen
        finally:
            ended.set()
            thread.join()
