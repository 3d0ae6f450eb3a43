# SPDX-License-Identifier: GPL-3.0-or-later
"""poetry_config_info: its documentation, its examples, and whole situations with real files."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from unit.plugins.poetry_facts import REPOSITORY, SETTINGS, URL, basic
from unit.plugins.poetry_info_runs import Run, runs, write

from ansible_collections.devbox.artifact_registry.plugins.doc_fragments import users as users_fragment
from ansible_collections.devbox.artifact_registry.plugins.module_utils import _poetry_inspect
from ansible_collections.devbox.artifact_registry.plugins.module_utils._users import ARGUMENTS
from ansible_collections.devbox.artifact_registry.plugins.modules import poetry_config_info

NAME = "devbox.artifact_registry.poetry_config_info"
RETURN = yaml.safe_load(poetry_config_info.RETURN)["users"]["contains"]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dev: pwd.struct_passwd, capfd: pytest.CaptureFixture[str]
) -> Run:
    return runs(monkeypatch, tmp_path, dev, capfd)


def test_the_documented_options_are_those_of_the_module() -> None:
    assert yaml.safe_load(poetry_config_info.DOCUMENTATION).get("options") is None
    shared = yaml.safe_load(users_fragment.ModuleDocFragment.DOCUMENTATION)["options"]
    assert {
        name: {key: value for key, value in option.items() if key != "description"}
        for name, option in shared.items()
    } == ARGUMENTS


def test_what_it_returns_is_documented(run: Run, poetry_dir: Path) -> None:
    write(poetry_dir, config=REPOSITORY, auth=basic("a", "canary"))
    result = run(users=["dev"])
    assert result.keys() - {"changed", "warnings"} == yaml.safe_load(poetry_config_info.RETURN).keys()
    user = result["users"]["dev"]
    assert user.keys() == RETURN.keys() - {"failure"}
    for part in ("repositories", "credentials"):
        assert user[part][0].keys() == RETURN[part]["contains"].keys()
    for use in ("install", "publish"):
        assert (
            user["credentials"][0][use].keys()
            == RETURN["credentials"]["contains"]["publish"]["contains"].keys()
        )
    assert user["keyring"].keys() == RETURN["keyring"]["contains"].keys()


@pytest.mark.parametrize("named", [True, False])
def test_the_examples_do_what_they_say(run: Run, poetry_dir: Path, named: bool) -> None:
    write(poetry_dir, config=REPOSITORY, auth=basic("a", "canary") if named else "")
    task, debug, check = yaml.safe_load(poetry_config_info.EXAMPLES)
    variables: dict[str, Any] = {task["register"]: run(**task[NAME])}

    def evaluated(expression: str) -> Any:
        return Templar(loader=DataLoader(), variables=variables).template(trust_as_template(expression))

    told = evaluated(debug["ansible.builtin.debug"]["msg"])
    assert [line.partition(":")[0] for line in told] == (
        ["http-basic.private-repo (auth.toml)"] if named else []
    )
    variables.update({name: evaluated(value) for name, value in check["vars"].items()})
    condition = check["ansible.builtin.assert"]["that"]
    assert evaluated(f"{{{{ {condition} }}}}") is True


def test_a_user_without_any_file_has_poetrys_defaults(run: Run, home: Path) -> None:
    before = os.listdir(home)
    for options in ({"check": True}, {}, {"users": None}):
        result = run(**options)
        assert (result["changed"], result["poetry_version"], result["warnings"]) == (False, "2.5.1", [])
        user = result["users"]["dev"]
        assert user["config_file"] == f"{home}/.config/pypoetry/config.toml"
        assert user["settings"]["virtualenvs.path"] == {
            "value": f"{home}/.cache/pypoetry/virtualenvs",
            "source": "default",
        }
        assert (user["repositories"], user["credentials"], user["warnings"]) == ([], [], [])
        assert user["keyring"] == {"enabled": True, "backends": ["gar_auth.keyring_backend"], "forced": None}
    assert os.listdir(home) == before


def test_what_the_token_timer_writes_is_present_and_public_in_name_only(run: Run, poetry_dir: Path) -> None:
    write(poetry_dir, config=REPOSITORY, auth=basic("oauth2accesstoken", "canary"))
    user = run(users=["dev"])["users"]["dev"]
    assert [(one["name"], one["publish_url"], one["index_url"]) for one in user["repositories"]] == [
        ("private-repo", URL, f"{URL}simple/")
    ]
    use = {
        "present": True,
        "kind": "http-basic",
        "source": "auth.toml",
        "username": "oauth2accesstoken",
        "shadowed": [{"kind": "http-basic", "source": "keyring"}],
    }
    assert user["credentials"] == [
        {"name": "private-repo", "registered": True, "install": use, "publish": use}
    ]


def test_with_the_keyring_alone_nobody_knows(run: Run, poetry_dir: Path) -> None:
    write(poetry_dir, config=REPOSITORY)
    user = run()["users"]["dev"]
    assert user["credentials"][0]["install"] == {
        "present": None,
        "kind": "http-basic",
        "source": "keyring",
        "username": None,
        "shadowed": [],
    }
    assert user["warnings"] == []
    write(poetry_dir, config=f"{REPOSITORY}[keyring]\nenabled = false\n")
    user = run()["users"]["dev"]
    assert user["credentials"][0]["install"]["present"] is False
    assert user["keyring"]["enabled"] is False


def test_the_environment_of_the_task_and_of_every_login_counts(
    run: Run, poetry_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(poetry_dir, config=REPOSITORY, auth=basic("a", "canary"))
    variable = "POETRY_HTTP_BASIC_PRIVATE_REPO_PASSWORD"
    (tmp_path / "environment").write_text(
        f"{variable}=canary\nPOETRY_CACHE_DIR=/etc\nPOETRY_CONFIG_DIR=/etc\n"
    )
    monkeypatch.setenv("POETRY_CACHE_DIR", "/task")
    monkeypatch.setenv("POETRY_CONFIG_DIR", "/task")
    user = run()["users"]["dev"]
    assert user["settings"]["cache-dir"] == {"value": "/task", "source": "environment"}
    assert user["credentials"][0]["publish"]["source"] == "environment"
    told = [line.partition(")")[0] for line in user["warnings"]]
    assert "POETRY_CONFIG_DIR (set for this task" in told
    assert f"{variable} (set in /etc/environment" in told


def test_one_users_broken_file_is_that_users_failure(run: Run, poetry_dir: Path, home: Path) -> None:
    write(poetry_dir, config="[a\n")
    result = run(users=["dev", "ops"])
    assert not result.get("failed")
    directory = home / ".config/pypoetry"
    assert result["users"]["dev"].keys() == {"failure", "config_file", "auth_file"}
    assert result["users"]["dev"]["failure"].startswith(f"{directory}/config.toml: invalid TOML: ")
    assert sorted(result["users"]["ops"]["settings"]) == SETTINGS


def test_without_poetry_the_files_are_reported_with_a_warning(run: Run, poetry_dir: Path) -> None:
    write(poetry_dir, config=f"virtualenvs.in-project = true\n{REPOSITORY}", auth=basic("a", "canary"))
    for poetry, said in (
        ("/nowhere/poetry", "there is no /nowhere/poetry; "),
        ("/bin/sh", "is not Poetry's own"),
    ):
        result = run(poetry=poetry)
        (warning,) = result["warnings"]
        assert said in warning
        assert warning.endswith(
            "without Poetry only what the files set is listed, by the newest Poetry's rules"
        )
        user = result["users"]["dev"]
        assert result["poetry_version"] is None
        assert user["settings"] == {"virtualenvs.in-project": {"value": True, "source": "config.toml"}}
        assert user["credentials"][0]["publish"]["source"] == "auth.toml"


def test_without_poetry_and_a_toml_parser_nothing_can_be_read(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_poetry_inspect, "HAS_TOML", False)
    result = run(poetry="/nowhere/poetry")
    assert result["failed"]
    assert result["msg"].startswith(
        "needs Python 3.11 or newer, or Poetry's own: there is no /nowhere/poetry; run"
    )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"users": ["ghost"]}, "users[0]: found 'ghost', unknown on this machine"),
        (
            {"users": ["root"]},
            "users[0]: found 'root'\n  allowed: ordinary users; root only with allow_root: true",
        ),
        ({"symlink": "maybe"}, "value of symlink must be one of: refuse, follow"),
    ],
)
def test_bad_options_fail(run: Run, params: dict[str, Any], message: str) -> None:
    result = run(**params)
    assert result["failed"]
    assert result["msg"].startswith(message)


def test_links_are_followed_only_when_asked(run: Run, home: Path, poetry_dir: Path) -> None:
    (home / "dotfiles").mkdir()
    (home / "dotfiles" / "config.toml").write_text(REPOSITORY)
    (poetry_dir / "config.toml").symlink_to(home / "dotfiles" / "config.toml")
    assert "is a symbolic link" in run()["users"]["dev"]["failure"]
    assert run(symlink="follow")["users"]["dev"]["repositories"][0]["publish_url"] == URL
