# SPDX-License-Identifier: GPL-3.0-or-later
"""The index URLs that are written into the clients' files, and how they are told from others. Pure."""

from __future__ import annotations

import re
import typing as t

if t.TYPE_CHECKING:
    from ._validate import Repository

__all__ = ["USER", "index_of", "is_ours", "is_publish_url", "masked", "same_url"]

#: The user name for an access token; the clients only ask a keyring where a URL names a user.
USER = "oauth2accesstoken"

_HOST = r"[a-z0-9-]+-python\.pkg\.dev"
_OURS = re.compile(rf"https://{USER}@{_HOST}/[^/?#]+/[^/?#]+/simple/?", re.IGNORECASE)
_PUBLISH = re.compile(rf"https://{_HOST}/[^/?#]+/[^/?#]+/?", re.IGNORECASE)
_WORD = re.compile(r"[^\s\"'<>]+")
_SECRET = re.compile(r"pass|token|secret|credential|api.?key", re.IGNORECASE)


def index_of(repository: Repository) -> str:
    """The repository's index URL with the user."""
    return f"https://{USER}@{(repository.index_url or '')[len('https://') :]}"


def is_ours(url: object) -> bool:
    """Whether it is the index of a repository in Artifact Registry with our user and no password."""
    return isinstance(url, str) and _OURS.fullmatch(url) is not None


def is_publish_url(url: str) -> bool:
    """Whether it is where packages are uploaded to a repository in Artifact Registry."""
    return _PUBLISH.fullmatch(url) is not None


def same_url(one: object, other: object) -> bool:
    """Equal but for a slash at the end."""
    return isinstance(one, str) and isinstance(other, str) and one.rstrip("/") == other.rstrip("/")


def masked(text: str) -> str:
    """The text without secrets: users and passwords in URLs but ours, and values of keys that say so.

    What is indented below such a value goes with it, and comments directly below it.
    """
    shown: list[str] = []
    blank = False
    level = -1  # the indentation of the secret's key
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        content = line.strip()
        indent = len(line) - len(line.lstrip())
        if level >= 0 and content and (indent > level or (content[0] in "#;" and not blank)):
            shown.append(f"{line[:indent]}***")
            blank = False
            continue
        key, delimiter = _divided(line)
        if delimiter and _SECRET.search(key):
            shown.append(f"{key}{delimiter} ***")
            level, blank = indent, False
            continue
        blank = not content
        level = level if blank else -1
        shown.append(_WORD.sub(lambda word: _without_user(word[0]), line))
    return "\n".join(shown)


def _divided(line: str) -> tuple[str, str]:
    """What comes before the first C(=) or C(:), and which of them it is."""
    found = re.match(r"[^=:]*", line)
    end = found.end() if found else 0
    return line[:end], line[end : end + 1]


def _without_user(word: str) -> str:
    start, end = word.find("//"), word.rfind("@")
    if not 0 <= start < end or word[start + 2 : end] == USER:
        return word
    return f"{word[:start]}//***{word[end:]}"
