# SPDX-License-Identifier: GPL-3.0-or-later
"""The warnings: each names its cause and its cure, and none is there without a cause."""

from __future__ import annotations

from typing import Any

import pytest
from unit.plugins.poetry_facts import CHOSEN, HOST, NO_KEYRING, REPOSITORY, URL, basic, configuration

from ansible_collections.devbox.artifact_registry.plugins.module_utils._poetry_credentials import (
    Credentials,
    Keyring,
)
from ansible_collections.devbox.artifact_registry.plugins.module_utils._poetry_warnings import (
    Around,
    warnings,
)

DIRECTORY = "/home/dev/.config/pypoetry"
TOKEN = '[pypi-token]\nprivate-repo = "canary"\n'
ALIKE = f"{REPOSITORY}[repositories.private_repo]\nurl = 'https://example.com/'\n"
DOTTED = "[repositories.'my.repo']\nurl = 'https://example.com/'\n"
NESTED = "[repositories.my.repo]\nurl = 'https://example.com/'\n"


def warned(
    config: str = "",
    auth: str = "",
    *,
    logins: Any = (),
    keyring: Keyring = NO_KEYRING,
    lasting: Any = (),
    **options: Any,
) -> list[str]:
    credentials = Credentials(configuration(config, auth, **options), keyring, dict(logins))
    return warnings(credentials, Around(DIRECTORY, "/home/dev/.netrc", lasting))


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, ""),
    "a repository with a token of ours": (
        {"config": REPOSITORY, "auth": basic("oauth2accesstoken", "canary")},
        "",
    ),
    "the directory that is read": ({"env": {"POETRY_CONFIG_DIR": f"{DIRECTORY}/"}}, ""),
    "the directory that is read, by XDG": ({"env": {"XDG_CONFIG_HOME": "/home/dev/.config"}}, ""),
    "POETRY_CONFIG_DIR": (
        {
            "env": {"POETRY_CONFIG_DIR": "/srv/poetry", "XDG_CONFIG_HOME": "/x"},
            "lasting": ["POETRY_CONFIG_DIR"],
        },
        (
            f"POETRY_CONFIG_DIR (set in /etc/environment): Poetry reads /srv/poetry, and not {DIRECTORY};"
            " unset it, or name that directory in option config_dir"
        ),
    ),
    "XDG_CONFIG_HOME": (
        {"env": {"XDG_CONFIG_HOME": "/x"}},
        (
            f"XDG_CONFIG_HOME (set for this task): Poetry reads /x/pypoetry, and not {DIRECTORY};"
            " unset it, or name that directory in option config_dir"
        ),
    ),
    "POETRY_REPOSITORIES_*_URL": (
        {"config": REPOSITORY, "env": {"POETRY_REPOSITORIES_OTHER_URL": "https://u:canary@example.com/"}},
        (
            "POETRY_REPOSITORIES_OTHER_URL (set for this task): Poetry then sees none of the repositories in"
            " config.toml (private-repo); unset it, and declare the repository"
        ),
    ),
    "names that share variables": (
        {"config": ALIKE},
        (
            "private-repo and private_repo share the variables POETRY_HTTP_BASIC_PRIVATE_REPO_*;"
            " rename all but one of them"
        ),
    ),
    "a dotted name": (
        {"config": DOTTED, "version": "2.3.2"},
        (
            "my.repo: Poetry 2.3.2 takes a name with a dot for a path, finds no URL and no credential;"
            " rename it to my-repo, or install Poetry 2.4 or newer"
        ),
    ),
    "a dotted name, Poetry 2.4": ({"config": DOTTED, "version": "2.4.0"}, ""),
    "a dotted name as Poetry wrote it before 2.4": (
        {"config": NESTED},
        (
            "repositories.my.repo is no repository (Poetry before 2.4 wrote dotted names so);"
            " remove it, and register my-repo"
        ),
    ),
    "braces in a password": (
        {"config": REPOSITORY, "auth": basic("a", "canary{cache-dir}")},
        (
            "http-basic.private-repo.password (auth.toml) has a setting's name in braces, and Poetry replaces"
            " that by the setting's value; use a value without braces"
        ),
    ),
    "other braces in a password": ({"config": REPOSITORY, "auth": basic("a", "canary{x}")}, ""),
    "a variable over a file": (
        {
            "config": REPOSITORY,
            "auth": basic("a", "canary"),
            "env": {"POETRY_HTTP_BASIC_PRIVATE_REPO_PASSWORD": "canary"},
            "lasting": ["POETRY_HTTP_BASIC_PRIVATE_REPO_PASSWORD"],
        },
        (
            "POETRY_HTTP_BASIC_PRIVATE_REPO_PASSWORD (set in /etc/environment) shadows"
            " http-basic.private-repo.password in auth.toml; unset the variable, or remove the entry"
        ),
    ),
    "http-basic without a repository": (
        {"auth": basic("a", "canary", "typo")},
        (
            "http-basic.typo (auth.toml): no repository typo is registered, so it serves only a project's"
            " source of that name; correct the name, or register the repository"
        ),
    ),
    "http-basic without a repository, in the environment": (
        {"env": {"POETRY_HTTP_BASIC_TYPO_USERNAME": "a", "POETRY_HTTP_BASIC_TYPO_PASSWORD": "canary"}},
        (
            "POETRY_HTTP_BASIC_TYPO_PASSWORD (set for this task): no repository typo is registered, so it"
            " serves only a project's source of that name; correct the name, or register the repository"
        ),
    ),
    "http-basic for PyPI": ({"auth": basic("a", "canary", "pypi")}, ""),
    "a token for Artifact Registry": (
        {"config": REPOSITORY, "auth": TOKEN},
        (
            "pypi-token.private-repo (auth.toml): Poetry publishes with it, and Artifact Registry accepts no"
            " such token; remove it with: poetry config --unset pypi-token.private-repo"
        ),
    ),
    "a token for Artifact Registry, in the environment": (
        {"config": REPOSITORY, "env": {"POETRY_PYPI_TOKEN_PRIVATE_REPO": "canary"}},
        (
            "POETRY_PYPI_TOKEN_PRIVATE_REPO (set for this task): Poetry publishes with it, and Artifact"
            " Registry accepts no such token; unset it"
        ),
    ),
    "a token for another host": (
        {"config": REPOSITORY.replace(URL, "https://example.com/"), "auth": TOKEN},
        "",
    ),
    "http-basic over the keyring": (
        {"config": REPOSITORY, "auth": basic("a", "canary"), "keyring": CHOSEN},
        (
            "http-basic.private-repo (auth.toml): Poetry does not ask the keyring for private-repo;"
            " remove the entry if the keyring shall serve"
        ),
    ),
    "the keyring alone": ({"config": REPOSITORY, "keyring": CHOSEN}, ""),
    "netrc": (
        {"config": REPOSITORY, "logins": {HOST: None}},
        (
            f"/home/dev/.netrc has an entry for {HOST} (private-repo): Poetry uses it where it finds no other"
            " credential; remove it if that is not meant"
        ),
    ),
    "netrc, Poetry 2.3.2": (
        {"config": REPOSITORY, "logins": {"default": None}, "version": "2.3.2"},
        (
            f"/home/dev/.netrc has an entry for {HOST} (private-repo): Poetry before 2.3.3 installs with it,"
            " whatever else is configured; remove it if that is not meant"
        ),
    ),
    "netrc for another host": ({"config": REPOSITORY, "logins": {"example.com": None}}, ""),
    "a variable that Poetry cannot use": (
        {"env": {"POETRY_INSTALLER_MAX_WORKERS": "many"}},
        (
            "POETRY_INSTALLER_MAX_WORKERS (set for this task): Poetry fails, because it cannot use the value"
            " for installer.max-workers; correct or unset it"
        ),
    ),
}


@pytest.mark.parametrize(("given", "expected"), CASES.values(), ids=CASES.keys())
def test_each_cause_has_its_warning_with_the_cure(given: dict[str, Any], expected: str) -> None:
    assert warned(**given) == ([expected] if expected else [])
