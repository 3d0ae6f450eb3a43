# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook fleet itself, with its role, on hosts that are directories of the test.

The roles around it, and the modules for users' files, are stand-ins that do next to nothing and fail, or let
the host go away, where a test wants it. What the real ones do on machines, tests/uses shows.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from unit.roles.test_look import ROLES

ROOT = ROLES.parent
#: Keeps what is registered beside the program that it is told to use.
MODULE = """\
import json, os
from ansible.module_utils.basic import AnsibleModule

FREE = dict(type="raw")
module = AnsibleModule(argument_spec=dict(
    users=dict(type="list"), repositories=dict(type="list", default=[]), state=dict(default="present"),
    poetry=dict(type="str"), config_dir=FREE, allow_root=FREE, allow_other_hosts=FREE))
path = os.path.join(os.path.dirname(module.params["poetry"]), "registered.json")
with open(path) as stream:
    found = json.load(stream)
before = json.dumps(found)
"""
CONFIG = """\
if any("@" in one.get("url", "") for one in module.params["repositories"]):
    module.fail_json(msg="a URL with a password")
for user in module.params["users"]:
    own = found.setdefault(user, {})
    for one in module.params["repositories"]:
        if module.params["state"] == "present":
            own[one["name"]] = one["url"]
        else:
            own.pop(one["name"], None)
with open(path, "w") as stream:
    json.dump(found, stream)
module.exit_json(changed=json.dumps(found) != before, users={})
"""
INFO = """\
module.exit_json(users={user: {"repositories": [
    {"name": name, "publish_url": url, "source": "config.toml", "ca_cert": None, "client_cert": None}
    for name, url in found.get(user, {}).items()]} for user in module.params["users"]})
"""
#: In each file of a stand-in: where a test wants it to fail, or the host to go away.
FAIL: list[dict[str, Any]] = [
    {"ansible.builtin.fail": {"msg": "it fails here"}, "when": "fails is defined and fails == 'WHERE'"},
    {"ansible.builtin.meta": "end_host", "when": "goes is defined and goes == 'WHERE'"},
]
REGISTER = {
    "devbox.artifact_registry.poetry_config": {
        "users": "{{ poetry_repositories_users | default(artifact_registry_users) }}",
        "repositories": "{{ poetry_repositories_repositories | default(artifact_registry_repositories) }}",
        "poetry": "{{ poetry_repositories_poetry }}",
        "state": "{{ artifact_registry_state | default('present') }}",
    }
}
CONFIGURE = {
    "ansible.builtin.copy": {
        "content": "{{ {'users': artifact_registry_users, 'repositories': known} | to_json }}",
        "dest": "{{ gar_auth_etc_dir }}/config.json",
    },
    "vars": {"known": "{{ artifact_registry_repositories | devbox.artifact_registry.repositories }}"},
    "when": "artifact_registry_state | default('present') == 'present'",
}
FILES: dict[str, dict[str, list[dict[str, Any]]]] = {
    "gcloud": {"main": []},
    "poetry": {"main": []},
    "poetry_repositories": {"main": [REGISTER]},
    "gar_auth": {"main": [CONFIGURE], "refresh": [], "check": []},
}


def url(name: str) -> str:
    return f"https://europe-west1-python.pkg.dev/demo-project/{name}/"


class Fleet:
    """A collection with stand-ins, and hosts."""

    def __init__(self, top: Path, *names: str) -> None:
        self.top = top
        self.names = names
        self.vars: dict[str, dict[str, Any]] = {name: {} for name in names}
        self.collection = top / "collections/ansible_collections/devbox/artifact_registry"
        for link in ("playbooks", "roles/rollout", "plugins/filter", "plugins/module_utils", "meta"):
            (self.collection / link).parent.mkdir(parents=True, exist_ok=True)
            (self.collection / link).symlink_to(ROOT / link)
        modules = self.collection / "plugins/modules"
        modules.mkdir()
        (modules / "python_clients.py").symlink_to(ROOT / "plugins/modules/python_clients.py")
        for name, body in (("poetry_config", CONFIG), ("poetry_config_info", INFO)):
            (modules / f"{name}.py").write_text(MODULE + body)
        for role, files in FILES.items():
            place = self.collection / "roles" / role / "tasks"
            place.mkdir(parents=True)
            for name, tasks in {"preflight": [], **files}.items():
                ends = json.dumps(FAIL).replace("WHERE", f"{role}/{name}")
                (place / f"{name}.yml").write_text(json.dumps([*tasks, *json.loads(ends)]))
        for name in names:
            for part in ("bin", "etc", "prefix", "poetry/2.4.3-aaaaaaaa"):
                (top / name / part).mkdir(parents=True)
            (top / name / "poetry/current").symlink_to("2.4.3-aaaaaaaa")
            self.register(name, {})

    def register(self, host: str, found: Mapping[str, Mapping[str, str]]) -> None:
        """Let users have registered this."""
        (self.top / host / "bin/registered.json").write_text(json.dumps(found))

    def registered(self, host: str) -> dict[str, dict[str, str]]:
        """What each user has registered; nothing of those without anything."""
        found = json.loads((self.top / host / "bin/registered.json").read_text())
        return {user: own for user, own in found.items() if own}

    def configure(self, host: str, *, users: Iterable[str], repositories: Iterable[str]) -> None:
        """Let an earlier release have left its configuration."""
        known = [{"name": name, "publish_url": url(name), "index_url": url(name)} for name in repositories]
        content = {"users": list(users), "repositories": known}
        (self.top / host / "etc/config.json").write_text(json.dumps(content))

    def kept(self, host: str) -> bool:
        """Whether something is kept for going back."""
        return (self.top / host / "state").exists()

    def rollout(self, *, users: Iterable[str], repositories: Iterable[str], **variables: Any) -> str:
        """Roll out, each host a batch of its own; returns the output."""
        here = f"{self.top}/{{{{ inventory_hostname }}}}"
        places = {"state": f"{here}/state", "prefix": f"{here}/prefix", "program": f"{here}/bin/gar-auth"}
        places |= {"etc": f"{here}/etc", "poetry": f"{here}/poetry", "gcloud": f"{here}/gcloud"}
        common = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "gar_auth_etc_dir": f"{here}/etc",
            "poetry_repositories_poetry": f"{here}/bin/poetry",
        }
        inventory = self.top / "inventory.json"
        inventory.write_text(
            json.dumps({"all": {"hosts": {name: {**common, **self.vars[name]} for name in self.names}}})
        )
        extra = {
            "__rollout_places": {**places, "systemd": f"{here}/none", "files": [f"{here}/etc/config.json"]},
            "artifact_registry_become": False,
            "artifact_registry_users": list(users),
            "artifact_registry_repositories": [{"name": name, "url": url(name)} for name in repositories],
            "rollout_report": str(self.top / "report.json"),
            "rollout_batches": [1],
            **variables,
        }
        program = Path(sys.executable).parent / "ansible-playbook"
        done = subprocess.run(
            [program, "devbox.artifact_registry.fleet", "-i", inventory, "-e", json.dumps(extra)],
            env={
                **os.environ,
                "ANSIBLE_COLLECTIONS_PATH": str(self.top / "collections"),
                "ANSIBLE_HOME": str(self.top / "ansible"),
                "ANSIBLE_LOCAL_TEMP": str(self.top / "ansible/tmp"),
                "ANSIBLE_NOCOLOR": "1",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        return done.stdout + done.stderr

    def hosts(self) -> dict[str, dict[str, Any]]:
        """What the report says of each host."""
        return dict(json.loads((self.top / "report.json").read_text())["hosts"])

    def states(self) -> dict[str, str]:
        """The state of each host, as the report says."""
        return {name: one["state"] for name, one in self.hosts().items()}


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path, "one")


def test_a_release_that_works_is_there_and_nothing_is_kept(fleet: Fleet) -> None:
    said = fleet.rollout(users=["root"], repositories=["a"])
    assert fleet.states() == {"one": "done"}, said
    assert fleet.registered("one") == {"root": {"a": url("a")}}
    assert not fleet.kept("one")


def test_where_nothing_can_be_kept_nothing_is_changed(fleet: Fleet) -> None:
    (fleet.top / "one/state").write_text("in the way")
    said = fleet.rollout(users=["root"], repositories=["a"])
    assert fleet.states() == {"one": "failed"}, said
    assert fleet.hosts()["one"]["cause"].startswith("nothing was changed: ")
    assert fleet.registered("one") == {}


@pytest.mark.parametrize("where", ["poetry_repositories/main", "gar_auth/main", "gar_auth/check"])
def test_what_a_host_was_left_with_goes_although_the_next_release_declares_nothing_of_it(
    fleet: Fleet, where: str
) -> None:
    fleet.register("one", {"root": {"a": url("a"), "mine": "https://own.example/"}})
    fleet.configure("one", users=["root"], repositories=["a"])
    fleet.rollout(users=["root", "daemon"], repositories=["a", "withdrawn"], goes=where)
    assert fleet.states() == {"one": "begun"}
    assert "withdrawn" in fleet.registered("one")["root"]
    said = fleet.rollout(users=["root"], repositories=["a"])
    assert fleet.states() == {"one": "done"}, said
    assert fleet.registered("one") == {"root": {"a": url("a"), "mine": "https://own.example/"}}
    assert not fleet.kept("one")


def test_what_users_have_registered_before_there_was_gar_auth_is_as_before_when_a_release_fails(
    fleet: Fleet,
) -> None:
    before = {"root": {"a": url("a"), "b": "https://own.example/b/"}}
    fleet.register("one", before)
    said = fleet.rollout(users=["root", "daemon"], repositories=["a", "b", "c"], fails="gar_auth/check")
    assert fleet.states() == {"one": "failed"}, said
    assert fleet.registered("one") == before


@pytest.mark.parametrize("where", ["poetry/preflight", "gar_auth/preflight"])
def test_who_goes_away_before_the_first_change_has_nothing_taken_back(fleet: Fleet, where: str) -> None:
    fleet.rollout(users=["root"], repositories=["a"], goes=where)
    assert fleet.states() == {"one": "begun"}
    fleet.register("one", {"root": {"a": "https://own.example/a/"}})  # meanwhile, by the user
    said = fleet.rollout(users=["root"], repositories=["a"], fails=where)
    assert fleet.states() == {"one": "failed"}
    assert "it fails here" in fleet.hosts()["one"]["cause"]
    assert "Put back versions" not in said
    assert fleet.registered("one") == {"root": {"a": "https://own.example/a/"}}


def test_what_the_role_is_given_itself_counts_and_nothing_of_the_collections(fleet: Fleet) -> None:
    before = {"root": {"a": "https://own.example/a/"}}
    fleet.register("one", before)
    own = {"poetry_repositories_repositories": [{"name": "a", "url": url("a")}]}
    said = fleet.rollout(users=["root"], repositories=[], fails="gar_auth/check", **own)
    assert fleet.states() == {"one": "failed"}, said
    assert fleet.registered("one") == before


def test_a_registration_that_cannot_be_made_again_is_told_and_the_host_goes_on(fleet: Fleet) -> None:
    fleet.register("one", {"root": {"a": "https://me:***@own.example/a/"}})
    said = fleet.rollout(users=["root"], repositories=["a"], fails="gar_auth/check")
    assert fleet.states() == {"one": "failed"}, said
    assert "on the way back: root: a URL with a password" in fleet.hosts()["one"]["cause"]
    said = fleet.rollout(users=["root"], repositories=["a"])
    assert fleet.states() == {"one": "done"}, said


def test_a_release_without_the_role_registers_nothing_when_it_is_taken_back(fleet: Fleet) -> None:
    fleet.configure("one", users=["root"], repositories=["a"])
    roles = ["gar_auth"]
    said = fleet.rollout(
        users=["root"], repositories=["a"], artifact_registry_roles=roles, fails="gar_auth/check"
    )
    assert fleet.states() == {"one": "failed"}, said
    assert fleet.registered("one") == {}


def test_a_version_that_is_there_no_more_is_told_and_what_was_kept_stays(fleet: Fleet) -> None:
    fleet.configure("one", users=["root"], repositories=["a"])
    fleet.rollout(users=["root"], repositories=["a"], goes="gar_auth/main")
    poetry = fleet.top / "one/poetry"
    (poetry / "2.4.3-aaaaaaaa").rename(poetry / "2.5.1-bbbbbbbb")
    (poetry / "current").unlink()
    (poetry / "current").symlink_to("2.5.1-bbbbbbbb")
    fleet.rollout(users=["root"], repositories=["a"])
    assert fleet.states() == {"one": "broken"}
    cause = fleet.hosts()["one"]["cause"]
    assert "an interrupted rollout cannot be taken back" in cause
    assert "2.4.3-aaaaaaaa is there no more" in cause
    assert fleet.kept("one")


def test_a_host_on_which_ansible_can_run_nothing_counts_as_one_that_failed(tmp_path: Path) -> None:
    """Such as one that wants a password for sudo: that is no answer of the host's."""
    fleet = Fleet(tmp_path, "one", "two", "three", "four")
    fleet.vars["two"]["ansible_python_interpreter"] = "{{ nobody_knows }}"
    said = fleet.rollout(users=["root"], repositories=["a"], rollout_failures=1)
    assert fleet.states() == {"one": "done", "two": "failed", "three": "done", "four": "done"}, said
    assert "nothing was changed: " in fleet.hosts()["two"]["cause"]
    assert "nobody_knows" in fleet.hosts()["two"]["cause"]


def test_what_was_kept_and_cannot_be_removed_is_told(fleet: Fleet) -> None:
    """The next run would go back to it."""
    record = "{{ __rollout_places.state }}/before.json"
    (fleet.collection / "roles/gar_auth/tasks/refresh.yml").write_text(
        json.dumps(
            [{"ansible.builtin.file": {"path": record, "state": how}} for how in ("absent", "directory")]
        )
    )
    fleet.rollout(users=["root"], repositories=["a"])
    assert fleet.states() == {"one": "broken"}
    cause = fleet.hosts()["one"]["cause"]
    assert cause.startswith(
        "the release is there, and works; what was kept for going back cannot be removed: "
    )
    assert "before.json: Is a directory" in cause
