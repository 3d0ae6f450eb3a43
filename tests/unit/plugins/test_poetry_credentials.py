# SPDX-License-Identifier: GPL-3.0-or-later
"""Which credential Poetry takes, by version: as seen with Poetry 1.8.5, 2.0.1, 2.3.2 and 2.5.1 themselves."""

from __future__ import annotations

from typing import Any

import pytest
from unit.plugins.poetry_facts import (
    CHOSEN,
    DESKTOP,
    HOST,
    NO_KEYRING,
    REPOSITORY,
    URL,
    basic,
    configuration,
    described,
)

from ansible_collections.devbox.artifact_registry.plugins.module_utils._poetry_credentials import (
    Keyring,
    names,
)
from ansible_collections.devbox.artifact_registry.plugins.module_utils._poetry_show import public_login

RELEASES = ["1.8.5", "2.0.1", "2.1.0", "2.3.2", "2.3.3", "2.5.1"]
PASSWORD = "POETRY_HTTP_BASIC_PRIVATE_REPO_PASSWORD"
USERNAME = "POETRY_HTTP_BASIC_PRIVATE_REPO_USERNAME"
TOKEN = "POETRY_PYPI_TOKEN_PRIVATE_REPO"
PYPI_TOKEN = '[pypi-token]\nprivate-repo = "canary"\n'
IN_URL = REPOSITORY.replace("//", "//dev:canary@")
NETRC = {HOST: "nobody"}


def order(use: dict[str, Any]) -> list[str]:
    """The winning source, then the shadowed ones; a token is marked, and what has no winner starts with -."""
    found = [{"kind": use["kind"], "source": use["source"]}, *use["shadowed"]]
    return [f"{one['source'] or '-'}{'/token' if one['kind'] == 'pypi-token' else ''}" for one in found]


@pytest.mark.parametrize("version", RELEASES)
def test_the_environment_wins_over_auth_toml_over_config_toml(version: str) -> None:
    held = (f"{REPOSITORY}{basic('c', 'canary')}", basic("a", "canary"))
    for env, sources in (
        ({}, ["auth.toml", "config.toml"]),
        ({PASSWORD: "canary"}, ["environment", "auth.toml", "config.toml"]),
    ):
        said = described(configuration(*held, env=env, version=version))
        assert [order(said[use]) for use in ("install", "publish")] == [sources, sources]
        assert said["install"] == said["publish"]
        assert (said["install"]["present"], said["install"]["kind"], said["install"]["username"]) == (
            True,
            "http-basic",
            "a",
        )


@pytest.mark.parametrize("version", RELEASES)
def test_a_token_is_for_publishing_only_and_comes_first(version: str) -> None:
    config = configuration(f"{REPOSITORY}{PYPI_TOKEN}", basic("a", "canary") + PYPI_TOKEN, version=version)
    said = described(config)
    assert order(said["publish"]) == ["auth.toml/token", "config.toml/token", "auth.toml"]
    assert order(said["install"]) == ["auth.toml"]
    assert said["publish"]["username"] is None


@pytest.mark.parametrize(
    ("version", "install"),
    [
        ("1.8.5", ["netrc", "auth.toml"]),
        ("2.0.1", ["netrc", "auth.toml"]),
        ("2.3.2", ["netrc", "auth.toml"]),
        ("2.3.3", ["auth.toml", "netrc"]),
        ("2.5.1", ["auth.toml", "netrc"]),
    ],
)
def test_netrc_wins_at_installing_up_to_poetry_2_3_2(version: str, install: list[str]) -> None:
    said = described(configuration(IN_URL, basic("a", "canary"), version=version), logins=NETRC)
    assert order(said["install"]) == install
    assert order(said["publish"]) == ["auth.toml", "netrc", "url"]


@pytest.mark.parametrize("version", RELEASES)
def test_a_user_and_password_in_the_url_serve_publishing_where_nothing_else_does(version: str) -> None:
    said = described(configuration(IN_URL, version=version))
    assert order(said["publish"]) == ["url"]
    assert (said["publish"]["username"], said["publish"]["kind"]) == ("dev", "http-basic")
    assert said["install"] == {
        "present": False,
        "kind": None,
        "source": None,
        "username": None,
        "shadowed": [],
    }


@pytest.mark.parametrize(
    ("version", "held", "install", "publish"),
    [
        # a password without a user name
        ("1.8.5", basic(None, "canary"), ["auth.toml"], ["-", "auth.toml"]),
        ("2.0.1", basic(None, "canary"), ["-", "auth.toml"], ["-", "auth.toml"]),
        ("2.1.0", basic(None, "canary"), ["auth.toml"], ["-", "auth.toml"]),
        ("2.5.1", basic(None, "canary"), ["auth.toml"], ["-", "auth.toml"]),
        # an empty user name
        ("1.8.5", basic("", "canary"), ["auth.toml"], ["auth.toml"]),
        ("2.0.1", basic("", "canary"), ["-", "auth.toml"], ["-", "auth.toml"]),
        ("2.5.1", basic("", "canary"), ["auth.toml"], ["-", "auth.toml"]),
        # a user name alone, or with an empty password: sent as such where no keyring helps
        ("1.8.5", basic("canary", None), ["-"], ["-"]),
        ("2.0.1", basic("canary", None), ["auth.toml"], ["-"]),
        ("2.5.1", basic("canary", None), ["auth.toml"], ["-"]),
        ("1.8.5", basic("canary", ""), ["-"], ["-"]),
        ("2.0.1", basic("canary", ""), ["auth.toml"], ["auth.toml"]),
        ("2.5.1", basic("canary", ""), ["auth.toml"], ["-"]),
    ],
)
def test_half_a_credential(version: str, held: str, install: list[str], publish: list[str]) -> None:
    said = described(configuration(REPOSITORY, held, version=version))
    assert (order(said["install"]), order(said["publish"])) == (install, publish)
    assert "canary" not in str(said), "the user name may be the token"
    for use in ("install", "publish"):
        assert said[use]["present"] is (said[use]["source"] is not None)


def test_an_empty_variable_takes_the_password_of_the_file_away() -> None:
    said = described(configuration(REPOSITORY, basic("a", "canary"), env={PASSWORD: "", TOKEN: ""}))
    assert order(said["publish"]) == ["-", "auth.toml"]
    assert said["publish"]["present"] is False


@pytest.mark.parametrize(
    ("held", "keyring", "logins", "sources", "present"),
    [
        ("", CHOSEN, {}, ["keyring"], None),
        ("", CHOSEN, NETRC, ["keyring", "netrc"], True),
        (basic("a", "canary"), CHOSEN, {}, ["auth.toml", "keyring"], True),
        (basic("a", None), CHOSEN, NETRC, ["keyring", "auth.toml", "netrc"], True),
        ("", DESKTOP, {}, ["keyring"], None),
        ("", DESKTOP, NETRC, ["netrc"], True),
        (basic("a", "canary"), DESKTOP, {}, ["auth.toml"], True),
        ("", NO_KEYRING, {}, ["-"], False),
    ],
)
def test_the_keyring_is_asked_where_no_password_is_found(
    held: str, keyring: Keyring, logins: dict[str, str], sources: list[str], present: bool | None
) -> None:
    said = described(configuration(REPOSITORY, held), logins=logins, keyring=keyring)["install"]
    assert (order(said), said["present"]) == (sources, present)


@pytest.mark.parametrize(
    ("keyring", "possible", "chosen"),
    [
        (Keyring(), False, False),
        (DESKTOP, True, False),
        (CHOSEN, True, True),
        (NO_KEYRING, False, False),
        (Keyring(enabled=False, backends=CHOSEN.backends), False, False),
        (Keyring(backends=DESKTOP.backends, forced="keyring.backends.SecretService.Keyring"), True, True),
        (Keyring(backends=CHOSEN.backends, forced="keyring.backends.fail.Keyring"), False, False),
    ],
)
def test_a_keyring_is_chosen_by_a_backend_beside_its_own(
    keyring: Keyring, possible: bool, chosen: bool
) -> None:
    assert (keyring.possible, keyring.chosen) == (possible, chosen)


@pytest.mark.parametrize(
    ("logins", "username"),
    [({HOST: "one"}, "one"), ({"default": "all"}, "all"), ({"default": "all", HOST: "one"}, "one")],
)
def test_netrc_serves_its_hosts_and_by_default_all(logins: dict[str, str], username: str) -> None:
    assert described(configuration(REPOSITORY), logins=logins)["publish"]["username"] == username
    other = configuration("[repositories.private-repo]\nurl = 'https://example.com/'\n")
    assert (described(other, logins=logins)["publish"]["source"] == "netrc") is ("default" in logins)


@pytest.mark.parametrize("version", RELEASES)
def test_a_hidden_repository_publishes_without_http_basic_and_keyring(version: str) -> None:
    env = {"POETRY_REPOSITORIES_OTHER_URL": "https://example.com/"}
    config = configuration(IN_URL, basic("a", "canary"), env=env, version=version)
    said = described(config, logins=NETRC, keyring=CHOSEN)
    assert said["registered"] is False
    assert order(said["publish"]) == ["netrc", "auth.toml", "keyring", "url"]


def test_a_name_without_a_repository_cannot_be_published_to() -> None:
    said = described(configuration("", basic("a", "canary") + PYPI_TOKEN))
    assert (said["registered"], order(said["publish"]), order(said["install"])) == (
        False,
        ["-"],
        ["auth.toml"],
    )


def test_pypi_is_always_registered() -> None:
    said = described(
        configuration("", '[pypi-token]\npypi = "canary"\n'), "pypi", logins={"upload.pypi.org": "x"}
    )
    assert (said["registered"], order(said["publish"])) == (True, ["auth.toml/token", "netrc"])


@pytest.mark.parametrize(("version", "sources"), [("2.3.2", ["-"]), ("2.4.0", ["auth.toml"])])
def test_a_dotted_name_has_a_credential_from_poetry_2_4_on(version: str, sources: list[str]) -> None:
    held = f"[repositories.'my.repo']\nurl = '{URL}'\n"
    config = configuration(held, basic("a", "canary", "'my.repo'"), version=version)
    assert order(described(config, "my.repo")["publish"]) == sources


def test_names_come_from_repositories_files_and_variables() -> None:
    env = {
        USERNAME: "x",
        "POETRY_HTTP_BASIC_OTHER_ONE_PASSWORD": "x",
        "POETRY_PYPI_TOKEN_PYPI": "x",
        "HOME": "/",
    }
    found = names(configuration(REPOSITORY, basic("a", "canary", "mine"), env=env))
    assert list(found) == ["private-repo", "mine", "other-one", "pypi"]
    assert [name for name, repository in found.items() if repository] == ["private-repo"]


@pytest.mark.parametrize(
    ("username", "password", "public"),
    [
        ("oauth2accesstoken", "canary", "oauth2accesstoken"),
        ("ghp_canary", "", None),
        ("ghp_canary", "x-oauth-basic", None),
        ("ghp_canary", None, None),
        ("c" * 65, "canary", None),
        (None, "canary", None),
        (7, "canary", None),
    ],
)
def test_a_user_name_is_shown_only_beside_a_true_password(
    username: Any, password: Any, public: str | None
) -> None:
    assert public_login(username, password) == public
