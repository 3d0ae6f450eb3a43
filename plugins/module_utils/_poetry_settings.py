# SPDX-License-Identifier: GPL-3.0-or-later
"""Which names and settings the installed Poetry accepts."""

from __future__ import annotations

import difflib
import json
import re
import typing as t

from ._poetry import PoetryProblem
from ._poetry_plan import HTTP_BASIC, PYPI_TOKEN
from ._validate import redact

__all__ = [
    "BUILD_SETTINGS",
    "check_names",
    "check_sections",
    "flattened",
    "package_key",
    "typed_settings",
]

Path = tuple[str, ...]

#: The table whose settings are those of one package's build each.
BUILD_SETTINGS = ("installer", "build-config-settings")
_SECTIONS = {
    *((name,) for name in ("experimental", "installer", "keyring", "python", "requests", "solver")),
    *((name,) for name in ("virtualenvs", "warnings")),
    ("virtualenvs", "options"),
    BUILD_SETTINGS,
}
_OWN_OPTIONS = {
    "repositories": "repositories",
    "certificates": "repositories, with ca_cert and client_cert",
    HTTP_BASIC: "credentials",
    PYPI_TOKEN: "credentials",
}


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
        if path[:2] == BUILD_SETTINGS and len(path) > 3:
            path = (*path[:2], ".".join(path[2:]))
        if whole := path[:2] == BUILD_SETTINGS and len(path) == 3:
            path = (*path[:2], package_key(path[2]))
        if isinstance(value, dict) and value and not whole:
            yield from flattened(value, path)
        else:
            yield path, value


def package_key(name: str) -> str:
    """A package's name as Poetry writes it among the settings of builds."""
    # https://packaging.python.org/en/latest/specifications/name-normalization/
    return re.sub(r"[-_.]+", "-", name).lower()


def _typed(path: Path, value: t.Any, known: t.Mapping[str, t.Any]) -> t.Any:
    name = ".".join(path)
    if problem := _no_setting(path):
        raise PoetryProblem(problem)
    if value is None:
        raise PoetryProblem("found nothing; give it a value, or leave it out")
    if path[:2] == BUILD_SETTINGS and len(path) == 3:
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
