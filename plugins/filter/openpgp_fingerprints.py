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

#: One block of RFC 9580, section 6.2, strictly: apt and gpg must find no other key in the file than we do.
_BLOCK = re.compile(
    r"-----BEGIN PGP PUBLIC KEY BLOCK-----\n"
    r"(?:[A-Za-z-]+: [^\n]*\n)*\n"
    r"(?P<data>(?:[A-Za-z0-9+/]+={0,2}\n)+)"
    r"(?:=[A-Za-z0-9+/]{4}\n)?"
    r"-----END PGP PUBLIC KEY BLOCK-----\s*"
)
_PUBLIC_KEY = 6
#: Signature, trust, user ID, public subkey, user attribute, marker, padding: what may stand beside a key.
_COMPANIONS = {2, 10, 12, 13, 14, 17, 21}


def fingerprints(armoured: str) -> list[str]:
    """Return the fingerprint of each primary public key.

    :raises ValueError: no public key, a damaged packet, or something else than public keys.
    """
    blocks = [_decode(data) for data in _blocks(armoured)]
    found = [_fingerprint(body) for block in blocks for tag, body in _packets(block) if tag == _PUBLIC_KEY]
    if not found:
        raise ValueError("there is no OpenPGP public key in it")
    return found


def _blocks(armoured: str) -> list[str]:
    """The base64 text of each block; anything else in the file is an error."""
    text = re.sub(r"[ \t\r]+$", "", armoured.lstrip(), flags=re.MULTILINE)
    blocks: list[str] = []
    position = 0
    while position < len(text):
        match = _BLOCK.match(text, position)
        if match is None:
            line = text.count("\n", 0, position) + 1
            raise ValueError(
                f"it holds something else than armoured OpenPGP public keys, from line {line} on"
            )
        blocks.append(match["data"])
        position = match.end()
    return blocks


def _decode(data: str) -> bytes:
    try:
        return base64.b64decode(data.replace("\n", ""), validate=True)
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
