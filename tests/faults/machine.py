# SPDX-License-Identifier: GPL-3.0-or-later
"""Users with homes in a scratch directory, in a mount namespace of this process alone, with which all goes.

The namespace has its own /etc/passwd and /etc/group; so the module finds the users by name and becomes them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Machine", "User", "enter_namespace", "leave", "obstacle"]

_CLONE_NEWNS = 0x20000
_CAP_SYS_PTRACE = 19
_FIRST_UID = 61001


@dataclass(frozen=True, kw_only=True)
class User:
    """An unprivileged user of the machine."""

    name: str
    uid: int
    home: Path

    @property
    def config_dir(self) -> Path:
        return self.home / ".config" / "pypoetry"

    @property
    def config(self) -> Path:
        return self.config_dir / "config.toml"

    @property
    def auth(self) -> Path:
        return self.config_dir / "auth.toml"

    def own(self, *paths: Path) -> None:
        """Give paths to the user, without following a link."""
        for path in paths:
            os.chown(path, self.uid, self.uid, follow_symlinks=False)


def obstacle() -> str | None:
    """Why the tests cannot run here, or None."""
    if os.geteuid() != 0:
        return "needs root: it acts as other users and mounts file systems"
    missing = [name for name in ("strace", "mount", "unshare") if shutil.which(name) is None]
    if missing:
        return f"needs {', '.join(missing)}; on Debian: apt-get install strace mount util-linux"
    capabilities = int(Path("/proc/self/status").read_text().partition("CapEff:")[2].split()[0], 16)
    if not capabilities >> _CAP_SYS_PTRACE & 1:
        return "may not trace other users' processes here: CAP_SYS_PTRACE is missing"
    probe = subprocess.run(["unshare", "--mount", "true"], capture_output=True, text=True, check=False)
    return f"may not mount here: {probe.stderr.strip()}" if probe.returncode else None


def enter_namespace() -> None:
    """Let this process have a mount namespace of its own: its mounts are seen by its children only."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    _run("mount", "--make-rprivate", "/")


def _run(*command: str | Path) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command}: {done.stderr.strip()}")


def _lay_out(directory: Path) -> None:
    """Make files with the names that the module looks for."""
    (directory / "pypoetry").mkdir(parents=True)
    for name in ("auth.toml", "config.toml", "pypoetry/config.toml"):
        (directory / name).write_text("# root's own\n")
        (directory / name).chmod(0o600)


def _mounts_below(top: Path) -> list[str]:
    """Mount points below a directory, in the order of their mounting."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if point.startswith(f"{top}/")]


def leave(top: Path) -> None:
    """Unmount all below the scratch directory, then remove it; never what was mounted there."""
    for _mount in _mounts_below(top):
        _run("umount", "--lazy", _mounts_below(top)[-1])
    assert not _mounts_below(top)
    shutil.rmtree(top)


class Machine:
    """The users, their homes, and a Python that all of them can run.

    :param top: an empty directory that everybody may enter.
    :param packages: site-packages of Poetry, to be readable by everybody.
    """

    def __init__(self, top: Path, *, packages: Path) -> None:
        self.top = top
        homes = top / "homes"
        names = {"dev": "dev", "eve": "eve", "odd": "ödd öne", "ghost": "not/mounted"}
        self.users = {
            name: User(name=name, uid=_FIRST_UID + number, home=homes / home)
            for number, (name, home) in enumerate(names.items())
        }
        homes.mkdir(mode=0o755)
        self._accounts()
        base = Path(sys.base_prefix)
        self.python = self._bind(base, top / "python") / "bin" / "python{}.{}".format(*sys.version_info)
        self.packages = self._bind(packages, top / "packages")
        #: What no run may change: files of root and of a user that is not configured.
        self.outside = top / "outside"
        _lay_out(self.outside)
        #: The same, but dev's: here nothing but refusing a link protects what is outside.
        self.shared = self.outside / "shared" / "dev"
        _lay_out(self.shared)
        self.dev.own(self.shared, *self.shared.rglob("*"))

    @property
    def dev(self) -> User:
        return self.users["dev"]

    @property
    def eve(self) -> User:
        return self.users["eve"]

    def _accounts(self) -> None:
        taken = {account.pw_uid for account in pwd.getpwall()} & {user.uid for user in self.users.values()}
        if taken:
            raise RuntimeError(f"uids {taken} are in use here")
        passwd, group = Path("/etc/passwd").read_text(), Path("/etc/group").read_text()
        for user in self.users.values():
            passwd += f"{user.name}:x:{user.uid}:{user.uid}::{user.home}:/bin/sh\n"
            group += f"{user.name}:x:{user.uid}:\n"
        for name, text in (("passwd", passwd), ("group", group)):
            (self.top / name).write_text(text)
            (self.top / name).chmod(0o644)
            _run("mount", "--bind", self.top / name, f"/etc/{name}")

    def _bind(self, source: Path, target: Path) -> Path:
        target.mkdir()
        _run("mount", "--bind", "-o", "ro", source, target)
        return target

    @contextlib.contextmanager
    def log(self) -> Iterator[list[bytes]]:
        """Have a system log of our own for a while; what was written to it, when the block has ended."""
        place = self.top / "dev"
        place.mkdir()
        _run("mount", "-t", "tmpfs", "-o", "mode=0755", "none", place)
        for device in Path("/dev").iterdir():
            if device.is_symlink():
                (place / device.name).symlink_to(os.readlink(device))
            elif device.name in ("null", "zero", "full", "random", "urandom", "tty", "ptmx"):
                (place / device.name).touch()
                _run("mount", "--bind", device, place / device.name)
            elif device.name in ("pts", "shm"):
                (place / device.name).mkdir()
                _run("mount", "--rbind", device, place / device.name)
        lines: list[bytes] = []
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
            log.bind(str(place / "log"))
            reader = threading.Thread(target=lambda: lines.extend(iter(lambda: log.recv(65536), b"end")))
            reader.start()
            _run("mount", "--move", place, "/dev")
            try:
                yield lines
            finally:
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
                    end.sendto(b"end", "/dev/log")
                reader.join()
                _run("umount", "--lazy", "/dev")
                place.rmdir()

    @property
    def environment(self) -> dict[str, str]:
        """What that Python needs to find its own library, where it has one."""
        return {"LD_LIBRARY_PATH": str(self.python.parents[1] / "lib"), "LC_ALL": "C.UTF-8"}

    def start_script(self, user: User, script: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Start a Python script as a user, with pipes for its standard input and output."""
        return subprocess.Popen(
            [self.python, "-I", "-c", script, *arguments],
            env=self.environment,
            cwd="/",
            user=user.uid,
            group=user.uid,
            extra_groups=[],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def new_homes(self) -> None:
        """Make every home anew, empty."""
        for user in self.users.values():
            if user.name != "ghost":
                shutil.rmtree(user.home, ignore_errors=True)
                user.home.mkdir(mode=0o755)
                user.own(user.home)

    @contextlib.contextmanager
    def tmpfs(self, path: Path, options: str) -> Iterator[None]:
        """Mount a small file system on a directory for a while."""
        _run("mount", "-t", "tmpfs", "-o", options, "none", path)
        try:
            yield
        finally:
            _run("umount", path)

    @contextlib.contextmanager
    def bound(self, path: Path, *, read_only: bool = False) -> Iterator[None]:
        """Mount a path on itself for a while."""
        _run("mount", "--bind", path, path)
        try:
            if read_only:
                _run("mount", "-o", "remount,bind,ro", path)
            yield
        finally:
            _run("umount", path)
