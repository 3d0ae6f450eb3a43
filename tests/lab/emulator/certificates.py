# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's certificate authority and the one server certificate for all of Google's names."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import trustme

__all__ = ["Certificates", "make_certificates"]

NAMES = (
    "packages.cloud.google.com",
    "oauth2.googleapis.com",
    "www.googleapis.com",
    "sts.googleapis.com",
    "iamcredentials.googleapis.com",
    "artifactregistry.googleapis.com",
    "europe-west1-python.pkg.dev",
    "us-central1-python.pkg.dev",
    "us-python.pkg.dev",
    "localhost",
    "127.0.0.1",
    "127.0.0.2",
)


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
    server = ca.issue_cert(*NAMES)
    chain, key = state / "server.pem", state / "server.key"
    chain.write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
    _write_private(key, server.private_key_pem.bytes())
    return Certificates(authority, chain, key)


def _write_private(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
