# SPDX-License-Identifier: GPL-3.0-or-later
"""The effective settings and repositories: which source counts, and what is never shown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from unit.plugins.poetry_facts import DEFAULTS, REPOSITORY, SETTINGS, URL, basic, configuration

from ansible_collections.devbox.artifact_registry.plugins.module_utils._poetry_effective import split


@pytest.mark.parametrize(
    ("name", "config", "auth", "env", "value", "source"),
    [
        ("installer.parallel", "", "", {}, True, "default"),
        ("virtualenvs.in-project", "", "", {}, None, "default"),
        ("virtualenvs.in-project", "virtualenvs.in-project = true", "", {}, True, "config.toml"),
        (
            "virtualenvs.in-project",
            "virtualenvs.in-project = true",
            "virtualenvs.in-project = false",
            {},
            False,
            "auth.toml",
        ),
        (
            "virtualenvs.in-project",
            "virtualenvs.in-project = true",
            "virtualenvs.in-project = true",
            {"POETRY_VIRTUALENVS_IN_PROJECT": "0"},
            False,
            "environment",
        ),
        ("installer.max-workers", "", "", {"POETRY_INSTALLER_MAX_WORKERS": "4"}, 4, "environment"),
        ("installer.max-workers", "", "", {"POETRY_INSTALLER_MAX_WORKERS": "many"}, None, "environment"),
        ("installer.no-binary", "", "", {"POETRY_INSTALLER_NO_BINARY": "b,a"}, ["a", "b"], "environment"),
        ("installer.no-binary", "installer.no-binary = ['b']", "", {}, ["b"], "config.toml"),
        ("cache-dir", "", "", {}, "/home/dev/.cache/pypoetry", "default"),
        ("cache-dir", "", "", {"XDG_CACHE_HOME": "/c"}, "/c/pypoetry", "default"),
        ("cache-dir", "", "", {"XDG_CACHE_HOME": " "}, "/home/dev/.cache/pypoetry", "default"),
        ("data-dir", "", "", {"XDG_DATA_HOME": "/d", "POETRY_HOME": "~/p"}, "/home/dev/p", "default"),
        ("virtualenvs.path", "", "", {}, "/home/dev/.cache/pypoetry/virtualenvs", "default"),
        ("virtualenvs.path", "cache-dir = '/c'", "", {}, "/c/virtualenvs", "default"),
        ("virtualenvs.prompt", "", "", {}, "{project_name}", "default"),
        ("data-dir", "data-dir = '{data-dir}'", "", {}, "{data-dir}", "config.toml"),
        (
            "cache-dir",
            "cache-dir = '{data-dir}'\ndata-dir = '{cache-dir}'",
            "",
            {},
            "{cache-dir}",
            "config.toml",
        ),
    ],
)
def test_a_setting_has_the_value_that_counts_and_its_source(
    name: str, config: str, auth: str, env: dict[str, str], value: Any, source: str
) -> None:
    settings = configuration(config, auth, env=env).settings()
    assert settings[name] == {"value": value, "source": source}
    assert sorted(settings) == SETTINGS


def test_the_defaults_of_poetry_stay_as_they_are() -> None:
    before = json.dumps(DEFAULTS)
    configuration(env={"POETRY_INSTALLER_BUILD_CONFIG_SETTINGS_NUMPY": "{}"}).settings()
    assert json.dumps(DEFAULTS) == before


def test_build_settings_are_listed_by_package() -> None:
    config = "[installer.build-config-settings]\nscipy = {CC = 'gcc'}\nnumpy = {a = 'b'}\n"
    env = {"POETRY_INSTALLER_BUILD_CONFIG_SETTINGS_MY_PKG": "x"}
    settings = configuration(config, env=env).settings()
    prefix = "installer.build-config-settings."
    assert {name.removeprefix(prefix): one for name, one in settings.items() if name.startswith(prefix)} == {
        "my-pkg": {"value": "x", "source": "environment"},
        "numpy": {"value": {"a": "b"}, "source": "config.toml"},
        "scipy": {"value": {"CC": "gcc"}, "source": "config.toml"},
    }


def test_what_poetry_does_not_know_is_no_setting() -> None:
    assert sorted(configuration("[http_basic.x]\npassword = 'canary'\n").settings()) == SETTINGS


def test_without_poetry_the_settings_are_those_in_the_files() -> None:
    held = "[virtualenvs]\nin-project = true\n[http_basic.x]\npassword = 'canary'\n"
    config = configuration(held, "cache-dir = '/a'", env={"POETRY_CACHE_DIR": "/e"}, version=None)
    assert config.settings() == {
        "cache-dir": {"value": "/e", "source": "environment"},
        "virtualenvs.in-project": {"value": True, "source": "config.toml"},
    }


@pytest.mark.parametrize(
    "value",
    [
        "https://dev:canary@example.com/x",
        "https://dev:can\\ncanary@example.com/x",
        "{http-basic.private-repo.password}",
        "{pypi-token.private-repo}",
        "{http-basic}",
        "{repositories.other.url}",
    ],
)
def test_a_setting_never_shows_a_secret(value: str) -> None:
    auth = f"{basic('u', 'canary')}[pypi-token]\nprivate-repo = 'canary'\n"
    config = f'virtualenvs.prompt = "{value}"\n[repositories.other]\nurl = "https://u:canary@example.com/"\n'
    setting = configuration(config, auth).settings()["virtualenvs.prompt"]
    assert setting["source"] == "config.toml"
    assert "canary" not in setting["value"]


def described(config: str, auth: str = "", **options: Any) -> list[dict[str, Any]]:
    made = configuration(config, auth, **options)
    return [made.described(repository) for repository in made.repositories()]


def test_a_repository_has_both_urls_and_its_certificates() -> None:
    auth = "[certificates.private-repo]\ncert = '/ca.pem'\nclient-cert = '/me.pem'\n"
    assert described(REPOSITORY, auth) == [
        {
            "name": "private-repo",
            "publish_url": URL,
            "index_url": f"{URL}simple/",
            "source": "config.toml",
            "hidden": False,
            "ca_cert": "/ca.pem",
            "client_cert": "/me.pem",
            "verify": True,
        }
    ]


def test_a_certificate_that_is_not_checked_is_told() -> None:
    (one,) = described(f"{REPOSITORY}[certificates.private-repo]\ncert = false\n")
    assert (one["verify"], one["ca_cert"]) == (False, None)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://dev:canary@example.com/x/", "https://***@example.com/x/"),
        ("https://canary@example.com/x/", "https://***@example.com/x/"),
        ("https://dev:can@canary@example.com/x/", "https://***@example.com/x/"),
        ("https://dev:can\\ncanary@example.com/x/", "https://***@example.com/x/"),
        ("dev:canary@example.com/x/", "***@example.com/x/"),
        ("https://example.com/x/?token=canary", "https://example.com/x/"),
        ("https://example.com/x/#canary", "https://example.com/x/"),
        ("https://u:canary\u2100@example.com/", "https://***@example.com/"),
    ],
)
def test_a_url_is_shown_without_what_may_be_a_secret(url: str, shown: str) -> None:
    (one,) = described(f'[repositories.x]\nurl = "{url}"\n')
    assert (one["publish_url"], one["index_url"]) == (shown, None)


def test_a_url_that_is_none_has_no_parts() -> None:
    assert split("https://u:canary\u2100@example.com/").hostname is None
    assert split("https://[::1/").hostname is None


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ([], {"a2": "config.toml", "private-repo": "config.toml"}),
        (
            ["POETRY_REPOSITORIES_OTHER_URL"],
            {"other": "environment", "a2": "hidden", "private-repo": "hidden"},
        ),
        (["POETRY_REPOSITORIES_PRIVATE_REPO_URL"], {"private-repo": "environment", "a2": "hidden"}),
        # a digit: Poetry does not see it among the repositories, but takes the URL
        (["POETRY_REPOSITORIES_A2_URL"], {"a2": "environment", "private-repo": "config.toml"}),
    ],
)
def test_a_variable_hides_the_repositories_of_the_file(
    variables: list[str], expected: dict[str, str]
) -> None:
    config = f"[repositories.a2]\nurl = 'https://example.com/'\n{REPOSITORY}"
    env = dict.fromkeys(variables, "https://other.example.com/")
    found = configuration(config, env=env).repositories()
    assert {one.name: "hidden" if one.hidden else one.source for one in found} == expected
    assert [one.name for one in found][: len(variables)] == [*expected][: len(variables)]


@pytest.mark.parametrize(("version", "url"), [("2.3.2", None), ("2.4.0", "https://example.com/")])
def test_a_dotted_name_has_a_url_from_poetry_2_4_on(version: str, url: str | None) -> None:
    (one,) = described("[repositories.'my.repo']\nurl = 'https://example.com/'\n", version=version)
    assert one["publish_url"] == url


@pytest.mark.parametrize("held", ["repositories = 3", "[repositories]\nx = 3", "[repositories.x]\nurl = 3"])
def test_what_is_no_repository_has_no_url(held: str) -> None:
    assert [one["publish_url"] for one in described(held)] in ([], [None])
