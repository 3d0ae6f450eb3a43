# SPDX-License-Identifier: GPL-3.0-or-later
"""Read every file below a directory and tell which hold credentials; changes nothing and follows no link."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
import sqlite3
import stat
import typing as t
from dataclasses import dataclass, field

from ansible_collections.devbox.artifact_registry.plugins.module_utils._credential_kinds import (
    MOST_BYTES,
    in_bytes,
    in_named_file,
    is_named,
)

__all__ = ["Finding", "Result", "run", "search", "skipped_mounts", "unchanged"]

CHUNK_BYTES = 4 * 1024 * 1024
_LARGEST_CONFIGURATION = 4 * 1024 * 1024

#: File systems that are no part of an image: the kernel's own, memory, and other machines' disks.
NOT_PERSISTENT = re.compile(
    r"autofs|binder|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|efivarfs|fusectl|hugetlbfs|mqueue"
    r"|nsfs|proc|pstore|ramfs|resctrl|rpc_pipefs|securityfs|selinuxfs|smackfs|sysfs|tmpfs|tracefs"
    r"|9p|afs|ceph|cifs|fuse\.gcsfuse|fuse\.sshfs|nfs4?|smb3|virtiofs"
)
#: Keys that are no finding, below the directory that is searched: a machine's own, without which nobody can
#: log in to build it, and those of gcloud's own tests, where it comes from an archive.
_KNOWN_KEYS = re.compile(
    r"/etc/ssh/ssh_host_[a-z0-9]+_key"
    r"|.*/platform/gsutil/(?:gslib|third_party)/(?:[^/]+/)*(?:tests|dummyserver)/.+"
)
_KEYS = frozenset(("private_key", "service_account_key"))
#: gcloud's stores, databases of SQLite, and their tables.
_STORES = {"credentials.db": "credentials", "access_tokens.db": "access_tokens"}
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class Finding:
    """A file and what it holds."""

    path: str
    kind: str


@dataclass
class Result:
    """What was found in how many files and bytes, and what could not be read, each with the reason."""

    found: list[Finding] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    files: int = 0
    bytes: int = 0


def run(*, paths: t.Sequence[str], ignore: t.Sequence[str]) -> tuple[str, dict[str, t.Any]]:
    """Search, and return why that fails (empty where nothing was found) and what to report."""
    for name, path in [("paths", path) for path in paths] + [("ignore", path) for path in ignore]:
        if not path.startswith("/"):
            return f"{name}: found {path}; allowed: absolute paths; example: {name}: [/opt]", {}
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        skip = skipped_mounts(mounts.read())
    try:
        result = search([_clean(path) for path in paths], ignore=[_clean(path) for path in ignore], skip=skip)
    except OSError as error:
        return f"paths: found {error.filename}, {error.strerror}; allowed: existing files and directories", {}
    reported = {
        "found": [{"path": _printable(finding.path), "kind": finding.kind} for finding in result.found],
        "files": result.files,
        "bytes": result.bytes,
    }
    return _message(result), reported


def _message(result: Result) -> str:
    kinds: dict[str, list[str]] = {}
    for finding in result.found:
        kinds.setdefault(_printable(finding.path), []).append(finding.kind)
    if kinds:
        files = f"{len(kinds)} file{'' if len(kinds) == 1 else 's'}"
        listed = ", ".join(f"{path} ({', '.join(found)})" for path, found in kinds.items())
        return f"credentials in {files}: {listed}; remove them and build again"
    if result.unread:
        listed = ", ".join(f"{_printable(path)} ({reason})" for path, reason in sorted(result.unread.items()))
        return f"could not read {listed}; search as root, or name them in ignore"
    return ""


def _clean(path: str) -> str:
    return os.path.normpath(path).replace("//", "/")


def _printable(path: str) -> str:
    """Return a path that is no UTF-8 with its odd bytes spelled out."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def skipped_mounts(mountinfo: str) -> frozenset[str]:
    """Return the mount points of file systems that are no part of an image.

    :param mountinfo: as C(/proc/self/mountinfo); of two mounts at one place the later one counts.
    """
    types = {}
    for line in mountinfo.splitlines():
        before, _separator, after = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), before.split()[4])
        types[point] = after.split()[0]
    return frozenset(point for point, kind in types.items() if NOT_PERSISTENT.fullmatch(kind))


def search(paths: t.Sequence[str], *, ignore: t.Collection[str], skip: t.Collection[str]) -> Result:
    """Search directories or files, given as absolute paths.

    :param ignore: files, and directories with all below, that are not looked at.
    :param skip: mount points that are not looked at, unless they are given themselves.
    :raises OSError: one of the paths cannot be opened.
    """
    searcher = _Search(left_out=frozenset(ignore) | (frozenset(skip) - frozenset(paths)))
    for path in paths:
        searcher.root(path)
    searcher.result.found.sort(key=lambda finding: (finding.path, finding.kind))
    return searcher.result


class _Search:
    def __init__(self, *, left_out: frozenset[str]) -> None:
        self.left_out = left_out
        self.result = Result()
        self._seen: set[tuple[int, int, str]] = set()
        self._base = ""
        self._buffer = memoryview(bytearray(CHUNK_BYTES))

    def root(self, path: str) -> None:
        """Search one of the given paths, which may be a file."""
        self._base = path.rstrip("/")
        if stat.S_ISDIR(os.lstat(path).st_mode):
            descriptor = os.open(path, _DIRECTORY)
            try:
                self._directory(descriptor, self._base)
            finally:
                os.close(descriptor)
        else:
            self._file(None, path, path)
        public = unchanged(_system(path), {finding.path for finding in self.result.found})
        self.result.found = [finding for finding in self.result.found if finding.path not in public]

    def _directory(self, descriptor: int, path: str) -> None:
        with os.scandir(descriptor) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
        for entry in entries:
            below = f"{path}/{entry.name}"
            if below in self.left_out:
                continue
            with self._noting(below):
                if entry.is_dir(follow_symlinks=False):
                    child = os.open(entry.name, _DIRECTORY, dir_fd=descriptor)
                    try:
                        self._directory(child, below)
                    finally:
                        os.close(child)
                elif entry.is_file(follow_symlinks=False):
                    self._file(descriptor, entry.name, below)

    @contextlib.contextmanager
    def _noting(self, path: str) -> t.Iterator[None]:
        """Note what cannot be read; what has gone meanwhile is nothing to read."""
        try:
            yield
        except FileNotFoundError:
            pass
        except OSError as error:
            self.result.unread[path] = error.strerror or type(error).__name__

    def _file(self, directory: int | None, name: str, path: str) -> None:
        descriptor = os.open(name, _FILE, dir_fd=directory)
        try:
            status = os.fstat(descriptor)
            # Of links to one file, each name may say something else.
            identity = (status.st_dev, status.st_ino, os.path.basename(path))
            if not stat.S_ISREG(status.st_mode) or identity in self._seen:
                return
            if status.st_nlink > 1:
                self._seen.add(identity)
            kinds = self._contents(descriptor, os.path.basename(path), path)
        finally:
            os.close(descriptor)
        if _KNOWN_KEYS.fullmatch(path[len(self._base) :]):
            kinds -= _KEYS
        self.result.files += 1
        self.result.found += [Finding(path=path, kind=kind) for kind in kinds]

    def _contents(self, descriptor: int, name: str, path: str) -> set[str]:
        """Read a file of any size; the chunks overlap by all that a pattern may look at."""
        kinds: set[str] = set()
        first = kept = b""
        while count := os.readv(descriptor, [self._buffer]):
            self.result.bytes += count
            data = kept + self._buffer[:count]
            kinds |= in_bytes(data)
            first = first or data
            kept = data[-MOST_BYTES:]
        if is_named(name):
            kinds |= in_named_file(name, first[:_LARGEST_CONFIGURATION])
        if first and (
            (name in _STORES and _has_rows(descriptor, _STORES[name])) or "/legacy_credentials/" in path
        ):
            kinds.add("gcloud_login")
        return kinds


def _has_rows(descriptor: int, table: str) -> bool:
    """Whether a store of gcloud's has a login; what is no such store has none of that kind."""
    source = f"file:/proc/self/fd/{descriptor}?mode=ro&immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(source, uri=True)) as database:
            return database.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None  # noqa: S608 - ours
    except sqlite3.Error:
        return False


def _system(path: str) -> str:
    """Return the root directory of the system with dpkg that a path belongs to, empty for C(/)."""
    while path not in ("", "/") and not os.path.isdir(f"{path}/var/lib/dpkg/info"):
        path = os.path.dirname(path)
    return path.rstrip("/")


def unchanged(base: str, paths: t.Collection[str]) -> set[str]:
    """Return those files that are, by dpkg's own checksums, what a package brought: everybody has these.

    What Python compiled of such a file counts as the file.

    :param base: the root directory of the system whose packages these are, empty for C(/).
    """
    sources = {path: re.sub(r"/__pycache__/([^/.]+)\.[^/]+\.pyc$", r"/\1.py", path) for path in paths}
    # A package may still call a file in /usr/lib by its old name in /lib.
    names = {name: source for source in sources.values() for name in _names(source[len(base) :])}
    public = set()
    for listed in glob.iglob(f"{glob.escape(base)}/var/lib/dpkg/info/*.md5sums") if names else ():
        with open(listed, encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                digest, _separator, name = line.rstrip("\n").partition("  ")
                if name in names and _md5(names[name]) == digest:
                    public.add(names[name])
    return {path for path, source in sources.items() if source in public}


def _names(path: str) -> list[str]:
    name = path.lstrip("/")
    return [name, name[len("usr/") :]] if name.startswith("usr/") else [name]


def _md5(path: str) -> str:
    """Return what dpkg compares with, against accidents and not against attacks."""
    digest = hashlib.md5()  # noqa: S324
    try:
        with open(path, "rb") as handle:
            while chunk := handle.read(CHUNK_BYTES):
                digest.update(chunk)
    except OSError:
        return ""
    return digest.hexdigest()
