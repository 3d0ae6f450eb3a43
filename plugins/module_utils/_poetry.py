# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed Poetry: where it is, which version, and which settings it knows."""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import stat
import sys
import typing as t
from dataclasses import dataclass

from ._validate import redact

__all__ = [
    "Installation",
    "PoetryProblem",
    "check_names",
    "check_sections",
    "find",
    "flattened",
    "lend_packages",
    "typed_settings",
    "use",
    "version",
]

Path = tuple[str, ...]

_PACKAGES = re.compile(r"(.*)/lib(?:64)?/python(\d+)\.(\d+)/(?:site|dist)-packages")
_BUILD_SETTINGS = ("installer", "build-config-settings")
_SECTIONS = {
    *((name,) for name in ("experimental", "installer", "keyring", "python", "requests", "solver")),
    *((name,) for name in ("virtualenvs", "warnings")),
    ("virtualenvs", "options"),
    _BUILD_SETTINGS,
}
_OWN_OPTIONS = {
    "repositories": "repositories",
    "certificates": "repositories, with ca_cert and client_cert",
    "http-basic": "credentials",
    "pypi-token": "credentials",
}


class PoetryProblem(Exception):
    """Poetry is missing, not to be trusted, or does not accept a setting; the message names the cure."""


@dataclass(frozen=True)
class Installation:
    """An installed Poetry."""

    interpreter: str
    #: The directory that holds its packages, where it is a virtual environment; else None.
    packages: str | None
    #: Such as (2, 5, 1); None where only its own interpreter could say.
    version: tuple[int, ...] | None


def find(executable: str) -> Installation | None:
    """Look where a Poetry is and what runs it, from the first line of its script.

    :param executable: a path, or a name that is looked for on the PATH.
    :returns: None where there is no such program.
    :raises PoetryProblem: it is no Python script, or others than root and the present user could replace it.
    """
    path = executable if "/" in executable else shutil.which(executable)
    if path is None or not os.path.exists(path):
        return None
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
        group = info.st_mode & stat.S_IWGRP and info.st_gid not in (0, os.getegid())
        sticky = stat.S_ISDIR(info.st_mode) and info.st_mode & stat.S_ISVTX
        writable = (info.st_mode & stat.S_IWOTH or group) and not sticky
        if info.st_uid not in (0, os.geteuid()) or writable:
            raise PoetryProblem(
                f"{place} can be changed by others than {os.geteuid()}: not run; repair its owner and mode"
            )
    return Installation(interpreter, packages, version)


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
    from ansible.module_utils.common.respawn import has_respawned, respawn_module

    if not has_respawned() and not (have_toml and lend_packages(installation)):
        # Ansible fills a pipe with them before anybody reads it; Linux gives it 64 KiB.
        if len(json.dumps(params, default=str)) > 48 * 1024:
            raise PoetryProblem(
                "too much is declared to move it to Poetry's Python; set for this task"
                f" ansible_python_interpreter: {installation.interpreter}"
            )
        os.chdir("/")  # Ansible feeds it by stdin: Python would look for modules in the working directory
        respawn_module(installation.interpreter)  # does not return
    if not have_toml:
        raise PoetryProblem(f"{installation.interpreter} has no module tomli; install Poetry again")


def version() -> tuple[int, ...]:
    """The version of the Poetry whose packages are importable here."""
    from importlib.metadata import version as installed

    return tuple(map(int, re.findall(r"\d+", installed("poetry"))[:3]))


def check_names(names: t.Iterable[str], version: tuple[int, ...] | None) -> None:
    """Refuse names with a dot for a Poetry that takes them for a path.

    :raises PoetryProblem: before 2.4.0 Poetry splits a key at each dot.
    """
    dotted = sorted(name for name in names if "." in name)
    if dotted and version is not None and version < (2, 4):
        raise PoetryProblem(
            f"repositories: found the name {dotted[0]!r} and Poetry {'.'.join(map(str, version))}\n"
            "  allowed: a name with a dot only from Poetry 2.4.0 on\n"
            f"  example: name: {dotted[0].replace('.', '-')}"
        )


def typed_settings(settings: t.Mapping[str, t.Any]) -> dict[Path, t.Any]:
    """Check settings with the installed Poetry's own validators and give them its types.

    Poetry's packages must be importable (C(lend_packages), or its own interpreter).

    :param settings: nested or dotted names to values.
    :raises PoetryProblem: all unknown names (with the nearest one) and values that Poetry refuses.
    """
    if not settings:
        return {}
    from poetry.console.commands.config import ConfigCommand

    known = ConfigCommand().unique_config_values
    typed: dict[Path, t.Any] = {}
    problems: list[str] = []
    for path, value in flattened(settings):
        try:
            if path in typed:
                raise PoetryProblem("found a second time; give it once")
            typed[path] = _typed(path, value, known)
        except PoetryProblem as problem:
            problems.append(f"settings.{'.'.join(path)}: {problem}")
    if problems:
        raise PoetryProblem("\n".join(problems))
    return typed


def check_sections(paths: t.Iterable[Path]) -> None:
    """Refuse what is no single setting: what has an option of its own, and whole sections.

    :raises PoetryProblem: with all of them.
    """
    problems = {path: _no_setting(path) for path in paths}
    if any(problems.values()):
        raise PoetryProblem(
            "\n".join(
                f"settings.{'.'.join(path)}: {problem}" for path, problem in problems.items() if problem
            )
        )


def _no_setting(path: Path) -> str | None:
    if path[0] in _OWN_OPTIONS:
        return f"no setting; use the option {_OWN_OPTIONS[path[0]]}"
    return "a whole section; name its settings one by one" if path in _SECTIONS else None


def flattened(settings: t.Mapping[str, t.Any], prefix: Path = ()) -> t.Iterator[tuple[Path, t.Any]]:
    """The settings by their key paths; the settings of one package's build are one value."""
    for key, value in settings.items():
        path = (*prefix, *str(key).split("."))
        if path[:2] == _BUILD_SETTINGS and len(path) > 3:
            path = (*path[:2], ".".join(path[2:]))
        if whole := path[:2] == _BUILD_SETTINGS and len(path) == 3:
            # https://packaging.python.org/en/latest/specifications/name-normalization/
            path = (*path[:2], re.sub(r"[-_.]+", "-", path[2]).lower())
        if isinstance(value, dict) and value and not whole:
            yield from flattened(value, path)
        else:
            yield path, value


def _typed(path: Path, value: t.Any, known: t.Mapping[str, t.Any]) -> t.Any:
    name = ".".join(path)
    if problem := _no_setting(path):
        raise PoetryProblem(problem)
    if value is None:
        raise PoetryProblem("found nothing; give it a value, or leave it out")
    if path[:2] == _BUILD_SETTINGS and len(path) == 3:
        return _build_settings(value)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}" if near else f"known: {', '.join(sorted(known))}"
        raise PoetryProblem(f"this Poetry has no such setting; {hint}")
    validator, normalizer = known[name][:2]
    if isinstance(value, list) and not all(isinstance(item, str) for item in value):
        raise PoetryProblem("found a list with something else than strings; quote its items")
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, list):
        text = ",".join(map(str, value))
    else:
        text = str(value)
    try:
        if isinstance(value, dict) or not validator(text):
            raise ValueError(text)
        normal = normalizer(text)
        if isinstance(value, bool) and isinstance(normal, str):
            raise PoetryProblem(f"found {value}, which is no text (quote it, if it is meant as a name)")
        if isinstance(normal, list):
            # Poetry puts packages into a set: their order would be another one in each run.
            each = dict.fromkeys(item for part in text.split(",") for item in normalizer(part))
            return list(each) if set(each) == set(normal) else sorted(normal)
        if isinstance(value, list):
            raise ValueError(text)
    except ValueError:
        shown = str(value) if isinstance(value, list) else repr(text)
        raise PoetryProblem(f"this Poetry does not accept {redact(shown)}") from None
    return normal


def _build_settings(value: t.Any) -> dict[str, t.Any]:
    """What C(poetry config installer.build-config-settings.PACKAGE) takes as JSON, from Poetry 2.1 on."""
    try:
        from poetry.config.config import build_config_setting_normalizer, build_config_setting_validator
    except ImportError:
        raise PoetryProblem("this Poetry has no such setting; it came with Poetry 2.1") from None
    text = value if isinstance(value, str) else json.dumps(value)
    if not value or not build_config_setting_validator(text):
        raise PoetryProblem("found no mapping of names to strings or lists of strings; example: {CC: gcc}")
    return dict(build_config_setting_normalizer(text))
