# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys and logins that the emulated Google knows, and the identity tokens that it signs."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import secrets
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

__all__ = ["TOKEN_URI", "Accounts", "Login", "sign_identity"]

TOKEN_URI = "https://oauth2.googleapis.com/token"
IDENTITY_LIFETIME = 3600

_signing_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclasses.dataclass(frozen=True)
class Login:
    """A user's login: what `gcloud auth login` would have stored."""

    email: str
    client_id: str
    client_secret: str


@dataclasses.dataclass
class Accounts:
    """Public keys (PEM) per service account, and logins per refresh token."""

    keys: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    logins: dict[str, Login] = dataclasses.field(default_factory=dict)

    def register_key(self, *, email: str, public_key: str) -> None:
        """Accept assertions of this service account that are signed with the key."""
        serialization.load_pem_public_key(public_key.encode())
        self.keys.setdefault(email, []).append(public_key)

    def create_key(self, *, email: str, project: str, token_uri: str = TOKEN_URI) -> dict[str, str]:
        """Make and register a key; returns the contents of Google's JSON key file."""
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.register_key(email=email, public_key=public.decode())
        private_pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account",
            "project_id": project,
            "private_key_id": secrets.token_hex(20),
            "private_key": private_pem.decode(),
            "client_email": email,
            "client_id": account_number(email),
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": token_uri,
            "universe_domain": "googleapis.com",
        }

    def create_login(self, email: str, *, token_uri: str | None = None) -> dict[str, str]:
        """Make and register a login; returns the contents of an application-default login's file."""
        login = Login(email, f"{account_number(email)}-lab.apps.googleusercontent.com", _secret("lab-"))
        refresh_token = _secret("1//0")
        self.logins[refresh_token] = login
        content = {
            "account": email,
            "client_id": login.client_id,
            "client_secret": login.client_secret,
            "refresh_token": refresh_token,
            "type": "authorized_user",
            "universe_domain": "googleapis.com",
        }
        return content | ({"token_uri": token_uri} if token_uri else {})

    def revoke_logins(self, email: str) -> int:
        """End all logins of the user; returns how many."""
        ended = [token for token, login in self.logins.items() if login.email == email]
        for token in ended:
            del self.logins[token]
        return len(ended)

    def owner(self, encoded: str) -> str | None:
        """Return whose registered key this is, given a JSON key file in base64; None for anything else."""
        try:
            content = json.loads(base64.b64decode(encoded, validate=True))
            private = serialization.load_pem_private_key(content["private_key"].encode(), None)
            email, public = str(content["client_email"]), private.public_key()
        except (binascii.Error, ValueError, TypeError, KeyError, AttributeError):
            return None
        known = (serialization.load_pem_public_key(key.encode()) for key in self.keys.get(email, []))
        return email if any(public == key for key in known) else None


def _secret(prefix: str) -> str:
    return prefix + secrets.token_urlsafe(36)


def sign_identity(*, email: str, audience: str) -> str:
    """Return an OpenID Connect identity token of the account for the audience."""
    now = int(time.time())
    claims = {
        "iss": "https://accounts.google.com",
        "sub": account_number(email),
        "azp": account_number(email),
        "aud": audience,
        "email": email,
        "email_verified": True,
        "iat": now,
        "exp": now + IDENTITY_LIFETIME,
    }
    return jwt.encode(claims, _signing_key, algorithm="RS256", headers={"kid": "lab"})


def account_number(email: str) -> str:
    """Return the account's numeric id: 21 digits that depend on the address alone."""
    return f"1{int.from_bytes(email.encode(), 'big') % 10**20:020d}"
