# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the keyring backend into a Python environment, such as Poetry's own, or take it out: as its owner.

What is installed is a package like any other (its own files and a C(dist-info) directory), so that pip lists
it and keyring finds it by its entry point; it needs nothing else.
https://packaging.python.org/en/latest/specifications/recording-installed-packages/
"""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import io
import json
import os
import pwd
import shutil
import stat
import subprocess
import typing as t
from pathlib import Path

import gar_auth_keyring
from gar_auth import __version__
from gar_auth.errors import Exit, Failure, Reason
from gar_auth.store import publish

__all__ = ["PACKAGE", "install", "remove", "site_packages", "version_in"]

PACKAGE = "gar_auth_keyring"
_SECONDS = 60
_MAX_LINKS = 40


def install(place: str, *, config_file: str, check: bool = False) -> bool:
    """Make the environment have this release's backend, and no other release's.

    :param place: the environment's directory, or a program in it, such as the C(poetry) on the PATH.
    :param config_file: the configuration that the backend reads.
    :param check: change nothing.
    :returns: whether anything was changed, or would be.
    :raises Failure: no such environment, or none with keyring (78); it is not safe there (77).
    """
    directory = site_packages(place)
    if directory is None:
        raise Failure(
            f"{place} is no virtual environment and no program in one; see gar_auth_keyring_environments",
            code=Exit.CONFIGURATION,
        )
    if not (directory / "keyring" / "__init__.py").exists():
        raise Failure(
            f"{place}: this environment has no keyring, so nothing in it would ask for a token; install"
            " keyring there, or remove it from gar_auth_keyring_environments",
            code=Exit.CONFIGURATION,
        )
    files = _files(config_file)
    return _as_owner(place, directory, lambda: _install(directory, files, check=check))


def remove(place: str, *, check: bool = False) -> bool:
    """Take every release's backend out of the environment; one that is gone has none.

    :returns: whether anything was changed, or would be.
    :raises Failure: it is not safe there (77).
    """
    directory = site_packages(place)
    if directory is None or not _ours(directory):
        return False
    return _as_owner(place, directory, lambda: _remove(_ours(directory), check=check))


def site_packages(place: str) -> Path | None:
    """Where the packages of an environment lie; None where there is no such environment."""
    found = Path(os.path.realpath(place))
    if not found.is_dir():
        found = found.parent.parent
    if not (found / "pyvenv.cfg").is_file():
        return None
    directories = sorted(found.glob("lib/python3*/site-packages"))
    return directories[0] if len(directories) == 1 else None


def version_in(directory: Path | None) -> str | None:
    """The release of the backend that lies in site-packages, None where there is none."""
    infos = [] if directory is None else sorted(directory.glob(f"{PACKAGE}-*.dist-info"))
    if directory is None or not infos or not (directory / PACKAGE / "backend.py").is_file():
        return None
    return infos[-1].name[len(f"{PACKAGE}-") : -len(".dist-info")]


def _files(config_file: str) -> dict[str, bytes]:
    """What the package consists of: path below site-packages -> content; the entry point last."""
    source = Path(gar_auth_keyring.__file__).parent
    files = {f"{PACKAGE}/{path.name}": path.read_bytes() for path in sorted(source.glob("*.py"))}
    files[f"{PACKAGE}/place.json"] = json.dumps({"config": config_file}).encode() + b"\n"
    info = f"{PACKAGE}-{__version__}.dist-info"
    files[f"{info}/METADATA"] = (
        "Metadata-Version: 2.1\n"
        f"Name: {PACKAGE.replace('_', '-')}\n"
        f"Version: {__version__}\n"
        "Summary: Access tokens for Google Artifact Registry, for whoever asks keyring\n"
        "License: GPL-3.0-or-later\n"
        "Requires-Dist: keyring\n"
    ).encode()
    files[f"{info}/INSTALLER"] = b"gar-auth\n"
    files[f"{info}/entry_points.txt"] = (
        f"[keyring.backends]\nartifact-registry = {PACKAGE}.backend\n".encode()
    )
    record = io.StringIO()
    writer = csv.writer(record, lineterminator="\n")
    for name, content in files.items():
        hashed = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        writer.writerow([name, f"sha256={hashed}", len(content)])
    writer.writerow([f"{info}/RECORD", "", ""])
    files[f"{info}/RECORD"] = record.getvalue().encode()
    return files


def _ours(directory: Path) -> list[Path]:
    """Our directories below site-packages; first what names the others."""
    found = [*sorted(directory.glob(f"{PACKAGE}-*.dist-info")), directory / PACKAGE]
    return [path for path in found if path.is_dir() and not path.is_symlink()]


def _install(directory: Path, files: dict[str, bytes], *, check: bool) -> bool:
    for path in {directory / Path(name).parent for name in files}:
        if path.is_symlink():
            message = f"{path} is a symbolic link; nothing was changed; remove it"
            raise Failure(message, code=Exit.REFUSED, reason=Reason.FILE)
    present = {
        os.fspath(path.relative_to(directory))
        for ours in _ours(directory)
        for path in ours.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    new = {name: content for name, content in files.items() if _content(directory / name) != content}
    old = sorted(present - set(files))
    if not new and not old:
        return False
    if check:
        return True
    os.umask(0o022)  # of whom it is: who may use the environment may read it
    for name in old:
        (directory / name).unlink()
    for path in {(directory / name).parent for name in old}:
        with contextlib.suppress(OSError):  # something is left in it
            path.rmdir()
    for name, content in new.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        publish(path, content.decode(), mode=0o644)
    _compile(directory)
    return True


def _content(path: Path) -> bytes | None:
    try:
        return None if path.is_symlink() else path.read_bytes()
    except OSError:
        return None


def _compile(directory: Path) -> None:
    """For those who may read the environment and not write to it; that it fails costs them milliseconds."""
    python = directory.parents[2] / "bin" / "python"
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            [python, "-I", "-S", "-m", "compileall", "-q", directory / PACKAGE],
            env={"PATH": "/usr/bin:/bin"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )


def _remove(ours: list[Path], *, check: bool) -> bool:
    if not check:
        for path in ours:
            shutil.rmtree(path)
    return bool(ours)


def _as_owner(place: str, directory: Path, work: t.Callable[[], bool]) -> bool:
    """Do it with the rights of whose environment it is, once nobody else can lead it elsewhere."""
    from gar_auth.commands import as_user

    owner = os.stat(directory).st_uid
    try:
        account = pwd.getpwuid(owner)
    except KeyError:
        message = f"{directory} belongs to uid {owner}, who has no name here"
        raise Failure(message, code=Exit.REFUSED) from None
    shared = next(_shared(place, directory, account), None)
    if shared:
        raise Failure(
            f"{shared} belongs to somebody else, or others may write there; nothing was changed in {place}",
            code=Exit.REFUSED,
            reason=Reason.FILE,
        )

    def carefully() -> bool:
        try:
            return work()
        except OSError as error:
            raise Failure(f"{error.filename}: {error.strerror}", code=Exit.REFUSED) from error

    return as_user(account, carefully)


def _shared(place: str, directory: Path, account: pwd.struct_passwd) -> t.Iterator[Path]:
    """What somebody else than the environment's owner and root could change: a link to it, or a directory."""
    owners = (0, account.pw_uid)
    yield from (link for link in _links(place) if os.lstat(link).st_uid not in owners)
    bin_directory = directory.parents[2] / "bin"
    python = Path(os.path.realpath(bin_directory / "python"))
    for path in dict.fromkeys([directory, *directory.parents, bin_directory, python, *python.parents]):
        try:
            info = os.lstat(path)
        except FileNotFoundError:
            continue  # without Python nothing is compiled
        sticky = info.st_mode & stat.S_ISVTX and path != directory
        others = info.st_mode & stat.S_IWOTH and not sticky
        group = info.st_mode & stat.S_IWGRP and info.st_gid not in (0, account.pw_gid)
        if stat.S_ISLNK(info.st_mode) or info.st_uid not in owners or others or group:
            yield path


def _links(place: str) -> t.Iterator[Path]:
    """Every symbolic link on the way to a place."""
    current, rest, followed = Path("/"), list(Path(os.path.abspath(place)).parts[1:]), 0
    while rest and followed < _MAX_LINKS:
        part = rest.pop(0)
        path = current.parent if part == ".." else current / part
        if path.is_symlink():
            yield path
            followed += 1
            target = Path(os.readlink(path))
            rest = [*(target.parts[1:] if target.is_absolute() else target.parts), *rest]
            path = Path("/") if target.is_absolute() else current
        current = path
