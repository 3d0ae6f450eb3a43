# SPDX-License-Identifier: GPL-3.0-or-later
"""poetry_config: its documentation, what it does to files, what it reports."""

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

from ansible_collections.devbox.artifact_registry.plugins.module_utils import _poetry
from ansible_collections.devbox.artifact_registry.plugins.module_utils._poetry_files import update_config
from ansible_collections.devbox.artifact_registry.plugins.modules import poetry_config

REPOSITORY = {"name": "private-repo", "publish_url": "https://h/p/r/", "ca_cert": None}
REGISTERED = '[repositories.private-repo]\nurl = "https://h/p/r/"\n'


def documented(options: dict[str, Any]) -> dict[str, Any]:
    """Documented options in the form of an argument specification."""
    spec = {}
    for name, option in options.items():
        assert option["description"], name
        kept = {
            key: option[key]
            for key in ("type", "elements", "default", "choices", "required")
            if key in option
        }
        if "suboptions" in option:
            kept["options"] = documented(option["suboptions"])
        spec[name] = kept
    return spec


def test_the_documented_options_are_those_of_the_module() -> None:
    assert documented(yaml.safe_load(poetry_config.DOCUMENTATION)["options"]) == poetry_config.ARGUMENTS


def test_the_examples_use_documented_options_only() -> None:
    for task in yaml.safe_load(poetry_config.EXAMPLES):
        arguments = task["devbox.artifact_registry.poetry_config"]
        assert arguments.keys() <= poetry_config.ARGUMENTS.keys()
        for repository in arguments["repositories"]:
            assert repository.keys() <= poetry_config.ARGUMENTS["repositories"]["options"].keys()


def update(directory: Path, *, check: bool = False, present: bool = True) -> dict[str, str]:
    changes = _poetry.plan([REPOSITORY], {}, present=present)
    return update_config(str(directory), home=str(directory.parents[1]), changes=changes, check=check)


def test_four_steps_check_run_check_run(poetry_dir: Path) -> None:
    path = poetry_dir / "config.toml"
    path.write_text("# mine\n")
    after = f"# mine\n\n{REGISTERED}"
    assert update(poetry_dir, check=True) == {"before": "# mine\n", "after": after}
    assert path.read_text() == "# mine\n"
    assert update(poetry_dir) == {"before": "# mine\n", "after": after}
    assert path.read_text() == after
    info = path.stat()
    assert update(poetry_dir, check=True) == update(poetry_dir) == {"before": after, "after": after}
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (info.st_mtime_ns, info.st_ino), "not written"


def test_a_user_without_a_configuration_gets_one_and_loses_it_again(home: Path) -> None:
    directory = home / ".config" / "pypoetry"
    assert update(directory, check=True) == {"before": "", "after": REGISTERED}
    assert os.listdir(home) == []
    assert update(directory, present=False) == {"before": "", "after": ""}
    assert os.listdir(home) == [], "nothing to remove, nothing made"
    assert update(directory) == {"before": "", "after": REGISTERED}
    assert (directory / "config.toml").stat().st_mode & 0o777 == 0o600
    assert update(directory, present=False) == {"before": REGISTERED, "after": ""}
    assert not directory.exists()


def spoil_text(path: Path) -> None:
    path.write_text("a = 1\n[b\n")


def spoil_table(path: Path) -> None:
    path.write_text("repositories = 3\n")


def spoil_link(path: Path) -> None:
    path.symlink_to("/etc/hostname")


@pytest.mark.parametrize(
    ("spoil", "failure"),
    [
        (
            spoil_text,
            "PATH: invalid TOML: Unexpected character: '\\n' at line 2 col 2; repair it, or move it away",
        ),
        (
            spoil_table,
            "PATH: repositories is not a table; remove it or make it one; repair it, or move it away",
        ),
        (spoil_link, "PATH is a symbolic link or not a directory: refused; replace it by the real one"),
        (Path.mkdir, "PATH is not a regular file; move it away: mv PATH PATH.old"),
    ],
)
def test_a_file_that_cannot_be_used_stays_as_it_is(
    poetry_dir: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None], failure: str
) -> None:
    from ansible_collections.devbox.artifact_registry.plugins.module_utils import _home_file

    monkeypatch.setattr(_home_file, "SETTLE_SECONDS", 0.1)
    path = poetry_dir / "config.toml"
    spoil(path)
    before = (path.is_symlink(), path.is_file() and path.read_text())
    for check in (True, False):
        assert update(poetry_dir, check=check) == {"failure": failure.replace("PATH", str(path))}
    assert (path.is_symlink(), path.is_file() and path.read_text()) == before
    assert os.listdir(poetry_dir) == ["config.toml"]


class Ended(Exception):
    """The module has answered."""


class FakeModule:
    """What main() uses of AnsibleModule."""

    params: dict[str, Any]
    check_mode = False

    def __init__(self, **_options: object) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def fail_json(self, **result: Any) -> None:
        raise Ended({"failed": True, **result})

    def exit_json(self, **result: Any) -> None:
        raise Ended(result)


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, poetry: Path, dev: pwd.struct_passwd
) -> Callable[..., dict[str, Any]]:
    """Run the module as it runs after the respawn, for the user of this test."""

    def getpwnam(name: str) -> pwd.struct_passwd:
        if name != "dev":
            raise KeyError(name)
        return dev

    monkeypatch.setattr(poetry_config, "AnsibleModule", FakeModule)
    monkeypatch.setattr(poetry_config, "has_respawned", lambda: True)
    monkeypatch.setattr(
        poetry_config, "pwd", types.SimpleNamespace(getpwnam=getpwnam, struct_passwd=pwd.struct_passwd)
    )

    def run(*, check: bool = False, **params: Any) -> dict[str, Any]:
        defaults = {name: spec.get("default") for name, spec in poetry_config.ARGUMENTS.items()}
        FakeModule.params = {**defaults, "users": ["dev"], "poetry": str(poetry), **params}
        FakeModule.check_mode = check
        with pytest.raises(Ended) as caught:
            poetry_config.main()
        result: dict[str, Any] = caught.value.args[0]
        json.dumps(result)
        return result

    return run


URL = "https://europe-west1-python.pkg.dev/my-project/python/"
DECLARED = [{"name": "private-repo", "url": URL, "project": None, "ca_cert": "/ca.pem"}]


def test_the_module_reports_paths_urls_and_a_diff(run: Callable[..., dict[str, Any]], home: Path) -> None:
    path = f"{home}/.config/pypoetry/config.toml"
    predicted = run(repositories=DECLARED, check=True)
    done = run(repositories=DECLARED)
    assert predicted == done
    assert done["changed"] is True
    assert done["users"] == {"dev": {"changed": True, "path": path}}
    assert done["repositories"][0]["index_url"] == f"{URL}simple/"
    (diff,) = done["diff"]
    assert (diff["before"], diff["after"]) == ("", Path(path).read_text())
    again = run(repositories=DECLARED)
    assert (again["changed"], again["diff"]) == (False, [])


def test_passwords_in_urls_of_the_user_are_not_in_the_diff(
    run: Callable[..., dict[str, Any]], poetry_dir: Path
) -> None:
    foreign = '[repositories.mine]\nurl = "https://dev:hun@ter/2\'x@example.com/simple/"\n'
    (poetry_dir / "config.toml").write_text(foreign)
    done = run(repositories=DECLARED)
    assert "https://***@example.com/simple/" in done["diff"][0]["after"]
    assert not any(part in str(done) for part in ("hun", "ter/2", "'x"))
    assert (poetry_dir / "config.toml").read_text().startswith(foreign)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"users": ["dev", "ghost"]},
            "users[1]: found 'ghost', unknown on this machine\n  allowed: existing users",
        ),
        (
            {"users": ["root"]},
            "users[0]: found 'root'\n  allowed: ordinary users; root only with allow_root: true",
        ),
        ({"repositories": [{"name": "a b", "url": URL}]}, "repositories[0].name: found 'a b'"),
        ({"poetry": "/nowhere/poetry"}, "there is no /nowhere/poetry; run the role poetry first"),
    ],
)
def test_bad_input_fails_before_any_change(
    run: Callable[..., dict[str, Any]], home: Path, params: dict[str, Any], message: str
) -> None:
    result = run(**{"repositories": DECLARED, **params})
    assert result["failed"]
    assert result["msg"].startswith(message)
    assert os.listdir(home) == []


def test_a_failure_names_the_user(run: Callable[..., dict[str, Any]], poetry_dir: Path) -> None:
    (poetry_dir / "config.toml").mkdir()
    result = run(repositories=DECLARED)
    assert result["msg"].startswith(f"user dev: {poetry_dir}/config.toml is not a regular file; move it away")


def test_check_mode_before_poetry_is_installed_predicts_a_change(run: Callable[..., dict[str, Any]]) -> None:
    result = run(repositories=DECLARED, poetry="/nowhere/poetry", check=True)
    assert result["changed"] is True
