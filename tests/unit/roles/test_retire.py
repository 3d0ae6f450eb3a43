# SPDX-License-Identifier: GPL-3.0-or-later
"""What is declared no more is taken back, in a scratch directory: predicted, done once, gone on with."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from unit.roles.rendering import ROLE, ROOT, getent, template, variable

USERS = ["nobody", "bin", "deleted-since"]
"""Two that every machine has, and one that none has."""
BEFORE = {
    "default": {"type": "metadata"},
    "cli": {"type": "gcloud", "account": "me@example.com"},
    "own": {"type": "adc", "per_user": True},
}
# Says what it was called with, and with which repositories; fails while there is a file of that name.
PROGRAM = """\
#!/bin/sh
set -eu
place=$(dirname "$0")
test ! -e "$place/fails" || { echo 'gar-auth: the disk is full' >&2; exit 75; }
case "$*" in *' --check '*) echo 'would remove the tokens from auth.toml'; exit ;; esac
echo "$(grep -c '"publish_url"' "$2")" "$@" >> "$place/../../calls"
echo 'removed the tokens from auth.toml'
"""


RESOLVED = [
    f"__gar_auth_{name}"
    for name in ("users", "repositories", "identities", "host_identities", "user_identities")
]
"""What most of the others are made of: in a play Ansible would work it out anew a thousand times."""


def repositories(*names: str) -> list[dict[str, str]]:
    return [
        {"name": f"{name}-repo", "project": "demo-project", "location": "us", "identity": name}
        for name in names
    ]


@dataclass(kw_only=True)
class Scratch:
    """A machine's directories below one scratch directory, as a run with `BEFORE` left them."""

    place: Path

    @property
    def variables(self) -> dict[str, Any]:
        place = str(self.place)
        return {
            "ansible_python_interpreter": sys.executable,
            "ansible_remote_tmp": f"{place}/tmp",
            "gar_auth_prefix": f"{place}/opt",
            "gar_auth_bin_dir": f"{place}/bin",
            "gar_auth_etc_dir": f"{place}/etc",
            "gar_auth_state_dir": f"{place}/state",
            "gar_auth_profile_dir": f"{place}/profile.d",
            "gar_auth_service_manager": "systemd",
            "gar_auth_users": ["nobody"],
            "gar_auth_repositories": repositories("default"),
            "gar_auth_identities": {"default": {"type": "metadata"}},
            "__gar_auth_account": "gar-auth-of-a-test",
            "__gar_auth_run_dir": f"{place}/run",
            "__gar_auth_user_run_dir": f"{place}/user-run",
            "__gar_auth_unit_dir": f"{place}/units",
            "__gar_auth_cron_file": f"{place}/cron.d/gar-auth",
            "__gar_auth_booted": False,
        }

    def fill(self) -> None:
        for name in BEFORE:
            self._write(f"run/{name}/token", "run")
        for user in USERS:
            self._write(f"user-run/{user}/own/token")
            self._write(f"units/gar-auth-write@{user}.service.d/home.conf")
            self._link(f"units/paths.target.wants/gar-auth-write@{user}.path")
        self._link("units/timers.target.wants/gar-auth-user@nobody.timer")
        for name in ("default", "cli"):
            self._write(f"units/gar-auth-fetch@{name}.service.d/identity.conf")
            self._link(f"units/timers.target.wants/gar-auth-fetch@{name}.timer")
        for unit in ("fetch@.service", "write@.service", "write@.path", "user@.service"):
            self._write(f"units/gar-auth-{unit}")
        for path in (
            "units/gar-auth-metrics.path",
            "units/gar-auth-fetch@.service.d/the-admins-own.conf",
            "units/gar-auth-fetch@default.timer.d/the-admins-own.conf",
            "units/gar-auth-write@nobody.service.d/the-admins-own.conf",
            "units/somebody-elses.service",
            "state/cli/credentials.db",
            "cron.d/gar-auth",
            "cron.d/somebody-elses",
            "profile.d/gar-auth.sh",
            "metrics/gar_auth.prom",
            "metrics/somebody-elses.prom",
            "etc/key.json",
        ):
            self._write(path)
        self._write("opt/bin/gar-auth", PROGRAM)
        (self.place / "opt/bin/gar-auth").chmod(0o755)
        before: dict[str, Any] = {
            **self.variables,
            "gar_auth_users": USERS,
            "gar_auth_identities": BEFORE,
            "gar_auth_repositories": repositories(*BEFORE),
            "gar_auth_metrics_dir": f"{self.place}/metrics",
        }
        self._write("etc/config.json", template("config.json", **before))

    def _write(self, path: str, text: str = "") -> None:
        file = self.place / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def _link(self, path: str) -> None:
        link = self.place / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to("../unit")

    def files(self) -> set[str]:
        """Everything that is no directory."""
        found = {str(path.relative_to(self.place)) for path in self.place.rglob("*") if not path.is_dir()}
        return {path for path in found if not path.startswith(("tmp/", "play/", "calls"))}

    def calls(self) -> list[str]:
        """What the program was called with, below the scratch directory, since the last time."""
        calls = self.place / "calls"
        text = calls.read_text().replace(f"{self.place}/", "") if calls.exists() else ""
        calls.unlink(missing_ok=True)
        return text.splitlines()

    def run(self, *steps: Step, check: bool = False) -> dict[str, int]:
        """Run a play for each step, all by one ansible-playbook; how many tasks of each changed something."""
        play = self.place / "play"
        play.mkdir(exist_ok=True)
        fixed = {name: value for name, value in self.variables.items() if not name.startswith("gar_auth_")}
        (play / "play.json").write_text(json.dumps([step.play(self.variables) for step in steps]))
        (play / "variables.json").write_text(json.dumps(fixed))
        argv = [str(Path(sys.executable).parent / "ansible-playbook"), str(play / "play.json"), "--diff"]
        argv += ["-i", ",".join(step.name for step in steps) + ",", "-e", f"@{play / 'variables.json'}"]
        own = {
            "ANSIBLE_HOME": str(play / "home"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
            "ANSIBLE_CONFIG": str(ROOT / ".config" / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
            "LC_ALL": "C.UTF-8",
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        done = subprocess.run(
            [*argv, *(["--check"] if check else [])],
            cwd=play,
            env={**kept, **own},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        self.output = done.stdout
        assert done.returncode == 0, done.stdout
        recap = re.findall(r"^(\w+) +: .*changed=(\d+) +unreachable=0 +failed=0", done.stdout, re.MULTILINE)
        return {name: int(count) for name, count in recap}


@dataclass(kw_only=True)
class Step:
    """A play of a run, on a host of that name, which is this machine.

    :ivar then: the task file of the role that follows on C(previous.yml).
    :ivar mend: the role's tasks must fail; then these come.
    """

    name: str
    then: str = "retire"
    changes: dict[str, Any] = field(default_factory=dict)
    mend: list[dict[str, Any]] = field(default_factory=list)

    def play(self, variables: dict[str, Any]) -> dict[str, Any]:
        role = "devbox.artifact_registry.gar_auth"
        own = {name: variables[name] for name in variables if name.startswith("gar_auth_")} | self.changes
        own |= {name: variable(name, **{**variables, **own}) for name in RESOLVED}
        tasks: list[dict[str, Any]] = [
            {"include_role": {"name": role, "tasks_from": f"{name}.yml"}, "vars": own}
            for name in ("previous", self.then)
        ]
        if self.mend:
            tasks = [{"block": [*tasks, {"meta": "end_play"}], "rescue": self.mend}]
        return {"hosts": self.name, "connection": "local", "gather_facts": False, "tasks": tasks}


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    scratch = Scratch(place=tmp_path / "a scratch")
    scratch.fill()
    return scratch


STAYS = {
    "units/somebody-elses.service",
    "cron.d/somebody-elses",
    "metrics/somebody-elses.prom",
    "etc/key.json",
}
"""What was never ours."""


def test_what_is_declared_no_more_goes_and_the_rest_stays(scratch: Scratch) -> None:
    before = scratch.files()
    predicted = scratch.run(Step(name="first"), check=True)["first"]
    assert predicted > 0, scratch.output
    assert (scratch.files(), scratch.calls()) == (before, [])
    changed = scratch.run(Step(name="first"), Step(name="second"))
    assert changed == {"first": predicted, "second": 0}, scratch.output
    assert scratch.files() == {
        *STAYS,
        "opt/bin/gar-auth",
        "etc/config.json",
        "run/default/token",
        *(f"units/gar-auth-{unit}" for unit in ("fetch@.service", "write@.service", "write@.path")),
        "units/paths.target.wants/gar-auth-write@nobody.path",
        "units/gar-auth-fetch@default.service.d/identity.conf",
        "units/timers.target.wants/gar-auth-fetch@default.timer",
        "units/gar-auth-write@nobody.service.d/the-admins-own.conf",
        "units/gar-auth-fetch@.service.d/the-admins-own.conf",
        "units/gar-auth-fetch@default.timer.d/the-admins-own.conf",
    }
    assert not [name for name in ("state", "user-run") if (scratch.place / name).exists()]
    assert sorted(scratch.calls()) == [
        "3 --config etc/retiring.json write --remove --only=cli-repo --only=own-repo nobody",
        "3 --config etc/retiring.json write --remove bin",
    ]


@pytest.mark.parametrize("files", [["retire.yml", "retire_entries.yml"], ["absent.yml"]])
@pytest.mark.parametrize(
    ("said", "look", "take"),
    [("", False, False), ("would remove the tokens", True, False), ("removed the tokens", False, True)],
)
def test_entries_are_counted_only_where_there_are_any(
    files: list[str], said: str, look: bool, take: bool
) -> None:
    found = [
        task
        for file in files
        for task in yaml.safe_load((ROLE / "tasks" / file).read_text())
        if "'--remove'" in str(task.get("ansible.builtin.command"))
    ]
    assert [task["when"] for task in found] == ["ansible_check_mode", "not ansible_check_mode"]
    for task, counted in zip(found, (look, take), strict=True):
        templar = Templar(DataLoader(), {task["register"]: {"stdout": said}})
        assert templar.evaluate_conditional(trust_as_template(task["changed_when"])) is counted
        assert ("--check" in str(task)) is bool(task.get("check_mode") is False)


def test_an_interrupted_run_is_gone_on_with_also_by_the_removal_of_all(scratch: Scratch) -> None:
    fails = scratch.place / "opt/bin/fails"
    fails.touch()
    absent = {"gar_auth_state": "absent", "gar_auth_repositories": [], "gar_auth_users": []}
    retiring = scratch.place / "etc/retiring.json"
    mend = [
        {"command": {"argv": ["rm", str(fails)]}},
        {"command": {"argv": ["test", "-e", str(retiring)]}},
    ]
    scratch.run(Step(name="interrupted", mend=mend), Step(name="absent", then="absent", changes=absent))
    assert "the disk is full" in scratch.output
    assert not fails.exists()
    assert sorted(scratch.calls()) == sorted(
        f"{count} --config etc/{name}.json write --remove {user}"
        for count, name in ((3, "retiring"), (1, "config"))
        for user in ("bin", "nobody")
    )
    assert scratch.files() == STAYS
    assert not [name for name in ("state", "run", "user-run") if (scratch.place / name).exists()]


def found(*paths: str) -> dict[str, Any]:
    """What ansible.builtin.find registers."""
    return {"files": [{"path": path} for path in paths]}


UNITS = "/etc/systemd/system"
EVERYTHING = {
    "gar_auth_users": ["dev"],
    "gar_auth_identities": BEFORE,
    "gar_auth_repositories": repositories(*BEFORE),
    "gar_auth_metrics_dir": "/metrics",
    "__gar_auth_enabled": found(
        f"{UNITS}/timers.target.wants/gar-auth-fetch@cli.timer",
        f"{UNITS}/timers.target.wants/gar-auth-user@dev.timer",
        f"{UNITS}/paths.target.wants/gar-auth-write@dev.path",
        f"{UNITS}/paths.target.wants/gar-auth-metrics.path",
    ),
    "__gar_auth_unit_files": found(
        *(f"{UNITS}/gar-auth-{name}" for name in ("fetch@.service", "user@.timer", "metrics.path")),
        f"{UNITS}/gar-auth-write@dev.service.d",
        f"{UNITS}/gar-auth-fetch@default.timer",
    ),
}
"""All that a machine can have, and that it has it (the last one is masked)."""


@pytest.mark.parametrize(
    ("changes", "instances"),
    [
        ({}, []),
        ({"gar_auth_metrics_dir": ""}, ["gar-auth-metrics.path"]),
        ({"gar_auth_users": ["ops"]}, ["gar-auth-user@dev.timer", "gar-auth-write@dev.path"]),
        ({"gar_auth_repositories": repositories("default", "own")}, ["gar-auth-fetch@cli.timer"]),
        ({"gar_auth_repositories": repositories("default", "cli")}, ["gar-auth-user@dev.timer"]),
        (
            {"gar_auth_repositories": repositories("own")},
            ["gar-auth-fetch@cli.timer", "gar-auth-metrics.path", "gar-auth-write@dev.path"],
        ),
        *(
            (
                changes,
                [
                    "gar-auth-fetch@cli.timer",
                    "gar-auth-metrics.path",
                    "gar-auth-user@dev.timer",
                    "gar-auth-write@dev.path",
                ],
            )
            for changes in (
                {"gar_auth_state": "absent"},
                {"gar_auth_service_manager": "cron"},
                {"gar_auth_service_manager": "none"},
            )
        ),
    ],
)
def test_units_that_are_not_needed_stop(changes: dict[str, Any], instances: list[str]) -> None:
    assert variable("__gar_auth_retired_instances", **{**EVERYTHING, **changes}) == instances


@pytest.mark.parametrize(
    ("changes", "files"),
    [
        ({}, []),
        ({"gar_auth_hardening": "off"}, []),
        (
            {"gar_auth_metrics_dir": ""},
            ["gar-auth-metrics.path", "paths.target.wants/gar-auth-metrics.path"],
        ),
        (
            {"gar_auth_repositories": repositories("cli", "own"), "gar_auth_identities": BEFORE},
            ["gar-auth-fetch@default.timer"],
        ),
        *(
            (
                changes,
                [
                    "gar-auth-fetch@.service",
                    "gar-auth-fetch@default.timer",
                    "gar-auth-metrics.path",
                    "gar-auth-user@.timer",
                    "gar-auth-write@dev.service.d",
                    "paths.target.wants/gar-auth-metrics.path",
                    "paths.target.wants/gar-auth-write@dev.path",
                    "timers.target.wants/gar-auth-fetch@cli.timer",
                    "timers.target.wants/gar-auth-user@dev.timer",
                ],
            )
            for changes in ({"gar_auth_state": "absent"}, {"gar_auth_service_manager": "cron"})
        ),
    ],
)
def test_unit_files_that_are_not_needed_go(changes: dict[str, Any], files: list[str]) -> None:
    expected = [f"{UNITS}/{name}" for name in files]
    assert variable("__gar_auth_retired_unit_files", **{**EVERYTHING, **changes}) == expected


@pytest.mark.parametrize(
    ("changes", "run_dirs", "files"),
    [
        (
            {},
            ["gar-auth/cli", "gar-auth/default", "gar-auth-user/dev"],
            ["/etc/profile.d/gar-auth.sh", "/metrics/gar_auth.prom"],
        ),
        ({"gar_auth_service_manager": "none"}, [], []),
        ({"gar_auth_state": "absent"}, [], []),
        (
            {"gar_auth_service_manager": "cron"},
            ["gar-auth/cli", "gar-auth/default", "gar-auth-user/dev"],
            ["/etc/cron.d/gar-auth", "/etc/profile.d/gar-auth.sh", "/metrics/gar_auth.prom"],
        ),
        (
            {"gar_auth_repositories": repositories("own")},
            ["gar-auth-user/dev"],
            ["/etc/profile.d/gar-auth.sh"],
        ),
    ],
)
def test_tokens_and_files_that_are_needed_stay(
    changes: dict[str, Any], run_dirs: list[str], files: list[str]
) -> None:
    everything = {**EVERYTHING, **changes}
    assert variable("__gar_auth_kept_run_dirs", **everything) == [f"/run/{name}" for name in run_dirs]
    assert variable("__gar_auth_kept_files", **everything) == files


def read(*texts: str | None) -> dict[str, Any]:
    """What ansible.builtin.slurp registers of retiring.json and config.json; None: no file."""
    return {
        "results": [
            {"item": name, **({} if text is None else {"content": base64.b64encode(text.encode()).decode()})}
            for name, text in zip(("retiring.json", "config.json"), texts, strict=True)
        ]
    }


@pytest.mark.parametrize(
    ("texts", "previous", "manager"),
    [
        ((None, None), {}, "none"),
        ((None, ""), {}, "none"),
        ((None, '{"users": ['), {}, "none"),
        ((None, '{"run_dir": "/run/gar-auth"}\n'), {"run_dir": "/run/gar-auth"}, "systemd"),
        ((None, '{"run_dir": null}'), {"run_dir": None}, "none"),
        ((None, '{"service_manager": "cron"}'), {"service_manager": "cron"}, "cron"),
        (('{"users": ["a"]}', '{"users": ["b", "a"]}'), {"users": ["a", "b"]}, "none"),
        (
            ('{"repositories": [{"name": "r", "n": 1}]}', '{"repositories": [{"name": "s"}, {"name": "r"}]}'),
            {"repositories": [{"name": "r", "n": 1}, {"name": "s"}]},
            "none",
        ),
        (
            ('{"identities": {"a": 1, "b": 1}, "state_dir": "x"}', '{"identities": {"b": 2, "c": 2}}'),
            {"identities": {"a": 1, "b": 1, "c": 2}, "state_dir": "x"},
            "none",
        ),
        (("torn", '{"users": ["b"]}'), {"users": ["b"]}, "none"),
    ],
)
def test_the_run_before_is_read_as_far_as_it_can_be(
    texts: tuple[str | None, str | None], previous: dict[str, Any], manager: str
) -> None:
    files = {"__gar_auth_previous_files": read(*texts)}
    nothing: dict[str, Any] = {"users": [], "repositories": [], "identities": {}}
    nothing |= {"keyring_environments": [], "clients": []}
    read_as = variable("__gar_auth_previous", **files)
    assert read_as == ({**nothing, **previous} if previous else {})
    assert variable("__gar_auth_previous_manager", **files) == manager


@pytest.mark.parametrize(
    ("now", "before", "touched"),
    [("none", "none", False), ("none", "cron", True), ("systemd", "none", True), ("cron", "systemd", True)],
)
def test_the_machine_is_touched_only_where_it_was_meant(now: str, before: str, touched: bool) -> None:
    changes = {"gar_auth_service_manager": now, "__gar_auth_previous": {"service_manager": before}}
    assert variable("__gar_auth_machine_wide", **changes) is touched


@pytest.mark.parametrize(
    ("previous", "users", "repositories", "logins"),
    [
        ({}, [], [], []),
        ({"users": ["dev", "ops"]}, [], [], []),
        ({"users": ["dev", "old"]}, ["old"], [], []),
        ({"users": ["dev", "deleted"]}, [], [], []),
        ({"users": ["dev", "old"], "config_dir": ".poetry"}, ["dev", "old"], [], []),
        ({"users": ["dev"], "config_dir": ".config/pypoetry"}, [], [], []),
        ({"repositories": [{"name": "z"}, {"name": "own-repo"}, {"name": "a"}]}, [], ["a", "z"], []),
        (
            {"identities": {"cli": {"type": "gcloud"}, "g": {"type": "gcloud"}, "x": {"account": "d"}}},
            [],
            [],
            ["g"],
        ),
    ],
)
def test_what_is_gone_is_what_was_declared_before_and_is_not_now(
    previous: dict[str, Any], users: list[str], repositories: list[str], logins: list[str]
) -> None:
    existing = {user: f"/home/{user}" for user in previous.get("users", []) if user != "deleted"}
    changes = {"__gar_auth_previous": previous, "__gar_auth_previous_getent": getent(**existing)}
    assert variable("__gar_auth_gone_users", **changes) == users
    assert variable("__gar_auth_gone_repositories", **changes) == repositories
    assert variable("__gar_auth_gone_logins", **changes) == logins


@pytest.mark.parametrize("manager", ["systemd", "none"])
def test_a_login_stays_as_long_as_its_identity_is_declared(manager: str) -> None:
    declared = {"default": {"type": "metadata"}, "cli": {"type": "gcloud", "account": "me@example.com"}}
    changes = {
        "gar_auth_identities": declared,
        "gar_auth_repositories": repositories("default"),
        "gar_auth_service_manager": manager,
        "__gar_auth_previous": {"identities": declared},
    }
    assert variable("__gar_auth_gone_logins", **changes) == []
    assert variable("__gar_auth_gone_logins", **{**changes, "gar_auth_state": "absent"}) == ["cli"]


@pytest.mark.parametrize(
    ("there", "changes", "directories"),
    [
        ([], {}, ["/etc/gar-auth", "/var/lib/gar-auth"]),
        (["/etc/gar-auth/config.json"], {}, ["/etc/gar-auth", "/var/lib/gar-auth"]),
        (["/etc/gar-auth/config.json", "/etc/gar-auth/key.json"], {}, ["/var/lib/gar-auth"]),
        (["/var/lib/gar-auth/cli"], {}, ["/etc/gar-auth", "/var/lib/gar-auth"]),
        (["/var/lib/gar-auth/x"], {}, ["/etc/gar-auth"]),
        ([], {"gar_auth_service_manager": "none"}, ["/etc/gar-auth"]),
    ],
)
def test_a_directory_with_something_that_is_not_ours_stays(
    there: list[str], changes: dict[str, Any], directories: list[str]
) -> None:
    known = {
        "gar_auth_state": "absent",
        "__gar_auth_previous": {"identities": BEFORE},
        "__gar_auth_found": found(*there),
        **changes,
    }
    assert variable("__gar_auth_own_directories", **known) == directories
