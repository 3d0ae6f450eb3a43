# SPDX-License-Identifier: GPL-3.0-or-later
"""python_clients: its documentation and examples, and what it does with each option in four steps."""

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
from unit.conftest import account
from unit.plugins.client_texts import BOTH, HOST, PRIVATE, PUBLISH, edited

from ansible_collections.devbox.artifact_registry.plugins.module_utils import _clients, _clients_files, _users
from ansible_collections.devbox.artifact_registry.plugins.modules import python_clients

NAME = "devbox.artifact_registry.python_clients"
REPOSITORY = {"name": "private-repo", "url": PUBLISH}
OTHER = {"name": "other", "project": "my-project", "location": "europe-west1"}
SECRET = "[mine]\nrepository = https://dev:hunter2@mine.example/\npassword = hunter2\n"
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """A directory like /etc."""
    path = tmp_path / "etc"
    path.mkdir(mode=0o755)
    return path


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, etc: Path, dev: pwd.struct_passwd, capfd: pytest.CaptureFixture[str]
) -> Run:
    """Run the module with files below that directory; the user that runs the tests is dev."""
    places = {"pip": f"{etc}/pip.conf", "uv": f"{etc}/uv/uv.toml"}
    monkeypatch.setattr(_clients, "PATHS", places)
    monkeypatch.setattr(_clients_files, "_check_way", lambda _path: None)  # pytest's directory is private
    known = {"dev": dev}
    fake = types.SimpleNamespace(getpwnam=known.__getitem__, getpwuid={dev.pw_uid: dev}.__getitem__)
    monkeypatch.setattr(_users, "pwd", fake)
    warnings: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, message: warnings.append(message))

    def run(*, check: bool = False, **params: Any) -> dict[str, Any]:
        warnings.clear()
        arguments = {**params, "_ansible_check_mode": check, "_ansible_diff": True}
        with patch_module_args(arguments), pytest.raises(SystemExit) as ended:
            python_clients.main()
        result: dict[str, Any] = json.loads(capfd.readouterr().out)
        assert bool(result.get("failed")) == bool(ended.value.code)
        result.pop("invocation", None)
        return {**result, "warnings": [*warnings]}

    run.known = known  # type: ignore[attr-defined]
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
    assert documented(yaml.safe_load(python_clients.DOCUMENTATION)["options"]) == python_clients.ARGUMENTS


def test_what_it_returns_is_documented(run: Run) -> None:
    returned = yaml.safe_load(python_clients.RETURN)
    result = run(client="pip", repositories=[REPOSITORY])
    assert result.keys() - {"changed", "diff", "warnings"} == returned.keys()
    assert result["files"][0].keys() == returned["files"]["contains"].keys() - {"failure"}
    assert result["repositories"][0].keys() == returned["repositories"]["contains"].keys()


def test_the_documented_paths_are_those_of_the_module() -> None:
    described = " ".join(yaml.safe_load(python_clients.DOCUMENTATION)["options"]["path"]["description"])
    for path in (*_clients_files.PATHS.values(), *_clients_files.HOME_PATHS.values()):
        assert f"V({path})" in described


def test_the_examples_do_what_they_say(run: Run, etc: Path, home: Path) -> None:
    run.known["ops"] = account(home.parent / "ops", name="ops")  # type: ignore[attr-defined]
    (home.parent / "ops").mkdir(mode=0o700)
    pip, uv, twine, absent = (task[NAME] for task in yaml.safe_load(python_clients.EXAMPLES))
    for task, paths in (
        (pip, [etc / "pip.conf"]),
        (uv, [etc / "uv" / "uv.toml"]),
        (twine, [home / ".pypirc", home.parent / "ops" / ".pypirc"]),
    ):
        assert run(**task)["changed"] is True
        for path in paths:
            assert path.read_text() == edited(task["client"], "", [PRIVATE])
    assert run(**absent)["changed"] is True
    assert sorted(os.listdir(etc)) == ["uv"]


@pytest.mark.parametrize(
    ("options", "path", "mode"),
    [
        ({"client": "pip"}, "etc/pip.conf", 0o644),
        ({"client": "uv"}, "etc/uv/uv.toml", 0o644),
        ({"client": "twine"}, "home/.pypirc", 0o600),
        ({"client": "pip", "users": ["dev"]}, "home/.config/pip/pip.conf", 0o600),
        ({"client": "uv", "users": ["dev"]}, "home/.config/uv/uv.toml", 0o600),
        ({"client": "twine", "users": ["dev"], "path": "work/pypirc"}, "home/work/pypirc", 0o600),
    ],
)
@pytest.mark.parametrize("exists", [True, False])
def test_four_steps_check_run_check_run(
    run: Run, tmp_path: Path, options: dict[str, Any], path: str, mode: int, exists: bool
) -> None:
    file, client = tmp_path / path, options["client"]
    before = "# mine" if exists else ""
    if exists:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        file.write_text(before)
        file.chmod(mode := 0o640)
    for state, start, end in (
        ("present", before, edited(client, before, BOTH)),
        ("absent", edited(client, before, BOTH), before),
    ):
        wanted = {**options, "repositories": [REPOSITORY, OTHER], "state": state}
        predicted = run(**wanted, check=True)
        assert (file.read_text() if file.exists() else "") == start
        done = run(**wanted)
        assert predicted == done
        assert done["changed"] is done["files"][0]["changed"] is True
        assert done["files"][0]["path"] == str(file)
        assert done["diff"] == [
            {"before_header": str(file), "after_header": str(file), "before": start, "after": end}
        ]
        assert (file.read_text() if file.exists() else "") == end
        assert file.exists() or not end
        if end:
            assert file.stat().st_mode & 0o7777 == mode
            assert os.listdir(file.parent) == [file.name]
        info = file.stat() if end else None
        again = run(**wanted, check=True)
        assert again == run(**wanted)
        assert again["changed"] is False
        assert "diff" not in again
        assert info is None or file.stat().st_mtime_ns == info.st_mtime_ns, "not written"


def test_a_directory_for_all_users_can_be_entered_by_them_and_goes_when_it_is_empty(
    run: Run, etc: Path
) -> None:
    os.umask(0o077)
    run(client="uv", repositories=[REPOSITORY])
    assert (etc / "uv").stat().st_mode & 0o7777 == 0o755
    run(client="uv", repositories=[REPOSITORY], state="absent")
    assert os.listdir(etc) == []


def test_a_diff_and_messages_have_no_secret(run: Run, home: Path) -> None:
    path = home / ".pypirc"
    path.write_text(SECRET)
    path.chmod(0o600)
    done = run(client="twine", repositories=[REPOSITORY])
    shown = SECRET.replace("dev:hunter2@", "***@").replace("password = hunter2", "password = ***")
    assert done["diff"][0]["before"] == shown
    assert done["diff"][0]["after"] == edited("twine", shown, [PRIVATE])
    assert path.read_text() == edited("twine", SECRET, [PRIVATE])
    path.write_text(SECRET.replace("= hunter2", "hunter2"))
    failed = run(client="twine", repositories=[REPOSITORY])
    assert failed["msg"] == f"user dev: {path}: line 3 is neither a [section] nor an option = value"
    assert "hunter2" not in str([done, failed])


def test_the_other_users_are_done_where_one_cannot_be(run: Run, home: Path) -> None:
    other = home.parent / "ops"
    other.mkdir(mode=0o700)
    run.known["ops"] = account(other, name="ops")  # type: ignore[attr-defined]
    (home / ".pypirc").symlink_to("/etc/passwd")
    done = run(client="twine", users=["dev", "ops"], repositories=[REPOSITORY])
    assert done["failed"]
    assert done["msg"].startswith(f"user dev: {home}/.pypirc is a symbolic link")
    assert [file["changed"] for file in done["files"]] == [False, True]
    assert (other / ".pypirc").read_text() == edited("twine", "", [PRIVATE])


def test_a_link_is_followed_inside_the_home_only(run: Run, home: Path) -> None:
    (home / "dotfiles").mkdir(mode=0o700)
    (home / "dotfiles" / "pypirc").write_text("")
    (home / ".pypirc").symlink_to("dotfiles/pypirc")
    options = {"client": "twine", "repositories": [REPOSITORY], "symlink": "follow"}
    assert run(**options)["changed"] is True
    assert (home / ".pypirc").is_symlink()
    assert (home / "dotfiles" / "pypirc").read_text() == edited("twine", "", [PRIVATE])
    (home / ".pypirc").unlink()
    (home / ".pypirc").symlink_to(home.parent / "pypirc")
    message = f"{home}/.pypirc leads to {home.parent}/pypirc, outside of {home}: refused"
    assert run(**options)["msg"] == f"user dev: {message}"


def test_another_users_file_is_written_as_that_user(run: Run, nobody: pwd.struct_passwd) -> None:
    run.known["nobody"] = nobody  # type: ignore[attr-defined]
    done = run(client="twine", users=["nobody"], repositories=[REPOSITORY])
    assert (done["files"][0]["user"], done.get("msg")) == ("nobody", None)
    info = (Path(nobody.pw_dir) / ".pypirc").stat()
    assert (info.st_uid, info.st_gid, info.st_mode & 0o7777) == (nobody.pw_uid, nobody.pw_gid, 0o600)


def test_a_file_below_somebody_elses_home_is_refused(
    monkeypatch: pytest.MonkeyPatch, run: Run, nobody: pwd.struct_passwd
) -> None:
    monkeypatch.undo()
    home = Path(nobody.pw_dir)
    (home / "pip").mkdir()
    wanted = _clients_files.Wanted("pip", [PRIVATE], present=True)
    options: dict[str, Any] = {"home": None, "wanted": wanted, "check": False, "follow": False}
    done = _clients_files.update(f"{home}/pip/pip.conf", **options)
    assert done["failure"].startswith(f"{home} can be changed by others than root")
    assert _clients_files.update(f"{home}/pip.conf", **options)["failure"].startswith(
        f"{home} belongs to uid {nobody.pw_uid}"
    )
    (home.parent / "link").symlink_to("/etc")
    done = _clients_files.update(f"{home.parent}/link/uv/uv.toml", **options)
    assert done["failure"].endswith("link is a symbolic link: refused; set path: /etc/uv/uv.toml")
    assert os.listdir(home / "pip") == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "repositories: found []\n  allowed: a list with one or more repositories"),
        ({"repositories": [{"name": 5, "url": PUBLISH}]}, "repositories[0].name: found 5 (YAML changed"),
        (
            {"repositories": [REPOSITORY], "path": "pip.conf"},
            "path: found 'pip.conf'\n  allowed: an absolute",
        ),
        ({"repositories": [REPOSITORY], "path": "/etc/../pip.conf"}, "path: found '/etc/../pip.conf'"),
        ({"repositories": [REPOSITORY], "path": "/pip.conf"}, "path: found '/pip.conf'"),
        (
            {"repositories": [REPOSITORY], "users": ["dev"], "path": "/home/dev/pip.conf"},
            "path: found '/home/dev/pip.conf'\n  allowed: a path below each user's home, without ~, $ and ..",
        ),
        ({"repositories": [REPOSITORY], "users": ["ghost"]}, "users[0]: found 'ghost', unknown on this"),
    ],
)
def test_bad_input_fails_before_any_change(
    run: Run, etc: Path, options: dict[str, Any], message: str
) -> None:
    for check in (True, False):
        result = run(client="pip", **options, check=check)
        assert result["failed"]
        assert result["msg"].startswith(message)
    assert os.listdir(etc) == []


def test_what_keeps_a_client_from_using_it_is_a_warning(run: Run, etc: Path) -> None:
    (etc / "pip.conf").write_text("[install]\nkeyring-provider = disabled\n")
    elsewhere = {"name": "elsewhere", "url": "https://pypi.example.com/"}
    done = run(client="pip", repositories=[REPOSITORY, elsewhere], allow_other_hosts=True)
    cause = "[install] has keyring-provider, which pip install takes instead of that of [global]"
    assert done["warnings"] == [
        f"{etc}/pip.conf: {cause}",
        "left out, because the index URLs of other hosts are not known: elsewhere",
    ]
    assert HOST in (etc / "pip.conf").read_text()


def test_python_without_a_toml_parser_is_told_for_uv_only(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_clients, "HAS_TOML", False)
    monkeypatch.setattr(python_clients, "PYTHONS", [])
    message = run(client="uv", repositories=[REPOSITORY])["msg"]
    assert message.startswith("needs Python 3.11 or newer on the machine, or tomli for /")
    assert run(client="pip", repositories=[REPOSITORY])["changed"] is True
