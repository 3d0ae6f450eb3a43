# SPDX-License-Identifier: GPL-3.0-or-later
"""What C(gar-auth doctor) found: one finding for each check, as text and as data."""

from __future__ import annotations

import enum
import re
import typing as t
from dataclasses import asdict, dataclass

from gar_auth.errors import Exit

__all__ = ["Finding", "Level", "as_dict", "as_text", "good", "note", "problem", "public_url", "worst"]

#: The most severe first: what somebody has to set right, then what mends itself or with a login.
_SEVERITY = (Exit.CONFIGURATION, Exit.REFUSED, Exit.UNUSABLE, Exit.TEMPORARY)


class Level(str, enum.Enum):
    """How good a finding is; a note counts as nothing wrong."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One check's result.

    :ivar check: what was looked at, one word.
    :ivar found: one line, with the name of what was looked at.
    :ivar cause: why that is a problem, or where it comes from.
    :ivar cure: what to do, with the exact command where there is one.
    """

    check: str
    found: str
    level: Level = Level.OK
    cause: str | None = None
    cure: str | None = None
    code: Exit = Exit.FINE

    def as_plain(self) -> dict[str, t.Any]:
        """What another process can be told."""
        return {**vars(self), "level": self.level.value, "code": int(self.code)}

    @classmethod
    def from_plain(cls, told: dict[str, t.Any]) -> Finding:
        """What another process has told."""
        return cls(**{**told, "level": Level(told["level"]), "code": Exit(told["code"])})


def good(check: str, found: str) -> Finding:
    """Nothing wrong."""
    return Finding(check, found)


def note(check: str, found: str) -> Finding:
    """Worth knowing, or why something could not be looked at."""
    return Finding(check, found, Level.NOTE)


def problem(check: str, found: str, *, cause: str, cure: str, code: Exit = Exit.CONFIGURATION) -> Finding:
    """Something is wrong: what, why, and what to do."""
    return Finding(check, found, Level.PROBLEM, cause, cure, code)


def worst(findings: t.Iterable[Finding]) -> Exit:
    """The exit code: of the most severe problem, or 0."""
    codes = {finding.code for finding in findings if finding.level is Level.PROBLEM}
    return next((code for code in _SEVERITY if code in codes), Exit.FINE)


def as_dict(findings: t.Sequence[Finding], *, user: str) -> dict[str, t.Any]:
    """The report for programs."""
    code = worst(findings)
    return {
        "fine": code is Exit.FINE,
        "code": int(code),
        "user": user,
        "findings": [
            {
                key: _plain(value) if isinstance(value, str) else value
                for key, value in {**asdict(one), "level": one.level.value, "code": int(one.code)}.items()
            }
            for one in findings
        ],
    }


def as_text(findings: t.Sequence[Finding]) -> str:
    """The report for people: a line for each check, cause and cure below each problem."""
    width = max((len(one.check) for one in findings), default=0)
    lines = []
    for one in findings:
        lines.append(f"{one.level.value:7}  {one.check:{width}}  {_plain(one.found)}")
        if one.level is Level.PROBLEM:
            lines += [
                f"         cause: {_plain(one.cause or '')}",
                f"         cure:  {_plain(one.cure or '')}",
            ]
    number = sum(one.level is Level.PROBLEM for one in findings)
    words = {0: "nothing is wrong", 1: "1 problem"}.get(number, f"{number} problems")
    return "\n".join([*lines, "", words])


def public_url(url: object) -> str:
    """A URL as it may be shown: without user, password, query and fragment, and not too long."""
    text = re.sub(r"//.*@", "//***@", str(url), flags=re.DOTALL)
    return _plain(re.split(r"[?#]", text, maxsplit=1)[0][:200])


def _plain(text: str) -> str:
    """One line that no terminal takes for a command; a password in a URL is masked, should one get here."""
    text = "".join(char if char.isprintable() else "?" for char in text)
    return re.sub(r"//[^\s/]*:[^\s]*@", "//***@", text)
