# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor's checks as tables: units, identities, answers, proxies and sources."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from gar_auth import doctor_machine
from gar_auth.config import Config, Identity, Repository
from gar_auth.doctor_identity import again_of, check_identity
from gar_auth.doctor_index import Held, check_answer
from gar_auth.doctor_machine import Machine, check_boot, check_unit, look, wanted_units
from gar_auth.doctor_poetry import address, variables
from gar_auth.doctor_probe import Answer, Proxy, Trouble, _proxy, _skew, ask_all, resolve
from gar_auth.doctor_project import Source, check_sources, find, sources
from gar_auth.doctor_report import Finding, Level, as_text, good, note, problem, public_url, worst
from gar_auth.doctor_way import check_clock, check_name, check_proxy
from gar_auth.errors import Exit, Failure, Reason
from gar_auth.status import Entry
from gar_auth.store import Status

NOW = 1_800_000_000.0
HOST = "europe-west1-python.pkg.dev"
URL = f"https://{HOST}/my-project/python/"
REPOSITORY = Repository("private-repo", URL, "default", index_url=f"{URL}simple/")
SOUND = {"LoadState": "loaded", "UnitFileState": "enabled", "ActiveState": "active", "Result": "success"}


def configured(*identities: Identity, manager: str = "systemd") -> Config:
    declared = identities or (Identity("default"),)
    repositories = [Repository(f"repo-{one.name}", URL, one.name) for one in declared]
    return Config(
        {one.name: one for one in declared}, tuple(repositories), ("dev", "ops"), ".config/pypoetry",
        Path("/run/gar-auth"), service_manager=manager,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("codes", "expected"),
    [([], 0), ([75], 75), ([75, 65], 65), ([65, 77], 77), ([75, 78, 65], 78)],
)
def test_the_exit_code_is_that_of_the_most_severe_problem(codes: list[int], expected: int) -> None:
    findings = [problem("x", "y", cause="c", cure="d", code=Exit(code)) for code in codes]
    assert worst([*findings, note("a", "b"), good("a", "b")]) == expected


def test_the_text_is_one_line_for_each_check_with_cause_and_cure() -> None:
    findings = [
        good("index", "fine"),
        problem("boot", "bad", cause="because", cure="mend\nit"),
        note("x", "n"),
    ]
    assert as_text(findings).splitlines() == [
        "ok       index  fine",
        "problem  boot   bad",
        "         cause: because",
        "         cure:  mend?it",
        "note     x      n",
        "",
        "1 problem",
    ]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/a/", "https://host/a/"),
        ("https://me:secret@host/a/?key=secret#secret", "https://***@host/a/"),
        ("https://me:sec/ret@host/", "https://***@host/"),
        ("https://a@b:secret@host/", "https://***@host/"),
        ("https://me:sec\nret@host/", "https://***@host/"),
        ("\x1b[31mred", "?[31mred"),
    ],
)
def test_a_url_is_shown_without_what_may_be_secret(url: str, shown: str) -> None:
    assert public_url(url) == shown


@hypothesis.given(before=st.text(), secret=st.text(min_size=8), after=st.text())
def test_no_url_shows_its_password(before: str, secret: str, after: str) -> None:
    hypothesis.assume(secret not in before + after and "***@https://" not in secret)
    shown = public_url(f"https://{before}:{secret}@host/{after}")
    assert secret not in shown
    assert shown.isprintable()


@hypothesis.given(st.text(), st.text())
def test_no_url_and_no_date_ends_the_walk(url: str, date: str) -> None:
    assert len(address(url)) == 2
    assert isinstance(_skew({"Date": date}, NOW), (float, type(None)))


@pytest.mark.parametrize(
    ("identities", "user", "units"),
    [
        ([Identity("default")], None, ["fetch@default.timer", "write@dev.path", "write@ops.path"]),
        ([Identity("default")], "dev", ["fetch@default.timer", "write@dev.path"]),
        ([Identity("default")], "guest", ["fetch@default.timer"]),
        ([Identity("own", type="adc", per_user=True)], "dev", ["user@dev.timer"]),
    ],
)
def test_which_units_are_looked_at(identities: list[Identity], user: str | None, units: list[str]) -> None:
    names = wanted_units(configured(*identities), user)
    assert [name for name in names if not name.endswith(".service")] == [f"gar-auth-{unit}" for unit in units]
    assert len(names) == 2 * len(units)


@pytest.mark.parametrize(
    ("unit", "changes", "found", "code"),
    [
        ("a.timer", {}, "a.timer is active", 0),
        ("a.service", {"ActiveState": "inactive", "UnitFileState": "static"}, "a.service is inactive", 0),
        ("a.service", {"ActiveState": "activating"}, "a.service is activating", 0),
        ("a.timer", {"LoadState": "masked"}, "a.timer is masked", 78),
        ("a.timer", {"UnitFileState": "masked"}, "a.timer is masked", 78),
        ("a.timer", {"LoadState": "not-found"}, "a.timer is not installed", 78),
        ("a.timer", {"LoadState": "bad-setting"}, "a.timer cannot be loaded (bad-setting)", 78),
        ("a.path", {"ActiveState": "inactive"}, "a.path does not run", 78),
        ("a.timer", {"UnitFileState": "disabled"}, "a.timer is disabled", 78),
        ("a.service", {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "75"},
         "a.service has failed (exit status 75)", 75),
        ("a.service", {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "78"},
         "a.service has failed (exit status 78)", 78),
        ("a.service", {"ActiveState": "failed", "Result": "timeout"}, "a.service has failed (timeout)", 78),
        ("a.path", {"ActiveState": "failed", "Result": "trigger-limit-hit"},
         "a.path has failed (trigger-limit-hit)", 78),
    ],
)  # fmt: skip
def test_a_unit(unit: str, changes: dict[str, str], found: str, code: int) -> None:
    finding = check_unit(unit, {**SOUND, **changes})
    assert (finding.found, finding.code) == (found, code)
    assert unit in (finding.cure or unit) or "playbook" in (finding.cure or "")


def test_a_unit_that_systemd_says_nothing_of_is_not_installed() -> None:
    assert check_unit("a.timer", {}).found == "a.timer is not installed"


@pytest.mark.parametrize(
    ("machine", "level", "found"),
    [
        (Machine("systemd", booted=True), Level.OK, "systemd runs"),
        (Machine("systemd", booted=False), Level.PROBLEM,
         "systemd does not run here, so nothing refreshes a token"),
        (Machine("systemd", booted=True, failure="exit status 1"), Level.PROBLEM,
         "systemd does not answer (exit status 1)"),
        (Machine("cron", booted=False, cron=True), Level.OK, "cron runs"),
        (Machine("cron", booted=False), Level.PROBLEM,
         "/etc/cron.d/gar-auth is missing, so nothing refreshes a token"),
        (Machine("none", booted=False), Level.NOTE,
         "nothing is scheduled here: run `gar-auth refresh` before Poetry"),
    ],
)  # fmt: skip
def test_what_runs_the_program(machine: Machine, level: Level, found: str) -> None:
    finding = check_boot(machine)
    assert (finding.level, finding.found) == (level, found)


SHOW = """#!/bin/sh
[ "$1 $2" = "--no-pager show" ] || exit 9
[ -z "$HOME$USER" ] || exit 8
printf 'Id=%s\\nLoadState=loaded\\nActiveState=active\\n\\n' gar-auth-fetch@default.timer
printf 'Id=other.service\\nnonsense\\n'
"""


@pytest.mark.parametrize(
    ("script", "failure", "state"),
    [
        (SHOW, None, "active"),
        ("#!/bin/sh\necho broken >&2; exit 1\n", "exit status 1", None),
        ("#!/bin/sh\nsleep 30\n", "TimeoutExpired", None),
        ("#!/nonexistent\n", "FileNotFoundError", None),
    ],
    ids=["answers", "fails", "hangs", "cannot run"],
)
def test_systemd_is_asked_once_and_not_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, failure: str | None, state: str | None
) -> None:
    program = tmp_path / "systemctl"
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setattr(doctor_machine, "SYSTEMCTL", ("/nonexistent", str(program)))
    monkeypatch.setattr(doctor_machine, "BOOTED", str(tmp_path))
    monkeypatch.setattr(doctor_machine, "_SECONDS", 0.5)
    machine = look(configured(), user="dev")
    assert machine.failure == failure
    if state:
        assert machine.units is not None
        assert machine.units["gar-auth-fetch@default.timer"]["ActiveState"] == state
        assert machine.units["gar-auth-write@dev.path"] == {}
    else:
        assert machine.units is None


def told(
    identity: Identity, manager: str = "systemd", looked: float | None = None, **status: Any
) -> list[Finding]:
    entry = Entry(identity, Status(identity=identity.name, source=identity.source, **status), looked)
    return check_identity(entry, configured(identity, manager=manager), user="dev", now=NOW)


KEY = Identity("ci", type="service_account_key", file="/etc/ci.json")
SA = "ci@my-project.iam.gserviceaccount.com"


@pytest.mark.parametrize(
    ("identity", "reason", "cure", "code"),
    [
        (Identity("a"), Reason.UNREACHABLE, "is this a Google Cloud VM?", 75),
        (KEY, Reason.UNREACHABLE, "check the network, the proxy and the name resolution", 75),
        (Identity("a"), Reason.REFUSED, "give the VM the access scope cloud-platform", 78),
        (KEY, Reason.REFUSED, "see to it that the account is not disabled", 78),
        (Identity("a", impersonate_service_account=SA), Reason.REFUSED,
         f"grant the role roles/iam.serviceAccountTokenCreator on {SA} to the account of metadata", 78),
        (Identity("a"), Reason.NO_ACCOUNT, "attach the service account default to this VM", 78),
        (Identity("a", type="gcloud", account="me@x"), Reason.NO_ACCOUNT, "gcloud auth login me@x", 78),
        (KEY, Reason.BAD_KEY, "make a new key in Google Cloud, put it at /etc/ci.json (", 78),
        (Identity("a"), Reason.BAD_REPLY, "the next tick tries again", 75),
        (Identity("a"), Reason.NOT_GOOGLE, "unset GCE_METADATA_HOST", 78),
        (KEY, Reason.FILE, "see to it that /etc/ci.json is there, belongs to root", 78),
        (KEY, Reason.OTHER, "then read: journalctl -u 'gar-auth*' -n 20", 78),
        (Identity("a", type="gcloud", per_user=True), Reason.NOT_LOGGED_IN,
         "run `gcloud auth login` as dev", 75),
        (Identity("a", type="gcloud", per_user=True, account="me@x"), Reason.LOGIN_EXPIRED,
         "run `gcloud auth login me@x` as dev", 75),
        (Identity("a", type="adc", per_user=True), Reason.LOGIN_EXPIRED,
         "run `gcloud auth application-default login` as dev", 75),
        (Identity("a", type="gcloud", account="me@x"), Reason.LOGIN_EXPIRED,
         "sudo -u gar-auth env CLOUDSDK_CONFIG=", 78),
    ],
)  # fmt: skip
def test_each_class_of_error_has_its_cure(identity: Identity, reason: Reason, cure: str, code: int) -> None:
    (finding,) = told(identity, error="what the source said", error_class=reason.value, failures=1)
    assert finding.level is Level.PROBLEM
    assert (finding.cause or "").endswith(": what the source said")
    assert cure in (finding.cure or "")
    assert finding.code == code


def test_a_class_that_a_newer_program_wrote_is_still_told() -> None:
    (finding,) = told(KEY, error="new", error_class="brand_new", failures=1)
    assert finding.cause == "the source failed: new"


@pytest.mark.parametrize("account", [None, SA, "me@x"])
def test_the_account_is_right_where_it_is_unknown_or_one_of_the_declared(account: str | None) -> None:
    identity = Identity("a", type="gcloud", account="me@x", impersonate_service_account=SA)
    findings = told(identity, expiry=int(NOW) + 600, obtained=int(NOW), account=account)
    assert [finding.level for finding in findings] == [Level.OK]


@pytest.mark.parametrize(
    ("identity", "ago", "problems"),
    [(Identity("a"), 200, 0), (Identity("a"), 1000, 1), (KEY, 1700, 0)],
    ids=["looked at", "left alone", "minted on demand"],
)
def test_a_timer_that_has_stopped_is_noticed_before_the_token_expires(
    identity: Identity, ago: int, problems: int
) -> None:
    findings = told(identity, looked=NOW - ago, expiry=int(NOW) + 600, obtained=int(NOW) - 3000)
    assert len([one for one in findings if one.level is Level.PROBLEM]) == problems


@pytest.mark.parametrize(
    ("manager", "per_user", "command"),
    [
        ("systemd", False, "`sudo gar-auth refresh`"),
        ("systemd", True, "`gar-auth user`"),
        ("cron", False, "`sudo gar-auth refresh`"),
        ("none", True, "`gar-auth refresh`"),
    ],
)
def test_the_command_that_tries_again(manager: str, per_user: bool, command: str) -> None:
    identity = Identity("a", type="adc", per_user=per_user, file="/x")
    assert again_of(identity, configured(identity, manager=manager)) == command


@pytest.mark.parametrize(
    ("skews", "found"),
    [
        ([], None),
        ([None], None),
        ([59.0], "the clock agrees with the server's"),
        ([-61.0], "the clock is 1 min 1 s behind"),
        ([3700.0, 3690.0], "the clock is 1 h 1 min ahead"),
        ([3700.0, 0.5], "the clock agrees with the server's"),
    ],
)
def test_the_clock(skews: list[float | None], found: str | None) -> None:
    finding = check_clock([Answer(REPOSITORY, URL, skew=skew) for skew in skews])
    assert (finding and finding.found) == found


def test_a_name_that_only_the_proxy_resolves_is_no_problem() -> None:
    assert check_name("h", "unknown", proxied=True).level is Level.NOTE
    assert check_name("h", "unknown", proxied=False).code == Exit.TEMPORARY
    assert resolve("a..b") is not None
    assert resolve("localhost") is None


@pytest.mark.parametrize(
    ("status", "level", "code"),
    [
        (200, Level.OK, 0),
        (401, Level.NOTE, 0),
        (500, Level.PROBLEM, 75),
        (503, Level.PROBLEM, 75),
        (404, Level.PROBLEM, 78),
    ],
)
def test_an_answer_without_a_token(status: int, level: Level, code: int) -> None:
    finding = check_answer(Answer(REPOSITORY, f"{URL}simple/", status=status), Held())
    assert (finding.level, finding.code) == (level, code)


@pytest.mark.parametrize(
    ("account", "member"),
    [
        ("me@example.com", "user:me@example.com"),
        ("ci@p.iam.gserviceaccount.com", "serviceAccount:ci@p.iam.gserviceaccount.com"),
        ("principal://iam.googleapis.com/pool/subject/ci", "principal://iam.googleapis.com/pool/subject/ci"),
        (None, "MEMBER"),
    ],
)
def test_a_refusal_names_the_member_to_grant(account: str | None, member: str) -> None:
    finding = check_answer(Answer(REPOSITORY, f"{URL}simple/", True, status=403), Held(account))
    assert f" --member={member} " in (finding.cure or "")


def test_another_host_whose_list_of_packages_nobody_knows() -> None:
    other = Repository("other", "https://pypi.example.com/upload/", "default")
    finding = check_answer(Answer(other, "https://pypi.example.com/upload/simple/", True, status=404), Held())
    assert finding.level is Level.NOTE


@pytest.mark.parametrize(
    ("trouble", "check", "words", "code"),
    [
        (Trouble("proxy_login", "407"), "proxy", "put them into HTTPS_PROXY, or let", 78),
        (Trouble("proxy", "refused"), "proxy", "correct or unset HTTPS_PROXY", 78),
        (Trouble("timeout"), "index", "a firewall drops", 75),
        (Trouble("broken", "reset"), "index", "the connection broke off", 75),
        (Trouble("name", "unknown"), "index", "its name does not resolve", 75),
        (Trouble("url"), "index", "wrong host", 78),
        (Trouble("client_file", "/c.pem"), "tls", "the client's certificate /c.pem is missing", 78),
        (Trouble("tls", "WRONG_VERSION"), "tls", "openssl s_client -connect", 78),
    ],
)
def test_no_answer(trouble: Trouble, check: str, words: str, code: int) -> None:
    proxy = Proxy("HTTPS_PROXY", "http://proxy:3128", "proxy")
    finding = check_answer(Answer(REPOSITORY, f"{URL}simple/", True, proxy, trouble=trouble), Held())
    assert (finding.check, finding.code) == (check, code)
    assert words in f"{finding.cause} {finding.cure}"


@pytest.mark.parametrize(
    ("environment", "variable", "shown"),
    [
        ({"https_proxy": "http://low:1", "HTTPS_PROXY": "http://high:2"}, "https_proxy", "http://low:1"),
        ({"HTTPS_PROXY": "http://me:secret@high:2/"}, "HTTPS_PROXY", "http://***@high:2/"),
        ({"ALL_PROXY": "high:3128"}, "ALL_PROXY", "//high:3128"),
        ({"HTTPS_PROXY": "http://high:2", "NO_PROXY": ".pkg.dev"}, None, None),
        ({"HTTP_PROXY": "http://high:2"}, None, None),
        ({}, None, None),
    ],
)
def test_which_proxy_is_in_force(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], variable: str | None, shown: str | None
) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = _proxy(f"{URL}simple/")
    assert (found and found.variable, found and found.url) == (variable, shown)
    answer = Answer(REPOSITORY, f"{URL}simple/", proxy=found)
    finding = check_proxy(answer)
    assert finding == (note("proxy", f"{HOST} is asked through {shown} ({variable})") if found else None)


def test_a_missing_package_is_one_line_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "requests", None)
    with pytest.raises(Failure, match=r"^the Python package requests is missing; run the playbook again$"):
        ask_all([REPOSITORY], {})


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (URL, (HOST, "/my-project/python")),
        (f"{URL}simple/", (HOST, "/my-project/python")),
        (f"{URL}simple", (HOST, "/my-project/python")),
        (URL.rstrip("/").upper().replace("/MY-PROJECT/PYTHON", "/p/r"), (HOST, "/p/r")),
        (f"https://me:x@{HOST}:443/p/r/", (HOST, "/p/r")),
        (f"https://{HOST}:8443/p/r/", (f"{HOST}:8443", "/p/r")),
        ("https://host:port/p", ("", "")),
        ("https://[::1/p", ("", "")),
        ("https:///p/r/", ("", "/p/r")),
    ],
)
def test_the_place_of_a_repository(url: str, place: tuple[str, str]) -> None:
    assert address(url) == place


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("private-repo", {"PRIVATE_REPO"}),
        ("my.repo", {"MY.REPO", "MY_REPO"}),
        ("repo2", {"REPO2"}),
    ],
)
def test_the_variables_of_a_name(name: str, expected: set[str]) -> None:
    assert variables(name) == expected


@pytest.mark.parametrize(
    ("source", "level", "words"),
    [
        (Source("private-repo", f"{URL}simple/"), Level.OK, "registered under the same name"),
        (Source("private-repo", f"{URL}simple"), Level.OK, "registered under the same name"),
        (Source("private-repo", URL), Level.PROBLEM, "the list of packages is below simple/"),
        (Source("private-repo", f"https://me@{HOST}/my-project/python/simple/"), Level.PROBLEM,
         "a user name alone is sent with an empty password"),
        (Source("private-repo", f"https://{HOST}/my-project/other/simple/"), Level.PROBLEM,
         "another repository"),
        (Source("Private-Repo", f"{URL}simple/"), Level.PROBLEM, "Private-Repo none"),
        (Source("private-repo", "https://pypi.example.com/simple/"), Level.PROBLEM,
         "wrong host: private-repo is at europe-west1-python.pkg.dev, and pypi.example.com is not"),
        (Source("pypi-mirror", "https://pypi.example.com/simple/"), Level.NOTE, "has no source of ours"),
    ],
)  # fmt: skip
def test_a_source_of_a_project(source: Source, level: Level, words: str) -> None:
    (finding,) = check_sources("pyproject.toml", [source], [REPOSITORY])
    assert finding.level is level
    assert words in f"{finding.found} {finding.cause}"
    if level is Level.PROBLEM:
        assert f"poetry source add --priority explicit private-repo {URL}simple/" in (finding.cure or "")


def test_a_cure_holds_no_command_of_the_projects() -> None:
    (finding,) = check_sources("pyproject.toml", [Source("x; id #", f"{URL}simple/")], [REPOSITORY])
    assert (finding.cure or "").startswith("poetry source remove 'x; id #' && ")


@pytest.mark.parametrize(
    "content",
    ["", "tool = 3", "[tool]\npoetry = 3", "[tool.poetry]\nsource = 3", "[[tool.poetry.source]]\nname = 'x'",
     "[tool.poetry]\nsource = [1, {name = 'x'}]"],
)  # fmt: skip
def test_a_project_without_sources(tmp_path: Path, content: str) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(content)
    assert sources(path) == []


def fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b"\xff"), r"not UTF-8; run: poetry check"),
        (lambda path: path.write_text("a ="), r"invalid TOML: .*; run: poetry check"),
        (fifo, r"not a regular file"),
        (lambda path: path.mkdir(), r"not a regular file|Is a directory"),
        (lambda path: path.write_text("#" * 1_100_000), r"larger than 1 MiB"),
        (lambda path: path.symlink_to("nowhere"), r"No such file"),
    ],
)
def test_a_project_that_cannot_be_read(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    path = tmp_path / "pyproject.toml"
    make(path)
    with pytest.raises(Failure) as caught:
        sources(path)
    assert caught.value.code == Exit.UNUSABLE
    assert re.search(message, str(caught.value))


def test_the_nearest_project_counts(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    assert find(inner) == tmp_path / "pyproject.toml"
    (inner / "pyproject.toml").touch()
    assert find(inner) == inner / "pyproject.toml"
