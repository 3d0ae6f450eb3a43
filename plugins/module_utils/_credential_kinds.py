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

__all__ = ["KINDS", "MOST_BYTES", "in_bytes", "in_named_file", "is_named"]

KINDS = {
    "access_token": "an access token of Google's",
    "refresh_token": "a refresh token, as in a login",
    "service_account_key": "the key of a service account, or another one in JSON or base64",
    "private_key": "a private key in PEM",
    "pypi_token": "a token to publish on PyPI",
    "gcloud_login": "a login in one of gcloud's stores",
    "poetry_credentials": "a password or token in Poetry's configuration",
    "netrc_password": "a password in a netrc file",
    "password_in_configuration": "a password in the configuration of pip, uv, twine or git",
    "password_in_environment": "a password or token in a variable of Poetry, gcloud, pip, uv or twine",
}

#: A pattern sees at most so many bytes on either side of the place where its anchor was found.
MOST_BYTES = 16 * 1024
_BEFORE = 200

_BASE64 = rb"[A-Za-z0-9+/=_-]"
#: From base64 for URLs.
_STANDARD = bytes.maketrans(b"-_", b"+/")
#: A line of a PEM or JSON file may end in a newline or in one that is spelled out, once more for each string
#: of JSON that the text is a part of.
_ENDS = rb"(?:\\+[rn]|[\r\n\t ])"
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
_ACCESS_TOKEN = re.compile(rb"ya29\.[A-Za-z0-9._-]{20}")
_KEY_IN_JSON = re.compile(rb"\"private_key\\*\"\s*:\s*\\*\"" + _PEM)
#: A URL that carries a password; the name of a variable is none.
_URL = r"""\bhttps?://[^\s/@:"']*:(?![$<{]|\*+@)[^\s/@"']+@"""
#: The name of a repository within a variable's name.
_NAME = rb"_[A-Za-z0-9_.]{1,100}"
#: Between a name and its value, where each may be quoted, within another string too.
_IS = rb"(?:\\*[\"'])?\s*[=:][ \t]*(?:\\*[\"'])?"
#: Any value but an empty one, a variable, a command or the place for a value in documentation.
_ASSIGNED = _IS + rb"(?![$<{`\"'\\])[!-~\x80-\xff]{8}"
_ASSIGNED_URL = _IS + rb"[^\r\n]{0,500}?" + _URL.encode()

#: By kind: bytes that have to be there, which are quick to look for, and the pattern around them.
_PATTERNS: tuple[tuple[str, bytes, re.Pattern[bytes]], ...] = (
    ("access_token", b"ya29.", _ACCESS_TOKEN),
    # HTTP's Basic authentication: base64 of oauth2accesstoken:, and of _json_key: or _json_key_base64:
    (
        "access_token",
        b"b2F1dGgyYWNjZXNzdG9rZW46",
        re.compile(rb"b2F1dGgyYWNjZXNzdG9rZW46[A-Za-z0-9+/_-]{20}"),
    ),
    ("service_account_key", b"X2pzb25fa2V5", re.compile(rb"X2pzb25fa2V5[A-Za-z0-9+/_-]{100}")),
    ("refresh_token", b"1//0", re.compile(rb"(?<![A-Za-z0-9._~/-])(?<!::)1//0[A-Za-z0-9_-]{30}")),
    ("refresh_token", b"refresh_token", re.compile(rb"\"refresh_token\"\s*:\s*\"[A-Za-z0-9._~/+-]{40}")),
    ("private_key", b"PRIVATE KEY", _PRIVATE_KEY),
    ("pypi_token", b"pypi-AgE", re.compile(rb"pypi-AgE[A-Za-z0-9_-]{60}")),
    *(
        ("password_in_environment", anchor, re.compile(pattern))
        for anchor, pattern in (
            (
                b"_PASSWORD",
                rb"(?:POETRY_HTTP_BASIC" + _NAME + rb"|UV_INDEX" + _NAME + rb"|TWINE)_PASSWORD" + _ASSIGNED,
            ),
            (b"POETRY_PYPI_TOKEN_", rb"POETRY_PYPI_TOKEN" + _NAME + _ASSIGNED),
            (b"CLOUDSDK_AUTH_ACCESS_TOKEN", rb"CLOUDSDK_AUTH_ACCESS_TOKEN" + _ASSIGNED),
            (b"_INDEX", rb"(?:(?:PIP|UV)_(?:EXTRA_)?INDEX_URL|UV_(?:DEFAULT_)?INDEX)" + _ASSIGNED_URL),
        )
    ),
)

#: By kind: base64 of PRIVATE KEY or ya29. wherever in a text it begins, without the characters that its
#: neighbours change, and the pattern of what is decoded.
_ENCODED: tuple[tuple[str, tuple[bytes, ...], re.Pattern[bytes]], ...] = (
    ("service_account_key", (b"UFJJVkFURSBLRV", b"BSSVZBVEUgS0VZ", b"QUklWQVRFIEtFW"), _PRIVATE_KEY),
    ("access_token", (b"eWEyOS", b"lhMjku", b"5YTI5L"), _ACCESS_TOKEN),
)
_RUN = re.compile(rb"(?:" + _BASE64 + rb"|\\{1,4}[rn]|[\r\n][\t ]*)+")


def in_bytes(data: bytes) -> set[str]:
    """Return the kinds of all that looks like a credential."""
    found = {kind for kind, anchor, pattern in _PATTERNS if _matches(data, anchor, pattern)}
    if "private_key" in found and _matches(data, b"PRIVATE KEY", _KEY_IN_JSON):
        found.add("service_account_key")
    for kind, anchors, pattern in _ENCODED:
        if kind not in found and any(_holds_encoded(data, anchor, pattern) for anchor in anchors):
            found.add(kind)
    return found - {"private_key"} if "service_account_key" in found else found


def _matches(data: bytes, anchor: bytes, pattern: re.Pattern[bytes]) -> bool:
    """Search around each place where the anchor is; to look for those is many times faster than a pattern."""
    place = data.find(anchor)
    while place >= 0:
        if pattern.search(data, max(place - _BEFORE, 0), place + MOST_BYTES):
            return True
        place = data.find(anchor, place + MOST_BYTES // 2)
    return False


def _holds_encoded(data: bytes, anchor: bytes, pattern: re.Pattern[bytes]) -> bool:
    """Whether base64 around the anchor decodes to what is looked for, wherever it begins and is wrapped."""
    place = data.find(anchor)
    while place >= 0:
        runs = _RUN.finditer(data, max(place - _BEFORE, 0), place + MOST_BYTES // 2)
        run = next(run for run in runs if run.end() > place)
        text = re.sub(rb"\\+[rn]|[\r\n\t =]", b"", run[0]).translate(_STANDARD)
        if any(pattern.search(_decoded(text[skipped:])) for skipped in range(4)):
            return True
        # What else begins soon in the same run has been decoded with it.
        place = data.find(anchor, max(place + len(anchor), min(run.end(), place + MOST_BYTES // 4)))
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
    return bool(re.search(_URL, text))


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
#: What editors, people and Ansible append to the name of a file that they keep.
_KEPT = re.compile(
    r"(?:\.(?:bak|backup|old|orig|save)|(?:\.[0-9]+\.[0-9]{4}-[0-9]{2}-[0-9]{2}@[0-9:]{8})?~)+$"
)


def is_named(name: str) -> bool:
    """Whether a file is judged as a whole, too, by its name (without directories)."""
    return any(_KEPT.sub("", name) in names for _kind, names, _judge in _RULES)


def in_named_file(name: str, data: bytes) -> set[str]:
    """Return the kinds of credentials in a file whose name, or the one it had before, says what it is."""
    text = data.decode("utf-8", "replace")
    name = _KEPT.sub("", name)
    return {kind for kind, names, judge in _RULES if name in names and judge(text)}
