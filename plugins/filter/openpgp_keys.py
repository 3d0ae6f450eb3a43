# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that takes an ASCII-armoured OpenPGP file of public keys apart, without gpg."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import time
import typing as t

from ansible.errors import AnsibleFilterError

__all__ = ["FilterModule", "keys", "only"]

DOCUMENTATION = r"""
name: openpgp_keys
short_description: Take a file of OpenPGP public keys apart
description:
  - Reads an ASCII-armoured file of public keys (RFC 4880 and RFC 9580, key versions 4 and 6) and returns each
    primary key by itself. No gpg is needed, on neither side.
  - Anything but public keys with their user IDs, signatures and subkeys is an error.
  - Signatures are not verified; that is for who uses the key.
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
- name: Show whose keys these are
  ansible.builtin.debug:
    msg: "{{ text | devbox.artifact_registry.openpgp_keys | map(attribute='fingerprint') }}"
  vars:
    text: "{{ lookup('ansible.builtin.file', 'key.asc') }}"
"""

RETURN = r"""
_value:
  description: The keys, in the order of the file.
  type: list
  elements: dict
  contains:
    fingerprint:
      description: In capitals, without spaces.
      type: str
    expires:
      description: The day on which the key ends, such as V(2027-03-01); empty where it does not expire.
      type: str
    expired:
      description: Whether that is over.
      type: bool
"""

#: One block of RFC 9580, section 6.2, strictly: apt and gpg must find no other key in the file than we do.
_BLOCK = re.compile(
    r"-----BEGIN PGP PUBLIC KEY BLOCK-----\n"
    r"(?:[A-Za-z-]+: [^\n]*\n)*\n"
    r"(?P<data>(?:[A-Za-z0-9+/]+={0,2}\n)+)"
    r"(?:=[A-Za-z0-9+/]{4}\n)?"
    r"-----END PGP PUBLIC KEY BLOCK-----\s*"
)
_BEGIN = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
_END = "-----END PGP PUBLIC KEY BLOCK-----"
_SIGNATURE = 2
_PUBLIC_KEY = 6
_SUBKEYS = (14,)
#: Certifications of a user ID, and signatures directly on a key (RFC 9580, section 5.2.1).
_ON_ITSELF = (b"\x10", b"\x11", b"\x12", b"\x13", b"\x1f")
#: Types of subpackets (RFC 9580, section 5.2.3.7).
_MADE = 2
_KEY_LIFETIME = 9
#: Signature, trust, user ID, public subkey, user attribute, marker, padding: what may stand beside a key.
_COMPANIONS = {2, 10, 12, 13, 14, 17, 21}


def keys(armoured: str) -> list[dict[str, t.Any]]:
    """Return what there is to know of each primary public key.

    :raises ValueError: no public key, a damaged packet, or something else than public keys.
    """
    found = []
    for packets in _split(armoured):
        expiry = _expiry(packets)
        found.append(
            {
                "fingerprint": _fingerprint(packets[0][1]),
                "expires": "" if expiry is None else time.strftime("%Y-%m-%d", time.gmtime(expiry)),
                "expired": expiry is not None and expiry <= time.time(),
            }
        )
    return found


def only(armoured: str, fingerprints: t.Iterable[str]) -> str:
    """Return one block with the keys of these fingerprints, and what belongs to them; empty without any.

    :raises ValueError: as above.
    """
    wanted = set(fingerprints)
    chosen = [packets for packets in _split(armoured) if _fingerprint(packets[0][1]) in wanted]
    return _armour([packet for packets in chosen for packet in packets]) if chosen else ""


def _split(armoured: str) -> list[list[tuple[int, bytes]]]:
    """The packets of each primary key, its own first."""
    found: list[list[tuple[int, bytes]]] = []
    for data in _blocks(armoured):
        for tag, body in _packets(_decode(data)):
            if tag == _PUBLIC_KEY:
                found.append([])
            if found:  # what stands before the first key belongs to none
                found[-1].append((tag, body))
    if not found:
        raise ValueError("there is no OpenPGP public key in it")
    for packets in found:
        _fingerprint(packets[0][1])
    return found


def _expiry(packets: t.Sequence[tuple[int, bytes]]) -> int | None:
    """When the key ends, by its newest signature on itself (RFC 9580, section 5.2.3.13)."""
    newest, lifetime = -1, 0
    for tag, body in packets[1:]:
        if tag in _SUBKEYS:
            break  # what follows is on a subkey
        if tag != _SIGNATURE or body[:1] not in (b"\x04", b"\x06") or body[1:2] not in _ON_ITSELF:
            continue
        subpackets = _subpackets(body)
        made = int.from_bytes(subpackets.get(_MADE, b""), "big")
        if made > newest:
            newest, lifetime = made, int.from_bytes(subpackets.get(_KEY_LIFETIME, b""), "big")
    return int.from_bytes(packets[0][1][1:5], "big") + lifetime if lifetime else None


def _subpackets(signature: bytes) -> dict[int, bytes]:
    """The hashed subpackets of a signature by type (RFC 9580, section 5.2.3.7)."""
    size = 2 if signature[0] == 4 else 4
    length = int.from_bytes(signature[4 : 4 + size], "big")
    data = signature[4 + size : 4 + size + length]
    found: dict[int, bytes] = {}
    position = 0
    while position < len(data):
        span, header = _new_length(data[position : position + 5], partial=False)
        body = data[position + header : position + header + span]
        if not span or len(body) < span:
            raise ValueError("damaged OpenPGP data")
        found.setdefault(body[0] & 0x7F, body[1:])
        position += header + span
    return found


def _armour(packets: t.Iterable[tuple[int, bytes]]) -> str:
    """Return one block, with the checksum that rpm wants (RFC 4880, section 6.1)."""
    data = b"".join(bytes([0xC0 | tag, 255]) + len(body).to_bytes(4, "big") + body for tag, body in packets)
    checksum = 0xB704CE
    for byte in data:
        checksum ^= byte << 16
        for _bit in range(8):
            checksum = (checksum << 1) ^ (0x1864CFB if checksum & 0x800000 else 0)
    text = base64.b64encode(data).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    check = base64.b64encode(checksum.to_bytes(3, "big")).decode()
    return "\n".join([f"{_BEGIN}\n", *lines, f"={check}", f"{_END}\n"])


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


def _new_length(header: bytes, *, partial: bool = True) -> tuple[int, int]:
    """A length and its size (RFC 9580, section 4.2.1; without partial lengths as in 5.2.3.7)."""
    if header and header[0] < 192:
        return header[0], 1
    if len(header) > 1 and header[0] < (224 if partial else 255):
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


def _strictly(work: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    """The filter that says what is wrong with a file."""

    def run(*arguments: t.Any) -> t.Any:
        try:
            return work(*arguments)
        except ValueError as error:
            raise AnsibleFilterError(f"not a usable key file: {error}") from None

    return run


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, object]:
        return {"openpgp_keys": _strictly(keys), "openpgp_only": _strictly(only)}
