# SPDX-License-Identifier: GPL-3.0-or-later
"""What a credential looks like, in the bytes of any file and in files that are known by their names.

Pure functions. Of what is found only the kind is told, never a byte of the content. A pattern asks for a body
of real length, so that neither programs that look for credentials nor examples in documentation match it.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import typing as t

__all__ = ["KINDS", "MOST_BYTES", "NAMED", "in_bytes", "in_named_file"]

KINDS = {
    "access_token": "an access token of Google's",
    "refresh_token": "a refresh token, as in a login",
    "service_account_key": "the key of a service account, or another one in JSON or base64",
    "private_key": "a private key in PEM",
    "gcloud_login": "a login in one of gcloud's stores",
    "poetry_credentials": "a password or token in Poetry's configuration",
    "netrc_password": "a password in a netrc file",
    "password_in_configuration": "a password in the configuration of pip, uv, twine or git",
    "password_in_environment": "an assignment of a password or token to a variable of Poetry's or gcloud's",
}

#: A pattern sees at most so many bytes on either side of the place where its anchor was found.
MOST_BYTES = 16 * 1024
_BEFORE = 200

_BASE64 = rb"[A-Za-z0-9+/=_-]"
#: A line of a PEM or JSON file may end in a newline or in one that is spelled out.
_ENDS = rb"(?:\\r|\\n|[\r\n\t ])"
_PEM = (
    rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
    + _ENDS
    + rb"+(?:(?:Proc-Type|DEK-Info|Version|Comment|Hash): ?[^\r\n\\]*"
    + _ENDS
    + rb"+)*(?:"
    + _BASE64
    + _ENDS
    + rb"*){60}"
)
_PRIVATE_KEY = re.compile(_PEM)
_KEY_IN_JSON = re.compile(rb"\"private_key\"\s*:\s*\"" + _PEM)
_ASSIGNED = rb"[\"']?\s*[=:]\s*[\"']?[A-Za-z0-9._~+/-]{8}"

#: By kind: bytes that have to be there, which are quick to look for, and the pattern around them.
_PATTERNS: tuple[tuple[str, bytes, re.Pattern[bytes]], ...] = (
    ("access_token", b"ya29.", re.compile(rb"ya29\.[A-Za-z0-9._-]{20}")),
    # HTTP's Basic authentication: base64 of oauth2accesstoken:, and of _json_key: or _json_key_base64:
    (
        "access_token",
        b"b2F1dGgyYWNjZXNzdG9rZW46",
        re.compile(rb"b2F1dGgyYWNjZXNzdG9rZW46[A-Za-z0-9+/_-]{20}"),
    ),
    ("service_account_key", b"X2pzb25fa2V5", re.compile(rb"X2pzb25fa2V5[A-Za-z0-9+/_-]{100}")),
    ("refresh_token", b"1//0", re.compile(rb"(?<![A-Za-z0-9._~:/-])1//0[A-Za-z0-9_-]{30}")),
    ("refresh_token", b"refresh_token", re.compile(rb"\"refresh_token\"\s*:\s*\"[A-Za-z0-9._~/+-]{40}")),
    ("service_account_key", b"PRIVATE KEY", _KEY_IN_JSON),
    ("private_key", b"PRIVATE KEY", _PRIVATE_KEY),
    *(
        ("password_in_environment", anchor, re.compile(pattern + _ASSIGNED))
        for anchor, pattern in (
            (b"POETRY_HTTP_BASIC_", rb"POETRY_HTTP_BASIC_[A-Za-z0-9_.]+_PASSWORD"),
            (b"POETRY_PYPI_TOKEN_", rb"POETRY_PYPI_TOKEN_[A-Za-z0-9_.]+"),
            (b"CLOUDSDK_AUTH_ACCESS_TOKEN", rb"CLOUDSDK_AUTH_ACCESS_TOKEN"),
        )
    ),
)

#: base64 of PRIVATE KEY wherever in a text it begins, without the characters that its neighbours change.
_ENCODED = (b"UFJJVkFURSBLRV", b"BSSVZBVEUgS0VZ", b"QUklWQVRFIEtFW")
_RUN = re.compile(rb"(?:" + _BASE64 + rb"|\\n|[\r\n])+")


def in_bytes(data: bytes) -> set[str]:
    """Return the kinds of all that looks like a credential."""
    found = {kind for kind, anchor, pattern in _PATTERNS if _matches(data, anchor, pattern)}
    if any(_holds_encoded_key(data, anchor) for anchor in _ENCODED):
        found.add("service_account_key")
    return found - {"private_key"} if "service_account_key" in found else found


def _matches(data: bytes, anchor: bytes, pattern: re.Pattern[bytes]) -> bool:
    """Search around each place where the anchor is; to look for those is many times faster than a pattern."""
    place = data.find(anchor)
    while place >= 0:
        if pattern.search(data, max(place - _BEFORE, 0), place + MOST_BYTES):
            return True
        place = data.find(anchor, place + MOST_BYTES // 2)
    return False


def _holds_encoded_key(data: bytes, anchor: bytes) -> bool:
    """Whether base64 around the anchor decodes to a private key, wherever it begins and is wrapped."""
    place = data.find(anchor)
    while place >= 0:
        start = max(place - MOST_BYTES // 2, 0)
        window = data[start : place + MOST_BYTES // 2]
        for run in _RUN.finditer(window):
            if run.start() <= place - start < run.end():
                text = re.sub(rb"\\n|[\r\n=]", b"", run[0]).translate(bytes.maketrans(b"-_", b"+/"))
                if any(_PRIVATE_KEY.search(_decoded(text[skipped:])) for skipped in range(4)):
                    return True
        place = data.find(anchor, place + len(anchor))
    return False


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text[: len(text) // 4 * 4])
    except binascii.Error:
        return b""


def _poetry(text: str) -> bool:
    """Whether a Poetry configuration has a password or token; a user name alone is none."""
    section = ""
    for line in text.splitlines():
        words = line.strip().lstrip("# ")
        if words.startswith("["):
            section = words
        value = re.search(r"""=\s*(?:"{3}|'{3}|["'])[^"']""", words)
        if value and "pypi-token" in section + words:
            return True
        if (
            value
            and "http-basic" in section + words
            and re.search(r"""\bpassword["']?\s*=\s*["']+[^"']""", words)
        ):
            return True
    return False


def _netrc(text: str) -> bool:
    return bool(re.search(r"^[^#\n]*\bpassword\s+\S", text, re.MULTILINE))


def _url(text: str) -> bool:
    """Whether a URL carries a password; the name of a variable is none."""
    return bool(re.search(r"""\bhttps?://[^\s/@:"']*:(?![$<{]|\*+@)[^\s/@"']+@""", text))


def _pypirc(text: str) -> bool:
    return bool(re.search(r"^\s*password\s*[:=][ \t]*(?![$<{])\S", text, re.MULTILINE))


def _application_default(text: str) -> bool:
    """Whether there is a secret in it: the configuration of a federation is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return bool(text.strip())
    return not isinstance(found, dict) or found.get("type") != "external_account"


_RULES: tuple[tuple[str, tuple[str, ...], t.Callable[[str], bool]], ...] = (
    ("poetry_credentials", ("auth.toml", "config.toml", "poetry.toml"), _poetry),
    ("netrc_password", (".netrc", "_netrc", "netrc"), _netrc),
    (
        "password_in_configuration",
        ("pip.conf", "uv.toml", ".pypirc", "config.toml", "pyproject.toml", ".git-credentials"),
        _url,
    ),
    ("password_in_configuration", (".pypirc",), _pypirc),
    ("gcloud_login", ("application_default_credentials.json",), _application_default),
)
#: Names of files that are judged as a whole, too.
NAMED = frozenset(name for _kind, names, _judge in _RULES for name in names)


def in_named_file(name: str, data: bytes) -> set[str]:
    """Return the kinds of credentials in a file whose name (without directories) says what it is."""
    text = data.decode("utf-8", "replace")
    return {kind for kind, names, judge in _RULES if name in names and judge(text)}
