# SPDX-License-Identifier: GPL-3.0-or-later
"""C(gar-auth check): each user's walk and dry publish, what is said where something does not work."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.conftest import account
from unit.gar_auth.program import Program

from gar_auth import check
from gar_auth.check import session

ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def poetry(tmp_path: Path) -> Callable[[str], str]:
    """A Poetry that is broken, or not: a shell script's text."""

    def write(script: str) -> str:
        path = tmp_path / "poetry"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return write


@pytest.fixture
def mine(configure: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> Program:
    """The program, with the user of the tests as the only one declared."""
    return Program(capfd, configure(users=[ME]))


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("", {"PATH": check.PATH}),
        ("A=1\n", {"A": "1", "PATH": check.PATH}),
        ('# A=1\nB="two words"\n', {"B": "two words", "PATH": check.PATH}),
        ("export C='x'\n  D = 1\n", {"C": "x", "PATH": check.PATH}),
        ("PATH=/opt/bin\nHOME=/evil\n", {"PATH": "/opt/bin"}),
    ],
)
def test_a_session_has_what_the_machine_sets_for_all_and_the_users_own_home(
    tmp_path: Path, file: str, expected: dict[str, str]
) -> None:
    path = tmp_path / "environment"
    path.write_text(file)
    own = {"HOME": str(tmp_path), "USER": "dev", "LOGNAME": "dev", "LC_ALL": "C.UTF-8"}
    assert session(account(tmp_path), file=str(path)) == {**expected, **own}


def test_nothing_of_the_callers_environment_reaches_a_users_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POETRY_HTTP_BASIC_PRIVATE_REPO_PASSWORD", "canary")
    assert "canary" not in session(account(tmp_path), file="/nonexistent").values()


def found(said: str) -> dict[str, str]:
    """The last finding of each check of the user of the tests."""
    return {one["check"]: one["found"] for one in json.loads(said)["users"][ME]["findings"]}


def test_a_poetry_that_does_not_run_is_a_problem_with_its_own_words(
    mine: Program, poetry: Callable[[str], str]
) -> None:
    broken = poetry("echo 'No module named cleo' >&2; exit 3")
    code, output, _errors = mine("check", "--json", "--poetry", broken)
    (problem,) = (one for one in json.loads(output)["users"][ME]["findings"] if one["check"] == "publish")
    assert code in (75, 78)
    assert problem["found"] == "poetry publish --dry-run --repository private-repo ended with code 3"
    assert problem["cause"] == "No module named cleo"


def test_a_poetry_that_never_ends_is_cut_off(
    mine: Program, poetry: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "SECONDS", 4.0)
    _code, output, _errors = mine("check", "--json", "--poetry", poetry("exec sleep 600"))
    assert found(output)["publish"].endswith("ended with code 124")


def test_a_poetry_that_is_not_there_is_a_problem(mine: Program) -> None:
    _code, output, _errors = mine("check", "--json", "--poetry", "/nonexistent/poetry")
    assert found(output)["publish"].endswith("ended with code 126")


def test_the_dry_publish_gets_a_package_and_leaves_nothing(
    mine: Program, poetry: Callable[[str], str], tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    script = f'[ -f pyproject.toml ] && [ -f gar_auth_check/__init__.py ] && echo "$PWD $*" > {seen}'
    _code, output, _errors = mine("check", "--json", "--poetry", poetry(script))
    assert found(output)["publish"] == "a dry publish to private-repo works"
    place, *words = seen.read_text().split()
    assert not Path(place).exists()
    assert words == [
        *("publish", "--build", "--dry-run", "--no-interaction", "--no-ansi"),
        *("--repository", "private-repo"),
    ]


def test_people_are_shown_each_user_with_cause_and_cure(mine: Program) -> None:
    code, output, _errors = mine("check", "--poetry", "/nonexistent/poetry")
    assert code != 0
    assert output.startswith(f"{ME}:\n")
    assert "cause: /nonexistent/poetry: No such file or directory" in output
    assert "cure:  run `poetry --version`" in output


def test_a_user_who_is_not_declared_is_refused(mine: Program) -> None:
    code, _output, errors = mine("check", "nobody")
    assert (code, errors) == (
        78,
        "gar-auth: no user 'nobody' in artifact_registry_users; there is nothing to check\n",
    )


LOGIN = {"type": "gcloud", "per_user": True}


def test_a_user_who_has_not_logged_in_yet_is_told_so_and_nothing_is_wrong(
    configure: Callable[..., Path], capfd: pytest.CaptureFixture[str], poetry: Callable[[str], str]
) -> None:
    program = Program(capfd, configure(users=[ME], identities={"default": LOGIN}, service_manager="none"))
    code, output, _errors = program("check", "--json", "--poetry", poetry("exit 0"))
    answer = json.loads(output)["users"][ME]
    problems = [one for one in answer["findings"] if one["level"] == "problem"]
    assert "gcloud auth login" in answer["findings"][-1]["found"]
    assert [one["check"] for one in problems if one["check"] in ("index", "publish")] == []
    assert (code == 0) is (problems == [])


def test_what_needs_no_login_is_looked_at_all_the_same(
    configure: Callable[..., Path], capfd: pytest.CaptureFixture[str], poetry: Callable[[str], str]
) -> None:
    program = Program(capfd, configure(users=[ME], identities={"default": LOGIN}))
    code, output, _errors = program("check", "--json", "--poetry", poetry("exit 1"))
    assert code != 0
    assert found(output)["publish"].endswith("ended with code 1")


def test_a_repository_made_above_by_somebody_else_is_none_of_poetrys_business(
    mine: Program, poetry: Callable[[str], str]
) -> None:
    script = 'echo "$GIT_CEILING_DIRECTORIES" "$PWD" > "$0.said"'
    broken = poetry(script)
    mine("check", "--json", "--poetry", broken)
    ceiling, place = Path(f"{broken}.said").read_text().split()
    assert str(Path(place).parent) == ceiling


def test_what_a_poetry_that_never_ends_has_started_ends_with_it(
    mine: Program, poetry: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(check, "SECONDS", 2.0)
    mine("check", "--json", "--poetry", poetry(f"sleep 600 & echo $! > {tmp_path}/child; wait"))
    child = int((tmp_path / "child").read_text())
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"
