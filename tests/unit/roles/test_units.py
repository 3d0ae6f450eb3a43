# SPDX-License-Identifier: GPL-3.0-or-later
"""The rendered units of gar_auth: systemd accepts and scores them; each can do what it must, and no more."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from unit.roles.rendering import HARDENING, IDENTITIES, ROLE, machine, refusals, settings, template, variable

HOST_IDENTITIES = [name for name, identity in IDENTITIES.items() if not identity.get("per_user")]
OPTIONS = {
    "gar_auth_metrics_dir": "/var/lib/node_exporter",
    "gar_auth_environment": {"HTTPS_PROXY": "http://proxy.example.com:3128"},
}
# systemd.directives(7) says since when; what compat uses is in 244, or no unit of hardening.
COMPAT = {
    "AmbientCapabilities",
    "CapabilityBoundingSet",
    "IPAddressAllow",
    "IPAddressDeny",
    "KeyringMode",
    "LimitCORE",
    "LimitNOFILE",
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "MemoryMax",
    "NoNewPrivileges",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "RestrictRealtime",
    "SystemCallArchitectures",
    "SystemCallErrorNumber",
    "SystemCallFilter",
    "TasksMax",
}
# What units need to do their work at all, whatever the hardening.
PLAIN = {
    "After",
    "Description",
    "Documentation",
    "Environment",
    "ExecStart",
    "Group",
    "LogLevelMax",
    "Restart",
    "RestartPreventExitStatus",
    "RestartSec",
    "RuntimeDirectory",
    "RuntimeDirectoryMode",
    "RuntimeDirectoryPreserve",
    "StartLimitIntervalSec",
    "StateDirectory",
    "StateDirectoryMode",
    "SupplementaryGroups",
    "SyslogLevel",
    "TimeoutStartSec",
    "Type",
    "UMask",
    "User",
    "Wants",
}


class Units:
    """A directory with everything that the role gives systemd, for one mode of hardening."""

    def __init__(self, place: Path, hardening: str) -> None:
        self.place = place / hardening
        self.program = place / "opt" / "bin" / "gar-auth"
        self.program.parent.mkdir(parents=True, exist_ok=True)
        self.program.write_text("#!/bin/sh\n")
        self.program.chmod(0o755)
        options: dict[str, Any] = {
            **OPTIONS,
            "gar_auth_hardening": hardening,
            "gar_auth_prefix": str(place / "opt"),
        }
        for unit in variable("__gar_auth_units", **options):
            self.write(unit, template(unit, **options))
        for name in HOST_IDENTITIES:
            self.write(
                f"gar-auth-fetch@{name}.service.d/identity.conf",
                template("identity.conf", item=name, **options),
            )
            self.write(
                f"gar-auth-fetch@{name}.timer.d/spread.conf", template("spread.conf", item=name, **options)
            )
        instances = variable("__gar_auth_instances", **options)
        self.instances = [name for name in instances if "@ops" not in name]
        self.services = [f"{name.rpartition('.')[0]}.service" for name in self.instances]

    def write(self, name: str, text: str) -> None:
        (self.place / name).parent.mkdir(parents=True, exist_ok=True)
        (self.place / name).write_text(text)

    def analyze(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        if shutil.which("systemd-analyze") is None:
            pytest.skip("systemd-analyze is not installed")
        environment = {
            **os.environ,
            "SYSTEMD_UNIT_PATH": f"{self.place}:",
            "LC_ALL": "C",
            "SYSTEMD_COLORS": "0",
        }
        return subprocess.run(
            ["systemd-analyze", *arguments],
            cwd=self.place,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def settings(self, service: str) -> dict[str, list[str]]:
        """The settings of a service and its drop-ins, in that order."""
        unit = re.sub(r"@.*\.", "@.", service)
        texts = [(self.place / unit).read_text()]
        texts += [path.read_text() for path in sorted((self.place / f"{service}.d").glob("*.conf"))]
        return settings("\n".join(texts))


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Units]:
    place = tmp_path_factory.mktemp("units")
    return {hardening: Units(place, hardening) for hardening in HARDENING}


def test_every_template_of_a_unit_is_installed() -> None:
    templates = {path.name.removesuffix(".j2") for path in (ROLE / "templates").glob("gar-auth-*")}
    assert templates == set(variable("__gar_auth_units", **OPTIONS))


@pytest.mark.parametrize("hardening", HARDENING)
def test_systemd_has_nothing_to_say_against_the_units(units: dict[str, Units], hardening: str) -> None:
    them = units[hardening]
    done = them.analyze("verify", "--man=no", "--recursive-errors=no", *them.instances, *them.services)
    ours = [line for line in done.stderr.splitlines() if "gar-auth" in line or str(them.place) in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("gar-auth-fetch@.service", "NoNewPrivileges=yes", "NoNewPriviledges=yes"),
        ("gar-auth-fetch@key.service.d/identity.conf", "SetCredential=source:\\n", "SetCredential=source:"),
    ],
)
def test_a_mistake_in_a_unit_would_be_seen(tmp_path: Path, file: str, right: str, wrong: str) -> None:
    them = Units(tmp_path, "full")
    text = (them.place / file).read_text()
    assert right in text
    them.write(file, text.replace(right, wrong))
    assert str(them.place / file) in them.analyze("verify", "--man=no", "gar-auth-fetch@key.service").stderr


@pytest.mark.parametrize(
    ("hardening", "kind", "tenths"),
    [
        ("full", "fetch", 15),
        ("full", "write", 5),
        ("full", "user", 30),
        ("full", "metrics", 10),
        ("compat", "", 40),
    ],
)
def test_the_exposure_stays_below_the_limit(
    units: dict[str, Units], tmp_path: Path, hardening: str, kind: str, tenths: int
) -> None:
    them = units[hardening]
    arguments = ("security", "--offline=true", "--no-pager", f"--threshold={tenths}")
    services = [name for name in them.services if name.startswith(f"gar-auth-{kind}")]
    assert services
    for name in services:
        done = them.analyze(*arguments, name)
        verdict = [line for line in done.stdout.splitlines() if "Overall exposure level" in line]
        assert len(verdict) == 1, done.stderr
        assert done.returncode == 0, f"{verdict} {done.stderr}"
    plain = tmp_path / services[0]
    plain.write_text(f"[Service]\nExecStart={them.program}\n")
    assert them.analyze(*arguments, str(plain)).returncode != 0, "a plain unit is above it"


@pytest.mark.parametrize("hardening", HARDENING)
def test_every_service_keeps_its_account_and_its_limit_of_time(
    units: dict[str, Units], hardening: str
) -> None:
    users = {"fetch": ["gar-auth"], "write": ["%i"], "user": ["%i"], "metrics": None}
    for service in units[hardening].services:
        found = units[hardening].settings(service)
        kind = re.split(r"[-@.]", service)[2]
        assert found.get("User") == users[kind], service
        assert found["UMask"] == ["0077"], service
        assert re.fullmatch(r"60|90", found["TimeoutStartSec"][0]), service
        assert len(found["ExecStart"]) == 1, service


@pytest.mark.parametrize(("hardening", "allowed"), [("compat", PLAIN | COMPAT), ("off", PLAIN)])
def test_less_hardening_uses_what_works_there_only(
    units: dict[str, Units], hardening: str, allowed: set[str]
) -> None:
    for service in units[hardening].services:
        assert units[hardening].settings(service).keys() - allowed == set(), service


@pytest.mark.parametrize("hardening", ["full", "compat"])
def test_no_service_gains_a_privilege(units: dict[str, Units], hardening: str) -> None:
    for service in units[hardening].services:
        found = units[hardening].settings(service)
        assert (found["CapabilityBoundingSet"], found["AmbientCapabilities"]) == ([""], [""]), service
        assert (found["NoNewPrivileges"], found["LimitCORE"]) == (["yes"], ["0"]), service


@pytest.mark.parametrize(
    ("identity", "denied", "allowed", "families"),
    [
        ("default", ["any"], ["169.254.169.254"], ["AF_INET"]),
        ("file", ["any"], ["169.254.169.254", ""], ["AF_INET"]),
        *(
            (name, ["any", ""], ["169.254.169.254", ""], ["AF_INET", "AF_INET AF_INET6 AF_UNIX"])
            for name in ("key", "federation", "cli", "login", "robot")
        ),
    ],
)
def test_the_network_is_open_only_for_those_who_need_it(
    units: dict[str, Units], identity: str, denied: list[str], allowed: list[str], families: list[str]
) -> None:
    for hardening in ("full", "compat"):
        found = units[hardening].settings(f"gar-auth-fetch@{identity}.service")
        assert (found["IPAddressDeny"], found["IPAddressAllow"]) == (denied, allowed)
        assert found["RestrictAddressFamilies"] == families
        assert found.get("PrivateNetwork") == (["yes"] if (identity, hardening) == ("file", "full") else None)


def test_the_fetcher_sees_no_home(units: dict[str, Units]) -> None:
    for name in HOST_IDENTITIES:
        found = units["full"].settings(f"gar-auth-fetch@{name}.service")
        assert found["ProtectHome"] == ["yes"]
        assert found["RuntimeDirectory"] == ["gar-auth/%i"]
        assert not found.keys() & {"BindPaths", "BindReadOnlyPaths", "ReadWritePaths"}


@pytest.mark.parametrize(
    ("identity", "files"),
    [
        ("default", []),
        ("cli", []),
        ("robot", []),
        ("key", ["source:/etc/devbox/ci key 100%%.json"]),
        ("federation", ["source:/etc/devbox/federation.json", "subject:/run/agent/subject"]),
        ("login", ["source:/etc/devbox/adc.json"]),
        ("file", ["source:/run/agent/token"]),
    ],
)
def test_a_file_reaches_its_fetcher_alone_and_may_be_missing(
    units: dict[str, Units], identity: str, files: list[str]
) -> None:
    found = units["full"].settings(f"gar-auth-fetch@{identity}.service")
    assert found.get("LoadCredential", []) == files
    assert found.get("SetCredential", []) == [f"{file.partition(':')[0]}:\\n" for file in files]
    for service in units["full"].services:
        if not service.startswith("gar-auth-fetch@"):
            assert not units["full"].settings(service).keys() & {"LoadCredential", "SetCredential"}


def test_gcloud_has_a_directory_of_its_own_for_each_identity(units: dict[str, Units]) -> None:
    for hardening in HARDENING:
        for name in HOST_IDENTITIES:
            found = units[hardening].settings(f"gar-auth-fetch@{name}.service")
            own = name == "cli"
            assert found.get("StateDirectory") == (["gar-auth/cli"] if own else None)
            assert found.get("StateDirectoryMode") == (["0700"] if own else None)
            assert ('"CLOUDSDK_CONFIG=/var/lib/gar-auth/cli"' in found["Environment"]) == own


def test_the_writer_is_the_user_and_has_no_network(units: dict[str, Units]) -> None:
    found = units["full"].settings("gar-auth-write@dev.service")
    assert found["SupplementaryGroups"] == ["gar-auth"]
    assert (found["PrivateNetwork"], found["IPAddressDeny"]) == (["yes"], ["any"])
    assert (found["ProtectHome"], found["BindPaths"]) == (["tmpfs"], ["-/home/%i"])
    assert not found.keys() & {"IPAddressAllow", "ReadWritePaths", "Environment"}
    compat = units["compat"].settings("gar-auth-write@dev.service")
    assert (compat["IPAddressDeny"], compat["RestrictAddressFamilies"]) == (["any"], ["AF_UNIX"])


def test_the_users_unit_has_the_network_and_that_users_home_only(units: dict[str, Units]) -> None:
    found = units["full"].settings("gar-auth-user@dev.service")
    assert (found["ProtectHome"], found["BindPaths"]) == (["tmpfs"], ["-/home/%i"])
    assert (found["RuntimeDirectory"], found["RuntimeDirectoryMode"]) == (["gar-auth-user/%i"], ["0700"])
    assert found["RuntimeDirectoryPreserve"] == ["yes"]
    assert found["IPAddressDeny"] == [""]
    assert "SupplementaryGroups" not in found, "the machine's tokens are none of its business"


def test_the_metrics_unit_writes_one_directory(units: dict[str, Units]) -> None:
    found = units["full"].settings("gar-auth-metrics.service")
    assert found["ExecStart"][0].endswith(" metrics --output /var/lib/node_exporter/gar_auth.prom")
    assert found["ReadWritePaths"] == ["/var/lib/node_exporter"]
    assert (found["PrivateNetwork"], found["ProtectSystem"]) == (["yes"], ["strict"])


@pytest.mark.parametrize("kind", ["fetch@key", "user@dev", "metrics"])
def test_a_tick_with_nothing_to_do_leaves_no_line_in_the_journal(units: dict[str, Units], kind: str) -> None:
    for hardening in HARDENING:
        found = units[hardening].settings(f"gar-auth-{kind}.service")
        assert (found["LogLevelMax"], found["SyslogLevel"]) == (["notice"], ["notice"])


@pytest.mark.parametrize(("unit", "file"), [("write@.path", "token"), ("metrics.path", "status.json")])
def test_every_identity_of_the_machine_in_use_wakes_them_once(unit: str, file: str) -> None:
    changes = {
        "gar_auth_identities": {name: {"type": "metadata"} for name in ("default", "ci", "unused")}
        | {"own": {"type": "adc", "per_user": True}},
        "gar_auth_repositories": [
            {"name": f"r{number}", "project": "demo-project", "location": "us", "identity": identity}
            for number, identity in enumerate(("default", "ci", "default", "own"))
        ],
    }
    found = settings(template(f"gar-auth-{unit}", **changes))
    assert found["PathChanged"] == [f"/run/gar-auth/{name}/{file}" for name in ("ci", "default")]
    assert found["TriggerLimitIntervalSec"] == ["0"]


@pytest.mark.parametrize("kind", ["fetch", "user"])
@pytest.mark.parametrize("interval", [1, 30, 180])
def test_the_timers_follow_the_interval_and_the_clock(kind: str, interval: int) -> None:
    found = settings(template(f"gar-auth-{kind}@.timer", gar_auth_interval=interval))
    assert (found["OnActiveSec"], found["OnUnitActiveSec"]) == (["0"], [f"{interval}s"])
    assert found["OnClockChange"] == ["yes"]


@pytest.mark.parametrize(("interval", "delay"), [(1, "1s"), (30, "30s"), (180, "30s")])
def test_machines_that_boot_together_do_not_ask_google_in_one_second(interval: int, delay: str) -> None:
    """The first token is there within a minute: no delay is longer than half of it."""
    options = {"gar_auth_interval": interval}
    spread = {"RandomizedDelaySec": [delay], "FixedRandomDelay": ["yes"]}
    for name in HOST_IDENTITIES:
        found = settings(template("spread.conf", item=name, **options))
        assert found == ({"RandomizedDelaySec": ["0"]} if name in ("default", "file") else spread), name
    assert spread.items() <= settings(template("gar-auth-user@.timer", **options)).items()
    assert not spread.keys() & settings(template("gar-auth-fetch@.timer", **options)).keys()


def test_the_writer_tries_again_only_what_can_pass_by_itself(units: dict[str, Units]) -> None:
    """A token that is missing is no failure (--if-any): the watch starts the writer when it comes."""
    found = units["full"].settings("gar-auth-write@dev.service")
    assert found["ExecStart"][0].endswith("/gar-auth write --if-any %i")
    assert (found["Restart"], found["RestartSec"]) == (["on-failure"], ["30s"])
    assert {int(code) for code in found["RestartPreventExitStatus"][0].split()} == {65, 77, 78}


RENEWED = {
    "gar_auth_identities": {name: {"type": "metadata"} for name in ("default", "ci")}
    | {"own": {"type": "adc", "per_user": True}},
    "gar_auth_users": ["dev", "ops"],
}


def changed(*names: str, of: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a loop registers."""
    return {"results": [{"item": name, "changed": name in names} for name in {*names, *of}]}


@pytest.mark.parametrize(
    ("changes", "active", "enabled", "idle", "renewed"),
    [
        ({}, "all", "all", [], []),
        ({}, "none", "all", "all", []),
        ({}, "all", "none", "all", []),
        ({"unit": ["gar-auth-fetch@.service", "gar-auth-write@.service"]}, "all", "all", [], []),
        ({"unit": ["gar-auth-write@.path"]}, "all", "all", [], ["write@dev.path", "write@ops.path"]),
        ({"unit": ["gar-auth-fetch@.timer"]}, "all", "all", [], ["fetch@ci.timer", "fetch@default.timer"]),
        ({"unit": ["gar-auth-user@.timer"]}, "all", "all", [], ["user@dev.timer", "user@ops.timer"]),
        ({"unit": ["gar-auth-user@.timer"]}, "none", "none", "all", []),
        ({"source": ["ci"]}, "all", "all", [], ["fetch@ci.timer"]),
        ({"spread": ["ci"], "source": ["ci"]}, "all", "all", [], ["fetch@ci.timer"]),
    ],
)
def test_what_does_not_run_is_started_and_what_changed_is_started_anew(
    changes: dict[str, list[str]], active: str, enabled: str, idle: str | list[str], renewed: list[str]
) -> None:
    all_of_them = variable("__gar_auth_instances", **RENEWED)
    known = {
        **RENEWED,
        "__gar_auth_active": {
            "stdout_lines": ["active" if active == "all" else "inactive"] * len(all_of_them)
        },
        "__gar_auth_enabled": {"files": [{"path": f"/x/{name}"} for name in all_of_them if enabled == "all"]},
        **{
            f"__gar_auth_{kind}_changes": changed(*changes.get(kind, []), of=("gar-auth-fetch@.service",))
            for kind in ("unit", "source", "spread")
        },
    }
    assert variable("__gar_auth_idle", **known) == (sorted(all_of_them) if idle == "all" else idle)
    assert variable("__gar_auth_renewed", **known) == [f"gar-auth-{name}" for name in renewed]


LOGGED_OUT = {
    "identities": {
        "cli": {"state": "missing", "error_class": "not_logged_in"},
        "default": {"state": "valid", "error_class": None},
        "key": {"state": "expired", "error_class": "bad_key"},
    }
}


def test_who_has_to_log_in_is_told_how() -> None:
    known = {
        "__gar_auth_after": {"stdout": json.dumps(LOGGED_OUT), "rc": 75},
        "__gar_auth_tables": {"stdout": "IDENTITY"},
        "__gar_auth_journal": {"stdout": "gar-auth: nobody is logged in"},
        "inventory_hostname": "vm1",
    }
    (said,) = refusals("no_token.yml", "Check that everybody has a valid token", **known)
    command = "env CLOUDSDK_CONFIG=/var/lib/gar-auth/cli /usr/bin/gcloud auth login me@example.com"
    assert said.splitlines()[2:4] == [
        "Log in once on vm1 for the identity cli, then run the play again; all else is in place:",
        f"  sudo -u gar-auth {command}",
    ]
    assert "for the identity key" not in said


@pytest.mark.parametrize(
    ("home", "bound"),
    [
        ("/home/dev", '"-/home/dev"'),
        ("/srv/My Home/dév", '"-/srv/My Home/dév"'),
        ("/home/100%", '"-/home/100%%"'),
        ('/home/a"b', '"-/home/a\\"b"'),
        ("/home/a\\b", '"-/home/a\\\\b"'),
    ],
)
def test_the_drop_in_binds_exactly_the_home(tmp_path: Path, home: str, bound: str) -> None:
    them = Units(tmp_path, "full")
    for kind in ("write", "user"):
        drop_in = f"gar-auth-{kind}@dev.service.d/home.conf"
        text = template("home.conf", item=drop_in, __gar_auth_machine=machine(dev=home))
        assert settings(text) == {"BindPaths": ["", bound]}
        them.write(drop_in, text)
        assert "BindPaths" not in them.analyze("verify", "--man=no", f"gar-auth-{kind}@dev.service").stderr


@pytest.mark.parametrize(
    ("homes", "changes", "drop_ins"),
    [
        ({"dev": "/home/dev", "ops": "/home/ops"}, {}, []),
        ({"dev": "/home/dev", "ops": "/home/ops/"}, {}, ["write@ops", "user@ops"]),
        ({"dev": "/home/ops", "ops": "/home/x/ops"}, {}, ["write@dev", "write@ops", "user@dev", "user@ops"]),
        (
            {"dev": "/home/dev", "a.b@c": "/srv/a.b@c"},
            {"gar_auth_users": ["a.b@c"]},
            ["write@a.b@c", "user@a.b@c"],
        ),
        ({"dev": "/home/dev", "ops": "/root"}, {"gar_auth_hardening": "compat"}, []),
        ({"ops": "/root"}, {"gar_auth_identities": {"default": {"type": "metadata"}}}, ["write@ops"]),
        (
            {"ops": "/root"},
            {"gar_auth_identities": {"default": {"type": "adc", "per_user": True}}},
            ["user@ops"],
        ),
        ({"ops": "/root"}, {"gar_auth_state": "absent"}, []),
    ],
)
def test_only_a_home_that_lies_elsewhere_needs_a_drop_in(
    homes: dict[str, str], changes: dict[str, Any], drop_ins: list[str]
) -> None:
    known = {"__gar_auth_machine": machine(**homes), **changes}
    expected = [f"gar-auth-{name}.service.d/home.conf" for name in drop_ins]
    assert variable("__gar_auth_home_drop_ins", **known) == expected
    for name in expected:
        user = name.partition("@")[2].removesuffix(".service.d/home.conf")
        assert f'"-{homes[user]}"' in template("home.conf", item=name, **known)


@pytest.mark.parametrize(
    ("declared", "lines"),
    [
        ({}, []),
        ({"REQUESTS_CA_BUNDLE": '/etc/a "b" 100%\\'}, ['"REQUESTS_CA_BUNDLE=/etc/a \\"b\\" 100%%\\\\"']),
        ({"NO_PROXY": "a"}, ['"NO_PROXY=a"']),
        (
            {"https_proxy": "http://p:1", "NO_PROXY": "a, b", "no_proxy": "b,metadata"},
            [
                '"NO_PROXY=a,b,metadata,metadata.google.internal,169.254.169.254"',
                '"https_proxy=http://p:1"',
                '"no_proxy=a,b,metadata,metadata.google.internal,169.254.169.254"',
            ],
        ),
    ],
)
def test_the_environment_is_escaped_and_the_metadata_server_needs_no_proxy(
    tmp_path: Path, declared: dict[str, str], lines: list[str]
) -> None:
    for unit in ("gar-auth-fetch@.service", "gar-auth-user@.service"):
        text = template(unit, gar_auth_environment=declared)
        assert sorted(settings(text).get("Environment", [])) == sorted(lines)
        them = Units(tmp_path, "full")
        them.write(unit, text)
        done = them.analyze("verify", "--man=no", unit.replace("@", "@dev"))
        assert "Environment" not in done.stderr
