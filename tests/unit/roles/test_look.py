# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles gcloud and poetry see of a machine before they do anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROLES = Path(__file__).resolve().parents[3] / "roles"
VERSIONS = ROLES / "poetry/files/versions.py"


def look(role: str, *arguments: object) -> dict[str, Any]:
    """Run the two files as the roles do, by standard input."""
    text = VERSIONS.read_text(encoding="utf-8") + (ROLES / role / "files/look.py").read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-I", "-", *map(str, arguments)],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def functions(role: str) -> dict[str, Any]:
    """The names that the two files define."""
    names: dict[str, Any] = {"__name__": "look"}
    for path in (VERSIONS, ROLES / role / "files/look.py"):
        exec(compile(path.read_text(encoding="utf-8"), path, "exec"), names)  # noqa: S102 - the roles' own files
    return names


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """A directory with two versions that are complete, one that is not, and something else."""
    place = tmp_path / "opt" / "poetry"
    for name in ("2.5.1-0123abcd", "2.2.1-89abcdef", "2.0.1-00000000", "notes"):
        (place / name).mkdir(parents=True)
    for name in ("2.5.1-0123abcd", "2.2.1-89abcdef"):
        (place / name / ".complete").touch()
    (place / "current").symlink_to("2.5.1-0123abcd")
    (place / "previous").symlink_to("2.2.1-89abcdef")
    return place


def test_versions_are_told_from_what_is_not_complete_and_not_ours(prefix: Path, tmp_path: Path) -> None:
    found = look("poetry", prefix, tmp_path / "bin", sys.executable)["versions"]
    assert found["complete"] == ["2.2.1-89abcdef", "2.5.1-0123abcd"]
    assert found["all"] == ["2.0.1-00000000", *found["complete"]]
    assert (found["current"], found["previous"]) == ("2.5.1-0123abcd", "2.2.1-89abcdef")
    assert found["strangers"] == ["notes"]


@pytest.mark.parametrize(
    ("made", "usable", "right"),
    [
        ("nothing", True, False),
        ("right", True, True),
        ("older", True, False),
        ("file", False, False),
        ("theirs", False, False),
        ("beside", False, False),
    ],
)
def test_whose_a_link_is(prefix: Path, tmp_path: Path, made: str, usable: bool, right: bool) -> None:
    link = tmp_path / "bin" / "poetry"
    link.parent.mkdir()
    if made == "file":
        link.touch()
    elif made != "nothing":
        places = {
            "right": f"{prefix}/current/bin/poetry",
            "older": f"{prefix}/2.5.1/bin/poetry",
            "theirs": "/usr/share/poetry/bin/poetry",
            "beside": f"{prefix}-of-theirs/bin/poetry",
        }
        link.symlink_to(places[made])
    found = look("poetry", prefix, link.parent, sys.executable)["versions"]["links"][0]
    assert (found["path"], found["usable"], found["right"]) == (str(link), usable, right)


@pytest.mark.parametrize(("mode", "refused"), [(0o755, False), (0o777, True), (0o1777, False)])
def test_a_place_that_everybody_may_change_is_told(tmp_path: Path, mode: int, refused: bool) -> None:
    place = tmp_path / "shared"
    place.mkdir()
    place.chmod(mode)
    found = look("poetry", place / "poetry", place / "bin", sys.executable)["versions"]["unsafe"]
    assert (str(place) in found) == refused


@pytest.mark.parametrize(
    ("members", "primary", "expected"),
    [([], [], False), (["root"], [], False), (["dev"], [], True), ([], ["dev"], True)],
)
def test_a_group_without_anybody_in_it_may_write(
    monkeypatch: pytest.MonkeyPatch, members: list[str], primary: list[str], expected: bool
) -> None:
    names = functions("poetry")
    group = type("Group", (), {"gr_mem": members})
    accounts = [type("Account", (), {"pw_name": name, "pw_gid": 50}) for name in primary]
    monkeypatch.setattr(names["grp"], "getgrgid", lambda _gid: group)
    monkeypatch.setattr(names["pwd"], "getpwall", lambda: accounts)
    assert names["has_members"](50) is expected


def test_a_python_that_was_declared_is_the_one(tmp_path: Path) -> None:
    found = look("poetry", tmp_path / "opt/poetry", tmp_path / "bin", sys.executable)
    assert found["python"] == sys.executable
    assert found["python_version"] == f"3.{sys.version_info.minor}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("# deb https://example.com/apt suite main\n", []),
        ("deb https://example.com/apt/ suite main\n", [("https://example.com/apt", "suite")]),
        (
            "deb [arch=amd64 signed-by=/x] https://example.com/apt suite main # x\n",
            [("https://example.com/apt", "suite")],
        ),
        ("deb [ arch=amd64 ] http://example.com/apt suite main\n", [("http://example.com/apt", "suite")]),
        ("deb-src https://example.com/apt suite main\n", []),
        ("deb https://example.com/apt\n", []),
    ],
)
def test_repositories_in_lines(tmp_path: Path, text: str, expected: list[tuple[str, str]]) -> None:
    path = tmp_path / "x.list"
    path.write_text(text)
    found = functions("gcloud")["sources"](str(path))
    assert [(one["url"], one["suite"]) for one in found] == expected


def test_repositories_in_stanzas(tmp_path: Path) -> None:
    path = tmp_path / "x.sources"
    path.write_text(
        "Types: deb\nURIs: https://example.com/one/ https://example.com/two\nSuites: a b\n"
        "Signed-By:\n -----BEGIN\n\n"
        "# URIs: https://example.com/three\nTypes: deb\n"
    )
    found = functions("gcloud")["sources"](str(path))
    assert {(one["url"], one["suite"]) for one in found} == {
        (f"https://example.com/{name}", suite) for name in ("one", "two") for suite in ("a", "b")
    }


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ({"ID": "debian"}, "debian"),
        ({"ID": "ubuntu", "ID_LIKE": "debian"}, "debian"),
        ({"ID": "rhel", "ID_LIKE": "fedora"}, "rhel"),
        ({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "rhel"),
        ({"ID": "fedora"}, "rhel"),
        ({"ID": "arch"}, ""),
        ({}, ""),
    ],
)
def test_the_family_of_a_system(release: dict[str, str], expected: str) -> None:
    assert functions("gcloud")["family"](release) == expected


@pytest.mark.parametrize(("mode", "shown"), [(0o644, "text"), (0o666, ""), (0o600, "")])
def test_a_file_counts_only_as_the_role_made_it(tmp_path: Path, mode: int, shown: str) -> None:
    path = tmp_path / "file"
    path.write_text("text")
    path.chmod(mode)
    mine = functions("gcloud")["content"](str(path))
    assert mine == (shown if path.stat().st_uid == 0 else "")
