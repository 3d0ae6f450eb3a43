# SPDX-License-Identifier: GPL-3.0-or-later
"""gar-auth doctor: each thing that goes wrong on the way is named, with its cause and its cure."""

from __future__ import annotations

import contextlib
import json
import pwd
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.gar_auth.doctor_cases import CASES, CAUSES, SECRET, Case, closed, netrc
from unit.gar_auth.doctor_lab import HOST, URL, Walk, misbehaving
from unit.gar_auth.program import CANARY

from gar_auth import __main__ as cli
from gar_auth._as_user import run_as
from gar_auth.config import account_of
from gar_auth.doctor import examine
from gar_auth.doctor_report import Level, as_dict, as_text, worst
from lab.emulator.launch import Emulator
from lab.emulator.records import DEFAULT_ACCOUNT


@pytest.fixture
def walk(
    google: Emulator,
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Walk]:
    google.control.allow_all()
    walk = Walk(google, tmp_path, home, monkeypatch, capfd)
    yield walk
    assert CANARY not in walk.said
    assert not re.search(r"ya29\.c\.[A-Za-z0-9_-]{20}", walk.said), "a token of the emulator"
    assert "Traceback" not in walk.said


def test_nothing_is_wrong(walk: Walk) -> None:
    code, data, text = walk()
    told = [
        (one["check"], re.sub(r"for (50|49) min \d+ s", "for a while", one["found"]))
        for one in data["findings"]
    ]
    assert told == [
        ("configuration", "1 identity, 1 repository, 1 user"),
        ("boot", "systemd runs"),
        ("unit", "gar-auth-fetch@default.timer is active"),
        ("unit", "gar-auth-fetch@default.service is inactive"),
        ("unit", "gar-auth-write@dev.path is active"),
        ("unit", "gar-auth-write@dev.service is inactive"),
        ("identity", f"default (metadata:default) has a token that is valid for a while ({DEFAULT_ACCOUNT})"),
        ("name", f"{HOST} resolves"),
        ("clock", "the clock agrees with the server's"),
        ("index", f"private-repo: {HOST} answers 200 as {DEFAULT_ACCOUNT}"),
        ("poetry", f"Poetry reads {walk.home}/.config/pypoetry, where the tokens are written"),
        ("poetry", "http-basic.private-repo in auth.toml is the present token"),
        ("project", "source private-repo is registered under the same name"),
    ]
    assert (code, data["fine"], data["code"], data["user"]) == (0, True, 0, "dev")
    assert {one["level"] for one in data["findings"]} == {"ok"}
    assert text.endswith("\n\nnothing is wrong\n")


def test_every_cause_has_a_case() -> None:
    assert sorted({case.cause for case in CASES}) == sorted(CAUSES)


@pytest.mark.parametrize("case", CASES, ids=[f"{case.cause}: {case.says[0][:50]}" for case in CASES])
def test_the_cause_and_the_cure_are_named(walk: Walk, case: Case) -> None:
    with contextlib.ExitStack() as stack:
        walk.stack = stack
        case.broken(walk)
        code, data, text = walk()
    problems = [one for one in data["findings"] if one["level"] == "problem"]
    told = [(one["found"], one["cause"], one["cure"]) for one in problems]
    matching = [one for one in told if all(part in line for part, line in zip(case.says, one, strict=True))]
    assert matching, told
    assert len(told) == 1 or not case.alone, told
    assert (code, data["code"], data["fine"]) == (case.code, case.code, False)
    lines = text.splitlines()
    for part, label in zip(case.says, ("problem", "  cause: ", "  cure:  "), strict=True):
        assert any(part in line and label in line for line in lines), (part, text)
    assert lines[-1] == ("1 problem" if len(told) == 1 else f"{len(told)} problems")


def test_nothing_of_a_secret_is_shown_or_left_in_the_environment(walk: Walk) -> None:
    """All places that may hold one at once."""
    for name in ("POETRY_HTTP_BASIC_PRIVATE_REPO_PASSWORD", "POETRY_PYPI_TOKEN_PRIVATE_REPO"):
        walk.patch.setenv(name, SECRET)
    walk.patch.setenv("HTTPS_PROXY", f"http://me:{SECRET}@{closed()}")
    walk.token = SECRET
    netrc("default")(walk)
    walk.registered = {"private-repo": f"https://oauth2accesstoken:{SECRET}@{HOST}/demo-project/python/"}
    walk.sources = [("private-repo", f"https://me:{SECRET}@{HOST}/demo-project/python/simple/?key={SECRET}")]
    code, data, _text = walk()
    assert code == 78
    assert len([one for one in data["findings"] if one["level"] == "problem"]) >= 5
    assert SECRET not in walk.said
    assert "***@" in walk.said


def test_it_never_asks_with_netrc_or_the_urls_login(walk: Walk) -> None:
    walk.name = ""
    walk.status = {"expiry": None, "digest": None}
    netrc(f"machine {HOST}")(walk)
    walk.patch.setenv("NETRC", str(walk.home / ".netrc"))
    _code, data, _text = walk()
    notes = [one["found"] for one in data["findings"] if one["check"] == "index"]
    assert notes == [f"private-repo: {HOST} is reached; there is no token to ask it with"]


def test_a_server_that_sends_an_endless_body_byte_by_byte_is_not_waited_for(walk: Walk) -> None:
    walk.patch.setattr("gar_auth.doctor_probe.SECONDS", 0.5)
    with misbehaving(walk.top, status=403, body="x" * 900, pause=0.05) as (address, authority):
        walk.here(address)
        walk.repository = {"ca_cert": str(authority)}
        began = time.monotonic()
        code, data, _text = walk()  # asks twice
    assert time.monotonic() - began < 20, "all of it takes 45 s each time"
    assert code == 78
    assert [one["found"] for one in data["findings"] if one["level"] == "problem"] == [
        f"private-repo: {HOST} answers 403 to {DEFAULT_ACCOUNT}"
    ]


def test_control_characters_never_reach_the_terminal(walk: Walk) -> None:
    walk.sources = [("gar\\u001b[2J", f"{URL}simple/")]
    _code, _data, text = walk()
    assert "gar?[2J" in text
    assert "\x1b" not in walk.said


def seen_by(other: pwd.struct_passwd, walk: Walk) -> list[dict[str, Any]]:
    """The findings of another user, whose rights count."""
    config, store = walk.prepare()
    for path in (walk.top / "run", walk.top / "run" / "default"):
        path.chmod(0o755)  # as the units' RuntimeDirectory is

    def walk_as_other() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = as_dict(examine(config, store, other, project=None), user="x")[
            "findings"
        ]
        return found

    answer: list[dict[str, Any]] = run_as(other, walk_as_other)
    return answer


def test_a_user_who_is_not_declared_is_told_so_and_sees_the_machine(
    walk: Walk, nobody: pwd.struct_passwd
) -> None:
    walk.move(Path(nobody.pw_dir).parent)
    walk.repository = {"ca_cert": str(walk.top / "ca.pem")}
    (walk.top / "ca.pem").write_bytes(walk.google.ca.read_bytes())
    (walk.top / "ca.pem").chmod(0o644)
    seen = seen_by(nobody, walk)
    told = {one["found"]: one["cure"] for one in seen if one["level"] == "problem"}
    assert told == {
        "Poetry of nobody is not looked at: nobody is not among artifact_registry_users": "add nobody to"
        " artifact_registry_users, and run the playbook"
    }
    # The machine's token is not for them: the way is walked without one.
    assert f"private-repo: {HOST} is reached; there is no token to ask it with" in {
        one["found"] for one in seen
    }


def test_a_damaged_status_is_one_finding_and_the_rest_is_walked(walk: Walk) -> None:
    config, store = walk.prepare()
    path = walk.top / "run" / "default" / "status.json"
    path.write_text("{")
    findings = examine(config, store, account_of("dev"), project=walk.top / "project")
    (told,) = [one for one in findings if one.level is Level.PROBLEM]
    assert (worst(findings), told.check) == (65, "identity")
    assert told.found.startswith(f"{path} is damaged")
    assert {"name", "index", "poetry", "project"} <= {one.check for one in findings}


@pytest.mark.parametrize(
    ("spoil", "code", "found", "cure"),
    [
        (lambda auth: auth.write_text(f'[http-basic.private-repo\npassword = "{SECRET}"'), 65,
         "auth.toml: invalid TOML: ", "repair it or move it away: mv "),
        (lambda auth: auth.chmod(0o644), 77, "auth.toml has mode 0644, others may use it",
         "repair with: chmod 600 "),
    ],
)  # fmt: skip
def test_an_auth_toml_that_cannot_be_used(
    walk: Walk, spoil: Callable[[Path], object], code: int, found: str, cure: str
) -> None:
    config, store = walk.prepare()
    spoil(walk.home / ".config" / "pypoetry" / "auth.toml")
    findings = examine(config, store, account_of("dev"), project=walk.top / "project")
    (told,) = [one for one in findings if one.level is Level.PROBLEM]
    assert (int(worst(findings)), told.check) == (code, "poetry")
    assert found in told.found
    assert told.cure
    assert told.cure.startswith(cure)
    assert SECRET not in as_text(findings)


def test_a_project_that_is_no_toml_and_one_that_is_not_there(walk: Walk) -> None:
    config, store = walk.prepare()
    project = walk.top / "project" / "pyproject.toml"
    project.write_text("[")
    findings = examine(config, store, account_of("dev"), project=project.parent)
    assert [(one.check, one.code) for one in findings if one.level is Level.PROBLEM] == [("project", 65)]
    project.unlink()
    findings = examine(config, store, account_of("dev"), project=project.parent)
    assert worst(findings) == 0
    assert findings[-1].found.endswith("have no pyproject.toml; name a project with --project DIR")


def test_the_command_line(walk: Walk) -> None:
    walk.prepare()
    arguments = ["doctor", "--project", str(walk.top / "project")]
    assert cli.main(arguments, config_file=walk.top / "config.json") == 0
    assert walk.capfd.readouterr().out.endswith("nothing is wrong\n")
    walk.patch.setenv("POETRY_CONFIG_DIR", "/srv")
    assert cli.main([*arguments, "--json"], config_file=walk.top / "config.json") == 78
    assert json.loads(walk.capfd.readouterr().out)["code"] == 78
