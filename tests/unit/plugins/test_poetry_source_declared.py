# SPDX-License-Identifier: GPL-3.0-or-later
"""Which declared sources are accepted; the others are refused with the texts of the one validator."""

from __future__ import annotations

from typing import Any

import pytest
from unit.plugins.golden import NAME, QUOTE, refusal, text
from unit.plugins.poetry_projects import HOST, PRIVATE, PYPI

from ansible_collections.devbox.artifact_registry.plugins.module_utils._poetry_sources import (
    Source,
    parse_sources,
)

INDEX = f"{HOST}/my-project/python/simple/"
EXAMPLE = "{name: private-repo, project: my-project, location: europe-west1, repository: python}"


@pytest.mark.parametrize(
    ("declared", "source"),
    [
        (PRIVATE, Source("private-repo", INDEX, "supplemental")),
        ({"name": "python", "project": "my-project", "location": "europe-west1"}, Source("python", INDEX)),
        ({"name": "a", "url": f"{HOST}/my-project/python"}, Source("a", INDEX)),
        ({"name": "a", "url": INDEX}, Source("a", INDEX)),
        ({"name": "a", "url": INDEX[:-1]}, Source("a", INDEX)),
        ({"name": "a", "url": None, "priority": "primary"}, Source("a", None, "primary")),
        ({"name": "pypi", "priority": "primary", "url": None}, Source("PyPI", None, "primary")),
        (
            {**PRIVATE, "identity": "build", "ca_cert": "/ca.pem"},
            Source("private-repo", INDEX, "supplemental"),
        ),
    ],
)
def test_accepted(declared: dict[str, Any], source: Source) -> None:
    assert parse_sources([declared], present=True) == [source]


def test_the_order_is_kept_and_pypi_may_stand_anywhere() -> None:
    declared = [PRIVATE, PYPI, {"name": "other"}]
    assert [source.name for source in parse_sources(declared, present=True)] == [
        "private-repo",
        "PyPI",
        "other",
    ]


def test_other_hosts_need_to_be_allowed() -> None:
    declared = [{"name": "a", "url": "https://example.com/p/r/simple/"}]
    assert "other hosts only with allow_other_hosts: true" in refusal(parse_sources, declared, present=True)
    (source,) = parse_sources(declared, present=True, allow_other_hosts=True)
    assert source.url == "https://example.com/p/r/simple/"


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ([], text("sources", "[]", "a list with one or more repositories", EXAMPLE)),
        ([{"name": 1}], text("sources[0].name", f"1 {QUOTE}", NAME, "name: private-repo")),
        ([PYPI, {"name": "a b"}], text("sources[1].name", "'a b'", NAME, "name: private-repo")),
        (
            [{"name": "pypi", "url": "https://pypi.org/simple"}],
            text(
                "sources[0]",
                "PyPI with url",
                "PyPI with a priority only: Poetry knows its URL",
                "{name: PyPI, priority: primary}",
            ),
        ),
        ([PYPI, {"name": "pypi"}], "sources: found PyPI a second time\n  allowed: each source once"),
        (
            [{"name": "a", "url": "http://dev:hunter2@example.com/p/r"}],
            text(
                "sources[0].url",
                "'http://***@example.com/p/r'",
                "https://LOCATION-python.pkg.dev/PROJECT/REPOSITORY/ without a user or password",
                f"url: {HOST}/my-project/python/",
            ),
        ),
    ],
)
def test_refused(declared: list[dict[str, Any]], message: str) -> None:
    assert refusal(parse_sources, declared, present=True) == message


def test_all_problems_are_reported_at_once_each_at_its_place() -> None:
    declared = [{"name": "PyPI", "location": "eu"}, PRIVATE, {"name": "a", "project": "x"}]
    message = refusal(parse_sources, declared, present=True)
    found = [line.partition(":")[0] for line in message.splitlines() if not line.startswith(" ")]
    assert found == ["sources[0]", "sources[2].location", "sources[2].project"]


def test_names_that_differ_in_case_only_are_one() -> None:
    declared = [{"name": "a-b"}, {"name": "A_B"}]
    assert refusal(parse_sources, declared, present=True).startswith(
        "sources: found the names 'a-b' and 'A_B'"
    )


def test_a_removal_needs_names_only() -> None:
    declared = [{"name": "pypi"}, {"name": "a", "url": "ftp://anything"}]
    assert parse_sources(declared, present=False) == [Source("PyPI"), Source("a")]
    assert parse_sources([], present=False) == []
