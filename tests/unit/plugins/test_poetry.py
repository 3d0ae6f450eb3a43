# SPDX-License-Identifier: GPL-3.0-or-later
"""Poetry on the machine: the interpreter that is trusted, its settings' types, and the plan."""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path
from typing import Any

import pytest
from unit.plugins.homes import script

from ansible_collections.devbox.artifact_registry.plugins.module_utils import _poetry, _poetry_settings
from ansible_collections.devbox.artifact_registry.plugins.module_utils._poetry import PoetryProblem

KNOWN = [
    "cache-dir",
    "installer.max-workers",
    "installer.no-binary",
    "requests.max-retries",
    "virtualenvs.in-project",
]


def test_the_interpreter_is_the_one_that_runs_poetry(
    poetry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = str(poetry.parent / "python")
    there = _poetry.Installation(python, None, None)
    assert _poetry.find(str(poetry)) == there
    link = tmp_path / "poetry"
    link.symlink_to(poetry)
    assert _poetry.find(str(link)) == there
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _poetry.find("poetry") == there
    for missing in ("poetry2", str(tmp_path / "missing")):
        with pytest.raises(_poetry.PoetryMissing, match=f"there is no {missing}; run the role poetry first"):
            _poetry.find(missing)


def virtual_environment(poetry: Path, *, python: str, version: str) -> Path:
    """Turn the directory around the script into a virtual environment that holds this Poetry."""
    prefix = poetry.parent.parent
    (prefix / "pyvenv.cfg").touch()
    packages = prefix / "lib" / f"python{python}" / "site-packages"
    (packages / f"poetry-{version}.dist-info").mkdir(parents=True)
    (packages / "poetry").mkdir()
    return packages


RUNNING = "{}.{}".format(*sys.version_info)


@pytest.mark.parametrize(
    ("python", "lent"),
    [(RUNNING, True), ("2.7", False), (RUNNING + "1", False)],
    ids=["same", "old", "other"],
)
def test_poetrys_packages_are_lent_to_the_same_python_only(
    poetry: Path, monkeypatch: pytest.MonkeyPatch, python: str, lent: bool
) -> None:
    packages = virtual_environment(poetry, python=python, version="2.3.2")
    monkeypatch.setattr(sys, "path", ["/elsewhere"])
    found = _poetry.find(str(poetry))
    assert found is not None
    assert (found.packages, found.version) == (str(packages), (2, 3, 2))
    assert _poetry.lend_packages(found) is _poetry.lend_packages(found) is lent
    assert sys.path == [*([str(packages)] if lent else []), "/elsewhere"]


def test_packages_that_others_can_change_are_not_lent(poetry: Path) -> None:
    packages = virtual_environment(poetry, python=RUNNING, version="2.5.1")
    packages.chmod(0o777)
    with pytest.raises(PoetryProblem, match=f"^{packages} can be changed by others"):
        _poetry.find(str(poetry))


@pytest.mark.parametrize(
    ("version", "refused"),
    [((1, 8, 5), True), ((2, 3, 2), True), ((2, 4), False), ((2, 5, 1), False), (None, False)],
)
def test_a_dot_in_a_name_needs_a_new_poetry(version: tuple[int, ...] | None, refused: bool) -> None:
    _poetry_settings.check_names(["a-b"], version)
    if not refused:
        _poetry_settings.check_names(["a.b"], version)
        return
    with pytest.raises(
        PoetryProblem, match=r"found the name 'a\.b' and Poetry [\d.]+\n  allowed: .* 2\.4\.0"
    ):
        _poetry_settings.check_names(["a-b", "a.b"], version)


@pytest.mark.parametrize(
    "first", ["#!/bin/sh", "#!/usr/bin/env python3", "", "\x7fELF", "#!python", "print()"]
)
def test_what_is_no_python_script_is_not_run(tmp_path: Path, first: str) -> None:
    path = script(tmp_path / "poetry", first)
    with pytest.raises(PoetryProblem) as caught:
        _poetry.find(str(path))
    expected = f"{path} is not Poetry's own script (a Python script); name the right one in option poetry"
    assert str(caught.value) == expected


def test_a_directory_is_no_poetry(tmp_path: Path) -> None:
    with pytest.raises(PoetryProblem, match=f"^{tmp_path}: Is a directory; name Poetry's own script"):
        _poetry.find(str(tmp_path))


def test_a_poetry_whose_python_is_gone_has_to_be_installed_again(poetry: Path) -> None:
    (poetry.parent / "python").unlink()
    with pytest.raises(PoetryProblem, match=r"No such file or directory; install Poetry again$"):
        _poetry.find(str(poetry))


@pytest.mark.parametrize("place", ["poetry", "."])
def test_what_others_can_change_is_not_run(poetry: Path, place: str) -> None:
    path = poetry.parent / place
    path.chmod(0o777)
    with pytest.raises(PoetryProblem, match=f"^{path} can be changed by others"):
        _poetry.find(str(poetry))


@pytest.mark.parametrize("place", ["poetry", "."])
def test_what_belongs_to_another_user_is_not_run(poetry: Path, nobody: pwd.struct_passwd, place: str) -> None:
    os.chown(poetry.parent / place, nobody.pw_uid, nobody.pw_gid)
    with pytest.raises(PoetryProblem, match="can be changed by others than 0: not run"):
        _poetry.find(str(poetry))


@pytest.mark.usefixtures("installed_poetry")
@pytest.mark.parametrize(
    ("settings", "typed"),
    [
        ({}, {}),
        ({"virtualenvs": {"in-project": True}}, {("virtualenvs", "in-project"): True}),
        ({"virtualenvs.in-project": "false"}, {("virtualenvs", "in-project"): False}),
        ({"installer.max-workers": 4}, {("installer", "max-workers"): 4}),
        ({"installer.no-binary": ["a", "b", "a"]}, {("installer", "no-binary"): ["a", "b"]}),
        ({"installer.no-binary": "b,a"}, {("installer", "no-binary"): ["b", "a"]}),
        (
            {"installer": {"max-workers": "4"}, "cache-dir": "/x"},
            {("installer", "max-workers"): 4, ("cache-dir",): "/x"},
        ),
    ],
)
def test_settings_get_poetrys_types(settings: dict[str, Any], typed: dict[tuple[str, ...], Any]) -> None:
    result = _poetry_settings.typed_settings(settings)
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
        ({"requests.max-retries": "many"}, "requests.max-retries: this Poetry does not accept 'many'"),
        ({"cache-dir": {}}, "cache-dir: this Poetry does not accept '{}'"),
        ({"cache-dir": ["/x"]}, "cache-dir: this Poetry does not accept ['/x']"),
        (
            {"installer": {"max-workers": 4}, "installer.max-workers": 5},
            "installer.max-workers: found a second time; give it once",
        ),
        ({"cache-dir": True}, "cache-dir: found True, which is no text (quote it, if it is meant as a name)"),
        (
            {"installer.no-binary": [None]},
            "installer.no-binary: found a list with something else than strings; quote its items",
        ),
        (
            {"installer.max-workers": "https://u:canary@h/"},
            "installer.max-workers: this Poetry does not accept 'https://***@h/'",
        ),
        (
            {"installer.build-config-settings.x": {"CC": "gcc"}},
            "installer.build-config-settings.x: this Poetry has no such setting; it came with Poetry 2.1",
        ),
    ],
)
def test_settings_that_poetry_would_refuse(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(PoetryProblem) as caught:
        _poetry_settings.typed_settings(settings)
    assert str(caught.value) == f"settings.{message}"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("http-basic", "no setting; use the option credentials"),
        ("pypi-token.x", "no setting; use the option credentials"),
        ("repositories.x.url", "no setting; use the option repositories"),
        ("certificates.x", "no setting; use the option repositories, with ca_cert and client_cert"),
        ("virtualenvs", "a whole section; name its settings one by one"),
        ("installer.build-config-settings", "a whole section; name its settings one by one"),
    ],
)
def test_what_is_no_single_setting_is_refused(path: str, message: str) -> None:
    with pytest.raises(PoetryProblem) as caught:
        _poetry_settings.check_sections([("cache-dir",), tuple(path.split("."))])
    assert str(caught.value) == f"settings.{path}: {message}"


@pytest.mark.usefixtures("installed_poetry")
def test_all_settings_that_poetry_would_refuse_are_named_at_once() -> None:
    with pytest.raises(PoetryProblem) as caught:
        _poetry_settings.typed_settings({"zzz": 1, "virtualenvs.in-project": 7})
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "settings.zzz",
        "settings.virtualenvs.in-project",
    ]


@pytest.mark.parametrize(
    ("settings", "paths"),
    [
        ({"a": {"b": 1}, "c.d": 2}, ["a/b", "c/d"]),
        (
            {"installer": {"build-config-settings": {"My_Pkg": {"CC": "gcc"}}}},
            ["installer/build-config-settings/my-pkg"],
        ),
        ({"installer.build-config-settings.a.b": {"CC": "gcc"}}, ["installer/build-config-settings/a-b"]),
    ],
)
def test_the_settings_of_a_packages_build_are_one_value(settings: dict[str, Any], paths: list[str]) -> None:
    assert ["/".join(path) for path, _value in _poetry_settings.flattened(settings)] == paths


def test_what_does_not_fit_into_ansibles_pipe_is_refused_before_it_hangs(
    poetry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[str] = []
    monkeypatch.setattr("ansible.module_utils.common.respawn.respawn_module", moved.append)
    virtual_environment(poetry, python="2.7", version="2.5.1")
    found = _poetry.find(str(poetry))
    assert found is not None
    _poetry.use(found, {"settings": {}}, have_toml=True)
    assert moved == [found.interpreter]
    with pytest.raises(PoetryProblem, match=f"ansible_python_interpreter: {found.interpreter}$"):
        _poetry.use(found, {"repositories": ["x" * 100_000]}, have_toml=True)
    assert moved == [found.interpreter]
