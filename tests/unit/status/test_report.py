# SPDX-License-Identifier: GPL-3.0-or-later
"""Judging what was collected from hosts: their state, the causes, the counts, the summary."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.devbox.artifact_registry.plugins.filter.status import FilterModule, summary
from uses.reports import EVIL, answer, collected, page, report

PROBLEM = {
    "check": "index",
    "level": "problem",
    "found": "403",
    "cause": "no right",
    "cure": "grant it",
    "code": 78,
}
LOGIN = {"state": "missing", "seconds_left": None, "expires_at": None, "login": "gcloud auth login"}


def judged(result: dict[str, Any]) -> dict[str, Any]:
    (host,) = report({"web": result})["hosts"]
    return dict(host)


def said(**found: Any) -> dict[str, Any]:
    """What a task returns whose host printed that."""
    return {"rc": 0, "stdout": json.dumps({"python": "3.11.2", **found}), "stderr": ""}


def status(code: int | None, *, printed: object = None, error: str | None = None) -> dict[str, Any]:
    return said(status={"code": code, "report": printed, "error": error})


def test_a_host_is_fine_where_gar_auth_says_so() -> None:
    host = judged(answer(1234))
    assert (host["state"], host["causes"]) == ("fine", [])
    assert host["versions"] == {"gar_auth": "0.1.0", "poetry": "2.5.1", "gcloud": "528.0.0"}
    (token,) = host["tokens"]
    assert (token["identity"], token["user"], token["state"]) == ("default", None, "valid")
    assert token["seconds_left"] == 1234
    assert host["users"]["alice"]["private-repo"] == "fresh"


def test_a_user_who_has_not_logged_in_is_a_hint_and_no_fault() -> None:
    host = judged(answer(logins={"bob": {"own": LOGIN}}, hints=["bob: run `gcloud auth login` once"]))
    assert (host["state"], host["hints"]) == ("fine", ["bob: run `gcloud auth login` once"])
    assert [(one["user"], one["state"]) for one in host["tokens"]] == [
        (None, "valid"),
        ("bob", "awaits login"),
    ]


def test_a_host_is_stale_with_the_causes_that_doctor_names() -> None:
    host = judged(
        answer(-5, code=75, doctor=[{"check": "boot", "level": "ok", "found": "systemd runs"}, PROBLEM])
    )
    assert host["state"] == "stale"
    assert host["causes"] == [{"check": "index", "found": "403", "cause": "no right", "cure": "grant it"}]


@pytest.mark.parametrize(
    ("result", "found", "cure"),
    [
        (answer(-5, code=75), "default expired", "sudo gar-auth doctor"),
        (answer(None, code=75), "default missing", "sudo gar-auth doctor"),
        (
            answer(code=75, users={"bob": {"tools": "stale", "more": "fresh"}}),
            "tools of bob is stale",
            "sudo gar-auth refresh",
        ),
    ],
)
def test_where_doctor_finds_nothing_status_has_the_cause(
    result: dict[str, Any], found: str, cure: str
) -> None:
    host = judged(result)
    assert host["state"] == "stale"
    assert [(one["found"], one["cure"]) for one in host["causes"]] == [(found, cure)]


@pytest.mark.parametrize(
    ("result", "check", "found", "cure"),
    [
        ({}, "connection", "nothing was returned", "ansible web"),
        (
            {"unreachable": True, "msg": "Task failed: No route to host"},
            "connection",
            "unreachable: No route to host",
            "ansible web -m ansible.builtin.ping",
        ),
        ({"failed": True, "msg": "Missing sudo password"}, "connection", "Missing sudo password", "--become"),
        ({"rc": 2, "msg": "Error", "cmd": "/no/python -I -"}, "python", "/no/python: Error", "ansible web"),
        (
            {"rc": 1, "stderr": "a\nSyntaxError: x", "cmd": ["python3"]},
            "python",
            "python3: SyntaxError: x",
            "",
        ),
        ({"rc": 1, "msg": "Error", "cmd": []}, "python", "python3: Error", "ansible web"),
        ({"rc": 0, "stdout": "Welcome!"}, "python", "no report", ""),
        ({"rc": 0, "stdout": "[1]"}, "python", "no report", ""),
        (said(), "program", "gar-auth is not installed", "--limit web"),
        (status(None, error="did not end in time"), "program", "did not end in time", "sudo gar-auth status"),
        (status(0, printed=None), "program", "no report", "--limit web"),
        (status(0, printed=["x"]), "program", "no report", "--limit web"),
        (status(0, printed={"fine": "yes"}), "program", "no report", "--limit web"),
        (status(78, error="gar-auth: no file; run the playbook"), "program", "no file", "run the playbook"),
        (status(1), "program", "exit code 1", "sudo gar-auth doctor"),
        (
            answer(code=75, users={"bob": {"error": "auth.toml: invalid; mv it"}}),
            "user",
            "bob: auth.toml: invalid",
            "mv it",
        ),
        (
            answer(code=75, users={"bob": {"tools": "hidden"}}),
            "user",
            "bob: tools hidden",
            "sudo -Hu bob gar-auth",
        ),
        (
            answer(code=75, users={"bob": {"tools": "forbidden"}}),
            "user",
            "bob: tools forbidden",
            "gar-auth doctor",
        ),
    ],
)
def test_a_host_has_failed_in_all_other_cases(
    result: dict[str, Any], check: str, found: str, cure: str
) -> None:
    host = judged(result)
    assert host["state"] == "failed"
    first = host["causes"][0]
    assert first["check"] == check
    assert found in first["found"]
    assert cure in first["cure"]
    assert first["cause"]


@pytest.mark.parametrize("strange", [None, 7, "x", ["x"], {"x": {"x": ["x"]}}, {"x": None}, float("inf")])
@pytest.mark.parametrize("key", ["provider", "identities", "logins", "users", "hints"])
def test_what_a_host_says_need_not_be_what_is_expected(key: str, strange: Any) -> None:
    host = judged(answer(code=75, **{key: strange}))
    assert host["state"] in ("stale", "failed")
    assert host["causes"]


def test_texts_are_one_short_line_without_passwords_and_control_characters() -> None:
    words = "a\n\x1b[31mb\u202e https://me:secret@example.com/ " + "x" * 5000
    host = judged(answer(-5, code=75, doctor=[{**PROBLEM, "found": words}]))
    found = host["causes"][0]["found"]
    assert found.startswith("a ?[31mb? https://***@example.com/ x")
    assert len(found) == 600


def test_an_exit_code_that_is_a_long_text_is_as_short_as_all_others() -> None:
    (cause,) = judged(said(status={"code": "x" * 3_000_000, "report": None, "error": None}))["causes"]
    assert cause["found"].startswith("gar-auth status: exit code xxx")
    assert len(cause["found"]) < 1000


@pytest.mark.parametrize("left", [-10_000, -1, 10**9 + 1, True, 0.5, "60", None])
def test_a_time_left_that_cannot_be_is_none(left: Any) -> None:
    token = {"state": "valid", "seconds_left": left}
    host = judged(answer(identities={"default": token}))
    assert host["tokens"][0]["seconds_left"] is None
    assert page(report({"web": answer(identities={"default": token})}))


def test_a_host_that_cannot_be_judged_is_a_failed_host_of_the_report() -> None:
    strange: Any = "secret"
    made = report({"strange": strange, "web": answer()})
    assert [(host["name"], host["state"]) for host in made["hosts"]] == [
        ("strange", "failed"),
        ("web", "fine"),
    ]
    (cause,) = made["hosts"][0]["causes"]
    assert cause["found"] == "the host's answer cannot be judged: AttributeError"
    assert page(made)
    assert summary(made)[1] == f"failed: strange: {cause['found']}"


def test_a_name_goes_into_commands_as_one_word() -> None:
    (host,) = report({"a; id": said()})["hosts"]
    assert host["causes"][0]["cure"].endswith("--limit 'a; id'")


def test_the_counts_are_those_of_the_hosts_and_the_worst_come_first() -> None:
    made = report(collected(300))
    states = [host["state"] for host in made["hosts"]]
    assert states == sorted(states, key=("failed", "stale", "fine").index)
    assert made["summary"] == {
        "hosts": 300,
        **{state: states.count(state) for state in ("fine", "stale", "failed")},
    }
    assert all(made["summary"].values())
    assert all(bool(host["causes"]) == (host["state"] != "fine") for host in made["hosts"])


def test_the_summary_is_a_screen_whatever_the_fleet() -> None:
    assert summary(report({"web": answer()})) == ["1 host: 1 fine, 0 stale, 0 failed"]
    lines = summary(report({f"web-{number}": {} for number in range(500)}))
    assert lines[0] == "500 hosts: 0 fine, 0 stale, 500 failed"
    assert lines[1].startswith("failed: web-0: ")
    assert lines[-1] == "and 480 more, which the report has"
    assert len(lines) < 45


def test_no_hosts_are_no_problem() -> None:
    assert report({})["summary"] == {"hosts": 0, "fine": 0, "stale": 0, "failed": 0}


def test_the_filter_refuses_what_is_no_dictionary() -> None:
    with pytest.raises(Exception, match="found no dictionary"):
        FilterModule().filters()["status_report"]([], made_at="now", collection="0")


def test_markup_stays_text() -> None:
    assert judged(answer(-5, code=75, doctor=[{**PROBLEM, "found": EVIL}]))["causes"][0]["found"] == EVIL
