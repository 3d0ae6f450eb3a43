# SPDX-License-Identifier: GPL-3.0-or-later
"""Several identities on one machine: each repository has its own one's token; what goes leaves nothing."""

from __future__ import annotations

import json
import re
import time
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from lab.emulator.records import principal
from lab.machines import Machine
from machine import plays
from machine.oracle import NAME, USERS, answer, eventually

URL = "https://europe-west1-python.pkg.dev/demo-project/python/"
AUDIENCE = (
    "//iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/ci/providers/runner"
)
SUBJECT = "ci-runner"
KEY = "key@demo-project.iam.gserviceaccount.com"
ROBOT = "robot@demo-project.iam.gserviceaccount.com"
PUBLISHER = "publisher@demo-project.iam.gserviceaccount.com"
HANDED = "handed@demo-project.iam.gserviceaccount.com"
PERSON = "person@example.com"
FILES = "/etc/lab-identities"
LOGIN = ".config/gcloud/application_default_credentials.json"

IDENTITIES: dict[str, dict[str, Any]] = {
    "default": {"type": "metadata"},
    "key": {"type": "service_account_key", "file": f"{FILES}/key.json"},
    "workload": {
        "type": "external_account",
        "file": f"{FILES}/workload.json",
        "subject_token_file": f"{FILES}/subject",
    },
    "team": {"type": "adc", "file": f"{FILES}/team.json"},
    "handed": {"type": "token_file", "file": f"{FILES}/token"},
    "publisher": {"type": "metadata", "impersonate_service_account": PUBLISHER},
    "robot": {"type": "gcloud", "account": ROBOT},
    "own": {"type": "adc", "per_user": True},
}
HOST = [name for name in IDENTITIES if name != "own"]
REPOSITORIES = [
    {"name": NAME if name == "default" else f"repo-{name}", "url": URL, "identity": name}
    for name in IDENTITIES
]
#: Whose token each identity brings, as the index sees it.
ACCOUNTS = {
    "key": KEY,
    "workload": principal(AUDIENCE, SUBJECT),
    "team": PERSON,
    "handed": HANDED,
    "publisher": PUBLISHER,
    "robot": ROBOT,
}
VARIABLES = {
    "artifact_registry_roles": ["poetry_repositories", "gar_auth"],
    "artifact_registry_identities": IDENTITIES,
    "artifact_registry_repositories": REPOSITORIES,
    "gar_auth_metrics_dir": "/srv/metrics",
    "gar_auth_interval": 15,
}
# What an administrator does once for an identity of the type gcloud.
GCLOUD_LOGIN = """\
set -eu
install -d -m 0755 /srv/metrics
install -d -o gar-auth -g gar-auth -m 0700 /var/lib/gar-auth /var/lib/gar-auth/robot
cat > /var/lib/gar-auth/robot/key <<'END'
%s
END
chown gar-auth /var/lib/gar-auth/robot/key
as="runuser -u gar-auth -- env HOME=/nonexistent CLOUDSDK_CONFIG=/var/lib/gar-auth/robot gcloud --quiet"
$as config set core/custom_ca_certs_file /etc/ssl/certs/ca-certificates.crt
$as auth activate-service-account --key-file=/var/lib/gar-auth/robot/key
rm /var/lib/gar-auth/robot/key
"""
BASE = {"artifact_registry_roles": ["poetry_repositories", "gar_auth"]}
OUR_UNITS = "systemctl list-units --all --plain --no-legend 'gar-auth-*' | cut -d' ' -f1"


def put(machine: Machine, name: str, content: object) -> None:
    """Write a file of root's that nobody else may read."""
    text = content if isinstance(content, str) else json.dumps(content)
    command = f"sudo sh -c 'umask 077; mkdir -p -m 0755 {FILES}; rm -f {FILES}/{name}; cat > {FILES}/{name}'"
    machine.ssh("admin", command, input=text, check=True)


def passwords(machine: Machine, user: str) -> dict[str, str]:
    """What stands in the user's auth.toml, by repository."""
    text = machine.ssh(
        user, "cat ~/.config/pypoetry/auth.toml || test ! -e ~/.config/pypoetry/auth.toml", check=True
    ).stdout
    return {name: entry["password"] for name, entry in tomllib.loads(text).get("http-basic", {}).items()}


def owner(machine: Machine, token: str | None) -> str | None:
    """Whose token that is, None where it is not valid now."""
    return {one.value: one.identity for one in machine.control.tokens() if one.valid}.get(token or "")


def repository(identity: str) -> str:
    return NAME if identity == "default" else f"repo-{identity}"


@pytest.fixture(scope="module")
def many(machine: Machine) -> Iterator[plays.Play]:
    """All identities are declared, and the machine is set up once more; at the end their files go."""
    control = machine.control
    put(machine, "key.json", control.create_key(KEY))
    put(machine, "workload.json", control.external_account(f"{FILES}/subject", audience=AUDIENCE))
    put(machine, "subject", control.create_subject_token(SUBJECT, AUDIENCE))
    put(machine, "team.json", control.authorized_user(PERSON))
    put(machine, "token", control.issue(HANDED))
    (default,) = {one.identity for one in control.tokens() if one.identity.startswith("dev-vm@")}
    control.grant(default, PUBLISHER)
    machine.ssh("admin", "sudo sh -s", input=GCLOUD_LOGIN % json.dumps(control.create_key(ROBOT)), check=True)
    play = plays.run(variables=VARIABLES)
    assert play.code == 0, play.output
    yield play
    machine.ssh("admin", f"sudo rm -r {FILES} /srv/metrics", check=True)
    # gar_auth takes back what is its own; where a repository lies is not.
    plays.run(
        variables={
            "artifact_registry_roles": ["poetry_repositories"],
            "poetry_repositories_state": "absent",
            "artifact_registry_repositories": [one for one in REPOSITORIES if one["name"] != NAME],
        }
    )
    for user in USERS:
        machine.ssh(user, f"rm -f ~/{LOGIN}; rmdir --ignore-fail-on-non-empty ~/.config/gcloud || true")


@pytest.mark.parametrize("identity", [name for name in HOST if name != "default"])
@pytest.mark.parametrize("user", USERS)
def test_each_repository_has_a_token_of_its_own_identity(
    machine: Machine, many: plays.Play, user: str, identity: str
) -> None:
    token = passwords(machine, user)[repository(identity)]
    assert owner(machine, token) == ACCOUNTS[identity]
    assert answer(machine, token) == 200


def test_the_machines_own_identity_still_serves_the_first_repository(
    machine: Machine, many: plays.Play
) -> None:
    token = passwords(machine, "dev")[NAME]
    assert (owner(machine, token) or "").startswith("dev-vm@")


def test_a_second_run_changes_nothing(machine: Machine, many: plays.Play) -> None:
    again = plays.run(variables=VARIABLES)
    assert again.code == 0, again.output
    assert again.changed == 0, again.output


def test_no_unit_has_failed_though_nobody_has_logged_in(machine: Machine, many: plays.Play) -> None:
    assert machine.ssh("admin", "systemctl --failed --no-legend --plain", check=True).stdout == ""


def test_key_material_is_in_its_file_only(machine: Machine, many: plays.Play) -> None:
    key = json.loads(machine.ssh("admin", f"sudo cat {FILES}/key.json", check=True).stdout)["private_key"]
    piece = key.splitlines()[3][:40]
    places = "/etc /home /opt /run /tmp /var /root"
    search = f"sudo grep --recursive --files-with-matches --no-messages --fixed-strings --file=- {places}"
    found = machine.ssh("admin", search, input=piece).stdout.split()
    assert found == [f"{FILES}/key.json"]  # the journal lies below /var, too


@pytest.mark.parametrize(
    ("unit", "limit"),
    [
        *((f"gar-auth-fetch@{name}.service", 1.5) for name in HOST),
        ("gar-auth-user@dev.service", 1.5),
        ("gar-auth-metrics.service", 1.5),
    ],
)
def test_exposure_stays_low(machine: Machine, many: plays.Play, unit: str, limit: float) -> None:
    shown = machine.ssh("admin", f"LC_ALL=C.UTF-8 systemd-analyze security --no-pager {unit}").stdout
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", shown)
    assert level, shown
    assert float(level[1]) <= limit, shown


def test_users_cannot_read_what_the_fetcher_reads(machine: Machine, many: plays.Play) -> None:
    for path in (f"{FILES}/key.json", "/run/gar-auth/key/token", "/var/lib/gar-auth/robot/credentials.db"):
        done = machine.ssh("dev", f"cat {path}")
        assert done.returncode != 0
        assert "Permission denied" in done.stderr


def test_metrics_say_when_each_token_expires(machine: Machine, many: plays.Play) -> None:
    def told() -> str:
        return machine.ssh("dev", "cat /srv/metrics/gar_auth.prom").stdout

    eventually(lambda: all(f'identity="{name}"' in told() for name in HOST), seconds=60)
    (line,) = [
        line for line in told().splitlines() if line.startswith("gar_auth_token_expiry") and '"key"' in line
    ]
    assert 0 < float(line.rpartition(" ")[2]) - time.time() <= 3700


def test_a_developer_is_told_to_log_in_and_then_has_a_token(machine: Machine, many: plays.Play) -> None:
    command = "gcloud auth application-default login"
    assert "repo-own" not in passwords(machine, "dev")
    eventually(lambda: command in machine.ssh("dev", "bash -lic true 2>&1").stdout, seconds=60)
    status = machine.ssh("dev", "gar-auth status")
    assert status.returncode == 75, status.stdout + status.stderr
    assert command in status.stdout + status.stderr

    login = json.dumps(machine.control.authorized_user(PERSON))
    machine.ssh("dev", f"umask 077; mkdir -p ~/.config/gcloud; cat > ~/{LOGIN}", input=login, check=True)
    eventually(lambda: owner(machine, passwords(machine, "dev").get("repo-own")) == PERSON, seconds=60)
    assert command not in machine.ssh("dev", "bash -lic true 2>&1").stdout
    status = machine.ssh("dev", "gar-auth status")
    assert status.returncode == 0, status.stdout + status.stderr
    assert "repo-own" not in passwords(machine, "ops")


def test_what_is_declared_no_more_is_taken_back(machine: Machine, many: plays.Play) -> None:
    fewer = {name: value for name, value in IDENTITIES.items() if name not in ("key", "own")}
    machine.ssh("admin", f"sudo sh -c 'chown gar-auth {FILES}/*'", check=True)  # there are no credentials
    play = plays.run(
        variables={
            **VARIABLES,
            "gar_auth_hardening": "compat",
            "artifact_registry_users": ["dev"],
            "artifact_registry_identities": fewer,
            "artifact_registry_repositories": [one for one in REPOSITORIES if one["identity"] in fewer],
        }
    )
    assert play.code == 0, play.output
    left = passwords(machine, "dev")
    assert "repo-key" not in left
    assert "repo-own" not in left
    assert set(left) >= {repository(name) for name in fewer}
    assert not set(passwords(machine, "ops")) & {repository(name) for name in IDENTITIES}
    units = machine.ssh("admin", OUR_UNITS, check=True).stdout.split()
    assert "gar-auth-fetch@workload.timer" in units
    assert [unit for unit in units if "@ops" in unit or "@key" in unit or "-user@" in unit] == []
    assert machine.ssh("admin", "ls /run/gar-auth", check=True).stdout.split() == sorted(fewer)


def test_the_units_work_also_with_less_hardening(machine: Machine, many: plays.Play) -> None:
    machine.control.revoke_all()
    put(machine, "token", machine.control.issue(HANDED))
    machine.ssh("admin", f"sudo chown gar-auth {FILES}/token", check=True)
    machine.ssh("admin", "sudo sh -c 'rm /run/gar-auth/*/status.json'", check=True)  # so that all are due
    names = ("default", "workload", "handed")
    eventually(
        lambda: all(owner(machine, passwords(machine, "dev")[repository(name)]) for name in names), seconds=60
    )


def test_back_to_one_identity_leaves_nothing_of_the_others(machine: Machine, many: plays.Play) -> None:
    play = plays.run(variables=BASE)
    assert play.code == 0, play.output
    for user in USERS:
        assert set(passwords(machine, user)) & {repository(name) for name in IDENTITIES} == {NAME}
    assert machine.ssh("admin", "ls /run/gar-auth", check=True).stdout.split() == ["default"]
    left = "find /var/lib/gar-auth /run/gar-auth-user /srv/metrics /etc/profile.d/gar-auth.sh -mindepth 1"
    assert machine.ssh("admin", f"sudo {left}").stdout == ""
    assert machine.ssh("admin", "test -e /etc/profile.d/gar-auth.sh").returncode == 1
    assert plays.run(variables=BASE).changed == 0
