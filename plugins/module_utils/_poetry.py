# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed Poetry: where it is, which version, whether it can be trusted, and how to run in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import sys
import typing as t
from dataclasses import dataclass

__all__ = [
    "Installation",
    "PoetryMissing",
    "PoetryProblem",
    "find",
    "go_on_under",
    "lend_packages",
    "others_may_write",
    "use",
    "version",
]

_PACKAGES = re.compile(r"(.*)/lib(?:64)?/python(\d+)\.(\d+)/(?:site|dist)-packages")


class PoetryProblem(Exception):
    """Poetry is missing, not to be trusted, or does not accept a setting; the message names the cure."""


class PoetryMissing(PoetryProblem):
    """There is no such program."""


@dataclass(frozen=True)
class Installation:
    """An installed Poetry."""

    interpreter: str
    #: The directory that holds its packages, where it is a virtual environment; else None.
    packages: str | None
    #: Such as (2, 5, 1); None where only its own interpreter could say.
    version: tuple[int, ...] | None


def find(executable: str) -> Installation:
    """Look where a Poetry is and what runs it, from the first line of its script.

    :param executable: a path, or a name that is looked for on the PATH.
    :raises PoetryMissing: there is no such program.
    :raises PoetryProblem: it is no Python script, or others than root and the present user could replace it.
    """
    path = executable if "/" in executable else shutil.which(executable)
    if path is None or not os.path.exists(path):
        raise PoetryMissing(f"there is no {executable}; run the role poetry first, or set option poetry")
    path = os.path.realpath(path)
    try:
        with open(path, "rb") as stream:
            first = stream.readline(4096)
    except OSError as error:
        raise PoetryProblem(f"{path}: {error.strerror}; name Poetry's own script in option poetry") from error
    interpreter = first[2:].strip().decode("utf-8", "replace").partition(" ")[0]
    if not first.startswith(b"#!/") or not os.path.basename(interpreter).startswith("python"):
        raise PoetryProblem(
            f"{path} is not Poetry's own script (a Python script); name the right one in option poetry"
        )
    packages, version = _packages(os.path.dirname(os.path.dirname(interpreter)))
    places = [path, os.path.realpath(interpreter), os.path.dirname(interpreter)]
    places += [packages, f"{packages}/poetry"] if packages else []
    for place in dict.fromkeys(above for one in places for above in _with_all_above(one)):
        try:
            info = os.stat(place)
        except OSError as error:
            raise PoetryProblem(f"{path} runs {place}: {error.strerror}; install Poetry again") from error
        if info.st_uid not in (0, os.geteuid()) or others_may_write(info):
            raise PoetryProblem(
                f"{place} can be changed by others than {os.geteuid()}: not run; repair its owner and mode"
            )
    return Installation(interpreter, packages, version)


def others_may_write(info: os.stat_result) -> bool:
    """Whether more than root and the owner can change a file, or replace what is in a directory."""
    if stat.S_ISDIR(info.st_mode) and info.st_mode & stat.S_ISVTX:
        return False
    foreign_group = info.st_mode & stat.S_IWGRP and info.st_gid not in (0, os.getegid())
    return bool(info.st_mode & stat.S_IWOTH or foreign_group)


def _with_all_above(path: str) -> list[str]:
    """A path and every directory above it, in which somebody could put another one in its place."""
    found = [path]
    while found[-1] != "/":
        found.append(os.path.dirname(found[-1]))
    return found


def _packages(prefix: str) -> tuple[str | None, tuple[int, ...] | None]:
    """Poetry's packages in a virtual environment, and its version."""
    if os.path.exists(f"{prefix}/pyvenv.cfg"):
        library = f"{prefix}/lib"
        for python in os.listdir(library) if os.path.isdir(library) else ():
            packages = f"{library}/{python}/site-packages"
            for name in os.listdir(packages) if os.path.isdir(f"{packages}/poetry") else ():
                if match := re.fullmatch(r"poetry-(\d+(?:\.\d+)*)[^-]*\.dist-info", name):
                    return packages, tuple(map(int, match[1].split(".")))
    return None, None


def lend_packages(installation: Installation) -> bool:
    """Make Poetry's packages importable in this process; saves the start of a second interpreter.

    :returns: False where another Python's version has to run them: move to C(interpreter) then.
    """
    match = _PACKAGES.fullmatch(installation.packages or "")
    if match is None or (int(match[2]), int(match[3])) != sys.version_info[:2]:
        return False
    if installation.packages not in sys.path:
        sys.path.insert(0, str(installation.packages))
    return True


def use(installation: Installation, params: t.Mapping[str, t.Any], *, have_toml: bool) -> None:
    """Make Poetry's packages importable; where that needs another Python, go on under it and do not return.

    :param params: the module's, which move along.
    :param have_toml: whether this Python can read TOML.
    :raises PoetryProblem: there is more to be moved than can be, or Poetry's own Python cannot read TOML.
    """
    from ansible.module_utils.common.respawn import has_respawned

    if not has_respawned() and not (have_toml and lend_packages(installation)):
        # Ansible fills a pipe with them before anybody reads it; Linux gives it 64 KiB.
        if len(json.dumps(params, default=str)) > 48 * 1024:
            raise PoetryProblem(
                "too much is declared to move it to Poetry's Python; set for this task"
                f" ansible_python_interpreter: {installation.interpreter}"
            )
        go_on_under(installation.interpreter)
    if not have_toml:
        raise PoetryProblem(f"{installation.interpreter} has no module tomli; install Poetry again")


def go_on_under(interpreter: str) -> None:
    """Start the module again under another Python, and do not return."""
    from ansible.module_utils.common.respawn import respawn_module

    os.chdir("/")  # Ansible feeds it by stdin: Python would look for modules in the working directory
    respawn_module(interpreter)


def version() -> tuple[int, ...]:
    """The version of the Poetry whose packages are importable here."""
    from importlib.metadata import version as installed

    return tuple(map(int, re.findall(r"\d+", installed("poetry"))[:3]))
