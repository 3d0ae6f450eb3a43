# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this host can boot throwaway machines, and if not, why not in one line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab import boot, cache, images, podman
from lab.console import say
from lab.system import LabError, find_program, root_problem, run

__all__ = ["Support", "machine_support", "make_room_for_watches"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
#: How many inotify instances a user may have; root of all machines is one user. A machine with several people
#: logged in takes some 15; without one, systemd starts no more path units: inotify(7).
_WATCHES = Path("/proc/sys/fs/inotify/max_user_instances")
_WATCHES_EACH = 20


@dataclass(frozen=True, kw_only=True)
class Support:
    """Whether machines can be had, and the reason where they cannot."""

    ok: bool
    reason: str = ""


def machine_support(*, suite: str = "debian12") -> Support:
    """Find out whether machines can be had here; installs what is missing and boots one to see.

    What was seen holds until this host boots again, so that only the first call takes long.
    """
    problem = root_problem()
    if problem:
        return Support(ok=False, reason=f"no machine can be booted: {problem}")
    if find_program("podman") is None and find_program("apt-get") is None:
        return Support(
            ok=False, reason="no machine can be booted: podman is not installed and apt-get is not here"
        )
    try:
        podman.prepare()
        _try(suite)
    except LabError as error:
        return Support(ok=False, reason=f"no machine can be booted: {error}")
    return Support(ok=True)


def _try(suite: str) -> None:
    """Boot a container of the real image, unless one has booted since this host did."""
    image = images.ensure(suite)
    stamp = cache.directory("images") / f"{image.rpartition(':')[2]}.booted"
    current = _BOOT_ID.read_text(encoding="ascii")
    if stamp.exists() and stamp.read_text(encoding="ascii") == current:
        return
    boot.probe(image)
    stamp.write_text(current, encoding="ascii")


def make_room_for_watches(machines: int) -> None:
    """Let this host have as many inotify instances as so many machines take, until it boots again; say so.

    :raises LabError: it cannot be changed here.
    """
    needed = _WATCHES_EACH * (machines + 1)
    if int(_WATCHES.read_text(encoding="ascii")) >= needed:
        return
    name = "fs.inotify.max_user_instances"
    try:
        run(["sh", "-c", f"echo {needed} > {_WATCHES}"], root=True)
    except LabError as error:
        raise LabError(f"{error}; run it on the machine below this one: sysctl -w {name}={needed}") from error
    say(f"{machines} machines need more inotify instances than this host allowed: {name} is {needed} now")
