# SPDX-License-Identifier: GPL-3.0-or-later
"""poetry_config: its documentation, the four steps for every option, what it reports, what it refuses."""

from __future__ import annotations

import json
import os
import pwd
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from unit.conftest import account

from ansible_collections.devbox.artifact_registry.plugins.doc_fragments import users as users_fragment
from ansible_collections.devbox.artifact_registry.plugins.module_utils import _home_file, _poetry
from ansible_collections.devbox.artifact_registry.plugins.modules import poetry_config

Run = Callable[..., dict[str, Any]]

URL = "https://europe-west1-python.pkg.dev/my-project/python/"
REPOSITORY = {"name": "private-repo", "url": URL}
REGISTERED = f'[repositories.private-repo]\nurl = "{URL}"\n'
PARTNER = {"name": "partner", "username": "dev", "password": "hunter2"}


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


def without_no_log(spec: dict[str, Any]) -> dict[str, Any]:
    """An argument specification without what is no matter of the documentation."""
    return {
        name: {
            key: without_no_log(value) if key == "options" else value
            for key, value in option.items()
            if key != "no_log"
        }
        for name, option in spec.items()
    }


def test_the_documented_options_are_those_of_the_module() -> None:
    shared = yaml.safe_load(users_fragment.ModuleDocFragment.DOCUMENTATION)["options"]
    own = yaml.safe_load(poetry_config.DOCUMENTATION)["options"]
    assert documented({**shared, **own}) == without_no_log(poetry_config.ARGUMENTS)


class Ended(Exception):
    """The module has answered."""


class FakeModule:
    """What the module uses of AnsibleModule."""

    params: dict[str, Any]
    check_mode = False
    _diff = True
    warnings: list[str]

    def __init__(self, **_options: object) -> None:
        FakeModule.warnings = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def fail_json(self, **result: Any) -> None:
        raise Ended({"failed": True, **result})

    def exit_json(self, **result: Any) -> None:
        raise Ended(result)


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch,
    poetry: Path,
    dev: pwd.struct_passwd,
    tmp_path: Path,
    installed_poetry: None,
) -> Run:
    """Run the module for the user of this test; Poetry's packages are importable."""

    ops = account(tmp_path / "ops", name="ops")
    Path(ops.pw_dir).mkdir()
    people = {"dev": dev, "root": dev, "ops": ops}

    monkeypatch.setattr(poetry_config, "AnsibleModule", FakeModule)
    monkeypatch.setattr(_poetry, "lend_packages", lambda _found: True)
    monkeypatch.setattr(_poetry, "version", lambda: (2, 5, 1))
    monkeypatch.setattr(pwd, "getpwnam", people.__getitem__)

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


@pytest.fixture
def config(poetry_dir: Path) -> Path:
    return poetry_dir / "config.toml"


@pytest.fixture
def auth(poetry_dir: Path) -> Path:
    """The user's auth.toml, with a foreign entry."""
    path = poetry_dir / "auth.toml"
    path.write_text("# mine\n[http-basic.mine]\nusername = 'me'\npassword = 'canary'\n")
    path.chmod(0o600)
    return path


MINE = "# head\ncache-dir = '/mine' # why\n\n[repositories.mine]\nurl = 'https://example.com/'\n"

# arguments -> the dotted keys that change, and what the files hold then beside the user's own
OPTIONS: dict[str, tuple[dict[str, Any], list[str], dict[str, Any]]] = {
    "repositories by url": (
        {"repositories": [REPOSITORY]},
        ["repositories.private-repo.url"],
        {"repositories": {"private-repo": {"url": URL}}},
    ),
    "repositories by project": (
        {
            "repositories": [
                {"name": "a", "project": "my-project", "location": "europe-west1", "repository": "python"},
                {"name": "b", "project": "my-project", "location": "us"},
            ]
        },
        ["repositories.a.url", "repositories.b.url"],
        {
            "repositories": {
                "a": {"url": URL},
                "b": {"url": "https://us-python.pkg.dev/my-project/b/"},
            }
        },
    ),
    "certificates": (
        {"repositories": [{**REPOSITORY, "ca_cert": "/ca.pem", "client_cert": "/me.pem"}]},
        [
            "certificates.private-repo.cert",
            "certificates.private-repo.client-cert",
            "repositories.private-repo.url",
        ],
        {
            "repositories": {"private-repo": {"url": URL}},
            "certificates": {"private-repo": {"cert": "/ca.pem", "client-cert": "/me.pem"}},
        },
    ),
    "settings": (
        {"settings": {"virtualenvs": {"in-project": True}, "installer.max-workers": 4, "cache-dir": "/ours"}},
        ["cache-dir", "installer.max-workers", "virtualenvs.in-project"],
        {"cache-dir": "/ours", "virtualenvs": {"in-project": True}, "installer": {"max-workers": 4}},
    ),
    "a list": (
        {"settings": {"installer": {"no-binary": ["numpy", "scipy"]}}},
        ["installer.no-binary"],
        {"installer": {"no-binary": ["numpy", "scipy"]}},
    ),
    "http-basic": (
        {"credentials": [PARTNER]},
        ["http-basic.partner.password", "http-basic.partner.username"],
        {"http-basic": {"partner": {"username": "dev", "password": "hunter2"}}},
    ),
    "pypi-token": (
        {"credentials": [{"name": "pypi", "token": "pypi-hunter2"}]},
        ["pypi-token.pypi"],
        {"pypi-token": {"pypi": "pypi-hunter2"}},
    ),
    "other hosts": (
        {"repositories": [{"name": "x", "url": "https://example.com/a/b/"}], "allow_other_hosts": True},
        ["repositories.x.url"],
        {"repositories": {"x": {"url": "https://example.com/a/b/"}}},
    ),
    "state absent": (
        {"repositories": [{"name": "mine"}], "settings": {"cache-dir": None}, "state": "absent"},
        ["cache-dir", "repositories.mine.url"],
        {"cache-dir": None, "repositories": None},
    ),
    "state absent, credentials": (
        {"credentials": [{"name": "mine"}], "state": "absent"},
        ["http-basic.mine.password", "http-basic.mine.username"],
        {"http-basic": None},
    ),
    "purge repositories": (
        {"repositories": [REPOSITORY], "purge": ["repositories"]},
        ["repositories.mine.url", "repositories.private-repo.url"],
        {"repositories": {"private-repo": {"url": URL}, "mine": None}},
    ),
    "purge settings": ({"purge": ["settings", "certificates"]}, ["cache-dir"], {"cache-dir": None}),
    "purge credentials": (
        {"purge": ["credentials"]},
        ["http-basic.mine.password", "http-basic.mine.username"],
        {"http-basic": None},
    ),
}


def merged(tree: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """Ours on top of a tree; None takes out."""
    result = dict(tree)
    for key, value in ours.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key, {}), value) if isinstance(value, dict) else value
    return result


@pytest.mark.parametrize(("params", "keys", "ours"), OPTIONS.values(), ids=OPTIONS.keys())
def test_four_steps_for_every_option(
    run: Run, config: Path, auth: Path, params: dict[str, Any], keys: list[str], ours: dict[str, Any]
) -> None:
    config.write_text(MINE)

    def texts() -> list[str]:
        return [path.read_text() if path.exists() else "" for path in (config, auth)]

    def values() -> dict[str, Any]:
        return merged(*(tomllib.loads(text) for text in texts()))

    before, held = texts(), values()
    predicted = run(check=True, **params)
    assert texts() == before, "check mode writes nothing"
    done = run(**params)
    assert done == predicted
    assert done["users"]["dev"]["changes"] == keys
    assert done["changed"] is done["users"]["dev"]["changed"] is True
    assert done["diff"]
    assert values() == merged(held, ours)
    infos = [path.stat().st_ino for path in (config, auth) if path.exists()]
    for check in (True, False):
        again = run(check=check, **params)
        assert (again["changed"], again["users"]["dev"]["changes"], again["diff"]) == (False, [], [])
    assert [path.stat().st_ino for path in (config, auth) if path.exists()] == infos, "not written again"
    for secret in ("hunter2", "canary"):
        assert secret not in json.dumps([predicted, done, again])


def test_the_examples_run_in_four_steps_and_the_last_one_removes(
    run: Run, home: Path, tmp_path: Path
) -> None:
    directories = [path / ".config" / "pypoetry" for path in (home, tmp_path / "ops")]
    for task in yaml.safe_load(poetry_config.EXAMPLES.replace("{{ partner_password }}", "hunter2")):
        arguments = task["devbox.artifact_registry.poetry_config"]
        predicted, done, *again = (run(check=check, **arguments) for check in (True, False, True, False))
        assert predicted == done, task["name"]
        assert [user["changed"] for user in done["users"].values()] == [True] * len(arguments["users"])
        assert [step["changed"] for step in again] == [False, False], task["name"]
    partner = '[http-basic.partner]\nusername = "dev"\npassword = "hunter2"\n'
    assert (directories[0] / "auth.toml").read_text() == partner
    left = [sorted(os.listdir(path)) for path in directories if path.exists()]
    assert left == [["auth.toml", "config.toml"], ["config.toml"]]
    for path in directories:
        assert tomllib.loads((path / "config.toml").read_text()) == {"virtualenvs": {"in-project": True}}


def test_what_is_removed_again_leaves_the_users_own_bytes(run: Run, config: Path, auth: Path) -> None:
    config.write_text(MINE)
    before = [config.read_bytes(), auth.read_bytes()]
    declared: dict[str, Any] = {
        "repositories": [{**REPOSITORY, "ca_cert": "/ca.pem"}],
        "settings": {"virtualenvs.in-project": True},
        "credentials": [PARTNER],
    }
    assert run(**declared)["changed"] is True
    assert run(**declared, state="absent")["changed"] is True
    assert [config.read_bytes(), auth.read_bytes()] == before


def test_a_user_without_a_configuration_gets_one_and_loses_it_again(run: Run, home: Path) -> None:
    directory = home / ".config" / "pypoetry"
    assert run(repositories=[REPOSITORY], check=True)["changed"] is True
    assert run(repositories=[REPOSITORY], state="absent")["changed"] is False
    assert run()["changed"] is False
    assert os.listdir(home) == [], "nothing is made where nothing is to be written"
    assert run(repositories=[REPOSITORY])["changed"] is True
    assert (directory / "config.toml").read_text() == REGISTERED
    assert os.listdir(directory) == ["config.toml"]
    modes = [path.stat().st_mode & 0o777 for path in (home / ".config", directory, directory / "config.toml")]
    assert modes == [0o700, 0o700, 0o600]
    assert run(repositories=[REPOSITORY], state="absent")["changed"] is True
    assert not directory.exists()


def test_an_absolute_directory(run: Run, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    done = run(repositories=[REPOSITORY], config_dir=str(tmp_path / "elsewhere" / "poetry"))
    path = tmp_path / "elsewhere" / "poetry" / "config.toml"
    assert done["users"]["dev"]["config_file"] == str(path)
    assert path.read_text() == REGISTERED


def link_directory(home: Path, target: Path) -> None:
    (home / ".config").mkdir()
    (home / ".config" / "pypoetry").symlink_to(target)


def link_files(home: Path, target: Path) -> None:
    (home / ".config" / "pypoetry").mkdir(parents=True)
    for name in ("config.toml", "auth.toml"):
        (home / ".config" / "pypoetry" / name).symlink_to(target / name)


@pytest.mark.parametrize("link", [link_directory, link_files])
def test_links_of_a_dotfile_manager_are_followed_only_when_asked(
    run: Run, home: Path, link: Callable[[Path, Path], None]
) -> None:
    dotfiles = home / "dotfiles" / "poetry"
    dotfiles.mkdir(parents=True)
    (dotfiles / "config.toml").write_text("# mine\n")
    link(home, dotfiles)
    declared: dict[str, Any] = {"repositories": [REPOSITORY], "credentials": [PARTNER]}
    refused = run(**declared)
    assert refused["failed"]
    assert "is a symbolic link or not a directory: refused" in refused["msg"]
    for step, check in enumerate((True, False, True, False)):
        assert run(**declared, symlink="follow", check=check)["changed"] is (step < 2)
    assert (dotfiles / "config.toml").read_text() == f"# mine\n\n{REGISTERED}"
    assert (dotfiles / "auth.toml").stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(dotfiles)) == ["auth.toml", "config.toml"]
    assert (home / ".config" / "pypoetry" / "config.toml").resolve() == dotfiles / "config.toml"


@pytest.mark.parametrize("link", [link_directory, link_files])
def test_a_link_out_of_the_home_is_never_followed(
    run: Run, home: Path, tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link(home, outside)
    for check in (True, False):
        result = run(repositories=[REPOSITORY], symlink="follow", check=check)
        assert result["failed"]
        assert f"outside of {home}: refused" in result["msg"]
    assert os.listdir(outside) == []


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
            (
                "PATH: invalid TOML: Expected ']' at the end of a table declaration (at line 2, column 3);"
                " repair it, or move it away"
            ),
        ),
        (
            spoil_table,
            "PATH: repositories is not a table; remove it or make it one; repair it, or move it away",
        ),
        (spoil_link, "PATH is a symbolic link or not a directory: refused; replace it by the real one"),
        (Path.mkdir, "PATH is not a regular file; move it away: mv PATH PATH.old"),
    ],
)
def test_a_file_that_cannot_be_used_stays_as_it_is_and_the_user_is_named(
    run: Run, config: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None], failure: str
) -> None:
    monkeypatch.setattr(_home_file, "SETTLE_SECONDS", 0.1)
    spoil(config)
    before = (config.is_symlink(), config.is_file() and config.read_text())
    for check in (True, False):
        result = run(repositories=[REPOSITORY], check=check)
        assert result["msg"] == f"user dev: {failure}".replace("PATH", str(config))
        assert result["users"]["dev"]["failure"] == failure.replace("PATH", str(config))
    assert (config.is_symlink(), config.is_file() and config.read_text()) == before
    assert os.listdir(config.parent) == ["config.toml"]


def test_the_module_reports_paths_urls_and_a_diff(run: Run, home: Path) -> None:
    directory = f"{home}/.config/pypoetry"
    done = run(repositories=[REPOSITORY])
    own = {"name": "private-repo", "publish_url": URL, "index_url": f"{URL}simple/"}
    assert done["repositories"] == [own]
    assert done["users"]["dev"] == {
        "changed": True,
        "changes": ["repositories.private-repo.url"],
        "config_file": f"{directory}/config.toml",
        "auth_file": f"{directory}/auth.toml",
        "repositories": [own],
    }
    assert done["diff"] == [
        {
            "before_header": f"{directory}/config.toml",
            "after_header": f"{directory}/config.toml",
            "before": "",
            "after": f'repositories.private-repo.url = "{URL}"\n',
        }
    ]


HIDDEN = """\
[http-basic.a]
username = "canary"
password = "x-oauth-basic"
[pypi-token]
username = "canary"
[http_basic.typo]
password = "canary"
[repositories.mine]
url = "https://example.com/?token=canary"
password = "canary"
[repositories.other]
url = "u:canary@example.com/"
[installer.build-config-settings.x]
TOKEN = "canary"
"""


@pytest.mark.parametrize("file", ["config.toml", "auth.toml"])
def test_what_may_be_a_secret_is_not_in_the_result(run: Run, poetry_dir: Path, file: str) -> None:
    (poetry_dir / file).write_text(HIDDEN)
    (poetry_dir / file).chmod(0o600)
    done = run(repositories=[REPOSITORY], credentials=[PARTNER])
    assert done["changed"] is True
    assert "canary" not in json.dumps(done)


def test_a_line_of_slashes_costs_no_time(run: Run, config: Path) -> None:
    config.write_text(f'cache-dir = "{"/" * 400_000}"\n')
    start = time.monotonic()
    assert run(repositories=[REPOSITORY])["changed"] is True
    assert time.monotonic() - start < 10


def test_check_mode_predicts_that_a_directory_cannot_be_written(
    nobody: pwd.struct_passwd, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = Path(nobody.pw_dir) / ".config" / "pypoetry"
    directory.mkdir(parents=True)
    for path in (directory.parent, directory):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    directory.chmod(0o500)
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: nobody)
    predicted, done = (run(repositories=[REPOSITORY], check=check) for check in (True, False))
    assert predicted["msg"] == done["msg"]
    assert f"{directory}/config.toml: Permission denied; nothing was changed" in done["msg"]


def test_a_change_before_a_failure_is_reported(
    run: Run, config: Path, auth: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = _home_file.ConfigDirectory.replace

    def full(self: _home_file.ConfigDirectory, name: str, text: str, **options: Any) -> bool:
        if name == "auth.toml":
            raise _home_file.FileProblem(f"{auth}: full; nothing was changed", code=_home_file.TEMPORARY)
        return replace(self, name, text, **options)

    monkeypatch.setattr(_home_file.ConfigDirectory, "replace", full)
    done = run(repositories=[REPOSITORY], credentials=[PARTNER])
    assert (done["failed"], done["changed"]) == (True, True)
    assert done["users"]["dev"]["failure"] == f"{auth}: full; nothing was changed"
    assert config.read_text() == REGISTERED


def test_secrets_of_the_user_are_not_in_the_result(run: Run, config: Path, auth: Path) -> None:
    foreign = '# pass: canary\n[repositories.mine]\nurl = "https://dev:canary@ex/2\'x@example.com/simple/"\n'
    config.write_text(f"{foreign}\n[http-basic.x]\nusername = 'u'\npassword = 'canary'\n")
    done = run(repositories=[REPOSITORY], credentials=[{**PARTNER, "name": "mine"}])
    assert "canary" not in json.dumps(done)
    shown = "".join(diff["after"] for diff in done["diff"])
    assert 'repositories.mine.url = "https://***@example.com/simple/"' in shown
    assert "http-basic.mine.password = *** (another one)" in shown
    assert config.read_text().startswith(foreign)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown user": (
        {"users": ["dev", "ghost"]},
        "users[1]: found 'ghost', unknown on this machine\n  allowed: existing users",
    ),
    "root": (
        {"users": ["root"]},
        "users[0]: found 'root'\n  allowed: ordinary users; root only with allow_root: true",
    ),
    "no users": ({"users": []}, "users: found []\n  allowed: a list with one or more names of users"),
    "repository": ({"repositories": [{"name": "a b", "url": URL}]}, "repositories[0].name: found 'a b'"),
    "repositories and credentials at once": (
        {"repositories": [{"name": "a b", "url": URL}], "credentials": [{"name": "x"}]},
        "repositories[0].name: found 'a b'\n",
    ),
    "a whole section of credentials": (
        {"settings": {"http-basic": None}, "state": "absent"},
        "settings.http-basic: no setting; use the option credentials",
    ),
    "a directory as a shell writes it": (
        {"config_dir": "~/.config/pypoetry"},
        "config_dir: found '~/.config/pypoetry'\n  allowed: an absolute path, or one below each user's home",
    ),
    "the home itself": ({"config_dir": ""}, "config_dir: found ''\n  allowed: an absolute path"),
    "purge of what is absent": (
        {"state": "absent", "purge": ["settings"]},
        "purge: found settings together with state: absent\n  allowed: state: present",
    ),
    "a setting without Poetry": (
        {"settings": {"cache-dir": "/x"}, "poetry": "/nowhere/poetry"},
        "there is no /nowhere/poetry; run the role poetry first, or set option poetry",
    ),
    "an unknown setting": (
        {"settings": {"virtualenvs.in_project": True}},
        "settings.virtualenvs.in_project: this Poetry has no such setting; did you mean virtualenvs.in-pro",
    ),
}


@pytest.mark.parametrize(("params", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_fails_before_any_change(
    run: Run, home: Path, params: dict[str, Any], message: str
) -> None:
    for check in (True, False):
        result = run(check=check, **{"repositories": [REPOSITORY], **params})
        if check and "poetry" in params:
            continue  # only a warning: Poetry may be installed by then
        assert result["failed"]
        assert result["msg"].startswith(message)
    assert os.listdir(home) == []


def test_check_mode_before_poetry_is_installed_predicts_all_the_same(run: Run, home: Path) -> None:
    declared: dict[str, Any] = {"repositories": [REPOSITORY], "settings": {"cache-dir": "/x"}}
    result = run(**declared, poetry="/nowhere/poetry", check=True)
    assert result["users"]["dev"]["changes"] == ["cache-dir", "repositories.private-repo.url"]
    assert FakeModule.warnings == [
        (
            "there is no /nowhere/poetry; run the role poetry first, or set option poetry;"
            " the settings were not checked"
        )
    ]
    assert run(**declared)["users"] == result["users"]


def test_the_user_that_the_task_runs_as_is_the_default(
    run: Run, monkeypatch: pytest.MonkeyPatch, dev: pwd.struct_passwd, home: Path
) -> None:
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: dev)
    assert run(users=None, repositories=[REPOSITORY])["changed"] is True
    assert (home / ".config" / "pypoetry" / "config.toml").exists()


def test_root_is_no_default(
    run: Run, monkeypatch: pytest.MonkeyPatch, dev: pwd.struct_passwd, home: Path
) -> None:
    root = pwd.struct_passwd(("root", *dev[1:]))
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: root)
    assert "root only with allow_root: true" in run(users=None, repositories=[REPOSITORY])["msg"]
    assert os.listdir(home) == []
    assert run(users=None, allow_root=True, repositories=[REPOSITORY])["changed"] is True


def test_a_home_with_a_slash_at_its_end_is_the_same_home(
    run: Run, monkeypatch: pytest.MonkeyPatch, dev: pwd.struct_passwd, home: Path
) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: pwd.struct_passwd((*dev[:5], f"{home}/", dev[6])))
    (home / "dotfiles").mkdir()
    link_files(home, home / "dotfiles")
    assert run(repositories=[REPOSITORY], symlink="follow")["changed"] is True
    assert (home / "dotfiles" / "config.toml").read_text() == REGISTERED
