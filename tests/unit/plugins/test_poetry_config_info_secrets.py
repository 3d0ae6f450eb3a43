# SPDX-License-Identifier: GPL-3.0-or-later
"""poetry_config_info returns no secret, wherever one stands."""

from __future__ import annotations

import json
import pwd
from pathlib import Path

import pytest
from unit.plugins.poetry_facts import HOST, REPOSITORY, basic
from unit.plugins.poetry_info_runs import Run, runs, write


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dev: pwd.struct_passwd, capfd: pytest.CaptureFixture[str]
) -> Run:
    return runs(monkeypatch, tmp_path, dev, capfd)


# where a secret can be: config.toml, auth.toml, netrc, environment
SOURCES: dict[str, tuple[str, str, str, dict[str, str]]] = {
    "http-basic in auth.toml": (REPOSITORY, basic("a", "canary"), "", {}),
    "http-basic in config.toml": (f"{REPOSITORY}{basic('a', 'canary')}", "", "", {}),
    "a user name that is the token": (REPOSITORY, basic("canary", ""), "", {}),
    "a user name alone": (REPOSITORY, basic("canary", None), "", {}),
    "braces": (REPOSITORY, basic("a", "canary{cache-dir}canary"), "", {}),
    "an entry of no type": (REPOSITORY, "[http-basic]\nprivate-repo = 'canary'\n", "", {}),
    "pypi-token": (REPOSITORY, "[pypi-token]\nprivate-repo = 'canary'\n", "", {}),
    "a table in its place": (REPOSITORY, "[pypi-token.private-repo]\ntoken = 'canary'\n", "", {}),
    "a url": (REPOSITORY.replace("//", "//dev:canary@"), "", "", {}),
    "a url that is none": ('[repositories.x]\nurl = "https://u:canary\u2100@example.com/"\n', "", "", {}),
    "a url as name": (
        "[repositories.'https://u:canary@example.com/']\nurl = 'https://example.com/'\n",
        basic("a", "x", "'https://u:canary@example.com/x/'"),
        "",
        {},
    ),
    "a query": ('[repositories.x]\nurl = "https://example.com/?token=canary"\n', "", "", {}),
    "netrc": (REPOSITORY, "", f"machine {HOST} login dev password canary\n", {}),
    "a token as login in netrc": (
        REPOSITORY,
        "",
        f"machine {HOST} login canary password x-oauth-basic\n",
        {},
    ),
    "a password variable": (REPOSITORY, "", "", {"POETRY_HTTP_BASIC_PRIVATE_REPO_PASSWORD": "canary"}),
    "a user name variable": (REPOSITORY, "", "", {"POETRY_HTTP_BASIC_PRIVATE_REPO_USERNAME": "canary"}),
    "a token variable": (REPOSITORY, "", "", {"POETRY_PYPI_TOKEN_PRIVATE_REPO": "canary"}),
    "a url variable": (REPOSITORY, "", "", {"POETRY_REPOSITORIES_X_URL": "https://u:canary@example.com/"}),
    "a setting's variable": ("", "", "", {"POETRY_INSTALLER_MAX_WORKERS": "canary"}),
    "a misspelt table": ("[http_basic.x]\npassword = 'canary'\n", "", "", {}),
    "a setting with a placeholder": (
        "virtualenvs.prompt = '{http-basic.private-repo.password}'\n",
        basic("a", "canary"),
        "",
        {},
    ),
    "invalid TOML": (f"{REPOSITORY}[http-basic]\nprivate-repo = canary\n", "", "", {}),
}  # fmt: skip


@pytest.mark.parametrize(("config", "auth", "netrc", "env"), SOURCES.values(), ids=SOURCES.keys())
@pytest.mark.parametrize("installed", [True, False], ids=["with Poetry", "without Poetry"])
def test_no_secret_is_ever_returned(
    run: Run,
    home: Path,
    poetry_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: str,
    auth: str,
    netrc: str,
    env: dict[str, str],
    installed: bool,
) -> None:
    write(poetry_dir, config=config, auth=auth)
    (home / ".netrc").write_text(netrc)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    result = run() if installed else run(poetry="/nowhere/poetry")
    assert not result.get("failed")
    assert result["users"]["dev"].keys() >= {"config_file", "auth_file"}
    assert "canary" not in json.dumps(result, ensure_ascii=False)
