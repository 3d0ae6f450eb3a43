# SPDX-License-Identifier: GPL-3.0-or-later
"""C(gar-auth try): whether the index answers as another configuration wants it, before users have that."""

from __future__ import annotations

import io
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tokens.proxy import Proxy
from unit.gar_auth.program import Program

from gar_auth import cycle as cycle_module
from lab.emulator.launch import Emulator
from lab.emulator.records import DEFAULT_ACCOUNT

HOST = "europe-west1-python.pkg.dev"
ROBOT = "robot@demo-project.iam.gserviceaccount.com"
URL = f"https://{HOST}/demo-project/python/"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes the service's account")


class Trial:
    """Runs the command with another configuration than the one in force."""

    def __init__(
        self,
        program: Program,
        google: Emulator,
        patch: pytest.MonkeyPatch,
        settings: dict[str, Any],
        configure: Callable[..., Path],
    ) -> None:
        self.program, self.google, self.patch, self.settings = program, google, patch, settings
        self.configure = configure

    def __call__(self, **changes: Any) -> tuple[int, list[dict[str, Any]]]:
        """Exit code and findings."""
        self.patch.setattr("sys.stdin", io.StringIO(json.dumps({**self.settings, **changes})))
        code, output, errors = self.program("try", "--json")
        assert errors == ""
        answer = json.loads(output)
        assert (answer["fine"], answer["code"]) == (code == 0, code)
        return code, answer["findings"]

    def declare(self, **changes: Any) -> None:
        """Put another configuration in force."""
        self.configure(**{**self.settings, **changes})

    def repository(self, **changes: Any) -> dict[str, Any]:
        """The declared repository, with changes."""
        return {**self.settings["repositories"][0], **changes}


@pytest.fixture
def trial(
    program: Program,
    running: Emulator,
    internet: Proxy,
    google: Emulator,
    everybody: Path,
    configure: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Trial]:
    """A machine with one repository, which both the metadata server's account and a key's may read."""
    running.control.allow_all()
    (everybody / "key.json").write_text(json.dumps(running.control.create_key(ROBOT)))
    authority = everybody / "ca.pem"
    authority.write_bytes(running.ca.read_bytes())
    authority.chmod(0o644)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    repository = {
        "name": "private-repo",
        "publish_url": URL,
        "index_url": f"{URL}simple/",
        "identity": "default",
        "ca_cert": str(authority),
    }
    settings = {
        "identities": {
            "default": {"type": "metadata"},
            "ci": {"type": "service_account_key", "file": str(everybody / "key.json")},
            "own": {"type": "gcloud", "per_user": True},
        },
        "repositories": [repository],
        "users": ["nobody"],
        "config_dir": ".config/pypoetry",
        "run_dir": str(everybody / "run" / "gar-auth"),
        "service_manager": "systemd",
    }
    configure(**settings)
    yield Trial(program, running, monkeypatch, settings, configure)
    assert list((everybody / "run").iterdir()) == [], "no token is kept"
    assert list((everybody / "home").rglob("auth.toml")) == []
    running.control.allow_all()


def told(findings: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(one["level"], one["check"], one["found"]) for one in findings]


def test_where_nothing_is_served_in_another_way_nobody_is_asked(trial: Trial, running: Emulator) -> None:
    before = len(running.control.tokens())
    more = trial.repository(name="more", publish_url=f"https://{HOST}/no-such-project/more/")
    assert trial(repositories=[trial.repository(), more], users=["nobody", "root"]) == (0, [])
    assert trial(repositories=[]) == (0, [])
    assert len(running.control.tokens()) == before


def test_an_identity_that_may_read_is_fine(trial: Trial) -> None:
    code, findings = trial(repositories=[trial.repository(identity="ci")])
    assert (code, told(findings)) == (0, [("ok", "index", f"private-repo: {HOST} answers 200 as {ROBOT}")])


def test_an_identity_that_may_not_read_is_a_problem(trial: Trial, running: Emulator) -> None:
    running.control.deny(ROBOT, permission="download")
    code, findings = trial(repositories=[trial.repository(identity="ci")])
    assert (code, told(findings)) == (
        78,
        [("problem", "index", f"private-repo: {HOST} answers 403 to {ROBOT}")],
    )
    assert f"--member=serviceAccount:{ROBOT}" in findings[0]["cure"]


def test_a_proxy_that_only_the_units_know_is_used(trial: Trial, internet: Proxy) -> None:
    """Users may have it from their own profiles, which nobody reads here."""
    assert trial(repositories=[trial.repository(identity="ci")])[0] == 0
    assert f"{HOST}:443" in internet.asked


def test_another_account_under_the_same_name_is_another_identity(trial: Trial, running: Emulator) -> None:
    running.control.deny(ROBOT, permission="download")
    identities = {**trial.settings["identities"], "default": trial.settings["identities"]["ci"]}
    assert trial(identities=identities)[0] == 78
    running.control.deny(DEFAULT_ACCOUNT, permission="download")
    running.control.allow_all()
    assert trial(identities=identities)[0] == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {
                "publish_url": URL.replace("demo-", "no-such-"),
                "index_url": URL.replace("demo-", "no-such-") + "simple/",
            },
            "no repository python in project no-such-project",
        ),
        ({"ca_cert": "/nonexistent/ca.pem"}, "certificate authorities /nonexistent/ca.pem is missing"),
        ({"ca_cert": "/etc/ssl/certs/ca-certificates.crt"}, "of an authority that is not trusted"),
    ],
)
def test_another_url_or_certificate_that_does_not_work_is_a_problem(
    trial: Trial, changes: dict[str, str], says: str
) -> None:
    code, findings = trial(repositories=[trial.repository(**changes)])
    assert code == 78
    assert [one["level"] for one in findings] == ["problem"]
    assert says in findings[0]["cause"]


def test_an_identity_without_a_token_is_a_problem_with_the_cure(trial: Trial, everybody: Path) -> None:
    (everybody / "key.json").unlink()
    code, findings = trial(repositories=[trial.repository(identity="ci")])
    path = everybody / "key.json"
    assert (code, told(findings)) == (78, [("problem", "identity", f"ci: {path}: No such file or directory")])
    assert findings[0]["cure"] == "put it there, or name another one"


def test_what_needs_somebodys_login_is_not_tried(trial: Trial) -> None:
    code, findings = trial(repositories=[trial.repository(identity="own")])
    assert (code, told(findings)) == (
        0,
        [("note", "identity", "own is each user's own login, which is not tried")],
    )


def test_an_account_of_gclouds_is_not_tried_before_somebody_has_logged_in_and_gcloud_is_there(
    trial: Trial, everybody: Path
) -> None:
    """Its directory, and gcloud itself, may come with the release that is tried."""
    identities = {**trial.settings["identities"], "cli": {"type": "gcloud", "account": "me@example.com"}}
    wanted = {"gcloud": "/nonexistent/gcloud", "state_dir": "/nonexistent", "identities": identities}
    code, findings = trial(repositories=[trial.repository(identity="cli")], **wanted)
    assert (code, told(findings)) == (
        0,
        [("note", "identity", "cli is not tried: nobody is logged in to gcloud")],
    )
    (everybody / "cli").mkdir()
    (everybody / "cli").chmod(0o755)
    (everybody / "cli" / "credentials.db").touch()
    code, findings = trial(
        repositories=[trial.repository(identity="cli")], **{**wanted, "state_dir": str(everybody)}
    )
    assert (code, told(findings)) == (
        0,
        [("note", "identity", "cli is not tried: there is no /nonexistent/gcloud yet")],
    )


@pytest.mark.parametrize("kind", ["client_cert", "ca_cert"])
def test_a_file_that_only_users_may_read_is_none_to_try_with(
    trial: Trial, everybody: Path, kind: str
) -> None:
    closed = everybody / "of-users.pem"
    closed.touch(mode=0o600)
    before = len(trial.google.control.tokens())
    code, findings = trial(repositories=[trial.repository(**{kind: str(closed)})])
    assert (code, told(findings)) == (
        0,
        [("note", "index", f"private-repo is not tried: only its users may read {closed}")],
    )
    assert len(trial.google.control.tokens()) == before


def test_an_authority_that_only_users_know_is_none_to_try_with(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may have configured certificates.NAME.cert of Poetry themselves."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    code, findings = trial(repositories=[trial.repository(ca_cert=None)])
    assert (code, told(findings)) == (
        0,
        [("note", "tls", f"private-repo is not tried: only its users may know the authority of {HOST}")],
    )


def test_an_index_that_does_not_come_to_an_end_is_a_problem(
    trial: Trial, everybody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gar_auth.trial.SECONDS", 2.0)
    monkeypatch.setattr("gar_auth.trial.ask_all", lambda *_: time.sleep(600))
    (everybody / "key.json").unlink()
    identities = {**trial.settings["identities"], "other": {"type": "metadata"}}
    broken = trial.repository(name="private-repo", identity="ci")
    trial.declare(repositories=[trial.repository(), trial.repository(name="more")])
    wanted = [broken, trial.repository(name="more", identity="other")]
    code, findings = trial(repositories=wanted, identities=identities)
    assert code == 78
    assert [(one["level"], one["check"], one["code"]) for one in findings] == [
        ("problem", "identity", 78),
        ("problem", "index", 75),
    ]
    assert "within 2 s" in findings[1]["found"]


def test_it_runs_as_the_services_account(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cycle_module, "ACCOUNT", "no-such-account")
    text = json.dumps({**trial.settings, "repositories": [trial.repository(identity="ci")]})
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    code, output, errors = trial.program("try")
    assert (code, output) == (78, "")
    assert errors == "gar-auth: no user 'no-such-account' on this machine; run the playbook again\n"


def test_what_is_no_configuration_is_said_to_be_none(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("{"))
    code, output, errors = trial.program("try")
    assert (code, output) == (78, "")
    assert re.fullmatch(r"gar-auth: standard input is damaged \(.*\); run the playbook again\n", errors)


def test_only_root_may(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    code, output, errors = trial.program("try")
    assert (code, output) == (77, "")
    assert errors == "gar-auth: only root can try another configuration; run it with sudo\n"
