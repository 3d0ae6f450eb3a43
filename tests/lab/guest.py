# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine gets before and after its first boot: keys, certificate authorities, names."""

from __future__ import annotations

import io
import os
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

from lab.images import ACCOUNTS
from lab.system import run

__all__ = [
    "EMULATED",
    "METADATA",
    "Keys",
    "extra_authorities",
    "host_names",
    "keys",
    "make_keys",
    "seed",
    "trust_script",
]

METADATA = "169.254.169.254"
"""The metadata server's address; it exists only on the machine's own loopback."""

EMULATOR = "127.0.0.2"
"""Where the emulator listens inside the machine's network namespace."""

EMULATED = (
    "europe-west1-python.pkg.dev",
    "us-central1-python.pkg.dev",
    "us-python.pkg.dev",
    "europe-python.pkg.dev",
    "asia-east1-python.pkg.dev",
    "oauth2.googleapis.com",
    "sts.googleapis.com",
    "iamcredentials.googleapis.com",
    "artifactregistry.googleapis.com",
)
PACKAGES_HOST = "packages.cloud.google.com"

AUTHORITIES = "/usr/local/share/ca-certificates"

_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Keys:
    """A machine's SSH keys: one to log in with, one that the machine shows."""

    client: Path
    host: Path

    @property
    def client_public(self) -> str:
        """Return the line for authorized_keys."""
        return self.client.with_suffix(".pub").read_text(encoding="ascii")

    @property
    def host_public(self) -> str:
        """Return the machine's own public key."""
        return self.host.with_suffix(".pub").read_text(encoding="ascii")


def keys(directory: Path) -> Keys:
    """Return the keys of the machine whose state lies in a directory."""
    return Keys(client=directory / "id_ed25519", host=directory / "host_ed25519")


def make_keys(directory: Path) -> Keys:
    """Generate both keys in a directory."""
    made = keys(directory)
    for path in (made.client, made.host):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "devbox-lab", "-f", str(path)])
    return made


def host_names(*, packages: bool) -> dict[str, str]:
    """Return the names that lead to the emulator; `packages` for Google's apt repository too."""
    names = dict.fromkeys(EMULATED, EMULATOR)
    if packages:
        names[PACKAGES_HOST] = EMULATOR
    return {**names, "metadata.google.internal": METADATA, "metadata": METADATA}


def extra_authorities() -> list[str]:
    """Return the certificates that this host trusts beyond Mozilla's, for example a proxy's.

    A machine behind a proxy that inspects TLS needs them; nothing depends on their being there.
    """
    bundle = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
    if not bundle.is_file():
        return []
    known = {
        _body(text)
        for path in Path("/usr/share/ca-certificates").rglob("*.crt")
        for text in _CERTIFICATE.findall(path.read_text(encoding="utf-8", errors="replace"))
    }
    found = _CERTIFICATE.findall(bundle.read_text(encoding="utf-8", errors="replace"))
    return [text for text in found if _body(text) not in known]


def _body(certificate: str) -> str:
    return "".join(certificate.split())


def seed(keys: Keys) -> bytes:
    """Return a tar archive to unpack at the machine's root before it boots."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:

        def add(
            path: str, text: str, *, mode: int = 0o644, owner: int = 0, kind: bytes = tarfile.REGTYPE
        ) -> None:
            member = tarfile.TarInfo(path)
            data = text.encode()
            member.type, member.size, member.mode, member.uid, member.gid = (
                kind,
                len(data),
                mode,
                owner,
                owner,
            )
            archive.addfile(member, io.BytesIO(data))

        add("etc/ssh/ssh_host_ed25519_key", keys.host.read_text(encoding="ascii"), mode=0o600)
        add("etc/ssh/ssh_host_ed25519_key.pub", keys.host_public)
        for account, number in ACCOUNTS.items():
            add(f"home/{account}/.ssh", "", mode=0o700, owner=number, kind=tarfile.DIRTYPE)
            add(f"home/{account}/.ssh/authorized_keys", keys.client_public, mode=0o600, owner=number)
        for number, certificate in enumerate(extra_authorities(), start=1):
            add(f"{AUTHORITIES[1:]}/host-{number}.crt", certificate)
    return buffer.getvalue()


def trust_script(authority: str) -> str:
    """Return a shell script that makes the machine trust the lab's certificate authority too."""
    return f"""set -eu
umask 022
mkdir -p {AUTHORITIES}
cat > {AUTHORITIES}/lab-ca.crt <<'EOF'
{authority.strip()}
EOF
update-ca-certificates >/dev/null
"""
