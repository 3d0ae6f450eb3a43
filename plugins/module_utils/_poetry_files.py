# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring one user's config.toml and auth.toml into the declared state, as that user."""

from __future__ import annotations

import contextlib
import functools
import os
import time
import typing as t
from dataclasses import dataclass

from ._home_file import REFUSED, TEMPORARY, UNUSABLE, ConfigDirectory, FileProblem, Snapshot, problem_of
from ._poetry_plan import AUTH, CONFIG, Wanted, plan
from ._poetry_show import changed_keys, listing, repositories_of
from ._toml_edit import EditFailed, edit
from ._toml_read import NotToml, is_valid, values

__all__ = ["Place", "places", "read", "update"]

_FILES = (CONFIG, AUTH)
_TRIES = 5
#: Poetry takes some milliseconds from reading a file to writing it back, without a lock.
READ_BACK_SECONDS = 0.1


@dataclass(frozen=True)
class Place:
    """Where one of Poetry's files really is."""

    directory: str
    name: str

    @property
    def path(self) -> str:
        return f"{self.directory}/{self.name}"


def places(directory: str, *, home: str, follow: bool) -> dict[str, Place]:
    """Where the two files are, with symbolic links resolved where they are followed.

    :raises FileProblem: a link leads out of the home.
    """
    home = os.path.normpath(home)
    found = {name: Place(directory, name) for name in _FILES}
    if not follow:
        return found
    for name, place in found.items():
        real = os.path.realpath(place.path)
        within = os.path.realpath(directory if not directory.startswith(f"{home}/") else home)
        if real != place.path and not real.startswith(f"{within}/"):
            raise FileProblem(f"{place.path} leads to {real}, outside of {within}: refused", code=REFUSED)
        found[name] = Place(*os.path.split(real))
    return found


def read(directory: str, *, home: str, follow: bool) -> dict[str, t.Any]:
    """Read both files: name -> parsed values.

    :raises FileProblem: a file cannot be read or trusted, or is no TOML.
    """
    parsed: dict[str, t.Any] = {}
    for name, place in places(directory, home=home, follow=follow).items():
        with ConfigDirectory(place.directory, home=_home(home, follow)) as opened:
            parsed[name] = _parsed(opened.read(place.name, complete=is_valid, private=name == AUTH), place)
    return parsed


def update(directory: str, *, home: str, wanted: Wanted, check: bool, follow: bool) -> dict[str, t.Any]:
    """Change both files; a pass that finds nothing to change ends it.

    :param check: only say what would be.
    :returns: C(changed), C(changes) (dotted keys), C(before) and C(after) (file -> listing without secrets),
        C(repositories); where nothing could be done C(failure), one line that says why and what to do.
    """
    first: dict[str, dict[str, t.Any]] = {}
    written: list[str] = []
    where: dict[str, Place] = {}
    try:
        with contextlib.ExitStack() as stack:
            where = places(directory, home=home, follow=follow)
            open_all = functools.partial(
                _open, where, stack, home=_home(home, follow), create=wanted.adds and not check
            )
            opened = open_all()
            for _attempt in range(_TRIES):
                one = _pass(where, opened, wanted=wanted, check=check, written=written)
                if one is None:
                    opened = open_all()
                    continue
                first = first or one.before
                if check or not one.differs:
                    return {"changed": one.differs or bool(written), **_report(first, one.after)}
                time.sleep(READ_BACK_SECONDS)  # then read back: Poetry may just overwrite it
        raise FileProblem(f"{directory} is written by somebody else all the time; try again", code=TEMPORARY)
    except FileProblem as problem:
        return {"failure": _told(problem, where, written), "changed": problem.changed or bool(written)}
    except OSError as error:
        return {"failure": _told(problem_of(error, directory), where, written), "changed": bool(written)}


def _told(problem: FileProblem, where: t.Mapping[str, Place], written: t.Collection[str]) -> str:
    """The problem's line, true also where it came after a change."""
    untouched = [f"{place.path}:" for name, place in where.items() if name not in written]
    text = str(problem)
    if written and not text.startswith(tuple(untouched)):
        text = text.replace("nothing was changed", "it was changed, but not read back")
    return text


def _open(
    where: t.Mapping[str, Place], stack: contextlib.ExitStack, *, home: str, create: bool
) -> dict[str, ConfigDirectory]:
    """Open the directories, in an order in which all runs lock them."""
    return {
        path: stack.enter_context(ConfigDirectory(path, home=home, create=create))
        for path in sorted({place.directory for place in where.values()})
    }


@dataclass(frozen=True)
class _Pass:
    """What one pass found: the values before and after, and whether a text changes."""

    before: dict[str, t.Any]
    after: dict[str, t.Any]
    differs: bool


def _pass(
    where: t.Mapping[str, Place],
    opened: t.Mapping[str, ConfigDirectory],
    *,
    wanted: Wanted,
    check: bool,
    written: list[str],
) -> _Pass | None:
    """Read both files, plan, and write.

    :param written: gets the name of each file that was tried to replace.
    :returns: None where a directory was removed meanwhile: open it again.
    """
    with contextlib.ExitStack() as stack:
        for directory in opened.values():
            if not directory.missing:
                stack.enter_context(directory.locked())
                if directory.is_gone():
                    return None
                if not check:
                    directory.sweep()
        snapshots = {
            name: opened[place.directory].read(place.name, complete=is_valid, private=name == AUTH)
            for name, place in where.items()
        }
        before = {name: _parsed(snapshot, where[name]) for name, snapshot in snapshots.items()}
        changes = plan(wanted, before[CONFIG], before[AUTH])
        texts = {name: _edited(snapshots[name], changes[name], where[name]) for name in _FILES}
        after = {name: values(text) for name, text in texts.items()}
        differing = [name for name, text in texts.items() if text != snapshots[name].text]
        for name in differing:
            place = where[name]
            directory = opened[place.directory]
            if check:
                directory.check_writable(place.name)
                continue
            # Where somebody was faster, the next pass does it.
            if directory.replace(place.name, texts[name], previous=snapshots[name]):
                written.append(name)
                if not texts[name]:
                    directory.remove_if_empty()
    return _Pass(before, after, bool(differing))


def _parsed(snapshot: Snapshot, place: Place) -> dict[str, t.Any]:
    try:
        return values(snapshot.text)
    except NotToml as error:
        raise FileProblem(f"{place.path}: {error}; repair it, or move it away", code=UNUSABLE) from error


def _edited(snapshot: Snapshot, changes: dict[tuple[str, ...], t.Any], place: Place) -> str:
    try:
        return edit(snapshot.text, changes)
    except EditFailed as error:
        raise FileProblem(f"{place.path}: {error}; repair it, or move it away", code=UNUSABLE) from error


def _home(home: str, follow: bool) -> str:
    return os.path.realpath(home) if follow else home


def _report(before: dict[str, t.Any], after: dict[str, t.Any]) -> dict[str, t.Any]:
    return {
        "changes": sorted(key for name in _FILES for key in changed_keys(before[name], after[name])),
        "before": {name: listing(before[name], other=after[name]) for name in _FILES},
        "after": {name: listing(after[name], other=before[name]) for name in _FILES},
        "repositories": repositories_of(after[CONFIG], after[AUTH]),
    }
