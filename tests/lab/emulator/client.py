# SPDX-License-Identifier: GPL-3.0-or-later
"""Controls a running emulator through its Unix socket; standard library only."""

from __future__ import annotations

import os
import select
from collections.abc import Sequence
from typing import Any

from .channel import TIMEOUT, Channel, ControlError
from .records import IssuedToken, SeenRequest, Stats

__all__ = ["Control", "ControlError"]


class Control(Channel):
    """The switches of the emulator whose control socket is at ``path``; all times are seconds."""

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

    def set_clock(self, offset_seconds: float, *, assertions: bool = False) -> None:
        """Put the emulated Google's clock that far ahead of the real one; 0 takes it back.

        By it tokens are issued, cached and expire, ``expires_in`` and ``expireTime`` are stated, the index
        judges, and ``Date`` is set. The real time stays for :meth:`requests`, subject tokens, and (unless
        ``assertions`` is set: for clients in this process whose clock is moved too) the assertions of keys.
        """
        self._call("set_clock", offset_seconds=offset_seconds, assertions=assertions)

    def set_date_skew(self, seconds: float) -> None:
        """Let every answer, the metadata server's too, state a ``Date`` that far ahead (0: the true one)."""
        self._call("set_date_skew", seconds=seconds)

    def set_certificate(self, kind: str) -> None:
        """Present another certificate to new connections: one of ``records.CERTIFICATES``."""
        self._call("set_certificate", kind=kind)

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

    def disable_keys(self, email: str) -> None:
        """End all keys of the service account, which stays: ``Invalid JWT Signature.`` from now on."""
        self._call("disable_keys", email=email)

    def delete_keys(self, email: str) -> None:
        """Forget the service account and all its keys: ``Invalid grant: account not found`` from now on."""
        self._call("delete_keys", email=email)

    def authorized_user(self, email: str, *, token_uri: str | None = None) -> dict[str, str]:
        """Make and register a login; returns the file that ``application-default login`` writes.

        google-auth takes Google's own address whatever ``token_uri`` says; gcloud takes
        CLOUDSDK_AUTH_TOKEN_HOST.
        """
        login: dict[str, str] = self._call("authorized_user", email=email, token_uri=token_uri)
        return login

    def revoke_logins(self, email: str) -> int:
        """End all logins of the user; returns how many. The tokens they gave stay valid."""
        return int(self._call("revoke_logins", email=email))

    def register_refresh_token(
        self, refresh_token: str, *, email: str, client_id: str, client_secret: str
    ) -> None:
        """Let the token endpoint accept this refresh token as the login of a user."""
        arguments = {"email": email, "client_id": client_id, "client_secret": client_secret}
        self._call("register_refresh_token", refresh_token=refresh_token, **arguments)

    def delete_refresh_token(self, refresh_token: str) -> None:
        """End the login: the token endpoint answers invalid_grant from now on."""
        self._call("delete_refresh_token", refresh_token=refresh_token)

    def register_provider(
        self, audience: str, *, public_key: str, issuer: str, allowed_audiences: Sequence[str] = ()
    ) -> None:
        """Let STS accept subject tokens of this issuer, signed with this key (PEM).

        ``audience`` names the provider: ``//iam.googleapis.com/projects/N/locations/global/...``. A subject
        token is for one of ``allowed_audiences``; without any, for the provider's name.
        """
        arguments = {"public_key": public_key, "issuer": issuer, "allowed_audiences": [*allowed_audiences]}
        self._call("register_provider", audience=audience, **arguments)

    def delete_provider(self, audience: str) -> None:
        """Forget the provider: STS answers ``invalid_target`` from now on."""
        self._call("delete_provider", audience=audience)

    def create_subject_token(
        self, subject: str, audience: str, *, lifetime: float = 3600, **claims: object
    ) -> str:
        """Return a JSON web token of the lab's own issuer; registers it as the provider where there is none.

        STS then knows the subject as ``records.principal(audience, subject)``. Further claims replace the
        true ones, such as ``iss`` and ``aud``.
        """
        arguments = {"subject": subject, "audience": audience, "lifetime": lifetime, "claims": claims}
        return str(self._call("create_subject_token", **arguments))

    def external_account(
        self,
        file: str,
        *,
        audience: str,
        impersonate: str | None = None,
        lifetime: int | None = None,
        host: str | None = None,
    ) -> dict[str, Any]:
        """Return the configuration of a workload identity whose subject token is in that file.

        ``impersonate`` is a service account, ``lifetime`` of its tokens, ``host`` (HOST:PORT) stands for
        Google's names.
        """
        arguments = {"impersonate": impersonate, "lifetime": lifetime, "host": host}
        made: dict[str, Any] = self._call("external_account", file=file, audience=audience, **arguments)
        return made

    def grant(self, caller: str, target: str) -> None:
        """Let the caller (an e-mail or ``records.principal(...)``) impersonate the service account."""
        self._call("grant", caller=caller, target=target)

    def revoke_grant(self, caller: str, target: str) -> None:
        """Take the grant back, if there is one."""
        self._call("revoke_grant", caller=caller, target=target)

    def allow_long_lifetime(self, target: str) -> None:
        """Let impersonation give tokens of this service account that live up to 12 hours."""
        self._call("allow_long_lifetime", target=target)

    def add_service_account(self, email: str, *, scopes: Sequence[str] | None = None) -> None:
        """Attach one more service account to the virtual machine; the first is its ``default``."""
        self._call("add_service_account", email=email, scopes=None if scopes is None else [*scopes])

    def remove_service_account(self, email: str) -> None:
        """Detach the service account from the virtual machine; without any, ``default`` is 404."""
        self._call("remove_service_account", email=email)

    def reset_service_accounts(self) -> None:
        """Attach ``records.DEFAULT_ACCOUNT`` alone, as at the start."""
        self._call("reset_service_accounts")

    def create_repository(self, name: str) -> None:
        """Make the repository PROJECT/REPO if it is not there."""
        self._call("create_repository", name=name)

    def deny(self, identity: str, *, permission: str) -> None:
        """Let the index answer 403 to the identity; ``permission`` is ``upload`` or ``download``."""
        self._call("deny", identity=identity, permission=permission)

    def set_perimeter(self, closed: bool) -> None:
        """Let the index refuse everybody, or no longer, as from outside a VPC service perimeter."""
        self._call("set_perimeter", closed=closed)

    def allow_all(self) -> None:
        """Take all denials back, and open the perimeter."""
        self._call("allow_all")
