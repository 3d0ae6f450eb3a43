# SPDX-License-Identifier: GPL-3.0-or-later
"""Podman as root: which runtime and limits this host allows, and the flags a systemd machine needs."""

from __future__ import annotations

import json
import resource
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from lab.system import LabError, Need, find_program, install, run

__all__ = ["LABEL", "NETWORK", "containers", "machine_flags", "podman", "prepare"]

LABEL = "devbox-lab"
"""Label of every container of ours, with the value 1."""

NETWORK = "podman"
"""The bridge network that containers are in by default."""

_SHUT_OUT = "SYS_TIME,SYS_MODULE,SYS_RAWIO,SYS_BOOT,SYSLOG,MAC_ADMIN,MAC_OVERRIDE"
"""Capabilities that reach beyond the machine: the host's clock, kernel, log and security policy."""


def hybrid_control_groups(top: Path = Path("/sys/fs/cgroup")) -> bool:
    """Whether version 2 is mounted beside version 1, which crun refuses."""
    return (top / "unified").is_dir() and not (top / "cgroup.controllers").exists()


@cache
def runtime() -> str:
    """Name the OCI runtime to use here."""
    return "runc" if hybrid_control_groups() or find_program("crun") is None else "crun"


def podman(
    *arguments: str, check: bool = True, input: str | bytes | None = None, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run podman as root."""
    flags = ["--runtime", runtime()]
    if not Path("/run/systemd/system").is_dir():
        flags.append("--cgroup-manager=cgroupfs")
    return run(["podman", *flags, *arguments], root=True, check=check, input=input, timeout=timeout)


def prepare() -> None:
    """Install podman, a runtime that works here and what its bridge network needs, where missing."""
    oci = "runc" if hybrid_control_groups() else "crun"
    needs = [
        Need(what="podman", packages=("podman",)),
        Need(what="iptables", packages=("iptables",)),
        Need(what="ip", packages=("iproute2",)),
        Need(what="nsenter", packages=("util-linux",)),
    ]
    if oci == "runc" or find_program("runc") is None:
        needs.append(Need(what=oci, packages=(oci,)))
    install(needs, purpose="throwaway machines")
    runtime.cache_clear()
    install([_network_need()], purpose="the machines' network")


def _network_need() -> Need:
    """Return what the network backend chosen by podman consists of."""
    done = podman("info", "--format", "{{.Host.NetworkBackend}}", check=False)
    netavark = "netavark" in done.stdout + done.stderr
    if done.returncode != 0 and not netavark:
        raise LabError(
            f"podman does not work on this host: {(done.stderr.strip() or 'no message').splitlines()[-1]}"
        )
    if netavark:
        found = next(Path("/usr").glob("lib*/podman/netavark"), Path("/usr/lib/podman/netavark"))
        return Need(what=str(found), packages=("netavark",))
    return Need(what="/usr/lib/cni/bridge", packages=("containernetworking-plugins",))


def machine_flags() -> list[str]:
    """Return the flags of `podman create` for a machine whose systemd may use every sandboxing feature.

    Not `--privileged`: that lets the machine's systemd write the host's kernel settings (seen: fs.file-max,
    fs.protected_symlinks) and read its log. All capabilities but those, and /proc/sys read-only, suffice.
    """
    limits = [
        f"--ulimit={name}={min(soft, hard)}:{hard}"
        for name, soft, hard in (
            ("nofile", 1024, _hard(resource.RLIMIT_NOFILE, 524288)),
            ("nproc", 32768, _hard(resource.RLIMIT_NPROC, 32768)),
        )
    ]
    unconfined = [
        f"--security-opt={name}" for name in ("seccomp=unconfined", "apparmor=unconfined", "label=disable")
    ]
    return ["--systemd=always", "--cap-add=ALL", f"--cap-drop={_SHUT_OUT}", *unconfined, *limits]


def _hard(limit: int, wanted: int) -> int:
    """Return the wanted limit, or the host's own hard limit where that is lower."""
    hard = resource.getrlimit(limit)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def containers() -> list[dict[str, Any]]:
    """List the lab's containers as podman describes them: Names, Labels, State, ..."""
    found = podman("ps", "--all", "--filter", f"label={LABEL}=1", "--format", "json").stdout
    return list(json.loads(found or "[]") or [])
