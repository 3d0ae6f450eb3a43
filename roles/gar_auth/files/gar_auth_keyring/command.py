# SPDX-License-Identifier: GPL-3.0-or-later
"""The command C(keyring), as pip and uv call it: C(keyring get URL USER), without keyring and fast.

pip runs C(keyring get URL USER), or C(keyring --mode creds --output json get URL USER) where its keyring
knows that; uv runs C(keyring get URL USER), or C(keyring --mode creds get URL) without a user name.
"""

from __future__ import annotations

import sys

from gar_auth_keyring.lookup import USERNAME, token

__all__ = ["main"]

_USAGE = "usage: keyring [--mode password|creds] [--output plain|json] get URL [USER]"


def main(arguments: list[str]) -> int:
    """Print the token; 1 without one, 2 for what this command does not do."""
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
    known = mode in ("password", "creds") and output in ("plain", "json")
    if (
        not known
        or rest[:1] != ["get"]
        or len(rest) not in (2, 3)
        or any(one.startswith("-") for one in rest)
    ):
        print(f"gar-auth: this command only reads tokens; {_USAGE}", file=sys.stderr)
        return 2
    value = token(rest[1], rest[2] if len(rest) == 3 else None)
    if value is None:
        return 1
    if output == "json":
        import json

        shown = {"password": value} if mode == "password" else {"username": USERNAME, "password": value}
        print(json.dumps(shown))
    else:
        print(value if mode == "password" else f"{USERNAME}\n{value}")
    return 0
