# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that make a report of what was collected from all hosts, and a summary of that."""

from __future__ import annotations

import typing as t
from collections import Counter

from ansible.errors import AnsibleFilterError

from ansible_collections.devbox.artifact_registry.plugins.module_utils._status import (
    FAILED,
    FINE,
    STALE,
    judge,
)

__all__ = ["FilterModule", "report", "summary"]

_ORDER = (FAILED, STALE, FINE)
_SHOWN = 20
"""Hosts in the summary: with their cures they are less than a screen."""


def report(
    collected: t.Mapping[str, t.Mapping[str, t.Any]], *, made_at: str, collection: str
) -> dict[str, t.Any]:
    """Return the report as docs/status.md describes it."""
    hosts = [judge(name, result) for name, result in collected.items()]
    hosts.sort(key=lambda host: (_ORDER.index(host.state), host.name))
    counts = Counter(host.state for host in hosts)
    return {
        "made_at": str(made_at),
        "collection": str(collection),
        "summary": {"hosts": len(hosts), **{state: counts[state] for state in reversed(_ORDER)}},
        "hosts": [host.as_dict() for host in hosts],
    }


def summary(made: t.Mapping[str, t.Any]) -> list[str]:
    """Return lines for the terminal: the counts, and the first cause of each host that is not fine."""
    counts = made["summary"]
    number = "1 host" if counts["hosts"] == 1 else f"{counts['hosts']} hosts"
    lines = [f"{number}: {', '.join(f'{counts[state]} {state}' for state in reversed(_ORDER))}"]
    ill = [host for host in made["hosts"] if host["state"] != FINE]
    for host in ill[:_SHOWN]:
        first = host["causes"][0]
        lines += [f"{host['state']}: {host['name']}: {first['found']}", f"    cure: {first['cure']}"]
    if len(ill) > _SHOWN:
        lines.append(f"and {len(ill) - _SHOWN} more, which the report has")
    return lines


def _filter_report(value: object, made_at: str, collection: str) -> dict[str, t.Any]:
    if not isinstance(value, dict):
        raise AnsibleFilterError("status_report: found no dictionary of results by host")
    return report(value, made_at=made_at, collection=collection)


class FilterModule:
    """The filters of this file; each is documented in the YAML file of its name."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filters by name."""
        return {"status_report": _filter_report, "status_summary": summary}
