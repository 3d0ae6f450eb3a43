# SPDX-License-Identifier: GPL-3.0-or-later
"""The rendered units of gar_auth: systemd accepts and scores them; the drop-in binds exactly the home."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

ROLE = Path(__file__).resolve().parents[3] / "roles" / "gar_auth"
UNITS = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())["__gar_auth_units"]
DROP_IN = "gar-auth-write@dev.service.d/home.conf"


@pytest.fixture
def render(tmp_path: Path) -> Callable[..., str]:
    """Render a template as Ansible does, for two users and two identities."""
    prefix = tmp_path / "opt"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "gar-auth").write_text("#!/bin/sh\n")
    (prefix / "bin" / "gar-auth").chmod(0o755)
    environment = jinja2.Environment(  # noqa: S701 - no HTML
        loader=jinja2.FileSystemLoader(ROLE / "templates"),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["ternary"] = lambda value, yes, no: yes if value else no
    environment.filters["to_nice_json"] = lambda value: json.dumps(value, indent=4, sort_keys=True)
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    internal = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
    context: dict[str, Any] = {
        name: value for name, value in {**defaults, **internal}.items() if "{{" not in str(value)
    }
    context |= {
        "ansible_managed": "Ansible managed",
        "gar_auth_prefix": str(prefix),
        "gar_auth_service_manager": "systemd",
        "item": "dev",
        "__gar_auth_users": ["dev", "ops"],
        "__gar_auth_passwd": {"dev": ["x", "1000", "1000", "", "/home/dev", "/bin/bash"]},
        "__gar_auth_identities": {"default": {"type": "metadata", "account": "default"}},
        "__gar_auth_repositories": [
            {"name": name, "publish_url": "https://h/p/r/", "identity": identity}
            for name, identity in (("a", "default"), ("b", "ci"), ("c", "default"))
        ],
    }

    def render(template: str, **changes: Any) -> str:
        return environment.get_template(template).render({**context, **changes})

    return render


@pytest.fixture
def units(render: Callable[..., str], tmp_path: Path) -> Path:
    """A directory with all units and a user's drop-in."""
    directory = tmp_path / "units"
    (directory / DROP_IN).parent.mkdir(parents=True)
    for unit in UNITS:
        (directory / unit).write_text(render(f"{unit}.j2"))
    (directory / DROP_IN).write_text(render("home.conf.j2"))
    return directory


def analyze(units: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:", "LC_ALL": "C", "SYSTEMD_COLORS": "0"}
    command = ["systemd-analyze", *arguments]
    return subprocess.run(
        command, cwd=units, env=environment, capture_output=True, text=True, timeout=30, check=False
    )


def settings(text: str) -> dict[str, list[str]]:
    """The settings of a unit, whatever their section."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if "=" in line and not line.startswith("#"):
            name, _equals, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_every_template_of_a_unit_is_installed() -> None:
    templates = {path.name.removesuffix(".j2") for path in (ROLE / "templates").glob("gar-auth-*")}
    assert templates == set(UNITS)


def test_systemd_has_nothing_to_say_against_the_units(units: Path) -> None:
    instances = [unit.replace("@", "@dev") for unit in UNITS]
    done = analyze(units, "verify", "--man=no", "--recursive-errors=no", *instances)
    ours = [line for line in done.stderr.splitlines() if "gar-auth" in line or str(units) in line]
    assert (done.returncode, ours) == (0, [])


def test_a_mistake_in_a_unit_would_be_seen(units: Path) -> None:
    unit = units / "gar-auth-fetch@.service"
    unit.write_text(unit.read_text().replace("NoNewPrivileges=yes", "NoNewPriviledges=yes"))
    assert "NoNewPriviledges" in analyze(units, "verify", "--man=no", "gar-auth-fetch@dev.service").stderr


@pytest.mark.parametrize(("kind", "tenths"), [("fetch", 15), ("write", 5)])
def test_the_exposure_stays_below_the_limit(units: Path, kind: str, tenths: int) -> None:
    unit = f"gar-auth-{kind}@dev.service"
    arguments = ("security", "--offline=true", "--no-pager", f"--threshold={tenths}")
    done = analyze(units, *arguments, unit)
    verdict = [line for line in done.stdout.splitlines() if "Overall exposure level" in line]
    assert done.returncode == 0, f"{verdict} {done.stderr}"
    assert len(verdict) == 1
    plain = units / unit
    plain.write_text(f"[Service]\nExecStart={units.parent}/opt/bin/gar-auth\n")
    assert analyze(units, *arguments, unit).returncode != 0, "a plain unit is above it"


def test_the_fetcher_sees_no_home_and_reaches_the_metadata_server_only(units: Path) -> None:
    found = settings((units / "gar-auth-fetch@.service").read_text())
    assert found["ProtectHome"] == ["yes"]
    assert (found["IPAddressDeny"], found["IPAddressAllow"]) == (["any"], ["169.254.169.254"])
    assert found["User"] == ["gar-auth"]
    assert found["RuntimeDirectory"] == ["gar-auth/%i"]
    assert "BindPaths" not in found


def test_the_writer_is_the_user_and_has_no_network(units: Path) -> None:
    found = settings((units / "gar-auth-write@.service").read_text())
    assert (found["User"], found["SupplementaryGroups"]) == (["%i"], ["gar-auth"])
    assert found["PrivateNetwork"] == ["yes"]
    assert found["ProtectHome"] == ["tmpfs"]
    assert "IPAddressAllow" not in found
    assert not found.keys() & {"BindPaths", "ReadWritePaths"}, "the home comes with the user's drop-in"


@pytest.mark.parametrize("kind", ["fetch", "write"])
def test_no_unit_carries_a_secret_or_more_privileges(units: Path, kind: str) -> None:
    found = settings((units / f"gar-auth-{kind}@.service").read_text())
    assert not found.keys() & {"Environment", "EnvironmentFile", "PassEnvironment", "LoadCredential"}
    assert (found["CapabilityBoundingSet"], found["AmbientCapabilities"]) == ([""], [""])
    assert (found["NoNewPrivileges"], found["UMask"], found["LimitCORE"]) == (["yes"], ["0077"], ["0"])
    assert len(found["ExecStart"]) == 1


def test_the_writer_is_woken_by_every_identity_in_use_once(units: Path) -> None:
    found = settings((units / "gar-auth-write@.path").read_text())
    assert found["PathChanged"] == ["/run/gar-auth/ci/token", "/run/gar-auth/default/token"]


@pytest.mark.parametrize("interval", [1, 60, 240])
def test_the_timer_follows_the_interval(render: Callable[..., str], interval: int) -> None:
    found = settings(render("gar-auth-fetch@.timer.j2", gar_auth_interval=interval))
    assert (found["OnActiveSec"], found["OnUnitActiveSec"]) == (["0"], [f"{interval}s"])


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
def test_the_drop_in_binds_exactly_the_home(
    render: Callable[..., str], units: Path, home: str, bound: str
) -> None:
    passwd = {"dev": ["x", "1000", "1000", "", home, "/bin/bash"]}
    text = render("home.conf.j2", __gar_auth_passwd=passwd)
    assert settings(text) == {"BindPaths": [bound]}
    (units / DROP_IN).write_text(text)
    done = analyze(units, "verify", "--man=no", "gar-auth-write@dev.service")
    assert "BindPaths" not in done.stderr


def test_the_configuration_is_what_the_program_reads(render: Callable[..., str], tmp_path: Path) -> None:
    from gar_auth.config import Config

    path = tmp_path / "config.json"
    identities = {name: {"type": "metadata", "account": "default"} for name in ("default", "ci")}
    path.write_text(render("config.json.j2", __gar_auth_identities=identities))
    config = Config.load(path)
    assert config.run_dir == Path("/run/gar-auth")
    assert (config.users, config.config_dir) == (("dev", "ops"), ".config/pypoetry")
    assert [repository.identity for repository in config.repositories] == ["default", "ci", "default"]
    changes = {"__gar_auth_identities": identities, "gar_auth_service_manager": "none"}
    path.write_text(render("config.json.j2", **changes))
    assert Config.load(path).shared_run_dir is None


def test_the_command_is_isolated_from_the_callers_python(render: Callable[..., str]) -> None:
    text = render("gar-auth.j2")
    assert re.match(r"#!/\S+/opt/venv/bin/python -I\n", text)
    compile(text, "gar-auth", "exec")
