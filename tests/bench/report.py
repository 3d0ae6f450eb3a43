# SPDX-License-Identifier: GPL-3.0-or-later
"""What a benchmark found: rows with goals, growth by size; as a table for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

__all__ = ["Goal", "Growth", "NotRun", "Point", "Report", "Row", "Table", "duration", "spread"]

_GAINS = ("faster", "less")
_UNITS = {"seconds": "s", "MB": "MB", "requests": "requests"}


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A limit for a row's figure.

    figure: `faster` or, of what is no time, `less` (the other's in ours), `slower` (ours in the other's),
    or the unit of the row where it is ours alone: `seconds`, `MB`, `requests`.
    """

    figure: str
    limit: float

    def value(self, ours: Sequence[float], other: Sequence[float]) -> float:
        """The figure, from the medians."""
        if self.figure in _UNITS:
            return median(ours)
        ratio = median(other) / median(ours)
        return ratio if self.figure in _GAINS else 1 / ratio

    def met(self, value: float) -> bool:
        """Whether the figure keeps the limit."""
        return value >= self.limit if self.figure in _GAINS else value <= self.limit

    def spell(self, value: float) -> str:
        """Name a figure of this kind."""
        return amount(value, self.figure) if self.figure in _UNITS else f"{value:.3g} x {self.figure}"

    def __str__(self) -> str:
        if self.figure in _GAINS:
            return f"{self.limit:g} x or more"
        return f"{self.limit:g} {_UNITS.get(self.figure, 'x')} at most"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One work: our seconds, the seconds of what it is compared with, and the goal.

    unit: of both, where it is not `seconds`: `MB` or `requests`.
    """

    work: str
    ours: Sequence[float]
    against: str = ""
    other: Sequence[float] = ()
    goal: Goal
    unit: str = "seconds"

    @property
    def value(self) -> float:
        """The figure that the goal is about."""
        return self.goal.value(self.ours, self.other)

    @property
    def verdict(self) -> str:
        """Whether the goal is met."""
        return "met" if self.goal.met(self.value) else "not met"

    def cells(self) -> list[str]:
        """The row of the table."""
        other = spread(self.other, self.unit) if self.other else "-"
        return [
            *(self.work, spread(self.ours, self.unit), self.against or "-", other),
            *(self.goal.spell(self.value), str(self.goal), self.verdict),
        ]

    def as_json(self) -> dict[str, Any]:
        """All of it, with the samples."""
        return {
            "work": self.work,
            "unit": self.unit,
            "ours": series(self.ours),
            "against": {"what": self.against, **series(self.other)} if self.other else None,
            "goal": {"figure": self.goal.figure, "limit": self.goal.limit},
            "value": self.value,
            "met": self.verdict == "met",
        }


@dataclass(frozen=True, kw_only=True)
class Point:
    """The seconds of one size: the first run, and the next with nothing to change."""

    size: int
    first: Sequence[float]
    unchanged: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How the time grows with the number of `what`."""

    title: str
    what: str
    points: Sequence[Point]

    def cells(self) -> list[list[str]]:
        """The rows of the table."""
        return [
            [
                str(point.size),
                *(spread(point.first), duration(median(point.first) / point.size)),
                *(spread(point.unchanged), duration(median(point.unchanged) / point.size)),
            ]
            for point in self.points
        ]

    def as_json(self) -> dict[str, Any]:
        """All of it, with the samples."""
        points = [
            {"size": point.size, "first": series(point.first), "unchanged": series(point.unchanged)}
            for point in self.points
        ]
        return {"title": self.title, "what": self.what, "points": points}


@dataclass(frozen=True, kw_only=True)
class Table:
    """Figures without a goal.

    :ivar lines: a sequence of cells each; C(notes) say how they come about.
    """

    title: str
    heads: Sequence[str]
    lines: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "title": self.title,
            "lines": [dict(zip(self.heads, line, strict=True)) for line in self.lines],
            "notes": list(self.notes),
        }


@dataclass(frozen=True, kw_only=True)
class NotRun:
    """A part that this machine cannot run, and why."""

    work: str
    reason: str


@dataclass(kw_only=True)
class Report:
    """All that was found, and where."""

    machine: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    growth: list[Growth] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    not_run: list[NotRun] = field(default_factory=list)

    def text(self) -> str:
        """The tables for people."""
        heads = ["work", "ours", "against", "its", "result", "goal", ""]
        parts = [table(heads, [row.cells() for row in self.rows])]
        for growth in self.growth:
            heads = [growth.what, "first run", "for each", "unchanged", "for each"]
            parts.append(f"{growth.title}\n{table(heads, growth.cells())}")
        for figures in self.tables:
            parts.append("\n".join([figures.title, table(figures.heads, figures.lines), *figures.notes]))
        parts += [f"not run: {part.work}: {part.reason}" for part in self.not_run]
        return "\n\n".join(parts)

    def as_json(self) -> dict[str, Any]:
        """The same for programs, with all samples."""
        return {
            "machine": self.machine,
            "rows": [row.as_json() for row in self.rows],
            "growth": [growth.as_json() for growth in self.growth],
            "tables": [figures.as_json() for figures in self.tables],
            "not_run": [{"work": part.work, "reason": part.reason} for part in self.not_run],
        }


def series(samples: Sequence[float]) -> dict[str, Any]:
    """The median and all samples."""
    return {"median": median(samples), "samples": list(samples)}


def duration(seconds: float) -> str:
    """Spell a time with three digits: `1.23 s`, `45.6 ms`, `789 us`."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 0.9995:
            return f"{seconds * factor:#.3g} {unit}".replace(". ", " ")
    return f"{seconds * 1e6:.3g} us"


def amount(value: float, unit: str) -> str:
    """Spell a figure with its unit: `45.6 ms`, `12.3 MB`, `120 requests`."""
    if unit == "seconds":
        return duration(value)
    return f"{value:.1f} {unit}".replace(".0 ", " ")


def spread(samples: Sequence[float], unit: str = "seconds") -> str:
    """The median, with the greatest distance of a sample from it: `863 ms +-4 %`."""
    middle = median(samples)
    distance = max(max(samples) - middle, middle - min(samples))
    return f"{amount(middle, unit)} +-{distance / middle:.0%}".replace("%", " %")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay cells out in columns."""
    lines = [list(heads), *[list(row) for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
