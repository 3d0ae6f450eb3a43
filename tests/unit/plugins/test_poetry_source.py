# SPDX-License-Identifier: GPL-3.0-or-later
"""poetry_source: its documentation and examples, and what it does with each option in four steps."""

from __future__ import annotations

import json
import os
import pwd
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from unit.plugins.poetry_projects import HOST, PRIVATE, PRIVATE_TABLE, PYPI, PYPI_TABLE, sources

from ansible_collections.devbox.artifact_registry.plugins.module_utils import _poetry_project
from ansible_collections.devbox.artifact_registry.plugins.modules import poetry_source

NAME = "devbox.artifact_registry.poetry_source"
HEAD = '# mine\n[tool.poetry]\nname = "x"\n'
MINE_TABLE = '[[tool.poetry.source]]\nname = "mine"\nurl = "https://dev:hunter2@example.com/simple/"\n'
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def project(home: Path) -> Path:
    """A project in the home of the user that runs the tests."""
    path = home / "myproject"
    path.mkdir(mode=0o755)
    (path / "pyproject.toml").write_text(HEAD)
    return path


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, project: Path, dev: pwd.struct_passwd, capfd: pytest.CaptureFixture[str]
) -> Run:
    """Run the module in that project; root may run these tests, so its projects are accepted."""
    monkeypatch.setattr(_poetry_project, "pwd", types.SimpleNamespace(getpwuid={dev.pw_uid: dev}.__getitem__))

    warnings: list[str] = []  # the real ones gather over all runs of a process
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, message: warnings.append(message))

    def run(*, check: bool = False, **params: Any) -> dict[str, Any]:
        warnings.clear()
        options = {"project_dir": str(project), "allow_root": True, **params}
        arguments = {**options, "_ansible_check_mode": check, "_ansible_diff": True}
        with patch_module_args(arguments), pytest.raises(SystemExit) as ended:
            poetry_source.main()
        result: dict[str, Any] = json.loads(capfd.readouterr().out)
        assert bool(result.get("failed")) == bool(ended.value.code)
        result.pop("invocation", None)
        return {**result, "warnings": [*warnings]}

    return run


def documented(options: dict[str, Any]) -> dict[str, Any]:
    """Documented options in the form of an argument specification."""
    spec = {}
    for name, option in options.items():
        assert option["description"], name
        kept = ("type", "elements", "default", "choices", "required")
        spec[name] = {key: option[key] for key in kept if key in option}
        if "suboptions" in option:
            spec[name]["options"] = documented(option["suboptions"])
    return spec


def test_the_documented_options_are_those_of_the_module() -> None:
    assert documented(yaml.safe_load(poetry_source.DOCUMENTATION)["options"]) == poetry_source.ARGUMENTS


def test_what_it_returns_is_documented(run: Run) -> None:
    returned = yaml.safe_load(poetry_source.RETURN)
    result = run(sources=[PYPI])
    assert result.keys() - {"changed", "diff", "warnings"} == returned.keys()
    assert result["sources"][0].keys() == returned["sources"]["contains"].keys()


def test_the_examples_do_what_they_say(run: Run, project: Path) -> None:
    tasks = [task[NAME] for task in yaml.safe_load(poetry_source.EXAMPLES) if NAME in task]
    path = project / "pyproject.toml"
    texts = []
    for task in tasks:
        assert run(**{**task, "project_dir": str(project)})["changed"] is True
        texts.append(path.read_text())
    explicit = PRIVATE_TABLE.replace("supplemental", "explicit")
    assert texts == [f"{HEAD}\n{PYPI_TABLE}\n{PRIVATE_TABLE}", f"{HEAD}\n{explicit}", HEAD]


@pytest.mark.parametrize(
    ("before", "options", "after"),
    [
        pytest.param("", {"sources": [PYPI, PRIVATE]}, f"\n{PYPI_TABLE}\n{PRIVATE_TABLE}", id="sources"),
        pytest.param(
            f"\n{PRIVATE_TABLE}\n{PYPI_TABLE}",
            {"sources": [PYPI, PRIVATE]},
            f"\n{PYPI_TABLE}\n{PRIVATE_TABLE}",
            id="order",
        ),
        pytest.param(
            "",
            {"sources": [{"name": "private-repo", "url": f"{HOST}/my-project/python/"}]},
            f"\n{PRIVATE_TABLE}",
            id="url",
        ),
        pytest.param(
            f"\n{PRIVATE_TABLE}",
            {"sources": [{"name": "private-repo", "priority": "explicit"}]},
            f"\n{PRIVATE_TABLE.replace('supplemental', 'explicit')}",
            id="priority",
        ),
        pytest.param(f"\n{PRIVATE_TABLE}", {"sources": [PRIVATE], "state": "absent"}, "", id="state"),
        pytest.param(f"\n{MINE_TABLE}", {"sources": [PYPI], "purge": True}, f"\n{PYPI_TABLE}", id="purge"),
        pytest.param(
            "",
            {
                "sources": [{"name": "private-repo", "url": "https://proxy.example.com/a/b/"}],
                "allow_other_hosts": True,
            },
            f"\n{PRIVATE_TABLE}".replace(
                f"{HOST}/my-project/python/simple/", "https://proxy.example.com/a/b/"
            ),
            id="allow_other_hosts",
        ),
    ],
)
def test_four_steps_check_run_check_run(
    run: Run, project: Path, before: str, options: dict[str, Any], after: str
) -> None:
    path = project / "pyproject.toml"
    path.write_text(HEAD + before)
    path.chmod(0o664)
    predicted = run(**options, check=True)
    assert path.read_text() == HEAD + before
    done = run(**options)
    assert predicted == done
    assert done["changed"] is True
    assert path.read_text() == HEAD + after
    assert path.stat().st_mode & 0o777 == 0o664
    assert os.listdir(project) == ["pyproject.toml"]
    info = path.stat()
    again = run(**options, check=True)
    assert again == run(**options)
    assert (again["changed"], again["sources"]) == (False, done["sources"])
    assert "diff" not in again
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (info.st_mtime_ns, info.st_ino), "not written"


def test_it_reports_the_path_all_sources_and_a_diff_without_passwords(run: Run, project: Path) -> None:
    path = project / "pyproject.toml"
    path.write_text(f"{HEAD}\n{MINE_TABLE}")
    done = run(sources=[PRIVATE])
    assert (
        done["pyproject_file"] == done["diff"]["before_header"] == done["diff"]["after_header"] == str(path)
    )
    assert [source["name"] for source in done["sources"]] == ["mine", "private-repo"]
    assert done["sources"][1] == {"name": "private-repo", **sources(PRIVATE_TABLE)[0]}
    shown = MINE_TABLE.replace("dev:hunter2@", "***@")
    assert done["diff"]["before"] == f"{HEAD}\n{shown}"
    assert done["diff"]["after"] == f"{HEAD}\n{shown}\n{PRIVATE_TABLE}"
    assert "hunter2" not in str(done)
    assert "hunter2" in path.read_text()


def test_a_lock_file_that_gets_stale_is_told_with_the_cure(run: Run, project: Path) -> None:
    assert run(sources=[PYPI])["lock_stale"] is False, "there is none"
    (project / "poetry.lock").write_text("")
    for check in (True, False):
        done = run(sources=[PYPI, PRIVATE], check=check)
        assert done["lock_stale"] is True
        (warning,) = done["warnings"]
        assert warning == (
            f"poetry.lock is stale with these sources; as dev run in {project}:"
            " poetry lock (before Poetry 2: poetry lock --no-update)"
        )
    again = run(sources=[PYPI, PRIVATE])
    assert (again["lock_stale"], again["warnings"]) == (False, [])


def test_a_dependency_that_loses_its_source_is_told(run: Run, project: Path) -> None:
    uses = '[tool.poetry.dependencies]\nin-house = { version = "*", source = "private-repo" }\n'
    (project / "pyproject.toml").write_text(f"{HEAD}{uses}\n{PRIVATE_TABLE}")
    done = run(sources=[PRIVATE], state="absent")
    assert done["warnings"] == ["these dependencies name a source that is removed: in-house"]


def untouched(project: Path) -> tuple[object, ...]:
    """All that a change to the file would change; to read it sets the time of access."""
    info = (project / "pyproject.toml").stat()
    return (
        info.st_ino,
        info.st_mode,
        info.st_uid,
        info.st_gid,
        info.st_size,
        info.st_mtime_ns,
        info.st_ctime_ns,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sources": []}, "sources: found []\n  allowed: a list with one or more repositories"),
        ({"sources": [{"name": 5}]}, "sources[0].name: found 5 (YAML changed its type: quote it)"),
        ({"sources": [{"name": "a", "priority": "default"}]}, "value of priority must be one of: primary, "),
        ({"sources": [PYPI], "purge": True, "state": "absent"}, "purge: found purge with state: absent"),
        ({"sources": [PYPI], "project_dir": "myproject"}, "project_dir myproject is not an absolute path"),
        (
            {"sources": [{"name": "ghost"}]},
            "PATH/pyproject.toml: the source ghost is not there yet; give its url",
        ),
    ],
)
def test_bad_input_fails_before_any_change(
    run: Run, project: Path, options: dict[str, Any], message: str
) -> None:
    before = untouched(project)
    for check in (True, False):
        result = run(**options, check=check)
        assert result["failed"]
        assert result["msg"].startswith(message.replace("PATH", str(project)))
    assert untouched(project) == before


def test_python_without_a_toml_parser_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poetry_source, "HAS_TOML", False)
    monkeypatch.setattr(poetry_source, "PYTHONS", [])
    assert run(sources=[PYPI])["msg"].startswith("needs Python 3.11 or newer on the machine, or tomli for /")
