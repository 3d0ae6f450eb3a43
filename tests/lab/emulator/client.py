# SPDX-License-Identifier: GPL-3.0-or-later
"""Controls a running emulator through its Unix socket; standard library only."""

from __future__ import annotations

import http.client
import json
import os
import select
import socket
from pathlib import Path
from typing import Any

from .records import IssuedToken, SeenRequest, Stats

__all__ = ["Control", "ControlError"]

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


class Control:
    """The switches of the emulator whose control socket is at ``path``; all times are seconds."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def health(self) -> int:
        """Return the emulator's process id; ControlError if it does not answer."""
        return int(self._call("health"))

    def stop(self) -> None:
        """Stop the emulator and wait until its process has ended."""
        process = os.pidfd_open(self.health())
        try:
            self._call("stop")
            ended, _, _ = select.select([process], [], [], TIMEOUT)
        finally:
            os.close(process)
        if not ended:
            raise ControlError(f"the emulator at {self.path} did not stop within {TIMEOUT:g} s")

    def expire_all(self) -> int:
        """End the life of every access token so far; returns how many were alive."""
        return int(self._call("expire_all"))

    def revoke_all(self) -> int:
        """Revoke every access token so far; returns how many."""
        return int(self._call("revoke_all"))

    def set_tokens(self, *, lifetime: float | None = None, window: float | None = None) -> None:
        """Set how long tokens issued from now on live, and how long before their end they are renewed."""
        self._call("set_tokens", lifetime=lifetime, window=window)

    def issue(self, identity: str) -> str:
        """Return a fresh access token of any identity."""
        return str(self._call("issue", identity=identity))

    def tokens(self) -> list[IssuedToken]:
        """Return every access token issued so far, with its value: what a canary search looks for."""
        return [IssuedToken(**token) for token in self._call("tokens")]

    def stats(self) -> Stats:
        """Return what was issued and asked so far."""
        return Stats(**self._call("stats"))

    def requests(self, *, since: float = 0, target: str | None = None) -> list[SeenRequest]:
        """Return the requests that began at ``since`` (as of time.time()) or later, perhaps of one target."""
        return [SeenRequest(**seen) for seen in self._call("requests", since=since, target=target)]

    def set_fault(self, target: str, mode: str, *, count: int | None = None, path: str = "") -> None:
        """Let the next ``count`` requests (None: all) whose path contains ``path`` fail in that mode.

        Targets and modes: ``records.TARGETS`` and ``records.MODES``. A target has one fault; ``ok`` ends it.
        """
        self._call("set_fault", target=target, mode=mode, count=count, path=path)

    def clear_faults(self) -> None:
        """Switch all faults off."""
        self._call("clear_faults")

    def register_key(self, *, email: str, public_key: str) -> None:
        """Let the token endpoint accept assertions of this service account signed with this key (PEM)."""
        self._call("register_key", email=email, public_key=public_key)

    def create_key(self, email: str, *, token_uri: str | None = None) -> dict[str, str]:
        """Make and register a service-account key; returns the contents of its JSON key file."""
        key: dict[str, str] = self._call("create_key", email=email, token_uri=token_uri)
        return key

    def delete_keys(self, email: str) -> None:
        """Forget the service account and all its keys."""
        self._call("delete_keys", email=email)

    def register_refresh_token(
        self, refresh_token: str, *, email: str, client_id: str, client_secret: str
    ) -> None:
        """Let the token endpoint accept this refresh token as the login of a user."""
        arguments = {"email": email, "client_id": client_id, "client_secret": client_secret}
        self._call("register_refresh_token", refresh_token=refresh_token, **arguments)

    def delete_refresh_token(self, refresh_token: str) -> None:
        """End the login: the token endpoint answers invalid_grant from now on."""
        self._call("delete_refresh_token", refresh_token=refresh_token)

    def create_repository(self, name: str) -> None:
        """Make the repository PROJECT/REPO if it is not there."""
        self._call("create_repository", name=name)

    def deny(self, identity: str, *, permission: str) -> None:
        """Let the index answer 403 to the identity; ``permission`` is ``upload`` or ``download``."""
        self._call("deny", identity=identity, permission=permission)

    def allow_all(self) -> None:
        """Take all denials back."""
        self._call("allow_all")

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
