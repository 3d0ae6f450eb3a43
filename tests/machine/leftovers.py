# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine has after everything was taken back that it did not have before the first run."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lab.machines import Machine
from machine import listing
from machine.listing import Listing

__all__ = ["EXPECTED", "find"]

INFO = re.compile(r"/var/lib/dpkg/info/.+\.list")

# What may differ from the machine before the first run, and why.
EXPECTED = {
    r"/(home/admin|root)/\.ansible(/.*)?": "Ansible's own, for its modules' files",
    r"/etc/(passwd|group|shadow|gshadow)-": "the accounts as they were before the last change",
    r"/var/lib/apt/(lists(/.*)?|extended_states)": "apt's lists are newer now",
    r"/var/lib/dpkg/(status|status-old|available|lock|triggers/.*)": "dpkg's records of the packages",
}
# Packages that stay, as apt keeps what a package needed: other programs may use them by now.
PREREQUISITES = r"python3(\.\d+)?-venv|python3-(pip|setuptools)-whl|python3-(distutils|lib2to3)"
PACKAGES = "dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p'"


def find(machine: Machine, before: Listing, *, apart_from: Iterable[str]) -> list[str]:
    """Return a line for each path that differs, and for each package that should not be there.

    :param apart_from: patterns of further paths that may differ, such as what users made themselves.
    """
    installed = machine.ssh("admin", PACKAGES, check=True).stdout.split()
    had = {
        path.rpartition("/")[2].removesuffix(".list").partition(":")[0]
        for path in before
        if INFO.fullmatch(path)
    }
    added = sorted(set(installed) - had)
    files = (
        machine.ssh("admin", f"dpkg-query --listfiles {' '.join(added)}", check=True).stdout.split("\n")
        if added
        else []
    )
    ignored = [
        *EXPECTED,
        *apart_from,
        *(rf"{re.escape(path)}(/__pycache__(/.*)?)?" for path in files if path.startswith("/")),
        *(rf"/var/lib/dpkg/info/{re.escape(name)}(:\w+)?\.\w+" for name in added),
    ]
    return [
        *(f"the package {name}" for name in added if not re.fullmatch(PREREQUISITES, name)),
        *listing.differences(before, listing.take(machine), apart_from=ignored),
    ]
