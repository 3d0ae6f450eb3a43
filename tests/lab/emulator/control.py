# SPDX-License-Identifier: GPL-3.0-or-later
"""The control interface: JSON over HTTP on a Unix socket; ``lab.emulator.client`` is its other end."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .faults import Fault, Faults, RequestLog
from .federation import Providers, configuration
from .impersonation import Grants
from .index import Repositories
from .keys import Accounts, Login
from .metadata import PROJECT, SCOPES, Machine
from .records import IssuedToken, Stats
from .tokens import Clock, TokenStore

__all__ = ["Parts", "control_app"]

Arguments = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Parts:
    """What the control interface reaches."""

    clock: Clock
    tokens: TokenStore
    accounts: Accounts
    providers: Providers
    grants: Grants
    machine: Machine
    repositories: Repositories
    faults: Faults
    log: RequestLog
    stop: Callable[[], None]
    present: Callable[[str], None]


def control_app(parts: Parts) -> Starlette:
    """Build the interface: ``POST /NAME`` calls the action NAME with a JSON object as its arguments."""
    actions = _Actions(parts)
    names = [name for name in vars(_Actions) if not name.startswith("_")]
    return Starlette(
        routes=[Route(f"/{name}", _endpoint(getattr(actions, name)), methods=["POST"]) for name in names]
    )


def _endpoint(action: Callable[..., object]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        arguments: Arguments = await request.json()
        try:
            return JSONResponse(action(**arguments))
        except (TypeError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)

    return endpoint


class _Actions:
    """Each method is one action; what it returns is the answer. See the client for what they mean."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def health(self) -> int:
        return os.getpid()

    def stop(self) -> None:
        self._parts.stop()

    def expire_all(self) -> int:
        return self._parts.tokens.expire_all()

    def revoke_all(self) -> int:
        return self._parts.tokens.revoke_all()

    def set_tokens(self, lifetime: float | None = None, window: float | None = None) -> None:
        tokens = self._parts.tokens
        tokens.lifetime = tokens.lifetime if lifetime is None else lifetime
        tokens.window = tokens.window if window is None else window

    def set_clock(self, offset_seconds: float, assertions: bool = False) -> None:
        self._parts.clock.move(offset_seconds)
        self._parts.clock.assertions = assertions

    def set_date_skew(self, seconds: float) -> None:
        self._parts.clock.date_skew = seconds

    def set_certificate(self, kind: str) -> None:
        self._parts.present(kind)

    def issue(self, identity: str) -> str:
        return self._parts.tokens.issue(identity).value

    def tokens(self) -> list[Arguments]:
        store = self._parts.tokens
        listed = (
            IssuedToken(
                value=token.value,
                identity=token.identity,
                issued_at=token.issued_at,
                expires_at=token.expires_at,
                valid=store.valid(token.value),
            )
            for token in store
        )
        return [dataclasses.asdict(token) for token in listed]

    def stats(self) -> Arguments:
        tokens = self._parts.tokens
        return dataclasses.asdict(
            Stats(
                issued=tokens.issued(),
                valid=sum(tokens.valid(token.value) for token in tokens),
                requests=dict(collections.Counter(seen.target for seen in self._parts.log)),
            )
        )

    def requests(self, since: float, target: str | None = None) -> list[Arguments]:
        wanted = (seen for seen in self._parts.log if seen.time >= since and target in (None, seen.target))
        return [dataclasses.asdict(seen) for seen in wanted]

    def set_fault(self, target: str, mode: str, count: int | None = None, path: str = "") -> None:
        self._parts.faults.set(target, Fault(mode, count, path))

    def clear_faults(self) -> None:
        self._parts.faults.clear()

    def register_key(self, email: str, public_key: str) -> None:
        self._parts.accounts.register_key(email=email, public_key=public_key)

    def create_key(self, email: str, token_uri: str | None = None) -> dict[str, str]:
        options = {"token_uri": token_uri} if token_uri else {}
        return self._parts.accounts.create_key(email=email, project=PROJECT, **options)

    def disable_keys(self, email: str) -> None:
        self._parts.accounts.keys[email] = []

    def delete_keys(self, email: str) -> None:
        self._parts.accounts.keys.pop(email, None)

    def register_refresh_token(
        self, refresh_token: str, email: str, client_id: str, client_secret: str
    ) -> None:
        self._parts.accounts.logins[refresh_token] = Login(email, client_id, client_secret)

    def delete_refresh_token(self, refresh_token: str) -> None:
        self._parts.accounts.logins.pop(refresh_token, None)

    def authorized_user(self, email: str, token_uri: str | None = None) -> dict[str, str]:
        return self._parts.accounts.create_login(email, token_uri=token_uri)

    def revoke_logins(self, email: str) -> int:
        return self._parts.accounts.revoke_logins(email)

    def register_provider(
        self, audience: str, public_key: str, issuer: str, allowed_audiences: list[str]
    ) -> None:
        self._parts.providers.register(
            audience, public_key=public_key, issuer=issuer, audiences=tuple(allowed_audiences)
        )

    def delete_provider(self, audience: str) -> None:
        self._parts.providers.delete(audience)

    def create_subject_token(self, subject: str, audience: str, lifetime: float, claims: Arguments) -> str:
        return self._parts.providers.subject_token(subject, audience, lifetime=lifetime, claims=claims)

    def external_account(
        self, file: str, audience: str, impersonate: str | None, lifetime: int | None, host: str | None
    ) -> Arguments:
        return configuration(
            file=file, audience=audience, impersonate=impersonate, lifetime=lifetime, host=host
        )

    def grant(self, caller: str, target: str) -> None:
        self._parts.grants.pairs.add((caller, target))

    def revoke_grant(self, caller: str, target: str) -> None:
        self._parts.grants.pairs.discard((caller, target))

    def allow_long_lifetime(self, target: str) -> None:
        self._parts.grants.long.add(target)

    def add_service_account(self, email: str, scopes: list[str] | None = None) -> None:
        self._parts.machine.accounts[email] = SCOPES if scopes is None else tuple(scopes)

    def remove_service_account(self, email: str) -> None:
        self._parts.machine.accounts.pop(email, None)

    def reset_service_accounts(self) -> None:
        self._parts.machine.reset()

    def create_repository(self, name: str) -> None:
        self._parts.repositories.create(name)

    def deny(self, identity: str, permission: str) -> None:
        self._parts.repositories.deny(identity, permission)

    def set_perimeter(self, closed: bool) -> None:
        self._parts.repositories.perimeter = closed

    def allow_all(self) -> None:
        self._parts.repositories.denied.clear()
        self._parts.repositories.perimeter = False
