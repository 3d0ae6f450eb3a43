# SPDX-License-Identifier: GPL-3.0-or-later
"""IAM Service Account Credentials: a token of one account for another, where that was granted."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import re
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .answers import ApiError, refuse
from .tokens import TokenStore

__all__ = ["Grants", "impersonation_app"]

PERMISSION = "iam.serviceAccounts.getAccessToken"
LIFETIME = 3600
LONGEST = 43200
ACCOUNTS = "projects/-/serviceAccounts/"


@dataclasses.dataclass
class Grants:
    """Who may act as which service account, and whose tokens may live for more than an hour."""

    pairs: set[tuple[str, str]] = dataclasses.field(default_factory=set)
    long: set[str] = dataclasses.field(default_factory=set)

    def allow(self, chain: list[str]) -> bool:
        """Tell whether each may act as the next."""
        return all(pair in self.pairs for pair in itertools.pairwise(chain))


def impersonation_app(tokens: TokenStore, grants: Grants) -> Starlette:
    """Build the interface; its one method is generateAccessToken.

    A token's lifetime is what was asked for, in proportion where the store's is not the usual hour.
    """

    async def generate(request: Request) -> Response:
        entry, target = request.scope["lab.entry"], request.path_params["email"]
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        caller = entry.identity = tokens.identity(value) if scheme.lower() == "bearer" else None
        if caller is None:
            raise ApiError(
                401,
                "UNAUTHENTICATED",
                "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie "
                "or other valid authentication credential. See "
                "https://developers.google.com/identity/sign-in/web/devconsole-project.",
            )
        body = await _body(request)
        delegates = [str(name).removeprefix(ACCOUNTS) for name in body.get("delegates") or []]
        if not grants.allow([caller, *delegates, target]):
            message = f"Permission '{PERMISSION}' denied on resource (or it may not exist)."
            raise ApiError(403, "PERMISSION_DENIED", message, permission=PERMISSION)
        if not body.get("scope"):
            raise ApiError(400, "INVALID_ARGUMENT", "Scope required.")
        asked = _seconds(body.get("lifetime") or f"{LIFETIME}s")
        if asked > LIFETIME and target not in grants.long:
            raise ApiError(
                400,
                "INVALID_ARGUMENT",
                f"Access tokens for service account {target} can not have lifetimes of more than 1 hour. Use "
                "the Org Policy Constraint constraints/iam.allowServiceAccountCredentialLifetimeExtension to "
                "allow up to 12 hours.",
            )
        issued = tokens.issue(target, lifetime=asked * tokens.lifetime / LIFETIME)
        entry.identity = target
        expiry = datetime.datetime.fromtimestamp(int(issued.expires_at), datetime.UTC)
        content = {"accessToken": issued.value, "expireTime": expiry.strftime("%Y-%m-%dT%H:%M:%SZ")}
        return JSONResponse(content)

    async def missing(request: Request, error: Exception) -> Response:
        return await refuse(request, ApiError(404, "NOT_FOUND", "Requested entity was not found."))

    path = f"/v1/{ACCOUNTS}{{email}}:generateAccessToken"
    routes = [Route(path, generate, methods=["POST"])]
    return Starlette(routes=routes, exception_handlers={ApiError: refuse, 404: missing})


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ApiError(400, "INVALID_ARGUMENT", "Invalid JSON payload received.")
    return body


def _seconds(duration: object) -> float:
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)s", str(duration))
    if found is None or not 0 < float(found[1]) <= LONGEST:
        raise ApiError(400, "INVALID_ARGUMENT", "Request contains an invalid argument: lifetime.")
    return float(found[1])
