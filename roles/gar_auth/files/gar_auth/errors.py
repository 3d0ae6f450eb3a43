# SPDX-License-Identifier: GPL-3.0-or-later
"""Exit codes, classes of errors, and the one error type of the program."""

from __future__ import annotations

import enum
import typing as t

__all__ = ["Exit", "Failure", "Reason", "carried", "unpacked"]


class Exit(enum.IntEnum):
    """What the program's exit status says (sysexits.h)."""

    FINE = 0
    UNUSABLE = 65
    TEMPORARY = 75
    REFUSED = 77
    CONFIGURATION = 78


class Reason(str, enum.Enum):
    """The class of an error, for programs: in C(gar-auth status --json) and in the metrics."""

    NOT_LOGGED_IN = "not_logged_in"
    LOGIN_EXPIRED = "login_expired"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    NO_ACCOUNT = "no_account"
    BAD_KEY = "bad_key"
    BAD_REPLY = "bad_reply"
    NOT_GOOGLE = "not_google"
    FILE = "file"
    OTHER = "other"


class Failure(Exception):
    """One line that says what was found and what to do; never holds a token or a key.

    :param code: the program's exit code; C(TEMPORARY) where a later run may succeed without anybody's help.
    """

    def __init__(self, message: str, *, code: Exit, reason: Reason = Reason.OTHER) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


def carried(work: t.Callable[[], t.Any]) -> dict[str, t.Any]:
    """Do the work; its result or its Failure as what another process can be told."""
    try:
        return {"result": work()}
    except Failure as problem:
        return {"failure": str(problem), "code": int(problem.code), "reason": problem.reason.value}


def unpacked(answer: dict[str, t.Any]) -> t.Any:
    """The result that was carried.

    :raises Failure: that was carried instead.
    """
    if "failure" in answer:
        raise Failure(str(answer["failure"]), code=Exit(answer["code"]), reason=Reason(answer["reason"]))
    return answer["result"]
