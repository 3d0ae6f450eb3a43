# SPDX-License-Identifier: GPL-3.0-or-later
"""Create a systemd container, unpack files into it and wait until it has booted."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

from lab import owners, podman
from lab.system import LabError, run

__all__ = ["CONTAINER", "create", "probe", "remove", "unpack", "wait_for", "wait_until_booted"]

CONTAINER = "devbox-lab-"
"""What the names of the lab's containers begin with."""


def create(container: str, *, image: str, labels: Mapping[str, str], names: Mapping[str, str]) -> None:
    """Create a container in which nothing runs yet; `names` maps host names to addresses."""
    arguments = [f"--name={container}", f"--hostname={container.removeprefix(CONTAINER)}", "--pull=never"]
    arguments += [
        f"--label={podman.LABEL}=1",
        *(f"--label={podman.LABEL}.{key}={labels[key]}" for key in labels),
    ]
    arguments += [f"--add-host={name}:{address}" for name, address in names.items()]
    podman.podman("create", *podman.machine_flags(), *arguments, image, "/lib/systemd/systemd")


def unpack(container: str, archive: bytes) -> None:
    """Unpack a tar archive at the container's root; `podman cp` would give all files to root."""
    top = podman.podman("mount", container).stdout.strip()
    try:
        run(["tar", "--extract", "--numeric-owner", "--directory", top], root=True, input=archive)
    finally:
        podman.podman("umount", container, check=False)


def wait_until_booted(container: str, *, deadline: float = 60.0) -> None:
    """Wait until systemd has started everything, be it with failures. The deadline is in seconds."""
    state = "nothing"

    def booted() -> bool:
        nonlocal state
        done = podman.podman(
            "exec", container, "systemctl", "is-system-running", "--wait", check=False, timeout=deadline
        )
        state = (done.stdout or done.stderr).strip() or state
        return state in {"running", "degraded"}

    if not wait_for(booted, deadline):
        raise LabError(f"{container} did not boot within {deadline:.0f} s; systemctl last said: {state}")


def wait_for(condition: Callable[[], bool], deadline: float) -> bool:
    """Ask again and again until the condition holds; False after the deadline in seconds."""
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def remove(container: str) -> None:
    """Remove a container if it is there; nothing in it gets time to save anything."""
    podman.podman("rm", "--force", "--time=0", "--ignore", container)


def probe(image: str) -> None:
    """Boot an image once; raise LabError with the reason where that does not work."""
    container = f"{CONTAINER}probe-{os.getpid()}"
    labels = {"owner": owners.identify(os.getpid()), "suite": "probe"}
    try:
        create(container, image=image, labels=labels, names={})
        podman.podman("start", container)
        wait_until_booted(container, deadline=30)
    finally:
        remove(container)
