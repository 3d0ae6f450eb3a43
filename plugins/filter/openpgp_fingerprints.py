# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that lists the fingerprints of the keys in an ASCII-armoured OpenPGP file, without gpg."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from ansible.errors import AnsibleFilterError

__all__ = ["FilterModule", "fingerprints"]

DOCUMENTATION = r"""
name: openpgp_fingerprints
short_description: List the fingerprints of the public keys in an OpenPGP file
description:
  - Reads an ASCII-armoured file of public keys (RFC 4880 and RFC 9580, key versions 4 and 6) and returns the
    fingerprint of each primary key. No gpg is needed, on neither side.
  - Anything but public keys with their user IDs, signatures and subkeys is an error.
version_added: 0.1.0
author: devbox.artifact_registry contributors (@devbox)
positional: _input
options:
  _input:
    description: The armoured text.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show whose key it is
  ansible.builtin.debug:
    msg: "{{ lookup('ansible.builtin.file', 'key.asc') | devbox.artifact_registry.openpgp_fingerprints }}"
"""

RETURN = r"""
_value:
  description: The fingerprints, in capitals, without spaces, in the order of the file.
  type: list
  elements: str
"""

_BLOCK = re.compile(
    r"-----BEGIN PGP PUBLIC KEY BLOCK-----[ \t]*\r?\n(?P<body>.*?)-----END PGP PUBLIC KEY BLOCK-----",
    re.DOTALL,
)
_PUBLIC_KEY = 6
#: Signature, trust, user ID, public subkey, user attribute, marker, padding: what may stand beside a key.
_COMPANIONS = {2, 10, 12, 13, 14, 17, 21}


def fingerprints(armoured: str) -> list[str]:
    """Return the fingerprint of each primary public key.

    :raises ValueError: no public key, a damaged packet, or something else than public keys.
    """
    blocks = [_dearmour(match["body"]) for match in _BLOCK.finditer(armoured)]
    found = [_fingerprint(body) for block in blocks for tag, body in _packets(block) if tag == _PUBLIC_KEY]
    if not found:
        raise ValueError("there is no armoured OpenPGP public key in it")
    return found


def _dearmour(body: str) -> bytes:
    data = body.replace("\r", "")
    if ":" in data:  # armour headers, up to an empty line
        data = data.partition("\n\n")[2]
    lines = [line.strip() for line in data.splitlines()]
    try:
        # A line that starts with "=" holds the optional CRC, which says nothing about authenticity.
        return base64.b64decode("".join(line for line in lines if not line.startswith("=")), validate=True)
    except binascii.Error as error:
        raise ValueError(f"the armour is damaged: {error}") from error


def _packets(data: bytes) -> list[tuple[int, bytes]]:
    """Split OpenPGP data into packets (RFC 9580, section 4.2): tag and body."""
    packets: list[tuple[int, bytes]] = []
    position = 0
    while position < len(data):
        first = data[position]
        if not first & 0x80:
            raise ValueError("damaged OpenPGP data")
        if first & 0x40:
            tag, (length, header) = first & 0x3F, _new_length(data[position + 1 : position + 6])
        else:
            tag, size = (first >> 2) & 0x0F, 1 << (first & 0x03)
            length, header = int.from_bytes(data[position + 1 : position + 1 + size], "big"), size
            if size == 8:
                raise ValueError("OpenPGP packets of undefined length are not supported")
        start = position + 1 + header
        if start + length > len(data):
            raise ValueError("the OpenPGP data ends in the middle of a packet")
        if tag != _PUBLIC_KEY and tag not in _COMPANIONS:
            raise ValueError(f"an OpenPGP packet of type {tag} does not belong into a file of public keys")
        packets.append((tag, data[start : start + length]))
        position = start + length
    return packets


def _new_length(header: bytes) -> tuple[int, int]:
    if header and header[0] < 192:
        return header[0], 1
    if len(header) > 1 and header[0] < 224:
        return ((header[0] - 192) << 8) + header[1] + 192, 2
    if len(header) == 5 and header[0] == 255:
        return int.from_bytes(header[1:], "big"), 5
    raise ValueError("OpenPGP packets of partial length are not supported")


def _fingerprint(body: bytes) -> str:
    """Compute a key's fingerprint (RFC 9580, section 5.5.4)."""
    if body[:1] == b"\x04":
        # SHA-1 is what OpenPGP defines for version 4.
        return (
            hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body, usedforsecurity=False)
            .hexdigest()
            .upper()
        )
    if body[:1] == b"\x06":
        return hashlib.sha256(b"\x9b" + len(body).to_bytes(4, "big") + body).hexdigest().upper()
    raise ValueError("only OpenPGP keys of version 4 and 6 are supported")


def _filter(armoured: str) -> list[str]:
    try:
        return fingerprints(armoured)
    except ValueError as error:
        raise AnsibleFilterError(f"not a usable key file: {error}") from None


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, object]:
        return {"openpgp_fingerprints": _filter}
