# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that makes one self-contained page of HTML of a report, with every text escaped."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import typing as t
from collections import Counter
from dataclasses import dataclass

import jinja2
from ansible.errors import AnsibleFilterError
from markupsafe import Markup

__all__ = ["FilterModule", "page"]

DOCUMENTATION = r"""
name: status_page
short_description: Make a page of HTML of a report
description:
  - Renders a template with the report. Style, script and data are put into it, so that the page needs no
    other file.
  - Everything that is not the page's own is escaped, and a content security policy lets no other script run
    and nothing be loaded.
version_added: 0.1.0
author: devbox.artifact_registry contributors (@devbox)
positional: _input
options:
  _input:
    description: What P(devbox.artifact_registry.status_report#filter) returned.
    type: dict
    required: true
  template:
    description: The text of the page's Jinja template.
    type: str
    required: true
  style:
    description: The text of the page's CSS.
    type: str
    required: true
  script:
    description: The text of the page's JavaScript.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Write the page
  ansible.builtin.copy:
    content: >-
      {{
        report | devbox.artifact_registry.status_page(
          template=lookup('ansible.builtin.file', 'page.html.j2'),
          style=lookup('ansible.builtin.file', 'page.css'),
          script=lookup('ansible.builtin.file', 'page.js'))
      }}
    dest: status.html
    mode: "0644"
"""

RETURN = r"""
_value:
  description: The page.
  type: str
"""

_PROGRAMS = {"poetry": "Poetry", "gcloud": "gcloud", "gar_auth": "gar-auth"}
_BROKEN = ("expired", "missing", "unknown")

#: The plot, in percent of its width and in pixels of its height: a column for what has no valid token, then a
#: column for each two minutes up to an hour, then one for what lives longer.
_MINUTES = 2
_COLUMNS = 30
_NONE_WIDTH = 9.0
_FIRST = 14.0
_COLUMN = (100 - _FIRST) / (_COLUMNS + 2)
_TOP = 14
_HIGHEST = 190
_LOWEST = 66
_CELL = 22
_CELLS = 12
"""Up to that many tokens in a column each one is drawn by itself."""


@dataclass(frozen=True)
class _Scale:
    """The plot's scale, in pixels: where the columns stand, and the height of one token.

    :ivar single: whether each token is drawn by itself.
    """

    base: float
    unit: float
    single: bool


def page(report: t.Mapping[str, t.Any], *, template: str, style: str, script: str) -> str:
    """Return the page."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["span"] = _span
    hosts = [{**host, "least": _least(host)} for host in report["hosts"]]
    return environment.from_string(template).render(
        report=report,
        hosts=hosts,
        programs=_PROGRAMS,
        plot=_plot(hosts),
        versions={program: _versions(hosts, program) for program in _PROGRAMS},
        style=Markup(style),  # noqa: S704 - the page's own
        script=Markup(script),  # noqa: S704 - the page's own
        style_hash=_hash(style),
        script_hash=_hash(script),
        data=_data(report["hosts"]),
    )


def _hash(text: str) -> str:
    """The source expression by which a content security policy knows a text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _data(value: object) -> Markup:
    """JSON that may stand in a script element: no character in it ends the element or begins a comment."""
    text = json.dumps(value, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - as above


def _span(seconds: int) -> str:
    """A token's time left, as short as it is read."""
    if seconds < 60:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


def _least(host: t.Mapping[str, t.Any]) -> dict[str, t.Any] | None:
    """The host's token that ends first, those that have ended or are not there before all others."""
    tokens = [token for token in host["tokens"] if token["state"] != "awaits login"]
    return min(
        tokens, key=lambda token: (token["state"] == "valid", token["seconds_left"] or 0), default=None
    )


def _versions(hosts: t.Sequence[t.Mapping[str, t.Any]], program: str) -> list[dict[str, t.Any]]:
    """Which versions there are on how many of the hosts that answered, the most frequent first, none last."""
    counts = Counter(host["versions"][program] or "" for host in hosts if host["python"])
    most = max(counts.values(), default=1)
    return [
        {"version": version, "hosts": number, "share": round(100 * number / most, 1)}
        for version, number in sorted(counts.items(), key=lambda one: (not one[0], -one[1], one[0]))
    ]


def _plot(hosts: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, t.Any]:
    """Where each token stands by the time it has left, and what to say of all of them."""
    none: list[tuple[str, str]] = []
    columns: list[list[str]] = [[] for _number in range(_COLUMNS + 1)]
    lefts = []
    for host in hosts:
        if not host["tokens"] and host["state"] == "failed":
            none.append(("unknown", f"{host['name']}: no answer"))
        for token in host["tokens"]:
            whose = f"{host['name']}: {token['identity']}" + (f" of {token['user']}" if token["user"] else "")
            left = token["seconds_left"]
            if token["state"] == "valid" and left is not None:
                lefts.append(left)
                columns[min(left // (60 * _MINUTES), _COLUMNS)].append(f"{whose}, {_span(left)} left")
            elif token["state"] in _BROKEN:
                none.append((token["state"], f"{whose}, {token['state']}"))
    none.sort(key=lambda one: _BROKEN.index(one[0]))
    most = max(len(none), *map(len, columns), 1)
    height = min(_HIGHEST, max(_LOWEST, _CELL * most))
    scale = _Scale(base=_TOP + height, unit=min(_CELL, height / most), single=most <= _CELLS)
    bars = []
    for kind in _BROKEN:
        first = sum(_BROKEN.index(one) < _BROKEN.index(kind) for one, _title in none)
        titles = [title for one, title in none if one == kind]
        bars += _bars(titles, kind, scale, x=0.0, width=_NONE_WIDTH, first=first, what=kind)
    for number, titles in enumerate(columns):
        begin = number * _MINUTES
        what = "more than an hour left" if number == _COLUMNS else f"{begin} to {begin + _MINUTES} min left"
        kind = "soon" if begin < 4 else "valid"
        width = _COLUMN * (2 if number == _COLUMNS else 1)
        x = _FIRST + number * _COLUMN
        bars += _bars(titles, kind, scale, x=x, width=width, first=0, what=what)
    counts = Counter(one for one, _title in none)
    return {
        "bars": bars,
        "lines": [{"y": scale.base - scale.unit * value, "value": value} for value in _ticks(most)],
        "minutes": [{"x": _FIRST + _COLUMN * one / _MINUTES, "value": one} for one in range(0, 60, 10)],
        "hour": _FIRST + _COLUMN * _COLUMNS,
        "none": _NONE_WIDTH / 2,
        "base": scale.base,
        "valid": len(lefts),
        "median": sorted(lefts)[len(lefts) // 2] if lefts else None,
        "waiting": sum(token["state"] == "awaits login" for host in hosts for token in host["tokens"]),
        **{kind: counts[kind] for kind in _BROKEN},
    }


def _bars(
    titles: list[str], kind: str, scale: _Scale, *, x: float, width: float, first: int, what: str
) -> list[dict[str, t.Any]]:
    """The rectangles of one column: one for each token, or where there are many one for all.

    :param first: how many stand below these in the same column.
    """
    if not titles:
        return []
    if scale.single:
        parts = [(first + number, 1, title) for number, title in enumerate(titles)]
    else:
        parts = [(first, len(titles), f"{what}: {len(titles)}")]
    gap = 2 if scale.single else 0
    return [
        {
            "kind": kind,
            "x": round(x + 0.15, 2),
            "width": round(width - 0.3, 2),
            "y": round(scale.base - scale.unit * (below + number) + gap / 2, 1),
            "height": round(max(scale.unit * number - gap, 1.5), 1),
            "title": title,
        }
        for below, number, title in parts
    ]


def _ticks(most: int) -> list[int]:
    """At most four round numbers up to the highest column; none where each token is counted by eye."""
    if most <= _CELLS:
        return []
    power = 10 ** int(math.log10(most))
    step = next(
        size for size in (power // 5, power // 2, power, 2 * power, 5 * power) if size and most / size < 5
    )
    return list(range(step, most + 1, step))


def _filter_page(value: object, template: str, style: str, script: str) -> str:
    if not isinstance(value, dict) or "hosts" not in value:
        raise AnsibleFilterError("status_page: found no report of status_report")
    try:
        return page(value, template=template, style=style, script=script)
    except jinja2.TemplateError as error:
        raise AnsibleFilterError(f"status_page: the template cannot be used: {error}") from None


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"status_page": _filter_page}
