# SPDX-License-Identifier: GPL-3.0-or-later
"""Files written by hand: Poetry still reads them after our edits, with ours and theirs in it."""

from __future__ import annotations

from typing import Any

import pytest

from oracle.home import Home, meaning, parse_list
from oracle.layouts import LAYOUTS, THEIR_LOGIN, THEIRS, Layout

URL = "https://europe-west1-python.pkg.dev/my-project/python/"
ASKED: dict[str, Any] = {
    "repositories": [{"name": "ours", "url": URL, "ca_cert": "/etc/ssl/ours.pem"}],
    "settings": {
        "virtualenvs": {"in-project": True, "options": {"always-copy": True}},
        "installer.max-workers": 3,
    },
    "credentials": [
        {"name": "ours", "username": "we", "password": "our secret"},
        {"name": "other", "token": "pypi-canary"},
    ],
}
OURS = {
    "repositories.ours.url": URL,
    "certificates.ours.cert": "/etc/ssl/ours.pem",
    "virtualenvs.in-project": True,
    "virtualenvs.options.always-copy": True,
    "installer.max-workers": 3,
}


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_poetry_reads_and_edits_ours_and_theirs_in_files_written_by_hand(home: Home, layout: Layout) -> None:
    home.write(config=layout.config, auth=layout.auth)
    before, said = home.files(), (meaning(home.config), meaning(home.auth))
    assert set(home.changes(**ASKED)) > set(OURS)
    edited = home.files()
    listed, found, change, again = home.ask(
        ("command", ["config", "--list"]),
        ("credentials", ["ours", "theirs", "other"]),
        ("command", ["config", "virtualenvs.path", "/srv/poetry"]),
        ("command", ["config", "--list"]),
    )
    assert listed["code"] == 0, f"Poetry cannot read what we wrote: {listed['errors']}"
    shown = parse_list(listed["output"])
    assert {**shown, **THEIRS, **OURS} == shown
    logins = {
        name: {key: entry[key] for key in THEIR_LOGIN} for name, entry in found.items() if name != "other"
    }
    assert logins == {"ours": {"username": "we", "password": "our secret"}, "theirs": THEIR_LOGIN}
    assert found["other"]["token"] == "pypi-canary"
    assert change["code"] == 0, f"Poetry cannot edit what we wrote: {change['errors']}"
    assert parse_list(again["output"]) == {**shown, "virtualenvs.path": "/srv/poetry"}
    assert home.changes(**ASKED) == [], "Poetry's edit kept ours"
    home.write(config=edited["config.toml"].decode(), auth=edited["auth.toml"].decode())
    home.changes(**ASKED, state="absent")
    assert (meaning(home.config), meaning(home.auth)) == said
    if layout.comes_back:
        after = {name: text.rstrip(b"\r\n") for name, text in home.files().items()}
        assert after == {name: text.rstrip(b"\r\n") for name, text in before.items()}
