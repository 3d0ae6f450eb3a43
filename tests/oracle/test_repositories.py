# SPDX-License-Identifier: GPL-3.0-or-later
"""Repositories: Poetry knows them by the names and URLs that were asked for."""

from __future__ import annotations

from typing import Any

from oracle.home import Home, meaning

HOST = "https://europe-west1-python.pkg.dev"


def repository(name: str, **options: Any) -> dict[str, Any]:
    return {
        "name": name,
        "project": "my-project",
        "location": "europe-west1",
        "repository": "python",
        **options,
    }


REPOSITORIES = [
    repository("private-repo"),
    repository("my-repo2", repository="other"),  # on the same host
    repository("Under_Score9", location="us", project="example.com:my-project"),
    {"name": "by-url", "url": "https://asia-python.pkg.dev/my-project/python"},  # no slash at its end
    repository("url", repository="named-url"),
    repository("0", repository="named-nought"),
]
URLS = {
    "private-repo": f"{HOST}/my-project/python/",
    "my-repo2": f"{HOST}/my-project/other/",
    "Under_Score9": "https://us-python.pkg.dev/example.com:my-project/python/",
    "by-url": "https://asia-python.pkg.dev/my-project/python/",
    "url": f"{HOST}/my-project/named-url/",
    "0": f"{HOST}/my-project/named-nought/",
}
KEYS = sorted(f"repositories.{name}.url" for name in URLS)


def listed_urls(listed: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in listed.items() if key.startswith("repositories.")}


def test_poetry_knows_the_repositories_by_name_and_publish_url(home: Home) -> None:
    result = home.run(repositories=REPOSITORIES)
    assert sorted(result["users"][home.user]["changes"]) == KEYS
    returned = {entry["name"]: (entry["publish_url"], entry["index_url"]) for entry in result["repositories"]}
    assert returned == {name: (url, f"{url}simple/") for name, url in URLS.items()}
    assert listed_urls(home.listed()) == {f"repositories.{name}.url": url for name, url in URLS.items()}
    assert home.ask(("repositories", None))[0] == URLS
    assert home.changes(repositories=REPOSITORIES) == []


def test_repositories_that_poetry_removed_or_changed_come_back(home: Home) -> None:
    home.changes(repositories=REPOSITORIES)
    before = home.listed()
    home.config_commands(*([f"repositories.{name}", "--unset"] for name in URLS))
    assert meaning(home.config) == {}
    assert home.changes(repositories=REPOSITORIES, check=True) == KEYS
    assert home.changes(repositories=REPOSITORIES) == KEYS
    assert home.listed() == before
    home.config_commands(
        ["repositories.private-repo", "https://example.com/legacy/"],
        ["repositories.my-repo2", URLS["my-repo2"]],  # as it is: no change
        ["repositories.foreign", "https://example.com/foreign/"],
    )
    assert home.changes(repositories=REPOSITORIES) == ["repositories.private-repo.url"]
    assert home.listed() == {**before, "repositories.foreign.url": "https://example.com/foreign/"}
    again = home.run(repositories=REPOSITORIES)
    assert not again["changed"]
    usable = {entry["name"]: entry["publish_url"] for entry in again["users"][home.user]["repositories"]}
    assert usable == home.ask(("repositories", None))[0], "what the user can publish to, as Poetry sees it"
    assert home.changes(repositories=REPOSITORIES, state="absent") == KEYS
    assert listed_urls(home.listed()) == {"repositories.foreign.url": "https://example.com/foreign/"}


def test_repositories_that_poetry_wrote_itself_are_no_change(home: Home) -> None:
    home.config_commands(*([f"repositories.{name}", url] for name, url in URLS.items()))
    assert home.changes(repositories=REPOSITORIES, check=True) == []
    assert home.changes(repositories=REPOSITORIES) == []


def test_a_dotted_name_is_refused_before_poetry_2_4_and_works_from_there_on(home: Home) -> None:
    dotted = repository("a.b", ca_cert="/etc/ssl/a.b.pem")
    login = {"name": "a.b", "username": "me", "password": "secret"}
    result = home.run(repositories=[dotted, repository("plain")], credentials=[login])
    if home.poetry.release.number < (2, 4):
        assert result["failed"]
        assert "a.b" in result["msg"]
        assert "2.4" in result["msg"]
        assert home.files() == {}
        return
    assert not result.get("failed"), result["msg"]
    assert home.ask(("repositories", None))[0] == {
        "a.b": URLS["private-repo"],
        "plain": URLS["private-repo"],
    }
    found = home.credentials("a.b")["a.b"]
    assert (found["username"], found["password"], found["cert"]) == ("me", "secret", "/etc/ssl/a.b.pem")
    # `poetry config --list` itself cannot show a dotted name: it takes it for a path.
    unset = ["repositories.a.b", "http-basic.a.b", "certificates.a.b.cert"]
    home.config_commands(*([key, "--unset"] for key in unset))
    assert list(home.ask(("repositories", None))[0]) == ["plain"]
    again: dict[str, Any] = {"repositories": [dotted, repository("plain")], "credentials": [login]}
    assert len(home.changes(**again)) == 4
    assert sorted(home.ask(("repositories", None))[0]) == ["a.b", "plain"]
    assert home.credentials("a.b")["a.b"] == found
    assert home.changes(**again) == []


def test_names_that_poetry_cannot_tell_apart_or_keeps_for_itself_are_refused(home: Home) -> None:
    home.config_commands(["repositories.theirs", "https://example.com/"])
    before = home.files()
    refused = [[repository("Foo"), repository("foo")], [repository("a-b"), repository("a_b")]]
    refused += [[repository("pypi")], [repository("PyPI")]]
    for repositories in refused:
        result = home.run(repositories=repositories)
        assert result["failed"]
        assert [entry["name"] for entry in repositories if entry["name"] not in result["msg"]] == []
    assert home.files() == before


def test_purging_repositories_leaves_only_the_declared_ones(home: Home) -> None:
    home.config_commands(
        ["repositories.foreign", "https://example.com/"],
        ["repositories.private-repo", "https://example.com/"],
        ["virtualenvs.create", "false"],
        ["http-basic.foreign", "me", "secret"],
    )
    changed = home.changes(repositories=REPOSITORIES[:1], purge=["repositories"])
    assert changed == ["repositories.foreign.url", "repositories.private-repo.url"]
    listed = home.listed()
    assert listed_urls(listed) == {"repositories.private-repo.url": URLS["private-repo"]}
    assert listed["virtualenvs.create"] is False, "another section is not purged"
    assert home.credentials("foreign")["foreign"]["password"] == "secret"
    assert home.changes(repositories=REPOSITORIES[:1], purge=["repositories"]) == []


def test_purging_settings_leaves_only_the_declared_ones(home: Home) -> None:
    defaults = home.listed()
    home.config_commands(
        ["repositories.foreign", "https://example.com/"],
        ["virtualenvs.create", "false"],
        ["virtualenvs.in-project", "true"],
        ["installer.max-workers", "3"],
        ["installer.no-binary", "lxml,numpy"],
    )
    purged = ["installer.max-workers", "installer.no-binary", "virtualenvs.create"]
    declared: dict[str, Any] = {"settings": {"virtualenvs.in-project": True}, "purge": ["settings"]}
    assert home.changes(**declared) == purged
    kept = {"virtualenvs.in-project": True, "repositories.foreign.url": "https://example.com/"}
    assert home.listed() == {**defaults, **kept}
    assert home.changes(**declared) == []
