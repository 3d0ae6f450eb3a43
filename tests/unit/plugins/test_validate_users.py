# SPDX-License-Identifier: GPL-3.0-or-later
"""The validator of users and identities: golden texts, good input, and the filters of the roles."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from unit.plugins.golden import NAME, QUOTE, refusal, text

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


IDENTITIES = "artifact_registry_identities"
DEFAULT = "{default: {type: metadata}}"
METADATA = "metadata (the machine's service account)"


@pytest.mark.parametrize(
    ("identities", "path", "found", "allowed", "example"),
    [
        ({}, "", "{}", "a mapping of names to identities", DEFAULT),
        (["default"], "", "a list", "a mapping of names to identities", DEFAULT),
        ({"default": "metadata"}, ".default.type", "'metadata'", METADATA, DEFAULT),
        ({"default": {"type": "gcloud"}}, ".default.type", "'gcloud'", METADATA, DEFAULT),
        ({"default": {}}, ".default.type", "null", METADATA, DEFAULT),
        (
            {"default": {"type": "metadata", "key": "hunter2"}},
            ".default.key",
            "an unknown option",
            "account, type",
            DEFAULT,
        ),
        (
            {"default": {"type": "metadata", "account": "a b"}},
            ".default.account",
            "'a b'",
            "default, or the e-mail of a service account of this machine",
            "default",
        ),
        ({"a/../b": {"type": "metadata"}}, ".'a/../b'", "'a/../b'", NAME, DEFAULT),
        (
            {"ci": {"type": "metadata"}},
            "",
            "no identity 'default', which a repository uses",
            "one entry for each",
            DEFAULT,
        ),
    ],
)
def test_bad_identities(identities: object, path: str, found: str, allowed: str, example: str) -> None:
    used = ["default"] if identities == {"ci": {"type": "metadata"}} else []
    shown = refusal(validate.parse_identities, identities, used=used)
    assert shown == text(IDENTITIES + path, found, allowed, example)


def test_good_users_and_identities() -> None:
    users = ["dev", "first.last", "a-b", "_svc", "u@corp.example", "a" * 90]
    assert validate.parse_users(users) == users
    assert validate.parse_users(["root"], allow_root=True) == ["root"]
    assert validate.parse_users([], allow_empty=True) == []
    assert validate.parse_repositories([], allow_empty=True) == []
    robot = "robot@my-project.iam.gserviceaccount.com"
    identities = {"default": {"type": "metadata"}, "ci": {"type": "metadata", "account": robot}}
    expected = {
        "default": {"type": "metadata", "account": "default"},
        "ci": {"type": "metadata", "account": robot},
    }
    assert validate.parse_identities(identities, used=["default", "ci"]) == expected


def test_the_filters_say_the_same_in_ansibles_words() -> None:
    filters = declared.FilterModule().filters()
    assert filters["repositories"](but())[0]["index_url"] == f"{URL}simple/"
    with pytest.raises(AnsibleFilterError) as caught:
        filters["users"](["root"], variable="some_users")
    assert "some_users[0]: found 'root'\n  allowed: ordinary users" in str(caught.value)
