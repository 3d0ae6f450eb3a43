# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what differs on this machine from what the role would write: a JSON list; changes nothing.

The role gives this file to Python's option C(-c), so that one task tells whether there is anything to do.

Standard input: JSON with C(files) (by path, the mode and the SHA-256 checksum), C(directories) (by path, the
mode), C(links) (by path, the target), C(present) (paths), C(absent) (paths), C(only) (by shell pattern, the
paths that may match), C(units) (those that have to be active), C(services) (those that must not have failed)
and C(accounts) (by user, home and shell). Files and directories have to be root's.
"""

import glob
import hashlib
import json
import os
import pwd
import stat
import subprocess
import sys

OWNER = (0, 0)


def main(expected):
    """All that is not as expected."""
    differs = [path for path, wanted in expected["files"].items() if file(path) != wanted]
    differs += [path for path, wanted in expected["directories"].items() if directory(path) != wanted]
    differs += [path for path, target in expected["links"].items() if link(path) != target]
    differs += [path for path in expected["present"] if not os.path.lexists(path)]
    differs += [path for path in expected["absent"] if os.path.lexists(path)]
    for pattern, allowed in expected["only"].items():
        differs += sorted(set(glob.glob(pattern)) - set(allowed))
    differs += [name for name, wanted in expected["accounts"].items() if account(name) != wanted]
    return differs or units(expected["units"], expected["services"])


def file(path):
    """Mode and checksum of root's regular file; None for anything else."""
    try:
        info = os.lstat(path)
        if not stat.S_ISREG(info.st_mode) or (info.st_uid, info.st_gid) != OWNER:
            return None
        with open(path, "rb") as stream:
            return f"{stat.S_IMODE(info.st_mode):04o} {hashlib.sha256(stream.read()).hexdigest()}"
    except OSError:
        return None


def directory(path):
    """Mode of root's directory, also behind a link, as the role writes there too; None for anything else."""
    try:
        info = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISDIR(info.st_mode) or (info.st_uid, info.st_gid) != OWNER:
        return None
    return f"{stat.S_IMODE(info.st_mode):04o}"


def link(path):
    """What a link says; None where there is none."""
    return os.readlink(path) if os.path.islink(path) else None


def account(name):
    """Home and shell of a user; None for nobody."""
    try:
        return list(pwd.getpwnam(name)[5:])
    except KeyError:
        return None


def units(active, services):
    """The units that do not run and should, and the services that have failed."""
    if not active:
        return []
    done = subprocess.run(
        ["systemctl", "is-active", *active, *services], stdout=subprocess.PIPE, text=True, check=False
    )
    states = done.stdout.split()
    if len(states) != len(active) + len(services):
        return active
    idle = [name for name, state in zip(active, states) if state != "active"]
    failed = [name for name, state in zip(services, states[len(active) :]) if state == "failed"]
    return idle + failed + unread([*active, *services])


def unread(names):
    """The units whose files systemd has not read yet: a run was cut off before it could say so."""
    command = ["systemctl", "show", "--property=Id,NeedDaemonReload", *names]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    found = []
    for block in done.stdout.split("\n\n"):
        properties = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if properties.get("NeedDaemonReload") == "yes":
            found.append(properties["Id"])
    return found


if __name__ == "__main__":
    print(json.dumps(main(json.load(sys.stdin))))
