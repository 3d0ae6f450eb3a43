# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring one file of pip, uv or twine into the declared state, with the privileges that the process has."""

from __future__ import annotations

import dataclasses
import os
import stat
import typing as t

from . import _clients_ini, _clients_pip, _clients_twine, _clients_uv
from ._clients_urls import masked
from ._home_file import REFUSED, TEMPORARY, UNUSABLE, ConfigDirectory, FileProblem, problem_of
from ._poetry import others_may_write
from ._toml_edit import EditFailed
from ._toml_read import is_valid

if t.TYPE_CHECKING:
    from ._validate import Repository

__all__ = ["HOME_PATHS", "PATHS", "Wanted", "update"]

#: Client -> its file for all users of the machine.
PATHS = {"pip": "/etc/pip.conf", "uv": "/etc/uv/uv.toml"}
#: Client -> its file below a home.
HOME_PATHS = {"pip": ".config/pip/pip.conf", "uv": ".config/uv/uv.toml", "twine": ".pypirc"}
_MODULES: dict[str, t.Any] = {"pip": _clients_pip, "uv": _clients_uv, "twine": _clients_twine}
_TRIES = 5


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What a client's file is to hold."""

    client: str
    repositories: t.Sequence[Repository]
    present: bool
    purge: bool = False

    def edited(self, text: str) -> str:
        """The text in the declared state; a text without a last line break stays without one.

        :raises FileProblem: it cannot be read, or holds something else in that place.
        """
        try:
            end = _clients_ini.line_break(text) if text and text[-1] not in "\r\n" else ""
            if self.client != "uv":
                _clients_ini.values(text)
            module = _MODULES[self.client]
            result: str = module.edit(text + end, self.repositories, present=self.present, purge=self.purge)
            if self.client != "uv":
                _clients_ini.values(result)
        except (_clients_ini.IniProblem, EditFailed) as problem:
            raise FileProblem(str(problem), code=UNUSABLE) from problem
        return result[: -len(end)] if end and result.endswith(end) else result

    def warnings(self, text: str) -> list[str]:
        """What in the file keeps the client from using what was put in."""
        found: list[str] = _MODULES[self.client].warnings(text) if self.present else []
        return found

    def complete(self, text: str) -> bool:
        """Whether the client could read the text."""
        if self.client == "uv":
            return is_valid(text)
        try:
            _clients_ini.values(text)
        except _clients_ini.IniProblem:
            return False
        return True


def update(path: str, *, home: str | None, wanted: Wanted, check: bool, follow: bool) -> dict[str, t.Any]:
    """Change the file; a pass that finds nothing to change ends it.

    :param path: absolute.
    :param home: the home of the user as whom this runs; None for a file of the whole machine.
    :param check: only say what would be.
    :param follow: go where a symbolic link in the file's place leads, inside the home.
    :returns: C(changed), C(before) and C(after) (texts without secrets), C(warnings); where nothing could be
        done C(failure), one line that says why and what to do.
    """
    written = False
    try:
        real = _place(path, home=home, follow=follow)
        directory_path, name = os.path.split(real)
        first: str | None = None
        for _attempt in range(_TRIES):
            create = wanted.present and not check
            with _opened(directory_path, home=home, create=create) as directory:
                one = _pass(
                    directory, name, mode=0o644 if home is None else 0o600, wanted=wanted, check=check
                )
            if one is None:
                continue
            first = one.before if first is None else first
            written = written or one.tried
            if not one.tried:
                return {
                    "changed": first != one.after,
                    "before": masked(first),
                    "after": masked(one.after),
                    "warnings": wanted.warnings(one.after),
                }
        raise FileProblem(f"{path} is written by somebody else all the time; try again", code=TEMPORARY)
    except FileProblem as problem:
        return {"failure": _told(str(problem), path), "changed": problem.changed or written}
    except OSError as error:
        return {"failure": str(problem_of(error, path)), "changed": written}


def _told(problem: str, path: str) -> str:
    """The problem with the path that it is about."""
    return problem if problem.startswith("/") else f"{path}: {problem}"


@dataclasses.dataclass(frozen=True)
class _Pass:
    """The texts that one pass found and wants, and whether it tried to write."""

    before: str
    after: str
    tried: bool


def _pass(directory: ConfigDirectory, name: str, *, mode: int, wanted: Wanted, check: bool) -> _Pass | None:
    """Read, edit, and write; None where the directory was removed meanwhile.

    :param mode: of a new file.
    """
    if directory.missing:
        text = wanted.edited("")
        if text:
            directory.check_writable(name)
        return _Pass("", text, False)
    with directory.locked():
        if directory.is_gone():
            return None
        snapshot = directory.read(name, complete=wanted.complete, private=False)
        text = wanted.edited(snapshot.text)
        if text == snapshot.text:
            return _Pass(text, text, False)
        if check:
            directory.check_writable(name)
            return _Pass(snapshot.text, text, False)
        directory.sweep()
        if not snapshot.exists:
            snapshot = dataclasses.replace(snapshot, mode=mode)
        directory.replace(name, text, previous=snapshot)
        if not text and os.path.basename(directory.path) in PATHS:
            directory.remove_if_empty()  # such as /etc/uv
    return _Pass(snapshot.text, text, True)


def _place(path: str, *, home: str | None, follow: bool) -> str:
    """Where the file really is.

    :raises FileProblem: a link leads out of the home, or others could put one on the way.
    """
    path = os.path.normpath(path)
    if home is None:
        _check_way(path)
        return path
    home = os.path.normpath(home)
    real_home = os.path.realpath(home)
    real = os.path.realpath(path) if follow else f"{real_home}/{os.path.relpath(path, home)}"
    if not real.startswith(f"{real_home.rstrip('/')}/"):
        raise FileProblem(f"{path} leads to {real}, outside of {real_home}: refused", code=REFUSED)
    return real


def _opened(path: str, *, home: str | None, create: bool) -> ConfigDirectory:
    if home is None and create and not os.path.lexists(path):
        before = os.umask(0o022)
        try:
            os.mkdir(path, 0o755)
        except FileExistsError:
            pass  # another of our writers was faster
        finally:
            os.umask(before)
    place = os.path.realpath(home) if home is not None else f"{path}/no-home"
    return ConfigDirectory(path, home=place, create=create)


def _check_way(path: str) -> None:
    """Refuse a path on which others than root and the present user could put another directory or a link."""
    current = ""
    for part in path.split("/")[1:-2]:
        current = f"{current}/{part}"
        try:
            info = os.lstat(current)
        except OSError as error:
            raise FileProblem(f"{current}: {error.strerror}; see: namei -l {path}", code=REFUSED) from error
        if stat.S_ISLNK(info.st_mode):
            raise FileProblem(
                f"{current} is a symbolic link: refused; set path: {os.path.realpath(path)}", code=REFUSED
            )
        if info.st_uid not in (0, os.geteuid()) or others_may_write(info):
            raise FileProblem(
                f"{current} can be changed by others than root, who could replace {path}: refused;"
                f" repair with: chown root {current}; chmod go-w {current}",
                code=REFUSED,
            )
