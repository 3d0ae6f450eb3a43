# SPDX-License-Identifier: GPL-3.0-or-later
"""Listening sockets, also inside the network namespace of a machine."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import ipaddress
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

__all__ = [
    "Address",
    "NetworkError",
    "check_metadata_address",
    "inside",
    "listen",
    "listen_unix",
    "prepare_loopback",
]

LINK_LOCAL = "169.254."
CLONE_NEWNET = 0x40000000
BACKLOG = 128


class NetworkError(Exception):
    """A socket or a namespace cannot be had; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Address:
    """An IPv4 address and a port; port 0 means any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ADDR:PORT; raises ValueError for any other form."""
        host, _, port = text.rpartition(":")
        return cls(str(ipaddress.IPv4Address(host)), int(port))

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def check_metadata_address(address: Address, namespaces: list[Path]) -> None:
    """Refuse a link-local address on the host itself, where it would reach beyond one machine."""
    if not address.host.startswith(LINK_LOCAL):
        return
    if not namespaces:
        raise NetworkError(
            f"{address} belongs on a machine's own loopback, never on the host's: "
            "give --netns /proc/PID/ns/net of the machine, or --metadata 127.0.0.1:0"
        )
    hosts = _namespace_of_host()
    for namespace in namespaces:
        if namespace.samefile(hosts):
            raise NetworkError(
                f"{namespace} is the host's own network namespace: {address} must not be there"
            )


@contextlib.contextmanager
def inside(namespace: Path) -> Iterator[None]:
    """Run the body, in this thread, inside the network namespace; sockets opened there stay there."""
    try:
        home, there = os.open("/proc/thread-self/ns/net", os.O_RDONLY), os.open(namespace, os.O_RDONLY)
    except OSError as error:
        raise NetworkError(
            f"cannot open the network namespace {namespace}: {error.strerror}; is it alive?"
        ) from error
    try:
        _enter(there, namespace)
        try:
            yield
        finally:
            _enter(home, Path("/proc/thread-self/ns/net"))
    finally:
        os.close(there)
        os.close(home)


def prepare_loopback(address: Address) -> None:
    """Bring ``lo`` up in the present namespace, with the address if it is link-local."""
    ip = shutil.which("ip", path=os.defpath + ":/usr/sbin:/sbin")
    if ip is None:
        raise NetworkError("the program `ip` is missing: install the package iproute2")
    commands = [[ip, "link", "set", "lo", "up"]]
    if address.host.startswith(LINK_LOCAL):
        commands.append([ip, "address", "replace", f"{address.host}/32", "dev", "lo"])
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NetworkError(f"`{' '.join(command)}` failed: {done.stderr.strip()}; it needs root")


def listen(address: Address) -> socket.socket:
    """Return a TCP socket that listens at the address."""
    # named protocol: only then asyncio sets TCP_NODELAY, and without it each answer over TLS waits 40 ms
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
    except OSError as error:
        listener.close()
        raise NetworkError(
            f"cannot listen at {address}: {error.strerror}; choose another, port 0 is any"
        ) from error
    listener.listen(BACKLOG)
    return listener


def listen_unix(path: Path) -> socket.socket:
    """Return a Unix socket that listens at the path (of any length) and that only its owner may use."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    umask = os.umask(0o177)
    try:
        listener.bind(f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.umask(umask)
        os.close(directory)
    listener.listen(BACKLOG)
    return listener


def _namespace_of_host() -> Path:
    init = Path("/proc/1/ns/net")
    try:
        init.stat()
    except PermissionError:
        return Path("/proc/self/ns/net")
    return init


def _enter(descriptor: int, name: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise NetworkError(
            f"cannot enter the network namespace {name}: {os.strerror(ctypes.get_errno())}; it needs root"
        )
