# SPDX-License-Identifier: GPL-3.0-or-later
"""The validator of repositories: golden texts of every refusal, redaction, and what good input becomes."""

from __future__ import annotations

from typing import Any

import pytest
from unit.plugins.golden import NAME, QUOTE, refusal, text

from ansible_collections.devbox.artifact_registry.plugins.module_utils import _validate as validate

GOOD = {"name": "private-repo", "project": "my-project", "location": "europe-west1", "repository": "python"}
HOST = "https://europe-west1-python.pkg.dev"
URL = f"{HOST}/my-project/python/"
LIST = "artifact_registry_repositories"
ONE = "{name: private-repo, project: my-project, location: europe-west1, repository: python}"
MANY = "a list with one or more repositories"
NAMED = "name: private-repo"
WHY = "Poetry's environment variables cannot tell them apart"
DISTINCT = f"names that differ in more than case and '-' or '_': {WHY}"
OPTIONS = "ca_cert, client_cert, identity, location, name, project, repository, url"
SHAPE = "https://LOCATION-python.pkg.dev/PROJECT/REPOSITORY/"
NO_USER = f"{SHAPE} without a user or password"
HTTPS = f"{SHAPE}: https, no query, no fragment"
OTHER = f"{SHAPE}; other hosts only with allow_other_hosts: true"
EXAMPLE = f"url: {URL}"
DERIVED = "the publish URL; the index URL is derived from it"


def but(**changes: object) -> list[dict[str, object]]:
    return [{**GOOD, **changes}]


def at(url: object) -> list[dict[str, object]]:
    return [{"name": "private-repo", "url": url}]


@pytest.mark.parametrize(
    ("repositories", "path", "found", "allowed", "example"),
    [
        ([], "", "[]", MANY, ONE),
        (None, "", "null", MANY, ONE),
        ("private-repo", "", "'private-repo'", MANY, ONE),
        (GOOD, "", "a mapping", MANY, ONE),
        (["private-repo"], "[0]", "'private-repo'", "a mapping", ONE),
        (but(name=""), "[0].name", "''", NAME, NAMED),
        (but(name=None), "[0].name", "nothing", NAME, NAMED),
        (but(name="my repo"), "[0].name", "'my repo'", NAME, NAMED),
        (but(name="-r"), "[0].name", "'-r'", NAME, NAMED),
        (but(name=42), "[0].name", f"42 {QUOTE}", NAME, NAMED),
        (but(name=True), "[0].name", f"True {QUOTE}", NAME, NAMED),
        (but(name=1.5), "[0].name", f"1.5 {QUOTE}", NAME, NAMED),
        (but(name=["a"]), "[0].name", "a list", NAME, NAMED),
        (but(name="a\x1bb\n"), "[0].name", "'a\\x1bb\\n'", NAME, NAMED),
        (but(name="a" * 65), "[0].name", f"'{'a' * 65}'", NAME, NAMED),
        (but(name="a" * 500), "[0].name", f"'{'a' * 96}...", NAME, NAMED),
        (but(name="dépôt"), "[0].name", "'dépôt'", NAME, NAMED),
        *((but(name=f"a{odd}b"), "[0].name", repr(f"a{odd}b"), NAME, NAMED) for odd in "/:[]\"'\\#="),
        (but(name="PyPI"), "[0].name", "'PyPI'", "any other name: Poetry reserves this one", NAMED),
        ([GOOD, GOOD], "", "the names 'private-repo' and 'private-repo'", DISTINCT, f"{NAMED}-2"),
        (
            [GOOD, {**GOOD, "name": "Private_Repo"}],
            "",
            "the names 'private-repo' and 'Private_Repo'",
            DISTINCT,
            f"{NAMED}-2",
        ),
        (but(token="hunter2"), "[0].token", "an unknown option", OPTIONS, ONE),
        (but(**{"a\nb": "hunter2"}), "[0].'a\\nb'", "an unknown option", OPTIONS, ONE),
        (
            but(ca_cert="ca.pem"),
            "[0].ca_cert",
            "'ca.pem'",
            "an absolute path on the machine",
            "/etc/ssl/certs/proxy.pem",
        ),
        (but(identity=1), "[0].identity", f"1 {QUOTE}", NAME, "identity: default"),
        (
            but(location="Europe West"),
            "[0].location",
            "'Europe West'",
            "a location of Artifact Registry",
            "location: europe-west1",
        ),
        (
            but(project="My-Project"),
            "[0].project",
            "'My-Project'",
            "a project ID: 6 to 30 lower case letters, digits and '-'",
            "project: my-project",
        ),
        (
            [{key: value for key, value in but(name="My.Repo")[0].items() if key != "repository"}],
            "[0].repository",
            "'My.Repo'",
            "a repository ID: lower case letters, digits and '-', at most 63 characters",
            "repository: python",
        ),
        (
            but(url=URL),
            "[0]",
            "url together with location, project, repository",
            "either url, or project, location and repository",
            EXAMPLE,
        ),
    ],
)
def test_bad_repositories(repositories: object, path: str, found: str, allowed: str, example: str) -> None:
    assert refusal(validate.parse_repositories, repositories) == text(LIST + path, found, allowed, example)


@pytest.mark.parametrize(
    ("url", "found", "allowed", "example"),
    [
        (URL.replace("https", "http"), f"'{URL.replace('https', 'http')}'", HTTPS, EXAMPLE),
        (f"{URL}?key=hunter2", f"'{URL}?***'", HTTPS, EXAMPLE),
        (f"{URL}#hunter2", f"'{URL}#***'", HTTPS, EXAMPLE),
        (f"{URL}?", f"'{URL}?***'", HTTPS, EXAMPLE),
        (f"{URL}?key=\nhunter2", f"'{URL}?***'", SHAPE, EXAMPLE),
        (f"{HOST}/../python/", f"'{HOST}/../python/'", SHAPE, EXAMPLE),
        (f"{HOST}/my-project/py\tthon/", f"'{HOST}/my-project/py\\tthon/'", SHAPE, EXAMPLE),
        (f"{HOST}/my-project/", f"'{HOST}/my-project/'", SHAPE, EXAMPLE),
        (f"{URL}more/", f"'{URL}more/'", SHAPE, EXAMPLE),
        (f"{HOST}/my-project/python//", f"'{HOST}/my-project/python//'", SHAPE, EXAMPLE),
        (443, "443", SHAPE, EXAMPLE),
        ("", "''", HTTPS, EXAMPLE),
        ("https://[::1/a/b/", "'https://[::1/a/b/'", SHAPE, EXAMPLE),
        (URL.replace(".dev", ".dev.evil.com"), f"'{URL.replace('.dev', '.dev.evil.com')}'", OTHER, EXAMPLE),
        ("https://evilpkg.dev/a/b/", "'https://evilpkg.dev/a/b/'", OTHER, EXAMPLE),
        (URL.replace(".dev", ".dev:8443"), f"'{URL.replace('.dev', '.dev:8443')}'", OTHER, EXAMPLE),
        (f"{URL}simple/", f"the index URL '{URL}simple/'", DERIVED, EXAMPLE),
        (f"{URL}simple", f"the index URL '{URL}simple'", DERIVED, EXAMPLE),
        (
            "https://EUROPE-west1-Docker.pkg.dev/my-project/python",
            "a repository of the format docker: 'https://EUROPE-west1-Docker.pkg.dev/my-project/python'",
            SHAPE,
            EXAMPLE,
        ),
    ],
)
def test_bad_urls(url: object, found: str, allowed: str, example: str) -> None:
    expected = text(f"{LIST}[0].url", found, allowed, example)
    assert refusal(validate.parse_repositories, at(url)) == expected


@pytest.mark.parametrize(
    "secret",
    ["hunter2", "hun/ter2", "hun@ter2", "hun ter2", "1?ter2", "1#ter2", "hun\nter2", "hünter2", "2/2"],
)
@pytest.mark.parametrize("start", ["https://dev:", "http://", "https:/dev:", "https:dev:"])
def test_no_part_of_a_password_in_a_url_is_shown(start: str, secret: str) -> None:
    shown = refusal(
        validate.parse_repositories, at(f"{start}{secret}@europe-west1-python.pkg.dev/a/b/?k=ter2")
    )
    assert "ter" not in shown.replace("starting", "").replace("letter", "")
    assert "dev:" not in shown
    assert "***@europe-west1-python.pkg.dev/a/b/?***'\n" in shown
    assert NO_USER in shown


def test_a_secret_beside_the_wrong_type_is_not_shown() -> None:
    shown = refusal(validate.parse_repositories, {"url": "https://dev:hunter2@host/", "password": "hunter2"})
    assert "hunter2" not in shown


def test_redaction_of_a_whole_file_takes_no_line_away() -> None:
    before = 'url = "https://u:p@ss/w\'ord@host/x/"\nurl = "https://host/"\n# mail me@example.com\n'
    assert (
        validate.redact(before)
        == 'url = "https://***@host/x/"\nurl = "https://host/"\n# mail me@example.com\n'
    )


def test_all_problems_are_reported_at_once() -> None:
    repositories = [*but(name="a b", location="X", url=3), "x", *but(), *but(ca_cert="x")]
    shown = refusal(validate.parse_repositories, repositories, variable="repositories")
    paths = [line.partition(": ")[0] for line in shown.splitlines() if not line.startswith(" ")]
    first = "repositories[0]"
    assert paths == [f"{first}.name", first, f"{first}.url", "repositories[1]", "repositories[3].ca_cert"]
    assert refusal(validate.parse_users, ["root", "-x", "dev", "dev"]).count("allowed:") == 3


@pytest.mark.parametrize(
    ("repository", "publish_url"),
    [
        (GOOD, URL),
        (
            {"name": "python", "project": "my-project", "location": "us"},
            f"{HOST.replace('europe-west1', 'us')}/my-project/python/",
        ),
        ({**GOOD, "project": "example.com:my-project"}, f"{HOST}/example.com:my-project/python/"),
        ({"name": "r", "url": URL}, URL),
        ({"name": "r", "url": URL.rstrip("/")}, URL),
        (
            {"name": "r", "url": f"{HOST}/example.com:my-project/python"},
            f"{HOST}/example.com:my-project/python/",
        ),
        ({"name": "r", "url": URL.replace("https", "HTTPS").replace("europe", "Europe")}, URL),
        ({"name": "r", "url": URL, "project": None, "location": None}, URL),
    ],
)
def test_good_repositories(repository: dict[str, Any], publish_url: str) -> None:
    (parsed,) = validate.parse_repositories([repository])
    assert parsed.as_dict() == {
        "name": repository["name"],
        "publish_url": publish_url,
        "index_url": f"{publish_url}simple/",
        "identity": "default",
        "ca_cert": None,
        "client_cert": None,
    }


def test_other_hosts_are_taken_when_allowed() -> None:
    repositories = at("https://localhost:8443/demo-project/python")
    (parsed,) = validate.parse_repositories(repositories, allow_other_hosts=True)
    assert parsed.publish_url == "https://localhost:8443/demo-project/python/"
    shown = refusal(validate.parse_repositories, at("http://localhost/a/b/"), allow_other_hosts=True)
    assert HTTPS in shown
