# SPDX-License-Identifier: GPL-3.0-or-later
"""Security Token Service: a workload's own JSON web token for a federated access token (RFC 8693)."""

from __future__ import annotations

import dataclasses
import functools
import re
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .answers import OAuthError, refuse
from .records import principal
from .tokens import TokenStore

__all__ = ["Providers", "configuration", "federation_app"]

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
SUBJECT_TYPES = ("urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token")
ISSUER = "https://ci.example.com"
"""The issuer of the subject tokens that the lab makes itself."""

_PROVIDER = re.compile(
    r"//iam\.googleapis\.com/projects/[0-9]+/locations/global/workloadIdentityPools/[a-z0-9-]+"
    r"/providers/[a-z0-9-]+"
)


@dataclasses.dataclass(frozen=True)
class Provider:
    """An OpenID Connect provider of a workload identity pool: whom STS believes, for which audiences."""

    public_key: str
    issuer: str
    audiences: tuple[str, ...]


class Providers:
    """The registered providers by their full name (the ``audience`` of an exchange)."""

    def __init__(self) -> None:
        self._providers: dict[str, Provider] = {}

    def register(self, audience: str, *, public_key: str, issuer: str, audiences: tuple[str, ...]) -> None:
        """Believe the issuer from now on; ValueError for names and keys of another form."""
        if not _PROVIDER.fullmatch(audience):
            raise ValueError(f"found the provider {audience!r}, need the form {_PROVIDER.pattern}")
        serialization.load_pem_public_key(public_key.encode())
        named = audiences or (audience, f"https:{audience}")
        self._providers[audience] = Provider(public_key, issuer, named)

    def delete(self, audience: str) -> None:
        """Forget the provider."""
        self._providers.pop(audience, None)

    def subject_token(
        self, subject: str, audience: str, *, lifetime: float, claims: dict[str, object]
    ) -> str:
        """Return a token of the lab's own issuer, which is registered where the provider is not yet there."""
        if audience not in self._providers:
            self.register(audience, public_key=_public_pem(), issuer=ISSUER, audiences=())
        now = int(time.time())
        made = {"iss": ISSUER, "sub": subject, "aud": f"https:{audience}", "iat": now, "exp": now + lifetime}
        return jwt.encode({**made, **claims}, _own_key(), algorithm="RS256", headers={"kid": "lab"})

    def verify(self, token: str, audience: str) -> str:
        """Return the subject of the token; OAuthError unless the provider's issuer signed it for this."""
        provider = self._providers.get(audience)
        if provider is None:
            raise OAuthError(
                "invalid_target",
                'The target service indicated by the "audience" parameters is invalid. This might either be '
                "because the pool or provider is disabled or deleted or because it doesn't exist.",
            )
        try:
            claims = jwt.decode(token, options={"verify_signature": False})
        except jwt.InvalidTokenError:
            raise OAuthError("invalid_grant", "Unable to parse the ID Token.") from None
        if claims.get("iss") != provider.issuer:
            raise OAuthError(
                "invalid_grant",
                f"The issuer in ID Token {claims.get('iss')} does not match the expected ones: "
                f"{provider.issuer}",
            )
        try:
            claims = jwt.decode(
                token,
                provider.public_key,
                algorithms=["RS256", "ES256"],
                audience=provider.audiences,
                options={"require": ["iss", "sub", "aud", "iat", "exp"]},
            )
        except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError):
            message = f"ID Token issued at {claims.get('iat')} is stale to sign-in."
            raise OAuthError("invalid_grant", message) from None
        except jwt.InvalidAudienceError:
            message = f"The audience in ID Token [{claims.get('aud')}] does not match the expected audience."
            raise OAuthError("invalid_grant", message) from None
        except jwt.InvalidTokenError as error:
            raise OAuthError("invalid_grant", f"Invalid ID Token: {error}.") from None
        return str(claims["sub"])


def configuration(
    *, file: str, audience: str, impersonate: str | None, lifetime: int | None, host: str | None
) -> dict[str, object]:
    """Return what ``gcloud iam workload-identity-pools create-cred-config`` writes for a file source."""
    sts, iam = host or "sts.googleapis.com", host or "iamcredentials.googleapis.com"
    content: dict[str, object] = {
        "universe_domain": "googleapis.com",
        "type": "external_account",
        "audience": audience,
        "subject_token_type": SUBJECT_TYPES[0],
        "token_url": f"https://{sts}/v1/token",
        "token_info_url": f"https://{sts}/v1/introspect",
        "credential_source": {"file": file, "format": {"type": "text"}},
    }
    if impersonate:
        account = f"projects/-/serviceAccounts/{impersonate}"
        content["service_account_impersonation_url"] = f"https://{iam}/v1/{account}:generateAccessToken"
    if impersonate and lifetime:
        content["service_account_impersonation"] = {"token_lifetime_seconds": lifetime}
    return content


@functools.cache
def _own_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _public_pem() -> str:
    public = _own_key().public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return public.public_bytes(serialization.Encoding.PEM, form).decode()


def federation_app(tokens: TokenStore, providers: Providers) -> Starlette:
    """Build the service: ``/v1/token`` exchanges, ``/v1/introspect`` says whose token it is."""

    async def exchange(request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        if form.get("grant_type") != GRANT:
            raise OAuthError("unsupported_grant_type", f"Invalid grant_type: {form.get('grant_type', '')}")
        for name in ("audience", "scope", "subject_token"):
            if not form.get(name):
                raise OAuthError("invalid_request", f'Missing required field "{name}".')
        if form.get("requested_token_type") != ACCESS_TOKEN:
            raise OAuthError("invalid_request", 'Invalid value for "requested_token_type".')
        if form.get("subject_token_type") not in SUBJECT_TYPES:
            raise OAuthError("invalid_request", 'Invalid value for "subject_token_type".')
        subject = providers.verify(form["subject_token"], form["audience"])
        identity = principal(form["audience"], subject)
        request.scope["lab.entry"].identity = identity
        issued = tokens.issue(identity)
        content = {
            "access_token": issued.value,
            "issued_token_type": ACCESS_TOKEN,
            "token_type": "Bearer",
            "expires_in": tokens.remaining(issued),
        }
        return JSONResponse(content, headers={"Cache-Control": "no-store"})

    async def introspect(request: Request) -> Response:
        identity = tokens.identity(str((await request.form()).get("token", "")))
        if identity is None:
            return JSONResponse({"active": False})
        request.scope["lab.entry"].identity = identity
        return JSONResponse({"active": True, "username": identity, "iss": "https://sts.googleapis.com"})

    routes = [
        Route("/v1/token", exchange, methods=["POST"]),
        Route("/v1/introspect", introspect, methods=["POST"]),
    ]
    return Starlette(routes=routes, exception_handlers={OAuthError: refuse})
