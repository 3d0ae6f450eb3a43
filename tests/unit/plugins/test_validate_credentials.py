# SPDX-License-Identifier: GPL-3.0-or-later
"""Golden messages for credentials that cannot be used; none of them holds a secret."""

from __future__ import annotations

from typing import Any

import pytest
from unit.plugins.golden import NAME, QUOTE, refusal, text

from ansible_collections.devbox.artifact_registry.plugins.module_utils import _validate as validate

EXAMPLE = '{name: private-repo, username: dev, password: "{{ vaulted }}"}'
ONCE = "each name once, and names that differ in more than case and '-' or '_'"
EITHER = "either username and password, or token"
USER = {"name": "x", "username": "dev"}

CASES: list[tuple[Any, str]] = [
    ("canary", text("credentials", "'canary'", "a list of credentials", EXAMPLE)),
    (["canary"], text("credentials[0]", "no mapping", "a mapping", EXAMPLE)),
    (
        [{"name": 3, "token": "canary"}],
        text("credentials[0].name", f"3 {QUOTE}", NAME, "name: private-repo"),
    ),
    ([{"name": "x"}], text("credentials[0]", "neither password nor token", EITHER, EXAMPLE)),
    ([USER], text("credentials[0]", "username", EITHER, EXAMPLE)),
    ([{**USER, "token": "canary"}], text("credentials[0]", "token, username", EITHER, EXAMPLE)),
    (
        [{**USER, "password": "canary", "passwort": "canary"}],
        text("credentials[0].passwort", "an unknown option", "name, password, token, username", EXAMPLE),
    ),
    (
        [{**USER, "password": 1234}],
        "credentials[0].password: found no string (YAML changed its type: quote it)\n  allowed: a string",
    ),
    (
        [{**USER, "password": ""}],
        (
            "credentials[0].password: found an empty string\n"
            "  allowed: a password that is not empty; without one leave the whole entry out"
        ),
    ),
    (
        [{**USER, "password": "{{ canary }}"}],
        "credentials[0].password: found a template that was not filled in\n  allowed: the value itself",
    ),
    (
        [{"name": "x", "token": "canary\n"}],
        (
            "credentials[0].token: found a control character, such as a line break at its end\n"
            "  allowed: printable characters"
        ),
    ),
    (
        [{**USER, "password": "canary🗝"}],
        (
            "credentials[0].password: found a character beyond Latin-1\n"
            "  allowed: characters that Poetry can send (Latin-1)"
        ),
    ),
    (
        [{**USER, "password": "canary{cache-dir}"}],
        (
            "credentials[0].password: found a setting's name in braces\n"
            "  allowed: a value without: Poetry would fill the setting in"
        ),
    ),
    (
        [{"name": "x", "username": "a:b", "password": "canary"}],
        "credentials[0].username: found a colon\n  allowed: a user name without one (RFC 7617)",
    ),
    (
        [{"name": "x", "token": "canary"}, {"name": "X", "token": "canary"}],
        text("credentials[1].name", "'X' beside 'x'", ONCE, EXAMPLE),
    ),
    (
        [{"name": "Private_Repo", "username": "u", "password": "canary"}],
        text("credentials[0].name", "'Private_Repo' beside 'private-repo'", ONCE, EXAMPLE),
    ),
    (
        [{"name": "private-repo", "token": "canary"}],
        text(
            "credentials[0].token",
            "a token for the repository 'private-repo'",
            "username and password: Poetry would send the token as pypi.org wants it",
            EXAMPLE,
        ),
    ),
]


@pytest.mark.parametrize(("declared", "message"), CASES)
def test_bad_credentials(declared: object, message: str) -> None:
    shown = refusal(validate.parse_credentials, declared, repositories=["private-repo"])
    assert shown == message
    assert declared == "canary" or "canary" not in shown


def test_all_problems_are_reported_at_once() -> None:
    declared = [{"name": "a b", "token": ""}, {"name": "x"}]
    assert refusal(validate.parse_credentials, declared).count(": found ") == 3


@pytest.mark.parametrize(
    "password", ["p", "quo'te\"", "back\\slash", "{braces}", "é", "x" * 8192, "{}", "{ }"]
)
def test_passwords_that_poetry_can_send(password: str) -> None:
    (credential,) = validate.parse_credentials([{**USER, "password": password}])
    assert (credential.username, credential.password, credential.token) == ("dev", password, None)


def test_a_removal_needs_the_name_only() -> None:
    (credential,) = validate.parse_credentials([{"name": "pypi"}], names_only=True)
    assert credential == validate.Credential("pypi")
