# SPDX-License-Identifier: GPL-3.0-or-later
"""The validator of checkouts: which repositories become sources of which project."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from unit.plugins.golden import refusal, text

from ansible_collections.devbox.artifact_registry.plugins.filter import declared
from ansible_collections.devbox.artifact_registry.plugins.module_utils._checkouts import parse_checkouts

CHECKOUTS = "artifact_registry_checkouts"
EXAMPLE = "{path: /home/alice/app, repositories: [private-repo], priority: explicit}"
PRIVATE = {
    "name": "private-repo",
    "project": "my-project",
    "location": "europe-west1",
    "repository": "python",
}
OTHER = {"name": "other", "url": "https://us-python.pkg.dev/my-project/other/", "identity": "ci"}
APP = {"path": "/home/alice/app"}


def parsed(*checkouts: Any, present: bool = True) -> list[dict[str, Any]]:
    return parse_checkouts([*checkouts], repositories=[PRIVATE, OTHER], present=present)


def test_without_names_a_checkout_gets_all_repositories() -> None:
    assert parsed(APP) == [{"path": "/home/alice/app", "state": "present", "sources": [PRIVATE, OTHER]}]


def test_a_checkout_gets_the_repositories_that_it_names_in_that_order() -> None:
    (checkout,) = parsed({**APP, "repositories": ["other", "private-repo"], "priority": "explicit"})
    assert checkout["sources"] == [{**OTHER, "priority": "explicit"}, {**PRIVATE, "priority": "explicit"}]


@pytest.mark.parametrize(("state", "present"), [("absent", True), ("present", False), (None, False)])
def test_to_take_a_source_out_its_name_is_enough(state: str | None, present: bool) -> None:
    (checkout,) = parsed({**APP, "repositories": ["declared-no-more"], "state": state}, present=present)
    assert (checkout["state"], checkout["sources"]) == ("absent", [{"name": "declared-no-more"}])


def test_there_may_be_none() -> None:
    assert parsed() == []


ONE_PATH = "the absolute path of a directory with a pyproject.toml, each once"
NAMES = "names of artifact_registry_repositories, one or more: private-repo, other"


@pytest.mark.parametrize(
    ("declared", "path", "found", "allowed", "example"),
    [
        ({}, "", "a mapping", "a list of checkouts", f"[{EXAMPLE}]"),
        (None, "", "None", "a list of checkouts", f"[{EXAMPLE}]"),
        (["/home/alice/app"], "[0]", "'/home/alice/app'", "a mapping", EXAMPLE),
        ([{}], "[0].path", "nothing", ONE_PATH, EXAMPLE),
        ([{"path": "app"}], "[0].path", "'app'", ONE_PATH, EXAMPLE),
        (
            [APP, {"path": "/home/alice//x/../app/"}],
            "[1].path",
            "'/home/alice/app' a second time",
            ONE_PATH,
            EXAMPLE,
        ),
        ([{**APP, "repositories": ["prvate-repo"]}], "[0].repositories", "'prvate-repo'", NAMES, EXAMPLE),
        ([{**APP, "repositories": "private-repo"}], "[0].repositories", "'private-repo'", NAMES, EXAMPLE),
        ([{**APP, "repositories": []}], "[0].repositories", "[]", NAMES, EXAMPLE),
        ([{**APP, "repositories": [PRIVATE]}], "[0].repositories", "a mapping", NAMES, EXAMPLE),
        (
            [{**APP, "priority": "first"}],
            "[0].priority",
            "'first'",
            "explicit, supplemental, primary",
            EXAMPLE,
        ),
        ([{**APP, "state": "gone"}], "[0].state", "'gone'", "present, absent", EXAMPLE),
        (
            [{**APP, "url": "x"}],
            "[0].url",
            "an unknown option",
            "path, priority, repositories, state",
            EXAMPLE,
        ),
    ],
)
def test_bad_checkouts(declared: Any, path: str, found: str, allowed: str, example: str) -> None:
    said = refusal(parse_checkouts, declared, repositories=[PRIVATE, OTHER])
    assert said == text(CHECKOUTS + path, found, allowed, example)


def test_all_problems_are_told_at_once() -> None:
    said = refusal(parse_checkouts, [{"path": "a"}, {"path": "b"}], repositories=[PRIVATE])
    assert "[0].path" in said
    assert "[1].path" in said


def test_the_filter_tells_the_same() -> None:
    check = declared.FilterModule().filters()["checkouts"]
    assert check([APP], repositories=[PRIVATE])[0]["path"] == "/home/alice/app"
    with pytest.raises(AnsibleFilterError, match="a list of checkouts"):
        check(None, repositories=[PRIVATE])
