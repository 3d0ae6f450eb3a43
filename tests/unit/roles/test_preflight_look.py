# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role gar_auth sees of a machine before its first change."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from unit.roles.rendering import ROLE, refusals
from unit.roles.rendering import machine as seen

SCRIPT = (ROLE / "files/preflight.py").read_text(encoding="utf-8")


def look(*, replace: dict[str, str] | None = None, **wanted: Any) -> dict[str, Any]:
    """Run the file as the role does, with other places where it looks for what manages the services."""
    text = SCRIPT
    for old, new in (replace or {}).items():
        assert f'"{old}"' in text
        text = text.replace(f'"{old}"', repr(new))
    asked = {
        "users": [],
        "files": [],
        "directories": [],
        "python": sys.executable,
        "prefix": "/nowhere",
        "config": "/nowhere/config.json",
    }
    done = subprocess.run(
        [sys.executable, "-I", "-c", text],
        input=json.dumps({**asked, **wanted}),
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def test_users_are_looked_up_where_the_machine_knows_them() -> None:
    me = pwd.getpwuid(os.getuid())
    found = look(users=[me.pw_name, "no-such-user"])["passwd"]
    assert found == {me.pw_name: [str(field) for field in me[1:]]}
    assert found[me.pw_name][4] == me.pw_dir


def test_files_are_described_as_they_are_and_directories_behind_links(tmp_path: Path) -> None:
    key, place, link, none = (tmp_path / name for name in ("key", "place", "link", "none"))
    key.touch(mode=0o640)
    key.chmod(0o640)
    place.mkdir()
    place.chmod(0o1777)
    link.symlink_to(place)
    found = look(files=[str(key), str(link), str(none)], directories=[str(link), str(none)])
    files, directories = found["files"], found["directories"]
    assert files[str(none)] == directories[str(none)] == {"exists": False}
    seen_key = {name: files[str(key)][name] for name in ("isreg", "islnk", "mode", "uid", "rgrp", "woth")}
    expected = {
        "isreg": True,
        "islnk": False,
        "mode": "0640",
        "uid": os.getuid(),
        "rgrp": True,
        "woth": False,
    }
    assert seen_key == expected
    assert files[str(key)]["pw_name"] == pwd.getpwuid(os.getuid()).pw_name
    assert (files[str(link)]["islnk"], files[str(link)]["lnk_source"]) == (True, str(place))
    assert (directories[str(link)]["isdir"], directories[str(link)]["mode"]) == (True, "1777")
    assert directories[str(link)]["woth"] is True


def test_a_user_without_a_name_is_none_of_ours(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a file to a user that does not exist")
    key = tmp_path / "key"
    key.touch()
    os.chown(key, 54321, 54321)
    described = look(files=[str(key)])["files"][str(key)]
    assert (described["uid"], described["pw_name"], described["gr_name"]) == (54321, "", "")


@pytest.mark.parametrize(
    ("booted", "first", "init", "manager"),
    [
        (True, "systemd", "systemd", "systemd"),
        (True, "anything", None, "systemd"),
        (False, "systemd", "systemd", "systemd"),  # a chroot on a machine of systemd's
        (False, "bash", "systemd", "systemd"),  # a container in which an image is being built
        (False, "init", "openrc-init", "openrc-init"),
        (False, "dumb-init", None, "dumb-init"),
        (False, "sleep", "systemd", "sleep"),
        (False, "sh", None, "sh"),
        (False, None, None, "nothing"),
    ],
)
def test_what_manages_the_services(
    tmp_path: Path, booted: bool, first: str | None, init: str | None, manager: str
) -> None:
    if booted:
        (tmp_path / "booted").mkdir()
    if first:
        (tmp_path / "comm").write_text(f"{first}\n")
    if init:
        (tmp_path / init).touch()
        (tmp_path / "init-link").symlink_to(tmp_path / init)
    places = {
        "/run/systemd/system": str(tmp_path / "booted"),
        "/proc/1/comm": str(tmp_path / "comm"),
        "/sbin/init": str(tmp_path / "init-link"),
    }
    assert look(replace=places)["service_manager"] == manager


def test_environments_and_the_interpreters_version(tmp_path: Path) -> None:
    for name in ("venv-3.11-aa", "venv-3.12-bb", "venv"):
        (tmp_path / name).mkdir()
    (tmp_path / "venv-3.12-bb/.complete").touch()
    found = look(prefix=str(tmp_path))
    assert found["environments"] == {
        "all": [str(tmp_path / name) for name in ("venv", "venv-3.11-aa", "venv-3.12-bb")],
        "complete": [str(tmp_path / "venv-3.12-bb")],
    }
    assert found["python_version"] == f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.mark.parametrize("python", ["/nowhere/python3", "/bin/false"])
def test_an_interpreter_that_does_not_run_stops_the_role_before_its_first_change(python: str) -> None:
    version = look(python=python)["python_version"]
    assert version is None
    known: dict[str, Any] = {
        "__gar_auth_machine": {**seen(), "python_version": version},
        "gar_auth_python": python,
        "inventory_hostname": "here",
    }
    task = "Check the program's interpreter"
    (said,) = refusals("preflight.yml", task, **known)
    assert said.startswith(f"gar_auth_python: found {python}, which does not run on here\n")
    assert refusals("preflight.yml", task, gar_auth_state="absent", **known) == []


@pytest.mark.parametrize(
    ("text", "expected"), [('{"users": ["dev"]}', {"users": ["dev"]}), ("{", {}), ("[]", {}), (None, {})]
)
def test_the_configuration_in_force_is_what_can_be_read(
    tmp_path: Path, text: str | None, expected: dict[str, Any]
) -> None:
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    assert look(config=str(path))["config"] == expected
