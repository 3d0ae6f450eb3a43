# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine as the role leaves it: configuration, tokens, and a program that is asked."""

from __future__ import annotations

import json
import logging
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gar_auth_keyring import lookup

HOST = "https://europe-west1-python.pkg.dev"
URL = f"{HOST}/my-project/python/"
TOOLS = f"{HOST}/my-project/python-tools/"
OWN = "https://packages.example.com:8443/simple-things/own/"


@dataclass
class Place:
    """The machine."""

    top: Path
    log: pytest.LogCaptureFixture

    @property
    def config(self) -> Path:
        return self.top / "config.json"

    def configure(self, **changes: Any) -> None:
        settings = {
            "identities": {"default": {"type": "metadata"}, "tools": {}, "own": {"per_user": True}},
            "repositories": [
                {"name": "a", "publish_url": URL, "index_url": f"{URL}simple/", "identity": "default"},
                {"name": "b", "publish_url": TOOLS, "index_url": f"{TOOLS}simple/", "identity": "tools"},
                {"name": "c", "publish_url": OWN, "index_url": None, "identity": "own"},
            ],
            "run_dir": str(self.top / "run"),
            "user_run_dir": str(self.top / "run-user"),
            "program": str(self.top / "gar-auth"),
            **changes,
        }
        self.config.write_text(json.dumps(settings))

    def put(
        self, identity: str = "default", *, token: str = "", left: int = 1800, at: Path | None = None
    ) -> Path:
        """A token of that identity."""
        path = (at or self.top / "run") / identity / "token"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"token": token or f"ya29.{identity}", "expiry": int(time.time()) + left, "source": "x"}
        path.write_text(json.dumps(content))
        return path

    def answer(self, script: str) -> None:
        """What the program does when it is asked."""
        path = self.top / "gar-auth"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(stat.S_IRWXU)

    def lines(self) -> list[str]:
        """What was logged."""
        return [record.getMessage() for record in self.log.records if record.name == "gar_auth_keyring"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Place:
    place = Place(tmp_path, caplog)
    place.configure()
    place.answer(
        f"touch '{tmp_path}/asked'; echo 'gar-auth: nothing here; see: gar-auth doctor' >&2; exit 75"
    )
    where = tmp_path / "place.json"
    where.write_text(json.dumps({"config": os.fspath(place.config)}))
    monkeypatch.setattr(lookup, "PLACE", str(where))
    monkeypatch.setattr(lookup, "_kept", {})
    monkeypatch.setattr(lookup, "_failed", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(lookup, "GET_SECONDS", 5.0)
    caplog.set_level(logging.DEBUG, logger="gar_auth_keyring")
    return place
