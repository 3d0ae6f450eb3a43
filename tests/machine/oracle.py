# SPDX-License-Identifier: GPL-3.0-or-later
"""What the index says to a token, and which token a user holds."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable

from lab.machines import Machine

__all__ = ["INDEX_URL", "NAME", "USERS", "answer", "eventually", "force_refresh", "token_of"]

NAME = "private-repo"
INDEX_URL = "https://europe-west1-python.pkg.dev/demo-project/python/simple/"
USERS = ("dev", "ops")

_ASK = """\
import base64, urllib.error, urllib.request
login = base64.b64encode(b"oauth2accesstoken:" + TOKEN).decode()
request = urllib.request.Request(URL, headers={"Authorization": "Basic " + login})
try:
    print(urllib.request.urlopen(request, timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


def token_of(machine: Machine, user: str) -> str:
    """Return the token in the user's auth.toml, read by that user."""
    text = machine.ssh(user, "cat ~/.config/pypoetry/auth.toml", check=True).stdout
    entry = tomllib.loads(text)["http-basic"][NAME]
    assert entry["username"] == "oauth2accesstoken"
    return str(entry["password"])


def answer(machine: Machine, token: str) -> int:
    """Return the status that the index answers to a token, asked from the machine over verified TLS."""
    script = _ASK.replace("TOKEN", repr(token.encode())).replace("URL", repr(INDEX_URL))
    return int(machine.ssh("dev", "python3 -I -", input=script, check=True).stdout)


def eventually(condition: Callable[[], bool], *, seconds: float) -> float:
    """Wait until the condition holds; return how many seconds that took, or fail after so many."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, f"not within {seconds:.0f} s"
        time.sleep(0.2)
    return time.monotonic() - start


def force_refresh(machine: Machine) -> None:
    """Revoke every token and wait until both users hold another one that the index accepts."""
    machine.control.revoke_all()

    def good() -> bool:
        valid = {token.value for token in machine.control.tokens() if token.valid}
        return all(token_of(machine, user) in valid for user in USERS)

    eventually(good, seconds=60)
