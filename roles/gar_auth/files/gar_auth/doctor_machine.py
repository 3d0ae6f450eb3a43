# SPDX-License-Identifier: GPL-3.0-or-later
"""C(gar-auth doctor): whether the machine is booted, and whether its units are in order."""

from __future__ import annotations

import os
import subprocess
import typing as t
from dataclasses import dataclass, replace

from gar_auth.config import Config
from gar_auth.doctor_report import Finding, good, note, problem
from gar_auth.errors import Exit

__all__ = ["Machine", "check_boot", "check_unit", "look", "wanted_units"]

#: Exists while systemd runs as the system's service manager (sd_booted(3)).
BOOTED = "/run/systemd/system"
SYSTEMCTL = ("/usr/bin/systemctl", "/bin/systemctl")
CRON = "/etc/cron.d/gar-auth"

_SECONDS = 10.0
_PROPERTIES = ("Id", "LoadState", "UnitFileState", "ActiveState", "Result", "ExecMainStatus")
_STARTERS = (".timer", ".path")


@dataclass(frozen=True)
class Machine:
    """The facts.

    :ivar writes: tokens are written into homes.
    :ivar units: by name, the properties of each; None where systemd was not asked.
    :ivar failure: why systemd did not answer.
    """

    service_manager: str
    booted: bool
    cron: bool = False
    writes: bool = True
    units: dict[str, dict[str, str]] | None = None
    failure: str | None = None


def wanted_units(config: Config, user: str | None) -> list[str]:
    """The units that keep tokens fresh: the fetchers', and those of one user (None: of all)."""
    kinds: list[tuple[str, str, t.Iterable[str]]] = []
    users = config.users if user is None else [one for one in config.users if one == user]
    host = [identity.name for identity in config.host_identities()]
    if host:
        kinds += [("fetch", "timer", host), *([("write", "path", users)] if config.writes else [])]
    if config.user_identities():
        kinds.append(("user", "timer", users))
    return [
        f"gar-auth-{kind}@{instance}.{suffix}"
        for kind, starter, instances in kinds
        for instance in instances
        for suffix in (starter, "service")
    ]


def look(config: Config, *, user: str | None) -> Machine:
    """Gather the facts; systemd is asked once, with a fixed environment, and never for long."""
    booted = os.path.isdir(BOOTED)
    machine = Machine(config.service_manager, booted, os.path.exists(CRON), config.writes)
    if config.service_manager != "systemd" or not booted:
        return machine
    program = next((path for path in SYSTEMCTL if os.access(path, os.X_OK)), None)
    units = wanted_units(config, user)
    if program is None or not units:
        return machine
    try:
        done = subprocess.run(
            [program, "--no-pager", "show", f"--property={','.join(_PROPERTIES)}", "--", *units],
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return replace(machine, failure=type(error).__name__)
    if done.returncode != 0:
        return replace(machine, failure=f"exit status {done.returncode}")
    shown = _parsed(done.stdout.decode(errors="replace"))
    return replace(machine, units={name: shown.get(name, {}) for name in units})


def _parsed(text: str) -> dict[str, dict[str, str]]:
    blocks = (
        dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in text.split("\n\n")
    )
    return {block["Id"]: block for block in blocks if "Id" in block}


def check_boot(machine: Machine) -> Finding:
    """Whether what shall run the program runs at all."""
    manager = machine.service_manager
    if manager == "systemd" and not machine.booted:
        return problem(
            "boot",
            "systemd does not run here, so nothing refreshes a token",
            cause="this is an image that is not yet booted, or a container: the units start with the machine",
            cure="boot it; where it never will, set gar_auth_service_manager: none and run"
            " `gar-auth refresh` before Poetry",
            code=Exit.TEMPORARY,
        )
    if manager == "cron" and not machine.cron and not machine.booted:
        return problem(
            "boot",
            f"{CRON} is missing, so nothing refreshes a token",
            cause="somebody removed the cron entry",
            cure="run the playbook again",
        )
    if machine.failure is not None:
        return problem(
            "boot",
            f"systemd does not answer ({machine.failure})",
            cause="it is overloaded or broken, or this user may not talk to it",
            cure="see: systemctl is-system-running; or run `sudo gar-auth doctor`",
            code=Exit.TEMPORARY,
        )
    if manager == "none":
        fetched = (
            "run `gar-auth refresh` before Poetry" if machine.writes else "a client that asks gets a token"
        )
        return note("boot", f"nothing is scheduled here: {fetched}")
    return good("boot", f"{manager} runs")


def check_unit(name: str, properties: t.Mapping[str, str]) -> Finding:
    """One unit, by what C(systemctl show) says of it."""
    load, state = properties.get("LoadState", "not-found"), properties.get("ActiveState", "")
    if "masked" in (load, properties.get("UnitFileState")):
        return problem(
            "unit",
            f"{name} is masked",
            cause="somebody ran `systemctl mask`: systemd does not start it, whoever asks",
            cure=f"sudo systemctl unmask {name} && sudo systemctl start {name}",
        )
    if load == "not-found":
        return problem(
            "unit", f"{name} is not installed", cause="its file is gone", cure="run the playbook again"
        )
    if load != "loaded":
        return problem(
            "unit",
            f"{name} cannot be loaded ({load})",
            cause="its file or a drop-in is damaged, or has a line that this systemd does not know",
            cure=f"sudo systemd-analyze verify {name}; then run the playbook again, with"
            " gar_auth_hardening: compat where systemd is old",
        )
    if state == "failed":
        return _failed(name, properties)
    if name.endswith(_STARTERS):
        if state not in ("active", "activating", "reloading"):
            return problem(
                "unit",
                f"{name} does not run",
                cause="somebody stopped it, so tokens are no longer refreshed",
                cure=f"sudo systemctl start {name}",
            )
        if properties.get("UnitFileState") == "disabled":
            return problem(
                "unit",
                f"{name} is disabled",
                cause="it runs now, and will not after the next boot",
                cure=f"sudo systemctl enable {name}",
            )
    return good("unit", f"{name} is {state}")


def _failed(name: str, properties: t.Mapping[str, str]) -> Finding:
    status = properties.get("ExecMainStatus", "")
    result = properties.get("Result", "")
    said = f"exit status {status}" if result == "exit-code" else result or "no result"
    temporary = result == "exit-code" and status == str(int(Exit.TEMPORARY))
    return problem(
        "unit",
        f"{name} has failed ({said})",
        cause="what it met may pass: it is tried again"
        if temporary
        else "what it met does not pass by itself",
        cure=f"see: sudo journalctl -u {name} -n 20; when that is mended: sudo systemctl restart {name}",
        code=Exit.TEMPORARY if temporary else Exit.CONFIGURATION,
    )
