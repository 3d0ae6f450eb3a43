# SPDX-License-Identifier: GPL-3.0-or-later
"""Google's token endpoint: service-account assertions and refresh tokens for access or identity tokens."""

from __future__ import annotations

import time
from typing import Any

import jwt
from starlette.applications import Starlette
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .answers import OAuthError, refuse
from .keys import TOKEN_URI, Accounts, sign_identity
from .tokens import Clock, TokenStore

__all__ = ["oauth_app"]

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
AUDIENCES = (
    TOKEN_URI,
    "https://www.googleapis.com/oauth2/v4/token",
    "https://accounts.google.com/o/oauth2/token",
)
LONGEST = 3600
LEEWAY = 300


def oauth_app(tokens: TokenStore, accounts: Accounts, clock: Clock) -> Starlette:
    """Build the endpoint for the keys and logins in ``accounts``."""

    async def token(request: Request) -> Response:
        form = await request.form()
        grant = _field(form, "grant_type")
        if grant == JWT_BEARER:
            claims = _claims(_field(form, "assertion"), accounts, here=str(request.url))
            _check_times(claims, now=clock() if clock.assertions else time.time())
            email, audience = claims["iss"], claims.get("target_audience")
            scope = claims.get("scope")
            if not audience and not scope:
                raise OAuthError("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        elif grant == "refresh_token":
            email, audience, scope = _login(form, accounts), "lab", _field(form, "scope") or None
        else:
            raise OAuthError("unsupported_grant_type", f"Invalid grant_type: {grant}")

        request.scope["lab.entry"].identity = email
        content: dict[str, object] = {"token_type": "Bearer"}
        if scope or grant == "refresh_token":
            issued = tokens.issue(email)
            content |= {"access_token": issued.value, "expires_in": tokens.remaining(issued)}
        if scope:
            content["scope"] = scope
        if audience:
            content["id_token"] = sign_identity(email=email, audience=audience)
        return JSONResponse(content, headers={"Cache-Control": "no-store"})

    routes = [Route("/token", token, methods=["POST"])]
    return Starlette(routes=routes, exception_handlers={OAuthError: refuse})


def _field(form: FormData, name: str) -> str:
    value = form.get(name)
    return value if isinstance(value, str) else ""


def _claims(assertion: str, accounts: Accounts, *, here: str) -> dict[str, Any]:
    """Return the claims of the assertion if one of its issuer's keys has signed it for this endpoint."""
    try:
        issuer = jwt.decode(assertion, options={"verify_signature": False}).get("iss")
    except jwt.InvalidTokenError:
        raise OAuthError("invalid_grant", "Bad Request: the assertion is not a JSON web token.") from None
    if issuer not in accounts.keys:
        raise OAuthError("invalid_grant", "Invalid grant: account not found")
    for key in accounts.keys[issuer]:
        try:
            claims: dict[str, Any] = jwt.decode(
                assertion,
                key,
                algorithms=["RS256"],
                audience=[*AUDIENCES, here],
                options={
                    "require": ["iss", "aud", "iat", "exp"],
                    "verify_iat": False,
                    "verify_nbf": False,
                    "verify_exp": False,
                },
            )
            return claims
        except jwt.InvalidSignatureError:
            continue
        except jwt.InvalidTokenError as error:
            raise OAuthError("invalid_grant", f"Invalid JWT: {error}") from None
    raise OAuthError("invalid_grant", "Invalid JWT Signature.")


def _check_times(claims: dict[str, Any], *, now: float) -> None:
    """Refuse the assertion of a wrong clock."""
    try:
        issued, expiry = float(claims["iat"]), float(claims["exp"])
    except (TypeError, ValueError):
        issued, expiry = now, now - LEEWAY
    if issued > now + LEEWAY or expiry <= now - LEEWAY or expiry - issued > LONGEST:
        raise OAuthError(
            "invalid_grant",
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
            "Check your iat and exp values in the JWT claim.",
        )


def _login(form: FormData, accounts: Accounts) -> str:
    """Return whose refresh token this is."""
    login = accounts.logins.get(_field(form, "refresh_token"))
    if login is None:
        raise OAuthError("invalid_grant", "Token has been expired or revoked.")
    if (login.client_id, login.client_secret) != (_field(form, "client_id"), _field(form, "client_secret")):
        raise OAuthError("invalid_client", "The OAuth client was not found.", status=401)
    return login.email
