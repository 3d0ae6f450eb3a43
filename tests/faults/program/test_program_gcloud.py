# SPDX-License-Identifier: GPL-3.0-or-later
"""A gcloud that warns, fails, prompts or hangs; and that nothing at all keeps the program for long."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest
from faults.program.fetching import ROBOT, SECRET, assert_fails, few
from faults.program.google import Google
from faults.program.installed import TOKEN, Gar

CREDENTIAL = {
    "credential": {"access_token": TOKEN, "token_expiry": None, "id_token": None},
    "configuration": {
        "active_configuration": "default",
        "properties": {"core": {"account": "me@example.com"}},
    },
}


@pytest.fixture
def clid(gar: Gar, google: Google) -> Gar:
    """An identity of the CLI, with somebody logged in."""
    gar.identity(type="gcloud", account="me@example.com")
    database = gar.state_dir / "default" / "credentials.db"
    database.write_text("")
    gar.service.own(database)
    return gar


def fake_gcloud(gar: Gar, script: str) -> None:
    """Have this shell script for gcloud."""
    path = gar.prefix / "bin" / "gcloud"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def answer(**changes: object) -> str:
    """Print gcloud's JSON."""
    return f"cat <<'END'\n{json.dumps({**CREDENTIAL, **changes}, indent=2)}\nEND"


def test_a_gcloud_that_warns_in_another_language_is_read_by_its_json_only(clid: Gar, google: Google) -> None:
    warning = "echo 'WARNUNG: Das Projekt \u2026 \u00dcberpr\u00fcfen' >&2"
    fake_gcloud(clid, f"{warning}; [ $LC_ALL = C.UTF-8 ] || exit 9; {answer()}")
    done = clid.fetch("--now", env={**google.environment, "LC_ALL": "de_DE.UTF-8", "LANG": "de_DE.UTF-8"})
    assert (done.code, done.said) == (0, "")
    token = clid.token()
    assert token is not None
    assert token["token"] == TOKEN


BAD_GCLOUDS = {
    "text on standard output": ("echo Anmeldung erforderlich", 75, "holds no usable token"),
    "text before the JSON": (f"echo Hinweis; {answer()}", 75, "holds no usable token"),
    "no token": (answer(credential={}), 75, "holds no usable token"),
    "a token of two lines": (
        answer(credential={"access_token": f"{TOKEN}\nx"}),
        75,
        "holds no usable token",
    ),
    "an exit code": (f"echo '{SECRET}' >&2; exit 3", 78, r"gcloud failed \(exit code 3\)"),
    "killed": ("kill -9 $$", 75, "gcloud was killed by signal 9"),
    "nobody logged in": (
        "echo 'ERROR: (gcloud.config.config-helper) You do not currently have an active account' >&2; exit 1",
        78,
        "not logged in to gcloud; run `.*gcloud auth login me@example.com`",
    ),
    "an expired login": (
        "echo 'ERROR: There was a problem refreshing your current auth tokens: invalid_grant' >&2; exit 1",
        78,
        "expired or was revoked; run `.*gcloud auth login me@example.com`",
    ),
    "no network": (
        "echo 'ERROR: Unable to find the server at oauth2' >&2; exit 1",
        75,
        "cannot reach Google",
    ),
    "a prompt": (
        'read answer && exit 0; echo "Do you want to continue (Y/n)?" >&2; exit 1',
        78,
        "gcloud failed",
    ),
}


@pytest.mark.parametrize("case", few(BAD_GCLOUDS, every=2))
def test_a_gcloud_that_gives_no_token_is_told_in_one_line(clid: Gar, google: Google, case: str) -> None:
    script, code, said = BAD_GCLOUDS[case]
    fake_gcloud(clid, script)
    done = assert_fails(clid, google, code, said)
    assert done.seconds < 25


def test_a_machine_without_gcloud_says_so(clid: Gar, google: Google) -> None:
    (clid.prefix / "bin" / "gcloud").unlink(missing_ok=True)
    assert_fails(clid, google, 78, "install the Google Cloud CLI")


#: What never ends; each must be given up within its deadline of 20 s.
ENDLESS = (
    "metadata hang",
    "metadata slow",
    "token hang",
    "token slow",
    "gcloud sleeps",
    "gcloud leaves a child",
)


def test_a_gcloud_that_never_stops_printing_is_ended_early(clid: Gar, google: Google) -> None:
    fake_gcloud(clid, "exec yes 0123456789")
    done = assert_fails(clid, google, 75, "usable token|does not answer")
    assert done.seconds < 24


def test_nothing_keeps_the_program_for_more_than_twenty_seconds(gar: Gar, google: Google) -> None:
    """All at the same time: these runs do nothing but wait."""
    key = str(gar.put_key(google.control.create_key(ROBOT)))
    names = {case: case.replace(" ", "-").replace("'", "") for case in ENDLESS}
    identities: dict[str, dict[str, str]] = {}
    for case, name in names.items():
        kind = case.partition(" ")[0].removesuffix("'s")
        identities[name] = {"type": {"token": "service_account_key"}.get(kind, kind)}
        identities[name] |= {"file": key} if kind == "token" else {}
        for directory in (gar.run_dir / name, gar.state_dir / name):
            directory.mkdir()
            gar.service.own(directory)
        (gar.state_dir / name / "credentials.db").touch()
    gar.configure(
        identities=identities,
        repositories=[gar.repository(name, name) for name in names.values()],
    )
    marker = f"86{os.getpid()}"
    fake_gcloud(
        gar, f"case $CLOUDSDK_CONFIG in *child*) sleep {marker} & wait;; *) exec sleep {marker};; esac"
    )
    runs: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
    for fault in ("hang", "slow"):
        google.control.set_fault("metadata", fault)
        google.control.set_fault("token", fault)
        for case in (case for case in ENDLESS if case.endswith(fault)):
            started = time.monotonic()
            arguments = ("fetch", names[case], "--now")
            runs[case] = gar.start(*arguments, user=gar.service, env=google.environment), started
            time.sleep(0.7)  # it has sent its first request
    for case in (case for case in ENDLESS if case not in runs):
        runs[case] = gar.start("fetch", names[case], "--now", user=gar.service, env={}), time.monotonic()
    for case, (process, started) in runs.items():
        done = gar.end(process, started=started)
        assert done.code == 75, (case, done)
        assert "does not answer" in done.said, (case, done)
        assert done.seconds < 24, case
    left = subprocess.run(["pgrep", "-f", f"sleep {marker}"], capture_output=True, text=True, check=False)
    assert left.stdout == "", "gcloud's processes are still there"
