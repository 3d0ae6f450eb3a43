# SPDX-License-Identifier: GPL-3.0-or-later
"""The wire to a running emulator: one JSON call at a time over its Unix socket; standard library only."""

from __future__ import annotations

import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any

__all__ = ["TIMEOUT", "Channel", "ControlError"]

TIMEOUT = 10.0


class ControlError(Exception):
    """The emulator is not there, or refused what was asked."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket, whose path may be longer than the kernel's 107 bytes."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        directory = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(f"/proc/self/fd/{directory}/{self._path.name}")
        finally:
            os.close(directory)


class Channel:
    """Calls actions of the emulator whose control socket is at ``path``."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def _call(self, action: str, **arguments: object) -> Any:
        connection = _UnixConnection(self.path)
        try:
            connection.request(
                "POST", f"/{action}", json.dumps(arguments), {"Content-Type": "application/json"}
            )
            response = connection.getresponse()
            body = response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise ControlError(f"no emulator answers at {self.path} ({error}); is it running?") from error
        finally:
            connection.close()
        if response.status != 200:
            raise ControlError(f"the emulator refused {action}: {response.status} {body}")
        return json.loads(body)
