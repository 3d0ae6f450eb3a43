# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports of made-up fleets, made by the collection's own filters from what hosts would answer."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from ansible_collections.devbox.artifact_registry.plugins.filter import status, status_page

__all__ = ["EVIL", "MADE_AT", "answer", "collected", "page", "report"]

ROLE = Path(__file__).resolve().parents[2] / "roles" / "fleet_status"
MADE_AT = "2026-11-28T12:00:00Z"
EVIL = "</script><img src=x onerror=window.owned=1>{{ 7*7 }}<!--"
_REPOSITORIES = ("private-repo", "ml-models", "tools")


def answer(
    left: int | None = 1800, *, code: int = 0, doctor: list[dict[str, Any]] | None = None, **changes: Any
) -> dict[str, Any]:
    """Return what a host's task returns, its token living for that many seconds.

    :param doctor: the findings of gar-auth doctor.
    :param changes: of the report of gar-auth status.
    """
    states = "fresh" if code == 0 else "stale"
    token = {
        "account": "builder@demo-project.iam.gserviceaccount.com",
        "state": "missing" if left is None else "valid" if left > 0 else "expired",
        "seconds_left": None if left is None else max(0, left),
        "expires_at": None if left is None else "2026-11-28T12:30:00Z",
        "login": None,
    }
    said = {
        "fine": code == 0,
        "provider": "token_timer",
        "identities": {"default": token},
        "logins": {},
        "users": {user: dict.fromkeys(_REPOSITORIES, states) for user in ("alice", "bob", "ci")},
        "hints": [],
        **changes,
    }
    found: dict[str, Any] = {
        "system": "Debian GNU/Linux 12 (bookworm)",
        "python": "3.11.2",
        "versions": {"gar_auth": "0.1.0", "poetry": "2.5.1", "gcloud": "528.0.0"},
        "status": {"code": code, "report": said, "error": None},
    }
    if code:
        found["doctor"] = {"code": code, "report": {"findings": doctor or []}, "error": None}
    return {"rc": 0, "stdout": json.dumps(found), "stderr": ""}


def collected(number: int, *, seed: int = 7) -> dict[str, dict[str, Any]]:
    """Return what a fleet of that many hosts would answer: most are fine, some are not."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    fleet = {}
    for index in range(number):
        name = f"{chance.choice(('build', 'dev', 'train'))}-{index:04}.europe-west1.example.com"
        luck = chance.random()
        if luck < 0.86:
            one = answer(chance.randrange(60, 3600))
            if luck < 0.1:
                login = {"state": "missing", "seconds_left": None, "login": "gcloud auth login"}
                hint = "bob: run `gcloud auth login` once, then the repositories of own work"
                one = answer(chance.randrange(60, 3600), logins={"bob": {"own": login}}, hints=[hint])
        elif luck < 0.93:
            unreachable = {
                "check": "identity",
                "level": "problem",
                "found": "default (metadata:default) has a token that expired 12 min ago",
                "cause": "the metadata server does not answer: timed out",
                "cure": "curl -H Metadata-Flavor:Google http://metadata.google.internal/",
            }
            one = answer(chance.choice((-720, -60, None)), code=75, doctor=[unreachable])
        elif luck < 0.96:
            words = (
                "Failed to connect to the host via ssh: connect to host 10.0.0.9 port 22: No route to host"
            )
            fleet[name] = {"unreachable": True, "msg": words}
            continue
        elif luck < 0.98:
            path = "/home/bob/.config/pypoetry/auth.toml"
            error = f"{path}: invalid TOML at line 3; repair it or move it away: mv {path} {path}.old"
            users = {"alice": dict.fromkeys(_REPOSITORIES, "fresh"), "bob": {"error": error}}
            one = answer(chance.randrange(60, 3600), code=75, users=users)
        else:
            one = {
                "rc": 0,
                "stdout": json.dumps({"system": "Debian GNU/Linux 13 (trixie)", "python": "3.13.5"}),
            }
        found = json.loads(one["stdout"])
        if "versions" in found:
            found["versions"]["poetry"] = chance.choices(("2.5.1", "2.4.3", "1.8.5"), (8, 3, 1))[0]
            found["versions"]["gcloud"] = chance.choices(("528.0.0", "527.0.0", None), (8, 2, 2))[0]
            if chance.random() < 0.4:
                found.update(system="Debian GNU/Linux 13 (trixie)", python="3.13.5")
        fleet[name] = {**one, "stdout": json.dumps(found)}
    return fleet


def report(fleet: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the report of a fleet."""
    return status.report(fleet, made_at=MADE_AT, collection="0.1.0")


def page(made: dict[str, Any]) -> str:
    """Return the page of a report, from the role's own parts."""
    template, style, script = (
        (ROLE / "templates" / name).read_text(encoding="utf-8")
        for name in ("status.html.j2", "status.css", "status.js")
    )
    return status_page.page(made, template=template, style=style, script=script)
