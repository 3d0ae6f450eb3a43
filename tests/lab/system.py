# SPDX-License-Identifier: GPL-3.0-or-later
"""Run commands on the host, as root where needed, and install what the lab lacks there."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.console import say

__all__ = ["LabError", "Need", "as_root", "find_program", "install", "root_problem", "run"]

_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


class LabError(Exception):
    """The lab cannot go on. The message says what was found and what to do."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """Something that must be on the host: a program's name or an absolute path, and its packages."""

    what: str
    packages: tuple[str, ...]

    def met(self) -> bool:
        """Whether it is there already."""
        return Path(self.what).exists() if self.what.startswith("/") else find_program(self.what) is not None


def find_program(name: str) -> str | None:
    """Return the path of a program, also where /usr/sbin is not on an ordinary user's PATH."""
    return shutil.which(name, path=_PATH)


def as_root(argv: Sequence[str]) -> list[str]:
    """Prefix a command so that it runs as root, without ever asking for a password."""
    return list(argv) if os.geteuid() == 0 else ["sudo", "-n", "--", *argv]


def root_problem() -> str | None:
    """Say why nothing can be run as root here, or None where it can."""
    if os.geteuid() == 0:
        return None
    if find_program("sudo") is None:
        return "this user is not root and sudo is not installed"
    probe = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False, stdin=subprocess.DEVNULL)
    return None if probe.returncode == 0 else "this user is not root and sudo wants a password"


def run(
    argv: Sequence[str],
    *,
    root: bool = False,
    check: bool = True,
    input: str | bytes | None = None,
    timeout: float | None = 600,
) -> subprocess.CompletedProcess[str]:
    """Run a command with captured output; raise LabError with its last words when it fails.

    Standard input is empty unless given. The timeout is in seconds.
    """
    data = input.encode() if isinstance(input, str) else input
    command = as_root(argv) if root else list(argv)
    try:
        done = subprocess.run(command, input=data or b"", capture_output=True, check=False, timeout=timeout)
    except FileNotFoundError as error:
        raise LabError(f"{command[0]} is not installed on this host") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{_short(argv)} did not end within {timeout:.0f} s") from error
    output, errors = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    if check and done.returncode != 0:
        words = " / ".join((errors.strip() or output.strip() or "it printed nothing").splitlines()[-4:])
        raise LabError(f"{_short(argv)} ended with code {done.returncode}: {words}")
    return subprocess.CompletedProcess(command, done.returncode, output, errors)


def install(needs: Sequence[Need], *, purpose: str) -> None:
    """Install the Debian packages of all needs that are not met; say so in one line."""
    missing = sorted({package for need in needs if not need.met() for package in need.packages})
    if not missing:
        return
    if find_program("apt-get") is None:
        raise LabError(
            f"{purpose} needs {', '.join(missing)}; apt-get is not here: install them by other means"
        )
    say(
        f"installing on this host, for {purpose}: {' '.join(missing)} (apt-get, without recommended packages)"
    )
    apt = ["env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "apt-get", "-q"]
    options = ["-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"]
    run([*apt, "update"], root=True, check=False)
    run([*apt, *options, "install", *missing], root=True, timeout=1800)
    absent = [need.what for need in needs if not need.met()]
    if absent:
        raise LabError(f"{' '.join(missing)} installed, but {', '.join(absent)} still not found")


def _short(argv: Sequence[str]) -> str:
    """Name a command in a message without flooding it."""
    text = shlex.join(argv)
    return text if len(text) <= 70 else text[:67] + "..."
