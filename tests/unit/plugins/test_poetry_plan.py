# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan: what changes in which file, from what is declared and what is there."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.devbox.artifact_registry.plugins.module_utils._poetry_plan import (
    AUTH,
    CONFIG,
    Wanted,
    plan,
)
from ansible_collections.devbox.artifact_registry.plugins.module_utils._toml_edit import REMOVE, apply
from ansible_collections.devbox.artifact_registry.plugins.module_utils._validate import Credential, Repository

Tree = dict[str, Any]

URL = "https://europe-west1-python.pkg.dev/my-project/python/"
PLAIN = Repository("a.b", URL, f"{URL}simple/")
WITH_CERTIFICATES = Repository("a.b", URL, f"{URL}simple/", ca_cert="/ca.pem", client_cert="/me.pem")
BASIC = Credential("partner", username="dev", password="p")
TOKEN = Credential("pypi", token="t")
SETTINGS: dict[tuple[str, ...], Any] = {("virtualenvs", "in-project"): True, ("cache-dir",): "/x"}
BUILD: dict[tuple[str, ...], Any] = {("installer", "build-config-settings", "numpy"): {"CC": "gcc"}}
CERTIFICATES = {"certificates": {"a.b": {"cert": "/ca.pem", "client-cert": "/me.pem"}}}

# declared, config.toml and auth.toml before, and after
CASES: dict[str, tuple[Wanted, tuple[Tree, Tree], tuple[Tree, Tree]]] = {
    "a repository": (Wanted([PLAIN]), ({}, {}), ({"repositories": {"a.b": {"url": URL}}}, {})),
    "its certificates go where Poetry writes them": (
        Wanted([WITH_CERTIFICATES]),
        (CERTIFICATES, {}),
        ({"repositories": {"a.b": {"url": URL}}}, CERTIFICATES),
    ),
    "a repository without certificates loses those of an earlier run": (
        Wanted([PLAIN]),
        (CERTIFICATES, CERTIFICATES),
        ({"repositories": {"a.b": {"url": URL}}}, {}),
    ),
    "settings": (
        Wanted(settings=SETTINGS),
        ({}, {}),
        ({"virtualenvs": {"in-project": True}, "cache-dir": "/x"}, {}),
    ),
    "a package's build": (
        Wanted(settings=BUILD),
        ({"installer": {"build-config-settings": {"numpy": {"LD": "mold"}, "scipy": {"CC": "cc"}}}}, {}),
        ({"installer": {"build-config-settings": {"numpy": {"CC": "gcc"}, "scipy": {"CC": "cc"}}}}, {}),
    ),
    "the same packages in another order": (
        Wanted(settings={("installer", "no-binary"): ["a", "b"]}),
        ({"installer": {"no-binary": ["b", "a"]}}, {}),
        ({"installer": {"no-binary": ["b", "a"]}}, {}),
    ),
    "other packages": (
        Wanted(settings={("installer", "no-binary"): ["a", "b"]}),
        ({"installer": {"no-binary": ["b", "c"]}}, {}),
        ({"installer": {"no-binary": ["a", "b"]}}, {}),
    ),
    "empty tables that Poetry left": (
        Wanted([PLAIN], purge={"settings", "repositories", "certificates", "credentials"}),
        ({"experimental": {}, "repositories": {"a.b": {"url": URL}}}, {"pypi-token": {}, "http-basic": {}}),
        ({"experimental": {}, "repositories": {"a.b": {"url": URL}}}, {"pypi-token": {}, "http-basic": {}}),
    ),
    "credentials": (
        Wanted(credentials=[BASIC, TOKEN]),
        ({}, {"http-basic": {"partner": {"username": "old", "note": 1}, "mine": {"username": "me"}}}),
        (
            {},
            {
                "http-basic": {
                    "partner": {"username": "dev", "note": 1, "password": "p"},
                    "mine": {"username": "me"},
                },
                "pypi-token": {"pypi": "t"},
            },
        ),
    ),
    "removal": (
        Wanted([PLAIN], settings=SETTINGS, credentials=[Credential("partner")], present=False),
        (
            {"repositories": {"a.b": {"url": "x"}, "c": {"url": "y"}}, **CERTIFICATES, "cache-dir": "/mine"},
            {
                "http-basic": {"partner": {"username": "dev", "password": "p"}},
                "pypi-token": {"partner": "t", "q": "u"},
            },
        ),
        ({"repositories": {"c": {"url": "y"}}}, {"pypi-token": {"q": "u"}}),
    ),
    "purged repositories": (
        Wanted([PLAIN], purge={"repositories"}),
        ({"repositories": {"c": {"url": "y", "note": {"x": 1}}}, "certificates": {"c": {"cert": "/c"}}}, {}),
        ({"repositories": {"a.b": {"url": URL}}, "certificates": {"c": {"cert": "/c"}}}, {}),
    ),
    "purged certificates": (
        Wanted([WITH_CERTIFICATES], purge={"certificates"}),
        ({"certificates": {"c": {"cert": "/c"}}}, {"certificates": {"d": {"cert": False}}}),
        ({"repositories": {"a.b": {"url": URL}}}, CERTIFICATES),
    ),
    "purged settings": (
        Wanted(settings=SETTINGS, purge={"settings"}),
        (
            {
                "virtualenvs": {"path": "/v", "options": {"no-pip": True}},
                "old": {"x": 1},
                "repositories": {"c": {}},
            },
            {},
        ),
        ({"repositories": {"c": {}}, "virtualenvs": {"in-project": True}, "cache-dir": "/x"}, {}),
    ),
    "purged credentials": (
        Wanted(credentials=[BASIC], purge={"credentials"}),
        (
            {"http-basic": {"here": {"username": "x"}}},
            {"http-basic": {"mine": {}}, "pypi-token": {"pypi": "t"}},
        ),
        ({}, {"http-basic": {"partner": {"username": "dev", "password": "p"}}}),
    ),
    "nothing but purges": (
        Wanted(purge={"settings", "repositories", "certificates", "credentials"}),
        ({"a": 1, "repositories": {"c": {"url": "y"}}}, {"http-basic": {"x": {"username": "u"}}, "note": 1}),
        ({}, {}),
    ),
    "what would win in auth.toml goes": (
        Wanted([PLAIN], settings=SETTINGS),
        (
            {},
            {"repositories": {"a.b": {"url": "x"}}, "virtualenvs": {"in-project": False}, "cache-dir": "/y"},
        ),
        ({"repositories": {"a.b": {"url": URL}}, "virtualenvs": {"in-project": True}, "cache-dir": "/x"}, {}),
    ),
    "a login where a token is": (
        Wanted(credentials=[BASIC]),
        ({}, {"pypi-token": {"partner": "t", "other": "u"}}),
        ({}, {"http-basic": {"partner": {"username": "dev", "password": "p"}}, "pypi-token": {"other": "u"}}),
    ),
    "removal of the token only": (
        Wanted(credentials=[Credential("partner", token="t")], present=False),
        ({}, {"pypi-token": {"partner": "t"}, "http-basic": {"partner": {"username": "u"}}}),
        ({}, {"http-basic": {"partner": {"username": "u"}}}),
    ),
    "removal of the login only": (
        Wanted(credentials=[BASIC], present=False),
        ({}, {"pypi-token": {"partner": "t"}, "http-basic": {"partner": {"username": "u"}}}),
        ({}, {"pypi-token": {"partner": "t"}}),
    ),
    "nothing": (Wanted(), ({"a": 1}, {"b": 2}), ({"a": 1}, {"b": 2})),
}


@pytest.mark.parametrize(("wanted", "before", "after"), CASES.values(), ids=CASES.keys())
def test_plan(wanted: Wanted, before: tuple[Tree, Tree], after: tuple[Tree, Tree]) -> None:
    def planned(config: Tree, auth: Tree) -> tuple[Tree, Tree]:
        changes = plan(wanted, config, auth)
        return apply(config, changes[CONFIG]), apply(auth, changes[AUTH])

    assert planned(*before) == after
    assert planned(*after) == after


def test_a_secret_is_not_in_what_a_credential_prints() -> None:
    assert "hunter2" not in repr(Credential("x", username="u", password="hunter2"))


def test_only_what_is_declared_is_planned() -> None:
    changes = plan(Wanted([PLAIN]), {"repositories": {"mine": {"url": "x"}}}, {"http-basic": {"mine": {}}})
    certificates = {("certificates", "a.b", key): REMOVE for key in ("cert", "client-cert")}
    url = ("repositories", "a.b", "url")
    assert changes == {CONFIG: {url: URL, **certificates}, AUTH: {url: REMOVE, **certificates}}
