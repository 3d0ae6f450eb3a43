# SPDX-License-Identifier: GPL-3.0-or-later
"""A token that something else on the machine keeps in a file: JSON with its expiry, or the bare token."""

from __future__ import annotations

import datetime
import json
import re
import time
import typing as t

from gar_auth.errors import Exit, Failure, Reason
from gar_auth.source import UNKNOWN_LIFETIME, Reply, is_token, lifetime_of

__all__ = ["parse", "seconds_until"]

# RFC 3339, also with a space, without a zone (then UTC), and with any fraction of a second
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:[.,]\d{1,9})?(Z|z|[+-]\d\d:\d\d)?")
_FORMS = '{"access_token": ..., "expiry": RFC 3339 or seconds since 1970}, or the bare token'


def parse(content: bytes, *, path: str, written: float | None) -> Reply:
    """The token in the file.

    :param written: when the file was last written, None where that cannot be seen: then what does not name
        the time of its end counts from when it was first seen.
    :raises Failure: none that could be used (78), or one that has expired (75).
    """
    try:
        text = content.decode("utf-8-sig").strip()
        data = json.loads(text) if text.startswith("{") else {"access_token": text}
    except (ValueError, RecursionError):
        raise _unusable(path) from None
    token = data.get("access_token", data.get("token"))
    if not is_token(token):
        raise _unusable(path)
    if "expiry" not in data:
        lifetime = lifetime_of(data.get("expires_in", UNKNOWN_LIFETIME))
        if lifetime is None:
            raise _unusable(path)
        age = 0 if written is None else max(0, round(time.time() - written))
        if written is None or "expires_in" not in data:
            # who writes a bare token may write the same one again
            return Reply(token=token, lifetime=lifetime, from_seen=True, age=age)
        left: int | None = lifetime - age
    else:
        left = seconds_until(data["expiry"])
    if left is None:
        raise _unusable(path)
    lifetime = lifetime_of(left)
    if lifetime is not None:
        return Reply(token=token, lifetime=lifetime)
    raise Failure(
        f"the token in {path} has expired; see to it that a new one is put there",
        code=Exit.TEMPORARY,
        reason=Reason.FILE,
    )


def seconds_until(value: t.Any) -> int | None:
    """From now to a time, as seconds since 1970 or RFC 3339; None where it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        try:
            return int(value - time.time())
        except (ValueError, OverflowError):  # NaN, infinity
            return None
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    zone = "+00:00" if found[3] in (None, "Z", "z") else found[3]
    try:
        moment = datetime.datetime.fromisoformat(f"{found[1]}T{found[2]}{zone}").timestamp()
    except (ValueError, OverflowError):
        return None
    return int(moment - time.time())


def _unusable(path: str) -> Failure:
    message = f"{path} holds no usable token; put it there as {_FORMS}"
    return Failure(message, code=Exit.CONFIGURATION, reason=Reason.FILE)
