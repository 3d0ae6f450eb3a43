# SPDX-License-Identifier: GPL-3.0-or-later
"""The command C(keyring), as pip and uv call it: C(keyring get URL USER), without keyring and fast.

pip runs C(keyring get URL USER), or C(keyring --mode creds --output json get URL USER) where its keyring
knows that; uv runs C(keyring get URL USER), or C(keyring --mode creds get URL) without a user name. What is
not for one of our repositories is for the keyring command that would be found without this one.
"""

from __future__ import annotations

import os
import sys

from gar_auth_keyring.lookup import USERNAME, is_ours, token

__all__ = ["main"]

_USAGE = "usage: keyring [--mode password|creds] [--output plain|json] get URL [USER]"


def main(arguments: list[str]) -> int:
    """Print the token; 1 without one, 2 for what nobody here does."""
    options = {"--mode": "password", "--output": "plain"}
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        name, equals, given = word.partition("=")
        if name in options:
            options[name] = given if equals else next(words, "")
        else:
            rest.append(word)
    mode, output = options["--mode"], options["--output"]
    if (
        rest[:1] != ["get"]
        or len(rest) not in (2, 3)
        or mode not in ("password", "creds")
        or output not in ("plain", "json")
    ):
        _hand_on(arguments)
        print(f"gar-auth: this command only reads tokens; {_USAGE}", file=sys.stderr)
        return 2
    username = rest[2] if len(rest) == 3 else None
    if not is_ours(rest[1], username):
        _hand_on(arguments)
        return 1
    value = token(rest[1], username)
    if value is None:
        return 1
    if output == "json":
        import json

        shown = {"password": value} if mode == "password" else {"username": USERNAME, "password": value}
        print(json.dumps(shown))
    else:
        print(value if mode == "password" else f"{USERNAME}\n{value}")
    return 0


def _hand_on(arguments: list[str]) -> None:
    """Become the next keyring command on the PATH; return where there is none."""
    own = os.path.realpath(sys.argv[0])
    for place in os.environ.get("PATH", "").split(os.pathsep):
        path = os.path.join(place, "keyring")
        if place.startswith("/") and os.access(path, os.X_OK) and not _is_this(path, own):
            sys.stdout.flush()
            os.execv(path, [path, *arguments])  # noqa: S606 - what the user has called, without ours


def _is_this(path: str, own: str) -> bool:
    """Whether that is this command, or a copy of it elsewhere, which would hand on to this one."""
    found = os.path.realpath(path)
    if found == own:
        return True
    try:
        with open(found, "rb") as stream:
            return b"gar_auth_keyring" in stream.read(4096)
    except OSError:
        return True
