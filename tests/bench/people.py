# SPDX-License-Identifier: GPL-3.0-or-later
"""Many users with homes of their own, that exist only for the commands run among them.

A command runs in a mount namespace of its own, in which a generated passwd and group lie over the real ones
and the homes over /media; so the host keeps its users, and the homes are on the file system of the scratch
directory, which other users need not be able to enter.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.place import BenchError, run

__all__ = ["People", "reason_not_here"]

_HOMES = "/media"
_FIRST_UID = 70000
_MOUNT = (
    'mount --bind "$1" /etc/passwd && mount --bind "$2" /etc/group && mount --bind "$3" "$4" && shift 4'
    ' && exec "$@"'
)


@dataclass(frozen=True, kw_only=True)
class People:
    """Users with a uid, a group and a home (mode 0700) each."""

    scratch: Path
    names: tuple[str, ...]

    @classmethod
    def make(cls, scratch: Path, *, number: int, service: tuple[str, int] | None = None) -> People:
        """Make the homes, and the files that name the users, below a new directory `scratch`.

        :param service: name and uid of one more account, without a home.
        """
        people = cls(scratch=scratch, names=tuple(f"bench-{index:04}" for index in range(number)))
        people.homes.mkdir(parents=True)
        passwd, group = (Path(f"/etc/{name}").read_text(encoding="utf-8") for name in ("passwd", "group"))
        for uid, name in enumerate(people.names, start=_FIRST_UID):
            home = people.homes / name
            home.mkdir(mode=0o700)
            os.chown(home, uid, uid)
            passwd += f"{name}:x:{uid}:{uid}::{_HOMES}/{name}:/bin/sh\n"
            group += f"{name}:x:{uid}:\n"
        if service:
            name, uid = service
            passwd += f"{name}:x:{uid}:{uid}::/nonexistent:/usr/sbin/nologin\n"
            group += f"{name}:x:{uid}:\n"
        (scratch / "passwd").write_text(passwd, encoding="utf-8")
        (scratch / "group").write_text(group, encoding="utf-8")
        return people

    @property
    def homes(self) -> Path:
        """The directory that holds the homes, outside of the namespace."""
        return self.scratch / "homes"

    @property
    def uids(self) -> dict[str, int]:
        """The uid of each user, by name."""
        return {name: uid for uid, name in enumerate(self.names, start=_FIRST_UID)}

    @property
    def inside(self) -> Sequence[str]:
        """The command that runs the command put after it among these users."""
        files = [str(self.scratch / name) for name in ("passwd", "group", "homes")]
        return [
            *("unshare", "--mount", "--propagation", "private", "--"),
            *("sh", "-c", _MOUNT, "sh", *files, _HOMES),
        ]

    def move_in_again(self) -> None:
        """Empty every home, so that the next run is a first run."""
        for name in self.names:
            for entry in (self.homes / name).iterdir():
                shutil.rmtree(entry)


def reason_not_here(scratch: Path) -> str | None:
    """Say why there can be no such users here, or None where there can; `scratch` is for a try."""
    if os.geteuid() != 0:
        return "needs root, for users with uids of their own"
    try:
        people = People.make(scratch / "try", number=1)
        run([*people.inside, "sh", "-c", f"cd ~{people.names[0]}"])
    except (BenchError, OSError) as error:
        return f"no users with uids of their own can be had: {' '.join(str(error).split())}"
    return None
