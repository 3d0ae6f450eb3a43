# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed Poetry: where its interpreter is, which settings it knows, how it stores repositories."""

from __future__ import annotations

import difflib
import os
import shutil
import stat
import typing as t

__all__ = ["PoetryProblem", "find_interpreter", "plan", "typed_settings"]


class PoetryProblem(Exception):
    """Poetry is missing, not to be trusted, or does not accept a setting; the message names the cure."""


def find_interpreter(executable: str) -> str | None:
    """The Python that runs this C(poetry), from the first line of its script.

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
    for place in (path, os.path.dirname(path), os.path.realpath(interpreter), os.path.dirname(interpreter)):
        try:
            info = os.stat(place)
        except OSError as error:
            raise PoetryProblem(f"{path} runs {place}: {error.strerror}; install Poetry again") from error
        if info.st_uid not in (0, os.geteuid()) or info.st_mode & stat.S_IWOTH:
            raise PoetryProblem(
                f"{place} can be changed by others than {os.geteuid()}: not run; repair its owner and mode"
            )
    return interpreter


def typed_settings(settings: t.Mapping[str, t.Any]) -> dict[tuple[str, ...], t.Any]:
    """Check settings with the installed Poetry's own validators and give them its types.

    Must run under Poetry's interpreter.

    :param settings: nested or dotted names to values.
    :raises PoetryProblem: an unknown name (with the nearest one), or a value that Poetry refuses.
    """
    if not settings:
        return {}
    from poetry.console.commands.config import ConfigCommand

    known = ConfigCommand().unique_config_values
    typed: dict[tuple[str, ...], t.Any] = {}
    for name, value in _flatten(settings):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            hint = f"did you mean {' or '.join(near)}" if near else f"known: {', '.join(sorted(known))}"
            raise PoetryProblem(f"settings.{name}: this Poetry has no such setting; {hint}")
        if value is None:
            raise PoetryProblem(f"settings.{name}: found nothing; give it a value, or leave it out")
        validator, normalizer = known[name][:2]
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if not validator(text):
            raise PoetryProblem(f"settings.{name}: this Poetry does not accept {text!r}")
        typed[tuple(name.split("."))] = normalizer(text)
    return typed


def _flatten(settings: t.Mapping[str, t.Any], prefix: str = "") -> t.Iterator[tuple[str, t.Any]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def plan(
    repositories: t.Sequence[t.Mapping[str, t.Any]],
    settings: t.Mapping[tuple[str, ...], t.Any],
    *,
    present: bool,
) -> dict[tuple[str, ...], t.Any]:
    """What config.toml should hold: key path -> value, or None for what should not be there.

    :param repositories: with C(name), C(publish_url) and C(ca_cert).
    :param settings: as C(typed_settings) returns them.
    """
    changes: dict[tuple[str, ...], t.Any] = {}
    for repository in repositories:
        name = repository["name"]
        changes["repositories", name, "url"] = repository["publish_url"] if present else None
        # Without a certificate of its own the entry of an earlier run has to go.
        changes["certificates", name, "cert"] = (
            repository["ca_cert"] if present and repository["ca_cert"] else None
        )
    for path, value in settings.items():
        changes[path] = value if present else None
    return changes
