# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's certificate authority, the server certificate for all of Google's names, and bad ones."""

from __future__ import annotations

import dataclasses
import datetime
import os
import ssl
from pathlib import Path

import trustme

from .records import CERTIFICATES

__all__ = ["Certificates", "make_certificates", "present"]

NAMES = (
    "packages.cloud.google.com",
    "oauth2.googleapis.com",
    "www.googleapis.com",
    "sts.googleapis.com",
    "iamcredentials.googleapis.com",
    "artifactregistry.googleapis.com",
    "*.pkg.dev",
    "localhost",
    "127.0.0.1",
    "127.0.0.2",
)
"""``*.pkg.dev`` covers LOCATION-python.pkg.dev; clients refuse a star that is only a part of a label."""

WRONG_NAME = "proxy.example.com"
EXPIRED_DAYS = 30
VALID_DAYS = 90


@dataclasses.dataclass(frozen=True)
class Certificates:
    """PEM files: the authority to trust, the server's chain and its key."""

    authority: Path
    chain: Path
    key: Path


def make_certificates(state: Path) -> Certificates:
    """Write a new server certificate below ``state``; the authority is kept if it is already there."""
    authority, authority_key = state / "ca.pem", state / "ca.key"
    if authority.exists() and authority_key.exists():
        ca = trustme.CA.from_pem(authority.read_bytes(), authority_key.read_bytes())
    else:
        ca = trustme.CA(organization_name="devbox lab")
        _write_private(authority_key, ca.private_key_pem.bytes())
        authority.write_bytes(ca.cert_pem.bytes())
    chain, key = _write(ca.issue_cert(*NAMES), state / "server")
    return Certificates(authority, chain, key)


def present(kind: str, certificates: Certificates, context: ssl.SSLContext) -> None:
    """Let a server that runs show another certificate from its next connection on; ValueError if unknown."""
    if kind not in CERTIFICATES:
        raise ValueError(f"found the certificate {kind!r}, need one of {', '.join(CERTIFICATES)}")
    if kind == "valid":
        context.load_cert_chain(certificates.chain, certificates.key)
        return
    authority = certificates.authority
    ca = trustme.CA.from_pem(authority.read_bytes(), authority.with_suffix(".key").read_bytes())
    if kind == "expired":
        end = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=EXPIRED_DAYS)
        begin = end - datetime.timedelta(days=VALID_DAYS)
        made = ca.issue_cert(*NAMES, not_before=begin, not_after=end)
    elif kind == "wrong_name":
        made = ca.issue_cert(WRONG_NAME)
    else:
        made = trustme.CA(organization_name="somebody else").issue_cert(*NAMES)
    chain, key = _write(made, authority.with_name(kind))
    context.load_cert_chain(chain, key)


def _write(made: trustme.LeafCert, base: Path) -> tuple[Path, Path]:
    chain, key = base.with_suffix(".pem"), base.with_suffix(".key")
    chain.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    _write_private(key, made.private_key_pem.bytes())
    return chain, key


def _write_private(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
