# SPDX-License-Identifier: GPL-3.0-or-later
"""The page as text: complete without scripts, nothing from elsewhere, everything of hosts escaped."""

from __future__ import annotations

import html.parser
import json
import re
import time
from typing import Any

import pytest

from ansible_collections.devbox.artifact_registry.plugins.filter import status_page
from uses.reports import EVIL, answer, collected, page, report

_VOID = {"meta", "input", "col"}


class Elements(html.parser.HTMLParser):
    """The elements of a page, and whether each is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag


def hosts_that_say(words: str) -> dict[str, dict[str, Any]]:
    """Hosts of which every text is that."""
    problem = {"check": words, "level": "problem", "found": words, "cause": words, "cure": words}
    token = {"account": words, "state": "valid", "seconds_left": 60, "expires_at": words, "login": None}
    one = answer(
        code=75,
        doctor=[problem],
        identities={words: token},
        users={words: {words: words}, "x": {"error": words}},
        hints=[words],
        provider=words,
    )
    found = {**json.loads(one["stdout"]), "system": words, "python": words}
    found["versions"] = dict.fromkeys(("gar_auth", "poetry", "gcloud"), words)
    return {words: {**one, "stdout": json.dumps(found)}, "gone": {"unreachable": True, "msg": words}}


@pytest.mark.parametrize("number", [0, 1, 12, 300])
def test_the_page_is_well_formed(number: int) -> None:
    elements = Elements(page(report(collected(number))))
    assert elements.open == []
    identifiers = [attributes["id"] for _tag, attributes in elements.found if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))


def test_markup_of_hosts_makes_no_element() -> None:
    found, expected = (Elements(page(report(hosts_that_say(words)))).found for words in (EVIL, "a"))
    assert [tag for tag, _ in found] == [tag for tag, _ in expected]
    assert "{{ 7*7 }}" in page(report(hosts_that_say(EVIL))), "what looks like a template is text, too"


def test_the_data_are_the_report_and_end_nothing() -> None:
    made = report(hosts_that_say(EVIL))
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page(made), re.DOTALL)
    assert json.loads(data) == made["hosts"]
    assert not set(data) & set("<>&")


def test_nothing_comes_from_elsewhere() -> None:
    text = page(report(collected(50)))
    elements = Elements(text).found
    assert [one for one in elements if {"src", "href", "style", "onclick"} & set(one[1])] == []
    assert "@import" not in text
    assert set(re.findall(r"url\(([^)]*)\)", text)) == {"#hatch"}
    policy = next(attributes["content"] for tag, attributes in elements if "http-equiv" in attributes)
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


def test_the_table_has_every_host_without_any_script() -> None:
    made = report(collected(300))
    text = page(made).partition('<script type="application/json"')[0]
    assert [one for one in made["hosts"] if f">{one['name']}</button>" not in text] == []
    assert text.count('<span class="pill failed">') == made["summary"]["failed"]


@pytest.mark.parametrize(
    ("left", "column"),
    [(0, None), (30, 0), (119, 0), (120, 1), (3599, 29), (3600, 30), (43200, 30)],
)
def test_a_token_stands_at_the_minutes_it_has_left(left: int, column: int | None) -> None:
    plot = status_page._plot(report({"web": answer(left or -1, code=0 if left else 75)})["hosts"])
    (bar,) = plot["bars"]
    expected = 0.0 if column is None else status_page._FIRST + column * status_page._COLUMN
    assert bar["x"] == pytest.approx(expected + 0.15, abs=0.01)
    assert bar["kind"] == ("expired" if column is None else "soon" if column < 2 else "valid")


@pytest.mark.parametrize("number", [1, 12, 13, 40, 5000])
def test_the_plot_stays_within_its_frame(number: int) -> None:
    plot = status_page._plot(report({str(one): answer(600) for one in range(number)})["hosts"])
    assert min(bar["y"] for bar in plot["bars"]) >= status_page._TOP
    assert len(plot["bars"]) == (number if number <= 12 else 1)
    assert len(plot["lines"]) <= 5


def test_failed_hosts_and_broken_tokens_are_in_the_plot() -> None:
    fleet = {"gone": {}, "old": answer(-9, code=75), "none": answer(None, code=75), "fine": answer(900)}
    plot = status_page._plot(report(fleet)["hosts"])
    assert sorted(bar["kind"] for bar in plot["bars"]) == ["expired", "missing", "unknown", "valid"]
    assert (plot["valid"], plot["expired"], plot["missing"], plot["unknown"]) == (1, 1, 1, 1)


def test_versions_are_counted_on_hosts_that_answered() -> None:
    hosts = report(
        {"a": answer(), "b": answer(), "gone": {}, "bare": {"rc": 0, "stdout": '{"python": "3.9.2"}'}}
    )["hosts"]
    found = status_page._versions(hosts, "poetry")
    assert [(one["version"], one["hosts"]) for one in found] == [("2.5.1", 2), ("", 1)]


def test_a_report_of_5000_hosts_takes_seconds() -> None:
    fleet = collected(5000)
    start = time.process_time()
    text = page(report(fleet))
    assert time.process_time() - start < 10
    assert len(text) < 12_000_000
