# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is of a program whose versions have a directory each, and one link says which is in use.

The roles send this file to a machine's interpreter, with a look.py of their own behind it.
"""

import grp
import os
import pwd
import re
import stat

#: Written last of all into a version's directory.
STAMP = ".complete"
VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(-[0-9a-f]{8})?")
#: The version in use, and the one before.
LINKS = ("current", "previous")


def versions(prefix, links):
    """What lies below the prefix, and whose the links are that everybody uses.

    :param links: by path, what each is a link to, below the version in use.
    """
    entries = sorted(os.listdir(prefix)) if os.path.isdir(prefix) else []
    found = [name for name in entries if VERSION.fullmatch(name)]
    places = [prefix] + [os.path.dirname(path) for path in links]
    return {
        "there": os.path.isdir(prefix),
        "all": found,
        "complete": [one for one in found if os.path.exists(os.path.join(prefix, one, STAMP))],
        "current": target(os.path.join(prefix, "current")),
        "previous": target(os.path.join(prefix, "previous")),
        "strangers": [name for name in entries if name not in LINKS and name not in found],
        "links": [describe(path, prefix, inside) for path, inside in links.items()],
        "unsafe": sorted({one for place in places for one in unsafe(place)}),
    }


def target(link):
    """What a link says, an empty string where there is none."""
    return os.readlink(link) if os.path.islink(link) else ""


def describe(path, prefix, inside):
    """A link that everybody uses, what it should say, and whose it is."""
    wanted, found = os.path.join(prefix, "current", inside), target(path)
    return {
        "path": path,
        "target": wanted,
        "right": found == wanted,
        "ours": found.startswith(prefix + "/"),
        "usable": found.startswith(prefix + "/") or not os.path.lexists(path),
    }


def has_members(gid):
    """Whether anybody but root is in a group; Debian's staff, which owns /usr/local there, has nobody."""
    try:
        names = set(grp.getgrgid(gid).gr_mem)
    except KeyError:
        return True
    names.update(account.pw_name for account in pwd.getpwall() if account.pw_gid == gid)
    return bool(names - {"root"})


def unsafe(directory):
    """Each directory on the way that somebody else than root, or who runs this, could change."""
    path = os.path.abspath(directory)
    while True:
        try:
            info = os.stat(path)
        except OSError:
            info = None
        if info is not None:
            shared = info.st_mode & stat.S_IWOTH and not info.st_mode & stat.S_ISVTX
            group = info.st_mode & stat.S_IWGRP and info.st_gid != os.getegid() and has_members(info.st_gid)
            if info.st_uid not in (0, os.geteuid()) or shared or group:
                yield path
        if path == "/":
            return
        path = os.path.dirname(path)
