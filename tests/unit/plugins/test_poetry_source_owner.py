# SPDX-License-Identifier: GPL-3.0-or-later
"""poetry_source works as the project's owner, and only where nobody else could change what it works on."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.plugins.poetry_projects import PRIVATE, PRIVATE_TABLE

from ansible_collections.devbox.artifact_registry.plugins.module_utils import _home_file
from ansible_collections.devbox.artifact_registry.plugins.module_utils._as_user import run_as
from ansible_collections.devbox.artifact_registry.plugins.module_utils._home_file import FileProblem
from ansible_collections.devbox.artifact_registry.plugins.module_utils._poetry_project import owner_of, update
from ansible_collections.devbox.artifact_registry.plugins.module_utils._poetry_sources import parse_sources

TEXT = '[tool.poetry]\nname = "x"\n'
SOURCES = parse_sources([PRIVATE], present=True)


def updated(project: Path, *, home: Path) -> dict[str, Any]:
    return update(str(project), home=str(home), sources=SOURCES, present=True, purge=False, check=False)


def made(path: Path) -> Path:
    """A project at the path."""
    path.mkdir(mode=0o755, parents=True)
    (path / "pyproject.toml").write_text(TEXT)
    return path


@pytest.fixture
def outside() -> Iterator[Path]:
    """A directory outside of any home, as /srv."""
    path = Path(os.path.realpath(tempfile.mkdtemp(prefix="unit-srv-")))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def refusal(path: Path | str, *, allow_root: bool = True) -> str:
    with pytest.raises(FileProblem) as caught:
        owner_of(str(path), allow_root=allow_root)
    return str(caught.value)


def test_a_directory_that_is_none_is_refused(tmp_path: Path) -> None:
    project = made(tmp_path / "app")
    assert refusal(tmp_path / "none") == (
        f"{tmp_path}/none: No such file or directory; make the project first, with: poetry new"
    )
    assert refusal(project / "pyproject.toml") == (
        f"{project}/pyproject.toml is no directory; name the one that holds pyproject.toml"
    )
    (tmp_path / "link").symlink_to(project)
    assert refusal(tmp_path / "link") == (
        f"{tmp_path}/link is a symbolic link: refused; set project_dir: {project}"
    )


def test_a_project_of_root_is_refused_unless_allowed() -> None:
    assert refusal("/etc", allow_root=False) == (
        "/etc belongs to root; give it to a user with: chown -R USER /etc,"
        " or set allow_root: true (container images)"
    )
    assert owner_of("/etc", allow_root=True).pw_name == "root"


def test_a_directory_of_nobody_known_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give a directory away")
    os.chown(tmp_path, 54321, -1)
    assert refusal(tmp_path) == (
        f"{tmp_path} belongs to uid 54321, which is no user; repair with: chown -R USER {tmp_path}"
    )


def test_a_project_without_a_pyproject_file_gets_none(home: Path) -> None:
    project = home / "app"
    project.mkdir(mode=0o755)
    assert updated(project, home=home) == {
        "failure": f"there is no {project}/pyproject.toml; make the project first, with: poetry init"
    }
    assert os.listdir(project) == []


def test_a_project_outside_of_the_home_works(outside: Path, home: Path) -> None:
    project = made(outside / "srv" / "app")
    assert updated(project, home=home)["after"] == (project / "pyproject.toml").read_text()
    assert (project / "pyproject.toml").read_text() == f"{TEXT}\n{PRIVATE_TABLE}"


def link_on_the_way(project: Path) -> str:
    real = project.parent.rename(project.parent.with_name("elsewhere"))
    project.parent.symlink_to(real)
    return f"{project.parent} is a symbolic link: refused; set project_dir: {real}/{project.name}"


def open_parent(project: Path) -> str:
    project.parent.chmod(0o757)
    return (
        f"{project.parent} may be written by others, who could replace {project};"
        f" repair with: chmod go-w {project.parent}"
    )


def open_project(project: Path) -> str:
    project.chmod(0o757)
    return f"{project} may be written by others; repair with: chmod go-w {project}"


def linked_file(project: Path) -> str:
    path = project / "pyproject.toml"
    path.rename(project / "real.toml").resolve()
    path.symlink_to("real.toml")
    return f"{path} is a symbolic link or not a directory: refused; replace it by the real one"


def torn_file(project: Path) -> str:
    (project / "pyproject.toml").write_text("[tool.poetry\n")
    return f"{project}/pyproject.toml: invalid TOML: Expected ']' at the end of a table declaration"


@pytest.mark.parametrize("spoil", [link_on_the_way, open_parent, open_project, linked_file, torn_file])
def test_what_others_could_have_planted_is_refused_and_stays(
    outside: Path, home: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], str]
) -> None:
    monkeypatch.setattr(_home_file, "SETTLE_SECONDS", 0.1)
    project = made(outside / "srv" / "app")
    failure = spoil(project)
    before = (project / "pyproject.toml").read_text()
    assert updated(project, home=home)["failure"].startswith(failure)
    assert (project / "pyproject.toml").read_text() == before


def test_a_directory_of_another_user_on_the_way_is_refused(outside: Path, home: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give a directory away")
    project = made(outside / "srv" / "app")
    os.chown(project.parent, 65534, -1)
    assert updated(project, home=home)["failure"].startswith(
        f"{project.parent} belongs to uid 65534, who could replace {project}: refused"
    )
    assert (project / "pyproject.toml").read_text() == TEXT


def test_root_works_as_the_owner(nobody: pwd.struct_passwd) -> None:
    project = made(Path(nobody.pw_dir) / "app")
    for path in (project, project / "pyproject.toml"):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    assert owner_of(str(project), allow_root=False).pw_uid == nobody.pw_uid

    def work() -> dict[str, Any]:
        return {"uid": os.geteuid(), **updated(project, home=Path(nobody.pw_dir))}

    assert run_as(nobody, work)["uid"] == nobody.pw_uid
    info = (project / "pyproject.toml").stat()
    assert (info.st_uid, info.st_mode & 0o777) == (nobody.pw_uid, 0o644)
    assert (project / "pyproject.toml").read_text() == f"{TEXT}\n{PRIVATE_TABLE}"


def test_what_somebody_else_writes_meanwhile_is_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = made(home / "app")
    replace = _home_file.ConfigDirectory.replace
    others = ["# one\n", "# two\n"]

    def slow(self: _home_file.ConfigDirectory, name: str, text: str, **options: Any) -> bool:
        if others:
            with (project / name).open("a") as stream:
                stream.write(others.pop(0))
        return replace(self, name, text, **options)

    monkeypatch.setattr(_home_file.ConfigDirectory, "replace", slow)
    assert "failure" not in updated(project, home=home)
    assert (project / "pyproject.toml").read_text() == f"{TEXT}# one\n# two\n\n{PRIVATE_TABLE}"
