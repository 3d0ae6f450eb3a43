# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what the role has to know of this machine before its first change: one JSON object; changes nothing.

The role gives this file to Python's option C(-c), so that one task sees all of it.

Standard input: JSON with C(users), C(files), C(directories) (paths), C(python) (the program's interpreter),
C(prefix) (where its environments lie) and C(config) (the path of the program's configuration).

Output: C(service_manager) (C(systemd) where it runs, otherwise the name of process 1), C(passwd) (by user who
exists, the entry in the passwd database), C(files) and C(directories) (by path, what ansible.builtin.stat
calls the same; directories also behind a link), C(python_version) (such as C(3.11); null where it does not
run), C(environments): C(all) and the C(complete) ones, and C(config), the configuration in force; empty where
there is none that can be read.
"""

import glob
import grp
import json
import os
import pwd
import stat
import subprocess
import sys

#: There exactly where systemd manages the machine: sd_booted(3).
BOOTED = "/run/systemd/system"
FIRST = "/proc/1/comm"
INIT = "/sbin/init"
_VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"


def main(wanted):
    """All that is asked for."""
    complete = glob.glob(glob.escape(wanted["prefix"]) + "/venv-*/.complete")
    return {
        "service_manager": service_manager(),
        "passwd": {user: entry for user in wanted["users"] for entry in [account(user)] if entry},
        "files": {path: described(path, os.lstat) for path in wanted["files"]},
        "directories": {path: described(path, os.stat) for path in wanted["directories"]},
        "python_version": version(wanted["python"]),
        "environments": {
            "all": sorted(glob.glob(glob.escape(wanted["prefix"]) + "/venv*")),
            "complete": [os.path.dirname(path) for path in complete],
        },
        "config": configuration(wanted["config"]),
    }


def service_manager():
    """What manages the services here, or in an image that is being built; as Ansible's service_mgr."""
    if os.path.isdir(BOOTED):
        return "systemd"
    try:
        with open(FIRST, encoding="utf-8") as stream:
            first = stream.read().strip()
    except OSError:
        first = ""
    if first in ("", "init") or first.endswith("sh"):  # says nothing; INIT is what would be started
        return os.path.basename(os.path.realpath(INIT)) if os.path.exists(INIT) else first or "nothing"
    return first


def account(user):
    """The entry of a user, as getent(1) prints its fields but for the name; None for nobody."""
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        return None
    return [str(field) for field in found[1:]]


def described(path, look):
    """What there is at a path."""
    try:
        info = look(path)
    except (OSError, ValueError):
        return {"exists": False}
    return {
        "exists": True,
        "isreg": stat.S_ISREG(info.st_mode),
        "isdir": stat.S_ISDIR(info.st_mode),
        "islnk": stat.S_ISLNK(info.st_mode),
        "lnk_source": os.path.realpath(path) if stat.S_ISLNK(info.st_mode) else "",
        "mode": f"{stat.S_IMODE(info.st_mode):04o}",
        "uid": info.st_uid,
        "gid": info.st_gid,
        "pw_name": name(pwd.getpwuid, info.st_uid),
        "gr_name": name(grp.getgrgid, info.st_gid),
        "rgrp": bool(info.st_mode & stat.S_IRGRP),
        "wgrp": bool(info.st_mode & stat.S_IWGRP),
        "woth": bool(info.st_mode & stat.S_IWOTH),
    }


def name(look_up, number):
    """The name of a user or a group; empty for a number that has none."""
    try:
        return look_up(number)[0]
    except KeyError:
        return ""


def configuration(path):
    """What the run before has declared."""
    try:
        with open(path, encoding="utf-8") as stream:
            found = json.load(stream)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def version(python):
    """Major and minor version of an interpreter."""
    try:
        command = [python, "-I", "-c", _VERSION]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True
        )
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


if __name__ == "__main__":
    print(json.dumps(main(json.load(sys.stdin))))
