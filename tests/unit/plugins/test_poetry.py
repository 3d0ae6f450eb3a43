# SPDX-License-Identifier: GPL-3.0-or-later
"""Poetry on the machine: the interpreter that is trusted, its settings' types, and the plan."""

from __future__ import annotations

import os
import pwd
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from unit.plugins.homes import script

from ansible_collections.devbox.artifact_registry.plugins.module_utils import _poetry
from ansible_collections.devbox.artifact_registry.plugins.module_utils._poetry import PoetryProblem

REPOSITORY = {"name": "private-repo", "publish_url": "https://h/p/r/", "ca_cert": None}
KNOWN = ["cache-dir", "installer.max-workers", "virtualenvs.in-project"]


@pytest.mark.parametrize(
    ("ca_cert", "present", "expected"),
    [
        (None, True, {"repositories.url": "https://h/p/r/", "certificates.cert": None}),
        ("/ca.pem", True, {"repositories.url": "https://h/p/r/", "certificates.cert": "/ca.pem"}),
        ("/ca.pem", False, {"repositories.url": None, "certificates.cert": None}),
    ],
)
def test_plan(ca_cert: str | None, present: bool, expected: dict[str, str | None]) -> None:
    repository = {**REPOSITORY, "name": "a.b", "ca_cert": ca_cert}
    plan = _poetry.plan([repository], {("virtualenvs", "in-project"): True}, present=present)
    assert plan.pop(("virtualenvs", "in-project")) is (True if present else None)
    assert {f"{path[0]}.{path[2]}": value for path, value in plan.items()} == expected
    assert {path[1] for path in plan} == {"a.b"}


def test_the_interpreter_is_the_one_that_runs_poetry(
    poetry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = str(poetry.parent / "python")
    assert _poetry.find_interpreter(str(poetry)) == python
    link = tmp_path / "poetry"
    link.symlink_to(poetry)
    assert _poetry.find_interpreter(str(link)) == python
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _poetry.find_interpreter("poetry") == python
    assert _poetry.find_interpreter("poetry2") is None
    assert _poetry.find_interpreter(str(tmp_path / "missing")) is None


@pytest.mark.parametrize(
    "first", ["#!/bin/sh", "#!/usr/bin/env python3", "", "\x7fELF", "#!python", "print()"]
)
def test_what_is_no_python_script_is_not_run(tmp_path: Path, first: str) -> None:
    path = script(tmp_path / "poetry", first)
    with pytest.raises(PoetryProblem) as caught:
        _poetry.find_interpreter(str(path))
    expected = f"{path} is not Poetry's own script (a Python script); name the right one in option poetry"
    assert str(caught.value) == expected


def test_a_directory_is_no_poetry(tmp_path: Path) -> None:
    with pytest.raises(PoetryProblem, match=f"^{tmp_path}: Is a directory; name Poetry's own script"):
        _poetry.find_interpreter(str(tmp_path))


def test_a_poetry_whose_python_is_gone_has_to_be_installed_again(poetry: Path) -> None:
    (poetry.parent / "python").unlink()
    with pytest.raises(PoetryProblem, match=r"No such file or directory; install Poetry again$"):
        _poetry.find_interpreter(str(poetry))


@pytest.mark.parametrize("place", ["poetry", "."])
def test_what_others_can_change_is_not_run(poetry: Path, place: str) -> None:
    path = poetry.parent / place
    path.chmod(0o777)
    with pytest.raises(PoetryProblem, match=f"^{path} can be changed by others"):
        _poetry.find_interpreter(str(poetry))


@pytest.mark.parametrize("place", ["poetry", "."])
def test_what_belongs_to_another_user_is_not_run(poetry: Path, nobody: pwd.struct_passwd, place: str) -> None:
    os.chown(poetry.parent / place, nobody.pw_uid, nobody.pw_gid)
    with pytest.raises(PoetryProblem, match="can be changed by others than 0: not run"):
        _poetry.find_interpreter(str(poetry))


@pytest.fixture
def installed_poetry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Poetry that knows three settings."""

    class ConfigCommand:
        unique_config_values = {  # noqa: RUF012 - as in Poetry
            "virtualenvs.in-project": (lambda text: text in {"true", "false"}, lambda text: text == "true"),
            "installer.max-workers": (str.isdigit, int),
            "cache-dir": (lambda text: True, lambda text: text),
        }

    module = types.ModuleType("poetry.console.commands.config")
    vars(module)["ConfigCommand"] = ConfigCommand
    for name in ("poetry", "poetry.console", "poetry.console.commands"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.usefixtures("installed_poetry")
@pytest.mark.parametrize(
    ("settings", "typed"),
    [
        ({}, {}),
        ({"virtualenvs": {"in-project": True}}, {("virtualenvs", "in-project"): True}),
        ({"virtualenvs.in-project": "false"}, {("virtualenvs", "in-project"): False}),
        ({"installer.max-workers": 4}, {("installer", "max-workers"): 4}),
        (
            {"installer": {"max-workers": "4"}, "cache-dir": "/x"},
            {("installer", "max-workers"): 4, ("cache-dir",): "/x"},
        ),
    ],
)
def test_settings_get_poetrys_types(settings: dict[str, Any], typed: dict[tuple[str, ...], Any]) -> None:
    result = _poetry.typed_settings(settings)
    assert (result, [type(value) for value in result.values()]) == (
        typed,
        [type(value) for value in typed.values()],
    )


@pytest.mark.usefixtures("installed_poetry")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"virtualenvs": {"in_project": True}},
            "virtualenvs.in_project: this Poetry has no such setting; did you mean virtualenvs.in-project",
        ),
        (
            {"zzz": 1},
            f"zzz: this Poetry has no such setting; known: {', '.join(KNOWN)}",
        ),
        ({"virtualenvs.in-project": 1}, "virtualenvs.in-project: this Poetry does not accept '1'"),
        ({"cache-dir": None}, "cache-dir: found nothing; give it a value, or leave it out"),
    ],
)
def test_settings_that_poetry_would_refuse(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(PoetryProblem) as caught:
        _poetry.typed_settings(settings)
    assert str(caught.value) == f"settings.{message}"
