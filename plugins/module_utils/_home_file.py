# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and replace one file in a user's home, as that user, without ever following a planted link.

The one routine for C(config.toml) and C(auth.toml): the modules and the program C(gar-auth) share it.
It runs with the user's own privileges; whoever is root drops them first (see C(_as_user.py)).
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import os
import re
import shlex
import stat
import time
import typing as t
from dataclasses import dataclass

__all__ = [
    "REFUSED",
    "TEMPORARY",
    "UNUSABLE",
    "ConfigDirectory",
    "FileProblem",
    "Snapshot",
    "problem_of",
]

#: Exit codes of sysexits.h: EX_DATAERR, EX_TEMPFAIL, EX_NOPERM.
UNUSABLE = 65
TEMPORARY = 75
REFUSED = 77

MAX_BYTES = 1024 * 1024
SETTLE_SECONDS = 2.0
SETTLED_AFTER_SECONDS = 5.0

_TEMPORARY_NAME = re.compile(r"\..+\.devbox-[0-9a-f]{16}")
_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_TEMPORARY_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EINTR,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
}
_CURES = {
    errno.EROFS: "the file system is mounted read-only, mount it read-write",
    errno.EPERM: "it may be immutable, see: lsattr -d {path}",
    errno.EBUSY: "it is a mount point, unmount it: umount {path}",
    errno.EXDEV: "it is a mount point, unmount it: umount {path}",
    errno.EIO: "the disk may be failing, see: dmesg",
}


class FileProblem(Exception):
    """One line that says what was found and what to do.

    C(code) is the exit code (65, 75 or 77), C(changed) whether the file was changed all the same.
    """

    def __init__(self, message: str, *, code: int, changed: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.changed = changed


@dataclass(frozen=True)
class Snapshot:
    """What a file held when it was read; C(identity) is None where there was no file."""

    text: str = ""
    mode: int = 0o600
    group: int = -1
    identity: tuple[int, ...] | None = None

    @property
    def exists(self) -> bool:
        return self.identity is not None


class ConfigDirectory:
    """The user's Poetry configuration directory, held open by descriptor.

    :param path: absolute path of the directory.
    :param home: the user's home; every component below it must be a real directory of the user.
    :param create: make missing directories (mode 0700).
    :raises FileProblem: a component is a link, is not the user's, or others may write to it.
    """

    def __init__(self, path: str, *, home: str, create: bool = False) -> None:
        self.path = os.path.normpath(path)
        self._fd = -1
        #: Name -> the file that we replaced last, still open: a writer may have opened it just before.
        self._replaced: dict[str, tuple[int, tuple[int, ...]]] = {}
        self.missing = False
        home = os.path.normpath(home)
        if self.path.startswith(home.rstrip("/") + "/"):
            base, parts = home, os.path.relpath(self.path, home).split("/")
        elif self.path == home:  # nobody needs to see what is beside it
            base, parts = home, []
        else:
            base, parts = os.path.dirname(self.path), [os.path.basename(self.path)]
        try:
            self._fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise problem_of(error, base) from error
        current = base
        try:
            if base == home:
                _check_directory(os.fstat(self._fd), current, own=False)
            for part in parts:
                current = f"{current.rstrip('/')}/{part}"
                if not self._descend(part, current, create=create, own=base == home):
                    self.missing = True
                    break
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise problem_of(error, current) from error
            raise

    def _descend(self, part: str, current: str, *, create: bool, own: bool) -> bool:
        try:
            deeper = os.open(part, _DIRECTORY_FLAGS, dir_fd=self._fd)
        except FileNotFoundError:
            if not create:
                return False
            try:
                with contextlib.suppress(FileExistsError):  # another of our writers was faster
                    os.mkdir(part, 0o700, dir_fd=self._fd)
                deeper = os.open(part, _DIRECTORY_FLAGS, dir_fd=self._fd)
            except OSError as error:
                raise problem_of(error, current) from error
        except OSError as error:
            if error.errno == errno.EACCES:
                with contextlib.suppress(OSError):
                    info = os.stat(part, dir_fd=self._fd, follow_symlinks=False)
                    _check_directory(info, current, own=own)
            raise problem_of(error, current) from error
        os.close(self._fd)
        self._fd = deeper
        _check_directory(os.fstat(deeper), current, own=own)
        return True

    def close(self) -> None:
        for name in list(self._replaced):
            self._forget(name)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> ConfigDirectory:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    @contextlib.contextmanager
    def locked(self, *, seconds: float = 5.0) -> t.Iterator[None]:
        """Hold the directory's lock, so that our own writers never overlap.

        :param seconds: how long to wait for another writer.
        :raises FileProblem: still locked after that, or the file system knows no locks (code 75).
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise FileProblem(
                        f"{self.path} is locked by another process for more than {seconds:g} s;"
                        f" find it with: fuser -v {shlex.quote(self.path)}",
                        code=TEMPORARY,
                    ) from None
                time.sleep(0.02)
            except OSError as error:
                raise FileProblem(
                    f"{self.path} cannot be locked: {error.strerror}", code=TEMPORARY
                ) from error
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # what was done is done; closing unlocks too
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def is_gone(self) -> bool:
        """Whether somebody has removed the directory since it was opened."""
        return os.fstat(self._fd).st_nlink == 0

    def check_writable(self, name: str) -> None:
        """Refuse, as a write would, a directory in which the user may not make files.

        :raises FileProblem: code 77; where the directory is missing, this is about the one that is there.
        """
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=self._fd, effective_ids=True):
            raise problem_of(PermissionError(errno.EACCES, os.strerror(errno.EACCES)), f"{self.path}/{name}")

    def read(self, name: str, *, complete: t.Callable[[str], bool], private: bool) -> Snapshot:
        """Read a file once it is whole.

        Poetry truncates a file before it writes it, so an empty or torn file is read again for up to 2 s.
        What it wrote in that very moment into the file that we had just replaced counts as the text.

        :param complete: whether a text can be used; asked again for each reading.
        :param private: refuse a file that others may read (C(auth.toml)).
        :returns: the last reading, complete or not: the caller decides about a file that stays torn.
        :raises FileProblem: a link, not a regular file, not the user's, over 1 MiB, not UTF-8.
        """
        if self.missing:
            return Snapshot()
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            snapshot = self._read_once(name, private=private)
            settled = not snapshot.exists or (
                complete(snapshot.text) if snapshot.text else _is_old(snapshot.identity)
            )
            if settled and (late := self._written_late(name)) and complete(late):
                return dataclasses.replace(snapshot, text=late)
            if settled or time.monotonic() >= deadline:
                return snapshot
            time.sleep(0.02)

    def _read_once(self, name: str, *, private: bool) -> Snapshot:
        path = f"{self.path}/{name}"
        try:
            fd = os.open(name, _FILE_FLAGS, dir_fd=self._fd)
        except FileNotFoundError:
            return Snapshot()
        except OSError as error:
            if error.errno in (
                errno.EACCES,
                errno.ENXIO,
            ):  # such as root's file, a socket: the cure depends on it
                with contextlib.suppress(OSError):
                    info = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
                    _check_file(info, path, private=private)
            raise problem_of(error, path) from error
        try:
            info = os.fstat(fd)
            _check_file(info, path, private=private)
            with os.fdopen(fd, "rb", closefd=False) as stream:
                data = stream.read(MAX_BYTES + 1)
        except OSError as error:
            raise problem_of(error, path) from error
        finally:
            with contextlib.suppress(OSError):  # all was read
                os.close(fd)
        if len(data) > MAX_BYTES:
            raise FileProblem(
                f"{path} is larger than 1 MiB: refused; make it smaller, or move it away", code=UNUSABLE
            )
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise FileProblem(
                f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8", code=UNUSABLE
            ) from error
        mode = stat.S_IMODE(info.st_mode)
        return Snapshot(text=text, mode=mode, group=info.st_gid, identity=_identity(info))

    def _written_late(self, name: str) -> str:
        """What somebody wrote into the file after we had replaced it; empty where nobody did."""
        if name not in self._replaced:
            return ""
        descriptor, identity = self._replaced.pop(name)
        with os.fdopen(descriptor, "rb") as stream:
            if _content_identity(_identity(os.fstat(descriptor))) == _content_identity(identity):
                return ""
            return stream.read(MAX_BYTES).decode("utf-8", "replace")

    def replace(self, name: str, text: str, *, previous: Snapshot) -> bool:
        """Publish a new text in one step; the old or the new file is there at any moment.

        An empty text removes the file. Mode and group of an existing file are kept; a new one gets 0600.

        :returns: False where the file is no longer what was read: read and merge again.
        :raises FileProblem: nothing was changed; disk full (75), read-only, immutable, mounted (77).
        """
        temporary = f".{name}.devbox-{os.urandom(8).hex()}"
        path = f"{self.path}/{name}"
        done = False
        try:
            if not text:
                if not self._still(name, previous):
                    return False
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=self._fd)
                done = True
                os.fsync(self._fd)
                return True
            fd = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._fd
            )
            with os.fdopen(fd, "wb") as stream:
                if previous.exists and previous.group != os.fstat(fd).st_gid:
                    with contextlib.suppress(PermissionError):  # a group that the user is not in
                        os.fchown(fd, -1, previous.group)
                os.fchmod(fd, previous.mode)
                stream.write(text.encode("utf-8"))
                stream.flush()
                os.fsync(fd)
            self._keep(name, previous)
            if not self._still(name, previous):
                self._forget(name)
                return False
            os.rename(temporary, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            done = True
            os.fsync(self._fd)
            return True
        except OSError as error:
            if done:
                cure = _CURES.get(error.errno or 0, "see: dmesg").format(path=shlex.quote(path))
                raise FileProblem(
                    f"{path} was changed, but may be lost at a power cut: {error.strerror}; {cure}",
                    code=TEMPORARY,
                    changed=True,
                ) from error
            raise problem_of(error, path) from error
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=self._fd)

    def _keep(self, name: str, previous: Snapshot) -> None:
        """Hold the file open that is about to be replaced."""
        self._forget(name)
        if previous.identity:
            with contextlib.suppress(OSError):  # then it is no longer what was read
                self._replaced[name] = (os.open(name, _FILE_FLAGS, dir_fd=self._fd), previous.identity)

    def _forget(self, name: str) -> None:
        if name in self._replaced:
            os.close(self._replaced.pop(name)[0])

    def _still(self, name: str, previous: Snapshot) -> bool:
        try:
            info = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return not previous.exists
        return previous.identity == _identity(info)

    def sweep(self) -> None:
        """Remove temporary files that a killed run of ours left behind.

        Only while the lock is held: then no temporary file of ours is in use.
        """
        for name in os.listdir(self._fd):
            if _TEMPORARY_NAME.fullmatch(name):
                with contextlib.suppress(OSError):
                    if stat.S_ISREG(os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_mode):
                        os.unlink(name, dir_fd=self._fd)

    def remove_if_empty(self) -> None:
        """Remove the directory where nothing is left in it."""
        if not self.missing and not os.listdir(self._fd):
            with contextlib.suppress(OSError):
                os.rmdir(self.path)


def _identity(info: os.stat_result) -> tuple[int, ...]:
    return (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def _is_old(identity: tuple[int, ...] | None) -> bool:
    """Whether a file was not written just now; Poetry leaves empty ones behind."""
    return identity is not None and time.time_ns() - identity[3] > SETTLED_AFTER_SECONDS * 1e9


def _content_identity(identity: tuple[int, ...]) -> tuple[int, ...]:
    """The part that a rename over the file leaves alone."""
    return identity[:4]


def _check_directory(info: os.stat_result, path: str, *, own: bool) -> None:
    """Refuse a directory that others can change.

    :param own: whether the place below the home makes it the user's; else nobody should give it away.
    """
    if info.st_uid != os.geteuid():
        cure = (
            f"repair with: chown {os.geteuid()} {shlex.quote(path)}"
            if own
            else f"name another directory, or one that belongs to uid {os.geteuid()}"
        )
        raise FileProblem(f"{path} belongs to uid {info.st_uid}; {cure}", code=REFUSED)
    foreign_group = info.st_mode & stat.S_IWGRP and info.st_gid != os.getegid()
    if info.st_mode & stat.S_IWOTH or foreign_group:
        raise FileProblem(
            f"{path} may be written by others; repair with: chmod go-w {shlex.quote(path)}", code=REFUSED
        )


def _check_file(info: os.stat_result, path: str, *, private: bool) -> None:
    if not stat.S_ISREG(info.st_mode):
        move = f"mv {shlex.quote(path)} {shlex.quote(f'{path}.old')}"
        raise FileProblem(f"{path} is not a regular file; move it away: {move}", code=REFUSED)
    if info.st_uid != os.geteuid():
        raise FileProblem(
            f"{path} belongs to uid {info.st_uid}; repair with: chown {os.geteuid()} {shlex.quote(path)}",
            code=REFUSED,
        )
    if info.st_nlink > 1:
        raise FileProblem(f"{path} has {info.st_nlink} hard links; keep one name of it only", code=REFUSED)
    if private and info.st_mode & 0o077:
        raise FileProblem(
            f"{path} has mode {stat.S_IMODE(info.st_mode):04o}, others may use it;"
            f" repair with: chmod 600 {shlex.quote(path)}",
            code=REFUSED,
        )


def problem_of(error: OSError, path: str) -> FileProblem:
    if error.errno in _TEMPORARY_ERRORS:
        return FileProblem(f"{path}: {error.strerror}; nothing was changed", code=TEMPORARY)
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return FileProblem(
            f"{path} is a symbolic link or not a directory: refused; replace it by the real one", code=REFUSED
        )
    cure = _CURES.get(error.errno or 0, "see: namei -l {path}").format(path=shlex.quote(path))
    return FileProblem(f"{path}: {error.strerror}; nothing was changed; {cure}", code=REFUSED)
