# SPDX-License-Identifier: GPL-3.0-or-later
"""Credentials and certificates: Poetry's own password manager and authenticator find what was asked for.

`poetry config --list` never shows credentials; see judge.py for what is asked instead.
"""

from __future__ import annotations

import json
import os
import stat
import time
from typing import Any

import pytest

from oracle.home import Home, meaning

NOTHING = {
    "username": None,
    "password": None,
    "token": None,
    "cert": None,
    "client_cert": None,
    "verify": True,
}
LOGIN = {"name": "with-login", "username": "oauth2accesstoken", "password": "ya29.canary-1"}
TOKEN = {"name": "with-token2", "token": "pypi-canary-2"}
CREDENTIALS = [LOGIN, TOKEN]
FOUND = {
    "with-login": {**NOTHING, "username": "oauth2accesstoken", "password": "ya29.canary-1"},
    "with-token2": {**NOTHING, "token": "pypi-canary-2"},
}
KEYS = ["http-basic.with-login.password", "http-basic.with-login.username", "pypi-token.with-token2"]


def test_poetry_finds_the_login_and_the_token(home: Home) -> None:
    assert home.changes(credentials=CREDENTIALS) == KEYS
    assert home.credentials(*FOUND) == FOUND
    assert stat.S_IMODE(home.auth.stat().st_mode) == 0o600
    assert home.changes(credentials=CREDENTIALS) == []


def test_credentials_that_poetry_removed_or_changed_come_back(home: Home) -> None:
    home.changes(credentials=CREDENTIALS)
    home.config_commands(["http-basic.with-login", "--unset"], ["pypi-token.with-token2", "--unset"])
    assert home.credentials(*FOUND) == {"with-login": NOTHING, "with-token2": NOTHING}
    assert home.changes(credentials=CREDENTIALS, check=True) == KEYS
    assert home.changes(credentials=CREDENTIALS) == KEYS
    assert home.credentials(*FOUND) == FOUND
    home.config_commands(
        ["http-basic.with-login", "oauth2accesstoken", "another"],
        ["pypi-token.with-token2", "another"],
        ["http-basic.foreign", "me", "theirs"],
    )
    assert home.changes(credentials=CREDENTIALS) == [KEYS[0], KEYS[2]]
    foreign = {**NOTHING, "username": "me", "password": "theirs"}
    assert home.credentials(*FOUND, "foreign") == {**FOUND, "foreign": foreign}
    assert home.changes(credentials=CREDENTIALS) == []
    assert home.changes(credentials=CREDENTIALS, state="absent") == KEYS
    gone = dict.fromkeys(FOUND, NOTHING)
    assert home.credentials(*FOUND, "foreign") == {**gone, "foreign": foreign}


def test_what_poetry_wrote_itself_is_no_change(home: Home) -> None:
    home.config_commands(
        ["http-basic.with-login", LOGIN["username"], LOGIN["password"]],
        ["pypi-token.with-token2", TOKEN["token"]],
        ["certificates.private-repo.cert", "/etc/ssl/ca.pem"],
        ["certificates.private-repo.client-cert", "/etc/ssl/client.pem"],
        ["repositories.private-repo", REPOSITORY["url"]],
    )
    before = home.files()
    assert home.changes(credentials=CREDENTIALS, repositories=[REPOSITORY]) == []
    assert home.files() == before


def test_empty_files_that_poetry_left_long_ago_cost_no_time(home: Home) -> None:
    home.config_commands(["http-basic.with-login", "me", "secret"], ["http-basic.with-login", "--unset"])
    assert home.files() == {"auth.toml": b"", "config.toml": b""} or home.poetry.release.number < (2, 0)
    home.write(config="", auth="")
    an_hour_ago = time.time() - 3600
    os.utime(home.config, (an_hour_ago, an_hour_ago))
    os.utime(home.auth, (an_hour_ago, an_hour_ago))
    start = time.monotonic()
    assert home.changes(credentials=CREDENTIALS, check=True) == KEYS
    assert time.monotonic() - start < 1.5, "waits for files that nobody is writing"


#: By what makes each hard; all are latin-1, as Poetry needs it to send them.
PASSWORDS = {
    "quotes": "a\"b'c\"\"\"d'''e",
    "backslash": "C:\\new\\table\\u0041\\",
    "braces": "{a}{b",
    "toml": "# = [x] {y}, ${z} %s",
    "spaces": "  leading and trailing  ",
    "colon": "user:pass@host/?q#f",
    "umlaut": "pässwörd",
    "long": "x" * 8192,
    "number": "0123",
    "boolean": "true",
}


def test_odd_passwords_reach_poetry_as_they_are(home: Home) -> None:
    logins = [{"name": name, "username": "me", "password": value} for name, value in PASSWORDS.items()]
    tokens = [{"name": f"t-{name}", "token": value} for name, value in PASSWORDS.items()]
    home.changes(credentials=[*logins, *tokens])
    found = home.credentials(*PASSWORDS, *(f"t-{name}" for name in PASSWORDS))
    assert {name: found[name]["password"] for name in PASSWORDS} == PASSWORDS
    assert {name: found[f"t-{name}"]["token"] for name in PASSWORDS} == PASSWORDS
    assert home.changes(credentials=[*logins, *tokens]) == []


@pytest.mark.parametrize(
    "secret", ["p{cache-dir}q", "{virtualenvs.path}", "new\nline", "emoji ✓", "", "{{ a }}"], ids=ascii
)
def test_a_password_that_poetry_would_not_send_as_it_is_is_refused(home: Home, secret: str) -> None:
    options = [{"name": "a-repo", "username": "me", "password": secret}]
    result = home.run(credentials=options)
    assert result.get("failed"), f"Poetry now uses {home.credentials('a-repo')['a-repo']['password']!r}"
    assert "credentials[0]" in result["msg"]
    assert not secret or secret not in json.dumps(result, ensure_ascii=False).replace("\\n", "\n")
    assert home.files() == {}


def test_each_of_two_repositories_on_one_host_gets_its_own_login(home: Home) -> None:
    names = ("first", "second")
    options: dict[str, Any] = {
        "repositories": [{**REPOSITORY, "name": name, "url": f"{HOST}/{name}-one/python/"} for name in names],
        "credentials": [{"name": name, "username": name, "password": f"of-{name}"} for name in names],
    }
    home.changes(**options)
    urls = [f"{HOST}/{name}-one/python/simple/a-package/" for name in names]
    expected = {url: [name, f"of-{name}"] for url, name in zip(urls, names, strict=True)}
    assert home.ask(("logins", urls))[0] == expected


HOST = "https://europe-west1-python.pkg.dev"
REPOSITORY = {
    "name": "private-repo",
    "url": f"{HOST}/my-project/python/",
    "ca_cert": "/etc/ssl/ca.pem",
    "client_cert": "/etc/ssl/client.pem",
}
CERTIFICATES = ["certificates.private-repo.cert", "certificates.private-repo.client-cert"]


def test_poetry_finds_the_certificates_and_gets_them_back(home: Home) -> None:
    expected = {**NOTHING, "cert": "/etc/ssl/ca.pem", "client_cert": "/etc/ssl/client.pem"}
    assert set(CERTIFICATES) < set(home.changes(repositories=[REPOSITORY]))
    assert home.credentials("private-repo")["private-repo"] == expected
    listed = home.listed()
    assert [listed[key] for key in CERTIFICATES] == ["/etc/ssl/ca.pem", "/etc/ssl/client.pem"]
    home.config_commands(*([key, "--unset"] for key in CERTIFICATES))
    assert home.credentials("private-repo")["private-repo"] == NOTHING
    assert home.changes(repositories=[REPOSITORY]) == CERTIFICATES
    home.config_commands([CERTIFICATES[0], "false"], [CERTIFICATES[1], "/etc/ssl/other.pem"])
    assert home.credentials("private-repo")["private-repo"]["verify"] is False
    assert home.changes(repositories=[REPOSITORY]) == CERTIFICATES
    assert home.credentials("private-repo")["private-repo"] == expected
    assert home.changes(repositories=[REPOSITORY]) == []
    home.changes(repositories=[REPOSITORY], state="absent")
    assert home.credentials("private-repo")["private-repo"] == NOTHING


def test_secrets_of_ours_and_theirs_are_in_no_result(home: Home) -> None:
    home.config_commands(["http-basic.foreign", "me", "theirs-canary"], ["pypi-token.foreign", "canary-too"])
    results = [home.run(credentials=CREDENTIALS, check=check) for check in (True, False, False)]
    home.config_commands(["http-basic.with-login", "me", "theirs-canary"])
    results.append(home.run(credentials=CREDENTIALS))
    results.append(home.run(credentials=CREDENTIALS, purge=["credentials"]))
    results.append(home.run(credentials=CREDENTIALS, state="absent"))
    assert [result["changed"] for result in results] == [True, True, False, True, True, True]
    for result in results:
        result.pop("invocation", None)  # the arguments; Ansible masks them by no_log
        assert "canary" not in json.dumps(result)


def test_purging_credentials_and_certificates_leaves_only_the_declared_ones(home: Home) -> None:
    theirs = [
        ["http-basic.foreign", "me", "theirs"],
        ["pypi-token.foreign", "theirs"],
        ["certificates.foreign.cert", "/etc/ssl/theirs.pem"],
    ]
    home.config_commands(*theirs, ["repositories.foreign", "https://example.com/"])
    options: dict[str, Any] = {"credentials": CREDENTIALS, "repositories": [REPOSITORY]}
    home.changes(**options)
    kept = {
        **NOTHING,
        "username": "me",
        "password": "theirs",
        "token": "theirs",
        "cert": "/etc/ssl/theirs.pem",
    }
    assert home.credentials("foreign")["foreign"] == kept, "nothing is purged unless it is asked for"
    assert home.changes(**options, purge=["certificates"]) == ["certificates.foreign.cert"]
    assert home.credentials("foreign")["foreign"] == {**kept, "cert": None}
    gone = ["http-basic.foreign.password", "http-basic.foreign.username", "pypi-token.foreign"]
    assert home.changes(**options, purge=["credentials"]) == gone
    found = home.credentials("foreign", "private-repo", *FOUND)
    certificates = {"cert": "/etc/ssl/ca.pem", "client_cert": "/etc/ssl/client.pem"}
    assert found == {"foreign": NOTHING, "private-repo": {**NOTHING, **certificates}, **FOUND}
    assert meaning(home.config)["repositories"]["foreign"] == {"url": "https://example.com/"}
    assert home.changes(**options, purge=["credentials", "certificates"]) == []
