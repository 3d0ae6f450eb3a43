# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring the sources of one Poetry project into the declared state, as the owner of its directory."""

from __future__ import annotations

import os
import pwd
import stat
import typing as t

from ._home_file import REFUSED, TEMPORARY, UNUSABLE, ConfigDirectory, FileProblem
from ._poetry import others_may_write
from ._poetry_sources import Source, SourcesProblem, effective, orphans, plan, read
from ._poetry_sources_edit import edit
from ._toml_read import is_valid

__all__ = ["PYPROJECT", "FileProblem", "owner_of", "update"]

PYPROJECT = "pyproject.toml"
_LOCK = "poetry.lock"
_TRIES = 5


def owner_of(path: str, *, allow_root: bool) -> pwd.struct_passwd:
    """The user to whom the project's directory belongs.

    :raises FileProblem: there is no such directory, or it is root's without C(allow_root), or nobody's.
    """
    if not os.path.isabs(path):
        raise FileProblem(f"project_dir {path} is not an absolute path; give it from / on", code=REFUSED)
    try:
        info = os.lstat(path)
    except OSError as error:
        raise FileProblem(
            f"{path}: {error.strerror}; make the project first, with: poetry new", code=REFUSED
        ) from error
    if stat.S_ISLNK(info.st_mode):
        raise FileProblem(_refused_link(path, path), code=REFUSED)
    if not stat.S_ISDIR(info.st_mode):
        raise FileProblem(f"{path} is no directory; name the one that holds {PYPROJECT}", code=REFUSED)
    try:
        account = pwd.getpwuid(info.st_uid)
    except KeyError:
        raise FileProblem(
            f"{path} belongs to uid {info.st_uid}, which is no user; repair with: chown -R USER {path}",
            code=REFUSED,
        ) from None
    if account.pw_uid == 0 and not allow_root:
        raise FileProblem(
            f"{path} belongs to root; give it to a user with: chown -R USER {path},"
            " or set allow_root: true (container images)",
            code=REFUSED,
        )
    return account


def update(
    path: str, *, home: str, sources: t.Sequence[Source], present: bool, purge: bool, check: bool
) -> dict[str, t.Any]:
    """Change the project's pyproject.toml; a pass that finds nothing to change ends it.

    :param path: absolute and normalised.
    :param home: the home of the user as whom this runs.
    :param check: only say what would be.
    :returns: C(before) and C(after) (texts), C(sources), C(lock) (whether there is a lock file), C(orphans);
        where nothing could be done C(failure), one line that says why and what to do.
    """
    file = f"{path}/{PYPROJECT}"
    try:
        if not path.startswith(f"{os.path.normpath(home).rstrip('/')}/"):
            _check_way(path)
        with ConfigDirectory(path, home=home) as directory:
            first: str | None = None
            for _attempt in range(_TRIES):
                with directory.locked():
                    if not check:
                        directory.sweep()
                    snapshot = directory.read(PYPROJECT, complete=is_valid, private=False)
                    if not snapshot.exists:
                        raise FileProblem(
                            f"there is no {file}; make the project first, with: poetry init", code=UNUSABLE
                        )
                    first = snapshot.text if first is None else first
                    entries = plan(read(snapshot.text), sources, present=present, purge=purge)
                    text = edit(snapshot.text, entries)
                    if check or text == snapshot.text:
                        return {
                            "before": first,
                            "after": text,
                            "sources": effective(entry.values for entry in entries if entry.kept),
                            "lock": os.path.lexists(f"{path}/{_LOCK}"),
                            "orphans": orphans(first, text),
                        }
                    directory.replace(PYPROJECT, text, previous=snapshot)  # the next pass reads it back
        raise FileProblem(f"{file} is written by somebody else all the time; try again", code=TEMPORARY)
    except FileProblem as problem:
        return {"failure": str(problem)}
    except SourcesProblem as problem:
        return {"failure": f"{file}: {problem}"}


def _check_way(path: str) -> None:
    """Refuse a directory in whose place others could put another one, of this or any other user.

    Inside the user's home C(ConfigDirectory) looks at each directory; this is for all other places.
    """
    current = ""
    for part in path.split("/")[1:-1]:
        current = f"{current}/{part}"
        try:
            info = os.lstat(current)
        except OSError as error:
            raise FileProblem(f"{current}: {error.strerror}; see: namei -l {path}", code=REFUSED) from error
        if stat.S_ISLNK(info.st_mode):
            raise FileProblem(_refused_link(current, path), code=REFUSED)
        if info.st_uid not in (0, os.geteuid()):
            raise FileProblem(
                f"{current} belongs to uid {info.st_uid}, who could replace {path}: refused;"
                " move the project to a directory of root or of its owner",
                code=REFUSED,
            )
        if others_may_write(info):
            raise FileProblem(
                f"{current} may be written by others, who could replace {path};"
                f" repair with: chmod go-w {current}",
                code=REFUSED,
            )


def _refused_link(link: str, path: str) -> str:
    return f"{link} is a symbolic link: refused; set project_dir: {os.path.realpath(path)}"
