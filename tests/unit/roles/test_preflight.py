# SPDX-License-Identifier: GPL-3.0-or-later
"""What stops gar_auth before its first change, and what it then says: found, allowed, what to do."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import pytest
from unit.roles.rendering import machine, refusals, variable, variables

KEY = "/etc/devbox/key.json"
HOMES = {"dev": "/home/dev", "ops": "/home/ops"}
ROOTS = "an existing regular file of root's, mode 0600, outside of homes and in a directory of root's"


def text(path: str, found: str, allowed: str, example: str) -> str:
    return f"{path}: found {found}\n  allowed: {allowed}\n  example: {example}"


@pytest.mark.parametrize("interval", [0, -1, 181, 240, "30s", "", "1e2"])
def test_an_interval_that_leaves_readers_with_an_expired_token_is_refused(interval: object) -> None:
    (said,) = refusals("preflight_options.yml", "Check the interval", gar_auth_interval=interval)
    assert said == text(
        "gar_auth_interval",
        str(interval),
        "1 to 180 seconds: the metadata server renews a token 5 minutes before its end",
        "gar_auth_interval: 30",
    )


@pytest.mark.parametrize("interval", [1, 30, "60", 180])
def test_an_interval_within_the_limits_is_taken(interval: object) -> None:
    assert refusals("preflight_options.yml", "Check the interval", gar_auth_interval=interval) == []


@pytest.mark.parametrize(
    ("manager", "runs", "fine", "cure"),
    [
        ("systemd", "systemd", True, ""),
        ("none", "systemd", True, ""),
        ("none", "sysvinit", True, ""),
        ("cron", "sysvinit", True, ""),
        ("cron", "systemd", False, "systemd"),
        ("systemd", "openrc", False, "cron"),
    ],
)
def test_the_service_manager_is_one_that_works_there(manager: str, runs: str, fine: bool, cure: str) -> None:
    changes: dict[str, Any] = {
        "gar_auth_service_manager": manager,
        "__gar_auth_machine": {**machine(), "service_manager": runs},
        "inventory_hostname": "here",
    }
    said = refusals("preflight.yml", "Check the service manager", **changes)
    allowed = "systemd where it runs; cron where it does not; none where a job calls gar-auth refresh itself"
    path = "gar_auth_service_manager"
    expected = text(path, f"{manager}, but here runs {runs}", allowed, f"{path}: {cure}")
    assert said == ([] if fine else [expected])
    assert refusals("preflight.yml", "Check the service manager", gar_auth_state="absent", **changes) == []


@pytest.mark.parametrize(
    ("manager", "per_user", "fine"), [("none", False, False), ("none", True, True), ("cron", False, True)]
)
def test_without_a_schedule_gcloud_serves_users_own_logins_only(
    manager: str, per_user: bool, fine: bool
) -> None:
    identity = {"type": "gcloud", "account": "me@example.com", **({"per_user": True} if per_user else {})}
    said = refusals(
        "preflight.yml",
        "Check that gcloud's logins are somebody's own where nothing is scheduled",
        gar_auth_service_manager=manager,
        gar_auth_identities={"default": identity},
    )
    assert (said == []) is fine


@pytest.mark.parametrize(
    ("environment", "refused"),
    [
        ({}, []),
        ({"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "", "SSL_CERT_FILE": "/etc/dé 100%.pem"}, []),
        ({"HTTPS_PROXY": "http://me:hunter2@proxy:3128", "A": "b"}, ["HTTPS_PROXY"]),
        ({"HTTPS_PROXY": "http://me@proxy:3128/"}, ["HTTPS_PROXY"]),
        ({"https_proxy": "me:hunter2@proxy:3128"}, ["https_proxy"]),
        (
            {"CLOUDSDK_PROXY_PASSWORD": "hunter2", "A_Token": "hunter2"},
            ["CLOUDSDK_PROXY_PASSWORD", "A_Token"],
        ),
        ({"A": "b\nExecStart=hunter2"}, ["A"]),
        ({"A": 1, "B": None, "C": True, "D": ["x"]}, ["A", "B", "C", "D"]),
        ({"A B": "x", "A=B": "x", "1": "x", "": "x"}, ["A B", "A=B", "1", ""]),
    ],
)
def test_an_environment_that_cannot_be_used_is_refused_and_not_shown(
    environment: dict[str, Any], refused: list[str]
) -> None:
    task = "Check the environment, without showing what may be a password"
    said = refusals("preflight_options.yml", task, gar_auth_environment=environment)
    assert [line.partition(": found a name or value that cannot be used")[0] for line in said] == [
        f'gar_auth_environment."{name}"' for name in refused
    ]
    assert "hunter2" not in "".join(said)
    assert all(one.count("\n") == 2 for one in said)


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({}, []),
        (
            {
                "gar_auth_metrics_dir": "/var/lib/prometheus/node-exporter",
                "gar_auth_gcloud": "/opt/g++/gcloud",
            },
            [],
        ),
        ({"gar_auth_gcloud": "gcloud"}, ["gar_auth_gcloud"]),
        ({"gar_auth_metrics_dir": "metrics"}, ["gar_auth_metrics_dir"]),
        ({"gar_auth_metrics_dir": "/a b"}, ["gar_auth_metrics_dir"]),
        ({"gar_auth_metrics_dir": "/a%h"}, ["gar_auth_metrics_dir"]),
        ({"gar_auth_state_dir": "/var/lib/../x"}, ["gar_auth_state_dir"]),
        ({"gar_auth_state_dir": "/"}, ["gar_auth_state_dir"]),
        ({"gar_auth_prefix": "/opt/my tools/100%"}, ["gar_auth_prefix"]),
        ({"gar_auth_etc_dir": "/etc/it's"}, ["gar_auth_etc_dir"]),
    ],
)
def test_paths_that_a_unit_cannot_hold_are_refused(changes: dict[str, str], refused: list[str]) -> None:
    said = refusals("preflight_options.yml", "Check the paths that go into units and programs", **changes)
    assert [one.partition(":")[0] for one in said] == refused
    assert all("allowed: an absolute path" in one for one in said)


@pytest.mark.parametrize(
    ("place", "manager", "fine"),
    [
        ("/var/lib/gar-auth", "systemd", True),
        ("/var/lib/a/b", "systemd", True),
        ("/srv/gar-auth", "systemd", False),
        ("/srv/gar-auth", "cron", True),
    ],
)
def test_systemd_keeps_state_below_var_lib_only(place: str, manager: str, fine: bool) -> None:
    task = "Check the directory of gcloud's logins"
    changes = {"gar_auth_state_dir": place, "gar_auth_service_manager": manager}
    assert (refusals("preflight_options.yml", task, **changes) == []) is fine


def stat(*, mode: str = "0600", user: str = "root", group: str = "root", **changes: object) -> dict[str, Any]:
    """What ansible.builtin.stat says of a file or directory."""
    bits = int(mode, 8)
    return {
        "exists": True,
        "isreg": True,
        "islnk": False,
        "mode": mode,
        "uid": 0 if user == "root" else 1000,
        "pw_name": user,
        "gid": 0 if group == "root" else 1000,
        "gr_name": group,
        "rgrp": bool(bits & 0o040),
        "wgrp": bool(bits & 0o020),
        "woth": bool(bits & 0o002),
        **changes,
    }


MISSING: dict[str, Any] = {"exists": False}


def said_of(
    file: dict[str, Any],
    directory: dict[str, Any],
    path: str = KEY,
    *,
    homes: Mapping[str, str] = HOMES,
    **changes: Any,
) -> list[str]:
    """What the check of an identity's file says."""
    return refusals(
        "preflight_files.yml",
        "Check that the fetcher alone can read them",
        gar_auth_identities={"ci": {"type": "service_account_key", "file": path}},
        __gar_auth_machine={
            **machine(**homes),
            "files": {path: file},
            "directories": {os.path.dirname(path): directory},
        },
        **changes,
    )


@pytest.mark.parametrize(
    ("file", "found"),
    [
        (MISSING, "nothing"),
        (stat(islnk=True, isreg=False), "a symbolic link"),
        (stat(isreg=False), "no regular file"),
        (stat(mode="0644"), "mode 0644"),
        (stat(mode="0601"), "mode 0601"),
        (stat(mode="0660"), "mode 0660"),
        (stat(user="dev"), "a file of the user dev"),
    ],
)
def test_a_file_that_others_can_read_or_change_is_refused(file: dict[str, Any], found: str) -> None:
    expected = text(
        "artifact_registry_identities.ci.file",
        f"{found}: {KEY}",
        ROOTS,
        f"install -D -o root -g root -m 0600 key.json {KEY}",
    )
    assert said_of(file, stat(mode="0755")) == [expected]


@pytest.mark.parametrize("mode", ["0400", "0600", "0640", "0440"])
def test_a_file_of_roots_is_taken(mode: str) -> None:
    assert said_of(stat(mode=mode), stat(mode="0755")) == []
    assert said_of(stat(mode=mode), stat(mode="0700"), gar_auth_service_manager="cron") == []


@pytest.mark.parametrize(
    "directory",
    [stat(mode="0755", user="dev"), stat(mode="1777"), stat(mode="0775", group="developers")],
)
def test_a_directory_where_others_can_exchange_the_file_is_refused(directory: dict[str, Any]) -> None:
    (said,) = said_of(stat(), directory)
    assert f"found a directory that others than root may write to: {KEY}\n" in said


@pytest.mark.parametrize("path", ["/home/dev/key.json", "/home/somebody/a/key.json", "/srv/ops/k.json"])
def test_a_file_in_a_home_is_refused_and_gets_another_place(path: str) -> None:
    (said,) = said_of(stat(), stat(mode="0755"), path, homes={"dev": "/home/dev", "ops": "/srv/ops/"})
    name = path.rpartition("/")[2]
    assert f"found a place in a home: {path}\n" in said
    assert said.endswith(f"install -D -o root -g root -m 0600 {name} /etc/devbox/{name}")


@pytest.mark.parametrize("path", ["/root/key.json", "/homely/key.json", "/srv/ops-keys/key.json"])
def test_a_file_beside_a_home_is_taken(path: str) -> None:
    homes = {"root": "/root", "ops": "/srv/ops"}
    assert said_of(stat(), stat(mode="0755"), path, homes=homes) == []


@pytest.mark.parametrize("hardening", ["compat", "off"])
@pytest.mark.parametrize(
    ("file", "fine"),
    [
        (stat(), False),
        (stat(group="gar-auth"), False),
        (stat(mode="0640", group="gar-auth"), True),
        (stat(user="gar-auth"), True),
        (stat(mode="0644", user="gar-auth"), False),
    ],
)
def test_without_full_hardening_the_fetcher_has_to_read_the_file_itself(
    file: dict[str, Any], fine: bool, hardening: str
) -> None:
    said = said_of(file, stat(mode="0755"), gar_auth_hardening=hardening)
    assert (said == []) is fine
    cure = f"example: groupadd --force --system gar-auth; install -D -g gar-auth -m 0640 key.json {KEY}"
    assert all(one.endswith(cure) and "that gar-auth may read and others may not" in one for one in said)


@pytest.mark.parametrize(
    ("file", "fine"),
    [(stat(user="dev"), True), (stat(mode="0640"), True), (stat(mode="0644"), False), (MISSING, False)],
)
def test_where_nothing_is_scheduled_only_others_must_not_read_it(file: dict[str, Any], fine: bool) -> None:
    said = said_of(file, stat(mode="0777"), "/home/dev/my key.json", gar_auth_service_manager="none")
    assert (said == []) is fine
    assert all(one.endswith("example: chmod o= '/home/dev/my key.json'") for one in said)


def test_in_check_mode_a_file_may_still_have_to_come() -> None:
    assert said_of(MISSING, MISSING, ansible_check_mode=True) == []
    assert said_of(stat(mode="0644"), stat(mode="0755"), ansible_check_mode=True) != []


def test_only_files_that_the_machine_reads_are_looked_at() -> None:
    assert variable("__gar_auth_file_identities") == ["federation", "file", "key", "login"]
    unused = {"gar_auth_repositories": [{"name": "r", "project": "demo-project", "location": "us"}]}
    assert variable("__gar_auth_file_identities", **unused) == []


@pytest.mark.parametrize(
    ("directory", "checking", "found"),
    [
        ({"exists": True, "isdir": True, "uid": 0, "woth": False}, False, None),
        (
            {"exists": True, "isdir": True, "uid": 0, "woth": True},
            False,
            "no directory that only root may write to: /m",
        ),
        ({"exists": False}, True, None),
        ({"exists": False}, False, "nothing: /m"),
        ({"exists": True, "isdir": False, "uid": 0}, False, "no directory that only root may write to: /m"),
        ({"exists": True, "isdir": True, "uid": 1000}, True, "no directory that only root may write to: /m"),
    ],
)
def test_the_directory_of_the_metrics_is_roots(
    directory: dict[str, Any], checking: bool, found: str | None
) -> None:
    said = refusals(
        "preflight_files.yml",
        "Check that the directory of the metrics is root's",
        gar_auth_metrics_dir="/m",
        ansible_check_mode=checking,
        __gar_auth_machine={**machine(), "directories": {"/m": directory}},
    )
    assert [one.splitlines()[0] for one in said] == (
        [f"gar_auth_metrics_dir: found {found}"] if found else []
    )


ROBOT_KEY = {"type": "service_account_key", "file": KEY}
DECLARED: dict[str, Any] = {
    "gar_auth_identities": {"default": {"type": "metadata"}, "ci": ROBOT_KEY},
    "gar_auth_repositories": [{"name": "ours", "project": "demo-project", "location": "us"}],
}


def tries(*, force: dict[str, Any] | None, there: bool = True, **changes: Any) -> bool:
    """Whether the index is asked beforehand, where C(force) is in force but for what it changes."""
    known = variables(**DECLARED)
    declared = {
        "repositories": known["__gar_auth_repositories"],
        "identities": known["__gar_auth_identities"],
    }
    seen = {
        **machine(**HOMES),
        "files": {KEY: stat() if there else MISSING},
        "config": {} if force is None else {**declared, **force},
    }
    return bool(variable("__gar_auth_tries", **{**DECLARED, "__gar_auth_machine": seen, **changes}))


def test_the_index_is_asked_beforehand_where_something_is_in_force_that_changes() -> None:
    moved: dict[str, Any] = {"repositories": []}
    other = {"identities": {"default": {"type": "metadata"}}}
    assert not tries(force=None)
    assert not tries(force={})
    assert not tries(force={"users": []})
    assert tries(force=moved)
    assert tries(force=other)
    assert tries(force=moved, gar_auth_service_manager="cron")
    assert not tries(force=moved, gar_auth_service_manager="none")
    assert not tries(force=moved, gar_auth_start=False)
    assert not tries(force=moved, gar_auth_state="absent")


def test_in_check_mode_a_file_may_come_by_an_earlier_task_so_that_nothing_can_be_asked() -> None:
    key: dict[str, Any] = {
        "gar_auth_repositories": [{**DECLARED["gar_auth_repositories"][0], "identity": "ci"}]
    }
    assert tries(force={"repositories": []}, ansible_check_mode=True, **key)
    assert not tries(force={"repositories": []}, ansible_check_mode=True, there=False, **key)
    assert tries(force={"repositories": []}, there=False, **key)


def test_in_check_mode_a_certificate_may_come_by_an_earlier_task_as_well() -> None:
    (repository,) = DECLARED["gar_auth_repositories"]
    files = {"/etc/ssl/ours.pem": MISSING}
    seen = {**machine(**HOMES), "files": files, "config": {"repositories": [], "identities": {}}}
    changes = {**DECLARED, "gar_auth_repositories": [{**repository, "ca_cert": "/etc/ssl/ours.pem"}]}
    assert not variable("__gar_auth_tries", **changes, __gar_auth_machine=seen, ansible_check_mode=True)
    files["/etc/ssl/ours.pem"] = stat()
    assert variable("__gar_auth_tries", **changes, __gar_auth_machine=seen, ansible_check_mode=True)


@pytest.mark.parametrize(
    ("said", "refused", "told"),
    [
        ({"findings": []}, False, False),
        ({"findings": [{"level": "note", "found": "own is each user's own login"}]}, False, False),
        (
            {
                "findings": [
                    {
                        "level": "problem",
                        "found": "ours: H answers 403",
                        "cause": "permission",
                        "cure": "mend",
                    }
                ]
            },
            True,
            False,
        ),
        ("", False, True),
        ("usage: gar-auth ...", False, True),
    ],
)
def test_what_the_index_says_beforehand_counts_and_silence_is_told(
    said: dict[str, Any] | str, refused: bool, told: bool
) -> None:
    answer = {"stdout": json.dumps(said) if isinstance(said, dict) else said}
    problems = refusals(
        "try.yml",
        "Check that the index answers in the new way",
        __gar_auth_tried=answer,
        inventory_hostname="box",
    )
    assert [one.split("\n")[1:3] for one in problems] == (
        [["ours: H answers 403; permission", "  mend"]] if refused else []
    )
    assert ("findings" not in variable("__gar_auth_tried_answer", __gar_auth_tried=answer)) is told
