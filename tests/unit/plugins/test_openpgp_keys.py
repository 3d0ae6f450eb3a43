# SPDX-License-Identifier: GPL-3.0-or-later
"""Armoured keys taken apart, compared with what gpg says; and that no key in a file is overlooked."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.devbox.artifact_registry.plugins.filter.openpgp_keys import FilterModule, keys, only

BEGIN, END = "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"
KEY = f"""\
{BEGIN}

mDMEawMm/RYJKwYBBAHaRw8BAQdA65S8cbrGbVUJ7KmoplcZfE1Qo14Be/ldNJ1W
rmJSSVC0HFVuaXQgdGVzdCA8dW5pdEBleGFtcGxlLmNvbT6IkAQTFggAOBYhBJAF
mE7ERDuxp5/AXe1ojY/PyJ7ABQJrAyb9AhsDBQsJCAcCBhUKCQgLAgQWAgMBAh4B
AheAAAoJEO1ojY/PyJ7AhpEA/0zK9nUe2Hvq3Zfm42sntS7jsrr+omfDEp3XjCn6
Xnp3AP9e535rmciKGZdUEwaiDh2vS91Oc4gAB/n6mmUEgKJqDQ==
=mG9y
{END}
"""
FINGERPRINT = "9005984EC4443BB1A79FC05DED688D8FCFC89EC0"
Gpg = Callable[..., str]


def block(*packets: bytes, headers: str = "") -> str:
    return f"{BEGIN}\n{headers}\n{base64.b64encode(b''.join(packets)).decode()}\n{END}\n"


def packet(tag: int, body: bytes) -> bytes:
    return bytes([0xC0 | tag, 255]) + len(body).to_bytes(4, "big") + body


def fingerprints(text: str) -> list[str]:
    return [one["fingerprint"] for one in keys(text)]


PUBLIC = packet(6, b"\x04key")
EVIL = packet(6, b"\x04evil")


@pytest.fixture
def gpg(tmp_path: Path) -> Iterator[Gpg]:
    if shutil.which("gpg") is None:
        pytest.skip("gpg is not installed")
    directory = tmp_path / "gpg"
    directory.mkdir(mode=0o700)
    environment = {**os.environ, "GNUPGHOME": str(directory), "LC_ALL": "C"}

    def run(*arguments: str, stdin: str = "") -> str:
        command = ["gpg", "--batch", "--quiet", "--passphrase", "", "--pinentry-mode", "loopback", *arguments]
        return subprocess.run(
            command, env=environment, check=True, capture_output=True, text=True, timeout=30, input=stdin
        ).stdout

    yield run
    subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=False)


def test_a_key_whose_fingerprint_is_known() -> None:
    assert fingerprints(KEY) == [FINGERPRINT]
    assert fingerprints(f"\n{KEY}\n\n{KEY}") == [FINGERPRINT] * 2
    assert fingerprints(KEY.replace("\n", "\r\n")) == [FINGERPRINT]
    assert fingerprints(KEY.replace(f"{BEGIN}\n", f"{BEGIN}\nVersion: GnuPG v1\nComment: a: b\n")) == [
        FINGERPRINT
    ]


@pytest.mark.parametrize("algorithm", ["rsa2048", "ed25519"])
def test_the_same_as_gpg_says(gpg: Gpg, algorithm: str) -> None:
    gpg("--quick-gen-key", "One <one@example.com>", algorithm, "sign", "never")
    gpg("--quick-gen-key", "Two <two@example.com>", "ed25519", "sign", "never")
    listed = gpg("--list-keys", "--with-colons")
    expected = [line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr")]
    gpg("--quick-add-key", expected[0], "ed25519" if algorithm == "ed25519" else "rsa2048", "sign", "never")
    together = gpg("--armor", "--export")
    apart = "".join(gpg("--armor", "--export", fingerprint) for fingerprint in expected)
    assert fingerprints(together) == fingerprints(apart) == expected
    with pytest.raises(ValueError, match="something else than armoured OpenPGP public keys"):
        fingerprints(gpg("--armor", "--export-secret-keys"))


@pytest.mark.parametrize("algorithm", ["rsa2048", "ed25519"])
def test_only_the_chosen_keys_are_what_gpg_takes(gpg: Gpg, algorithm: str) -> None:
    for name in ("one", "two", "three"):
        gpg("--quick-gen-key", f"{name} <{name}@example.com>", algorithm, "sign", "never")
    text = gpg("--armor", "--export")
    every = fingerprints(text)
    gpg("--yes", "--delete-secret-and-public-key", *every)
    for chosen in ([every[1]], [every[2], every[0]], every):
        gpg("--import", stdin=only(text, chosen))
        listed = gpg("--check-signatures", "--with-colons")
        assert {line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr")} == set(chosen)
        assert listed.count("sig:!:") == len(chosen)
        gpg("--yes", "--delete-keys", *chosen)
    assert only(text, ["0" * 40]) == ""
    assert keys(only(text, every)) == keys(text)


def test_when_a_key_ends(gpg: Gpg) -> None:
    past = "--faked-system-time=20240101T000000"
    gpg(past, "--quick-gen-key", "One <one@example.com>", "ed25519", "sign", "1m")
    gpg(past, "--quick-gen-key", "Two <two@example.com>", "ed25519", "sign", "20y")
    gpg("--quick-gen-key", "Three <three@example.com>", "ed25519", "sign", "never")
    found = keys(gpg("--armor", "--export"))
    assert [(one["expires"], one["expired"]) for one in found] == [
        ("2024-01-31", True),
        ("2043-12-27", False),
        ("", False),
    ]
    gpg("--quick-set-expire", found[0]["fingerprint"], "0")  # the newest signature counts
    (longer,) = keys(gpg("--armor", "--export", found[0]["fingerprint"]))
    assert (longer["expires"], longer["expired"]) == ("", False)


def test_every_key_of_a_block_is_listed() -> None:
    assert len(fingerprints(block(PUBLIC, packet(13, b"user"), EVIL))) == 2
    assert fingerprints(block(packet(6, b"\x06key"))) != fingerprints(block(PUBLIC))


@pytest.mark.parametrize(
    "hidden",
    [
        block(EVIL).replace("KEY BLOCK-----\n\n", "KEY BLOCK----- \t.\n\n"),
        block(EVIL).replace("PUBLIC KEY BLOCK", "MESSAGE"),
        block(EVIL).replace("PUBLIC KEY BLOCK", "PRIVATE KEY BLOCK"),
        block(EVIL).replace(END, ""),
        f"-----BEGIN\n\n{base64.b64encode(EVIL).decode()}\n-----END\n",
        base64.b64encode(EVIL).decode(),
        "not a key at all\n",
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_nothing_may_stand_beside_the_blocks_where_apt_could_see_a_key(hidden: str, first: bool) -> None:
    # apt reads whatever stands between lines that start with -----BEGIN and -----END.
    with pytest.raises(ValueError, match="something else than armoured OpenPGP public keys, from line"):
        fingerprints(f"{hidden}{KEY}" if first else f"{KEY}{hidden}")


@pytest.mark.parametrize("separator", ["=a: b\n\n", "Comment: b\n\n", "\n", "-x: y\n\n", "# x: y\n\n"])
def test_no_key_hides_before_something_like_armour_headers(separator: str) -> None:
    evil, public = (base64.b64encode(key).decode() for key in (EVIL, PUBLIC))
    with pytest.raises(ValueError, match="something else"):
        fingerprints(f"{BEGIN}\n\n{evil}\n{separator}{public}\n{END}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no OpenPGP public key in it"),
        (
            "<html>Not found</html>",
            "it holds something else than armoured OpenPGP public keys, from line 1 on",
        ),
        (
            KEY.replace("mDM", "m!M"),
            "it holds something else than armoured OpenPGP public keys, from line 1 on",
        ),
        (KEY.replace("mDM", "mDMA"), "the armour is damaged: "),
        (block(b"\x00" + PUBLIC), "damaged OpenPGP data"),
        (block(PUBLIC[:-1]), "the OpenPGP data ends in the middle of a packet"),
        (block(PUBLIC, b"\x98"), "the OpenPGP data ends in the middle of a packet"),
        (block(b"\x9b\x04key"), "OpenPGP packets of undefined length are not supported"),
        (block(bytes([0xC6, 0xE1]) + b"\x04key"), "OpenPGP packets of partial length are not supported"),
        (block(packet(6, b"\x03key")), "only OpenPGP keys of version 4 and 6 are supported"),
        (block(packet(6, b"")), "only OpenPGP keys of version 4 and 6 are supported"),
        (block(PUBLIC, packet(5, b"\x04secret")), "an OpenPGP packet of type 5 does not belong"),
        (block(packet(8, PUBLIC)), "an OpenPGP packet of type 8 does not belong"),
        (block(packet(14, b"\x04sub")), "there is no OpenPGP public key in it"),
    ],
)
def test_what_is_no_file_of_public_keys(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        fingerprints(text)
    with pytest.raises(AnsibleFilterError, match=f"not a usable key file: {message}"):
        FilterModule().filters()["openpgp_keys"](text)  # type: ignore[operator]
