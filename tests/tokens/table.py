# SPDX-License-Identifier: GPL-3.0-or-later
"""The soak's table: one line for each source, from the records that the tests have left."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["table"]

_HEADS = (
    "source",
    "hours",
    "ticks",
    "outages",
    "expired",
    "least life",
    "issued",
    "token writes",
    "auth.toml writes",
    "requests",
)


def table(directory: Path, names: list[str]) -> str:
    """Lay out the records of these names; one that is not there says so."""
    lines = [list(_HEADS)]
    for name in names:
        try:
            record = json.loads((directory / f"{name}.json").read_text())
        except FileNotFoundError:
            lines.append([name, "did not end"])
            continue
        requests = ", ".join(f"{target} {number}" for target, number in sorted(record["requests"].items()))
        lines.append(
            [
                name,
                f"{record['hours']:g}",
                str(record["ticks"]),
                str(record["outages"]),
                f"{record['share']:.2%}",
                f"{record['least'] / 60:.1f} min",
                str(record["issued"]),
                str(record["token_writes"]),
                str(record["auth_writes"]),
                requests or "none",
            ]
        )
    full = [[*line, *[""] * (len(_HEADS) - len(line))] for line in lines]
    widths = [max(len(line[column]) for line in full) for column in range(len(_HEADS))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in full)
