# SPDX-License-Identifier: GPL-3.0-or-later
"""Google's token endpoint: service-account assertions and refresh tokens for access or identity tokens."""

from __future__ import annotations

import jwt
from starlette.applications import Starlette
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .keys import TOKEN_URI, Accounts, sign_identity
from .tokens import TokenStore

__all__ = ["oauth_app"]

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
AUDIENCES = (
    TOKEN_URI,
    "https://www.googleapis.com/oauth2/v4/token",
    "https://accounts.google.com/o/oauth2/token",
)


class _RequestError(Exception):
    """The request is answered with an OAuth error."""

    def __init__(self, error: str, description: str, *, status: int = 400) -> None:
        super().__init__(description)
        self.content = {"error": error, "error_description": description}
        self.status = status


def oauth_app(tokens: TokenStore, accounts: Accounts) -> Starlette:
    """Build the endpoint for the keys and logins in ``accounts``."""

    async def token(request: Request) -> Response:
        form = await request.form()
        grant = _field(form, "grant_type")
        try:
            if grant == JWT_BEARER:
                claims = _claims(_field(form, "assertion"), accounts, here=str(request.url))
                email, audience = claims["iss"], claims.get("target_audience")
                scope = claims.get("scope")
                if not audience and not scope:
                    raise _RequestError("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
            elif grant == "refresh_token":
                email, audience, scope = _login(form, accounts), "lab", _field(form, "scope") or None
            else:
                raise _RequestError("unsupported_grant_type", f"Invalid grant_type: {grant}")
        except _RequestError as refused:
            return JSONResponse(refused.content, refused.status)

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

    return Starlette(routes=[Route("/token", token, methods=["POST"])])


def _field(form: FormData, name: str) -> str:
    value = form.get(name)
    return value if isinstance(value, str) else ""


def _claims(assertion: str, accounts: Accounts, *, here: str) -> dict[str, str]:
    """Return the claims of the assertion if one of its issuer's keys has signed it for this endpoint."""
    try:
        issuer = jwt.decode(assertion, options={"verify_signature": False}).get("iss")
    except jwt.InvalidTokenError:
        raise _RequestError("invalid_grant", "Bad Request: the assertion is not a JSON web token.") from None
    if issuer not in accounts.keys:
        raise _RequestError("invalid_grant", "Invalid grant: account not found")
    for key in accounts.keys[issuer]:
        try:
            claims: dict[str, str] = jwt.decode(
                assertion,
                key,
                algorithms=["RS256"],
                audience=[*AUDIENCES, here],
                options={"require": ["iss", "aud", "iat", "exp"]},
                leeway=300,
            )
            return claims
        except jwt.InvalidSignatureError:
            continue
        except jwt.InvalidTokenError as error:
            raise _RequestError("invalid_grant", f"Invalid JWT: {error}") from None
    raise _RequestError("invalid_grant", "Invalid JWT Signature.")


def _login(form: FormData, accounts: Accounts) -> str:
    """Return whose refresh token this is."""
    login = accounts.logins.get(_field(form, "refresh_token"))
    if login is None:
        raise _RequestError("invalid_grant", "Token has been expired or revoked.")
    if (login.client_id, login.client_secret) != (_field(form, "client_id"), _field(form, "client_secret")):
        raise _RequestError("invalid_client", "The OAuth client was not found.", status=401)
    return login.email
