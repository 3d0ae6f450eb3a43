# SPDX-License-Identifier: GPL-3.0-or-later
"""Four steps (check, run, check, run) by ansible-playbook for each Poetry, then `poetry config --list`."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from oracle.home import MODULE, Home, ansible_environment, parse_list, user_environment

URL = "https://europe-west1-python.pkg.dev/my-project/python/"


def test_check_run_check_run_from_a_playbook_and_poetry_lists_what_was_asked(home: Home) -> None:
    asked: dict[str, Any] = home.arguments(
        {
            "repositories": [{"name": "private-repo", "url": URL}],
            "settings": {"virtualenvs": {"in-project": True}, "installer.max-workers": 4},
            "credentials": [{"name": "private-repo", "username": "me", "password": "ya29.canary"}],
        }
    )
    steps = [
        {MODULE: asked, "check_mode": check, "register": f"step{n}"}
        for n, check in enumerate((True, False) * 2)
    ]
    seen = {"that": [f"{{{{ step{n}.changed == {n < 2} }}}}" for n in range(4)]}
    tasks = [*steps, {"ansible.builtin.assert": seen}]
    play = home.path / "play.json"
    play.write_text(
        json.dumps([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}])
    )
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "--diff", "-vvv", str(play)],
        cwd=home.path,
        env=ansible_environment(home.path) | {"ANSIBLE_PYTHON_INTERPRETER": sys.executable},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "canary" not in done.stdout
    listing = subprocess.run(
        [home.poetry.executable, "config", "--list"],
        cwd=home.path,
        env=user_environment(home.path),
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
        text=True,
    )
    listed = parse_list(listing.stdout)
    assert listed["repositories.private-repo.url"] == URL
    assert listed["virtualenvs.in-project"] is True
    assert listed["installer.max-workers"] == 4
    assert home.credentials("private-repo")["private-repo"]["password"] == "ya29.canary"
