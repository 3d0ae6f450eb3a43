# SPDX-License-Identifier: GPL-3.0-or-later
"""List what lies on a machine (type, mode, owner, size, checksum) and compare two lists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from lab.machines import Machine

__all__ = ["Listing", "differences", "take"]

Listing = Mapping[str, str]
"""Path -> one line about it; that line begins with the owner's number."""

ROOTS = ("/etc", "/opt", "/usr", "/home", "/root", "/var/lib")

_SCRIPT = """\
import hashlib, json, os, stat, sys
found = {}
def look(path):
    info = os.lstat(path)
    text = f"{info.st_uid}:{info.st_gid} {stat.filemode(info.st_mode)}"
    if stat.S_ISLNK(info.st_mode):
        text += f" -> {os.readlink(path)}"
    elif stat.S_ISREG(info.st_mode):
        with open(path, "rb") as stream:
            text += f" {info.st_size} {hashlib.sha256(stream.read()).hexdigest()[:16]}"
    found[path] = text
for root in ROOTS:
    for top, directories, files in os.walk(root):
        for name in directories + files:
            try:
                look(os.path.join(top, name))
            except FileNotFoundError:
                pass  # gone between the two looks
json.dump(found, sys.stdout)
"""


def take(machine: Machine, *roots: str) -> dict[str, str]:
    """List all below the roots, as root; without roots, wherever the collection could leave something."""
    script = _SCRIPT.replace("ROOTS", repr(roots or ROOTS))
    answer = machine.ssh("admin", "sudo python3 -I -", input=script, check=True)
    return dict(json.loads(answer.stdout))


def differences(before: Listing, after: Listing, *, apart_from: Iterable[str] = ()) -> list[str]:
    """Return a line for each path that came, went or changed, unless one of the patterns matches it all."""
    ignored = re.compile("|".join(apart_from) or r"(?!)")
    lines = []
    for path in sorted({**before, **after}):
        old, new = before.get(path, "not there"), after.get(path, "not there")
        if old != new and not ignored.fullmatch(path):
            lines.append(f"{path}: {old} => {new}")
    return lines
