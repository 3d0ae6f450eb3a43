# SPDX-License-Identifier: GPL-3.0-or-later
"""The validator of users: golden texts, good input, and the filters of the roles."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from unit.plugins.golden import QUOTE, refusal, text

from ansible_collections.devbox.artifact_registry.plugins.filter import declared
from ansible_collections.devbox.artifact_registry.plugins.module_utils import _validate as validate

GOOD = {"name": "private-repo", "project": "my-project", "location": "europe-west1", "repository": "python"}
HOST = "https://europe-west1-python.pkg.dev"
URL = f"{HOST}/my-project/python/"


def but(**changes: object) -> list[dict[str, object]]:
    return [{**GOOD, **changes}]


USERS = "artifact_registry_users"
USER = "the name of a user: letters, digits, '_', '-', '.', '@'"


@pytest.mark.parametrize(
    ("users", "path", "found", "allowed", "example"),
    [
        *(
            (bad, "", found, "a list with one or more names of users", "[dev]")
            for bad, found in (([], "[]"), (None, "null"), ("dev", "'dev'"), ({"dev": 1}, "a mapping"))
        ),
        *(
            ([bad], "[0]", repr(bad), USER, "dev")
            for bad in ("", "a/b", "-x", "..", ".", "a b", "a%b", "a\\x2db", "dev\n", "däv", "$(id)")
        ),
        ([1000], "[0]", f"1000 {QUOTE}", USER, "dev"),
        ([None], "[0]", "nothing", USER, "dev"),
        (["dev", "dev"], "[1]", "'dev' a second time", "each user once", "[dev, ops]"),
        (
            ["root"],
            "[0]",
            "'root'",
            "ordinary users; root only with allow_root: true (container images)",
            "dev",
        ),
    ],
)
def test_bad_users(users: object, path: str, found: str, allowed: str, example: str) -> None:
    assert refusal(validate.parse_users, users) == text(USERS + path, found, allowed, example)


def test_good_users() -> None:
    users = ["dev", "first.last", "a-b", "_svc", "u@corp.example", "a" * 90]
    assert validate.parse_users(users) == users
    assert validate.parse_users(["root"], allow_root=True) == ["root"]
    assert validate.parse_users([], allow_empty=True) == []
    assert validate.parse_repositories([], allow_empty=True) == []


def test_the_filters_say_the_same_in_ansibles_words() -> None:
    filters = declared.FilterModule().filters()
    assert filters["repositories"](but())[0]["index_url"] == f"{URL}simple/"
    with pytest.raises(AnsibleFilterError) as caught:
        filters["users"](["root"], variable="some_users")
    assert "some_users[0]: found 'root'\n  allowed: ordinary users" in str(caught.value)
