# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of C(gar-auth status) as people read it."""

from __future__ import annotations

import time
import typing as t

__all__ = ["as_text", "span", "table", "utc"]


def as_text(
    identities: t.Sequence[tuple[str, t.Mapping[str, t.Any]]],
    users: t.Mapping[str, t.Mapping[str, str]],
    repositories: t.Mapping[str, str],
    hints: t.Sequence[str],
    *,
    where: str,
    now: float,
) -> str:
    """The tables of identities and users.

    :param where: the heading of the users' states.
    :param identities: the words for each, and what C(Entry.as_dict) says of it.
    :param now: seconds since the epoch.
    """
    rows, problems = [], {}
    for name, entry in identities:
        age = "-" if entry["age_seconds"] is None else span(entry["age_seconds"])
        expires = entry["expires_at"] or "-"
        rows.append((name, entry["source"], entry["account"] or "-", _token(entry, now), expires, age))
        if entry["error"]:
            problems[len(rows)] = _problem(entry, now)
    lines = table(("IDENTITY", "SOURCE", "ACCOUNT", "TOKEN", "EXPIRES", "AGE"), rows)
    for number, text in sorted(problems.items(), reverse=True):
        lines.insert(number + 1, f"  {text}")
    served = [
        (user, "-" if name == "error" else name, repositories.get(name, "-"), state)
        for user, states in users.items()
        for name, state in states.items()
    ]
    if served:
        lines += ["", *table(("USER", "REPOSITORY", "IDENTITY", where), served)]
    if hints:
        lines += ["", *hints]
    return "\n".join(lines)


def table(head: tuple[str, ...], rows: t.Sequence[tuple[str, ...]]) -> list[str]:
    """Columns as wide as what is in them; the last one may be of any length."""
    everything = [head, *rows]
    widths = [max(len(row[column]) for row in everything) for column in range(len(head) - 1)]
    return [
        "  ".join([*(f"{cell:{width}}" for cell, width in zip(row, widths)), row[-1]]).rstrip()
        for row in everything
    ]


def span(seconds: float) -> str:
    """A length of time in at most two units: C(59 min 3 s)."""
    whole = int(seconds)
    for unit, size, smaller, step in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // step} {smaller}"
    return f"{whole} s"


def utc(seconds: float | None) -> str | None:
    """A time as ISO 8601 has it; None where there is none, or one that no calendar knows."""
    try:
        return None if seconds is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    except (OverflowError, ValueError, TypeError, OSError):
        return None


def _token(entry: t.Mapping[str, t.Any], now: float) -> str:
    if entry["state"] == "valid":
        return f"valid for {span(entry['seconds_left'])}"
    if entry["state"] == "expired":
        return f"expired {span(max(0, now - entry['expiry']))} ago"
    return "none"


def _problem(entry: t.Mapping[str, t.Any], now: float) -> str:
    facts = [str(entry["error_class"] or "other")]
    if entry["failures"] > 1:
        facts.append(f"{entry['failures']} times in a row")
    if entry["failing_since"] is not None and entry["failures"] > 1:
        facts.append(f"since {utc(entry['failing_since'])}")
    if entry["failed_at"] is not None:
        facts.append(f"last {span(max(0, now - entry['failed_at']))} ago")
    return f"problem: {entry['error']} ({', '.join(facts)})"
