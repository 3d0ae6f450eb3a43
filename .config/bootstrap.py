# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the controller's environment: `.venv` from the hash lock, and the collection's link for Ansible.

Runs on any Python 3.8 or newer with the standard library only, as the first thing of every `make` target,
so it must cost nothing when all is there. It looks for the newest Python that can serve, makes the
environment with it, and installs what is still missing for that from Debian (as root or through `sudo -n`).
A stamp inside `.venv`, written last, says what it was made of; without the right stamp the environment is
made anew, so an interrupted run leaves nothing to repair.

Environment: BOOTSTRAP_PYTHON names the interpreter to use instead of the newest one.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple

OLDEST, NEWEST = (3, 11), (3, 14)  # Pythons that the locked ansible-core releases support on the controller
LOCK = ".config/requirements.txt"
COLLECTION = Path("ansible_collections/devbox/artifact_registry")
PROBE = """
import json, sys
try:
    import ensurepip, venv
    usable = True
except ImportError:
    usable = False
base = getattr(sys, "_base_executable", None)  # not a virtual environment's, such as .venv
print(json.dumps([list(sys.version_info[:3]), base or sys.executable, usable]))
"""
# pip's variables that would send packages elsewhere or contradict a lock with hashes. Those on where packages
# come from (index, certificates, proxy) stay.
UNWANTED = "CONSTRAINT DRY_RUN EDITABLE NO_DEPS PREFIX REQUIREMENT ROOT TARGET USER".split()


class BootstrapError(Exception):
    """Something is missing; the message says what was found and what to do."""


@dataclass(frozen=True)
class Interpreter:
    """A Python that runs: its version, its path, and whether it can make virtual environments."""

    version: Tuple[int, int, int]
    path: str
    venv: bool

    @property
    def label(self) -> str:
        return "Python {}.{}.{} ({})".format(*self.version, self.path)


def candidates() -> List[str]:
    """Every path that may be a Python: the named one alone, else all on PATH and pyenv's versions."""
    named = os.environ.get("BOOTSTRAP_PYTHON")
    if named:
        return [shutil.which(named) or named]
    names = ["python3", *(f"python3.{minor}" for minor in range(OLDEST[1], NEWEST[1] + 1))]
    found = [os.path.join(place, name) for place in os.get_exec_path() for name in names]
    found += glob.glob(os.path.expanduser("~/.pyenv/versions/3.*/bin/python3"))
    return list(dict.fromkeys(path for path in [*found, sys.executable] if os.access(path, os.X_OK)))


def probe(path: str) -> Optional[Interpreter]:
    """Run one candidate. None if it does not run (a pyenv shim may only print an error)."""
    try:
        done = subprocess.run(
            [path, "-c", PROBE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=20,
            check=True,
        )
        version, executable, usable = json.loads(done.stdout.decode())
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return Interpreter(version=tuple(version), path=executable, venv=usable)


def choose(found: List[Interpreter]) -> Interpreter:
    """The newest supported Python, one that can make virtual environments before one that cannot."""
    fitting = [python for python in found if OLDEST <= python.version[:2] <= NEWEST]
    if not fitting:
        have = ", ".join(sorted({"{}.{}.{}".format(*python.version) for python in found})) or "none"
        raise BootstrapError(
            "no Python from {}.{} to {}.{} here (found: {}): install one, from Debian 12 on `apt-get install "
            "python3`, or name one with BOOTSTRAP_PYTHON=/path/to/python3".format(*OLDEST, *NEWEST, have)
        )
    return max(fitting, key=lambda python: (python.venv, python.version))


def root_prefix() -> Optional[List[str]]:
    """What to put before a command that needs root: nothing, sudo, or None where neither is possible."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo is None:
        return None
    test = subprocess.run([sudo, "-n", "true"], check=False, stderr=subprocess.DEVNULL)
    return [sudo, "-n"] if test.returncode == 0 else None


def install_debian(packages: List[str], *, why: str, log: Path) -> None:
    """Install Debian packages after saying so, or say in one line how to get them."""
    wanted = " ".join(packages)
    prefix = root_prefix()
    if shutil.which("apt-get") is None:
        raise BootstrapError(f"{why}: install what {wanted} is on Debian (there is no apt-get here)")
    if prefix is None:
        raise BootstrapError(f"{why}: run `sudo apt-get install {wanted}` first (not root, no `sudo -n`)")
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qy", "-oDPkg::Lock::Timeout=300"]
    print(f"{why}: installing {wanted} with apt-get{' through sudo' if prefix else ''}", flush=True)
    with phase("apt-get update"):
        run([*apt, "update"], log=log)
    with phase(f"apt-get install {wanted}"):
        run([*apt, "install", "--no-install-recommends", *packages], log=log)


@contextlib.contextmanager
def phase(title: str) -> Iterator[None]:
    """One line on what goes on, with its time when it is over."""
    start = time.monotonic()
    print(f"  {title} ...", end="", flush=True)
    try:
        yield
    except BaseException:
        print(" failed", flush=True)
        raise
    print(f" {time.monotonic() - start:.1f} s", flush=True)


def run(command: List[str], *, log: Path, env: Optional[Dict[str, str]] = None) -> None:
    """Run a command with its output in the log; on failure show the end of it."""
    with log.open("ab") as out:
        out.write(f"\n$ {' '.join(map(shlex.quote, command))}\n".encode())
        out.flush()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=env
        )
        try:
            while True:
                try:
                    code = process.wait(timeout=15)
                    break
                except subprocess.TimeoutExpired:
                    print(".", end="", flush=True)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if code:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-6:]
        shown = "\n    ".join(tail)
        raise BootstrapError(f"`{command[0]} ...` ended with {code}; the end of {log}:\n    {shown}")


def pip_environment() -> Dict[str, str]:
    """The caller's environment without what would keep pip from installing the lock into `.venv`."""
    unwanted = {f"PIP_{name}" for name in UNWANTED} | {"PYTHONHOME", "PYTHONPATH"}
    return {**{key: value for key, value in os.environ.items() if key not in unwanted}, "PIP_USER": "0"}


def stamp(root: Path) -> str:
    """What `.venv` must be made of: this lock, at this place (its scripts hold it), with the named Python."""
    parts = [str(root), os.environ.get("BOOTSTRAP_PYTHON", ""), (root / LOCK).read_text(encoding="utf-8")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def current(venv: Path, wanted: str) -> bool:
    """Whether the environment is complete: stamped with what is wanted, its interpreter still the same."""
    try:
        saved = json.loads((venv / "stamp.json").read_text(encoding="utf-8"))
        python = venv / "bin" / "python"
        expected = {"made_of": wanted, "interpreter": os.path.realpath(python)}
        return saved == expected and os.access(python, os.X_OK)
    except (OSError, ValueError):
        return False


def build(root: Path, venv: Path, log: Path, wanted: str) -> None:
    """Make the environment from nothing."""
    start = time.monotonic()
    python = choose([answer for answer in map(probe, candidates()) if answer])
    print(f"making {venv.name} with {python.label}", flush=True)
    if not python.venv:
        package = "python{}.{}-venv".format(*python.version)
        install_debian([package], why=f"{python.label} cannot make virtual environments", log=log)
    if shutil.which("git") is None:
        install_debian(["git"], why="git is missing", log=log)
    lock = root / LOCK
    count = sum("==" in line for line in lock.read_text(encoding="utf-8").splitlines())
    if venv.exists():
        shutil.rmtree(venv)
    environment = pip_environment()
    with phase("virtual environment"):
        run([python.path, "-m", "venv", str(venv)], log=log, env=environment)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install"]
    with phase(f"about {count} packages from the lock"):
        run([*pip, "--require-hashes", "-r", str(lock)], log=log, env=environment)
    saved = {"made_of": wanted, "interpreter": os.path.realpath(venv / "bin" / "python")}
    temporary = venv / "stamp.tmp"
    temporary.write_text(json.dumps(saved), encoding="utf-8")
    temporary.replace(venv / "stamp.json")
    print(f"  ready in {time.monotonic() - start:.1f} s", flush=True)


def link_collection(root: Path) -> None:
    """Let Ansible find the checkout as the collection: a link below ANSIBLE_COLLECTIONS_PATH."""
    link = root / ".ansible" / "collections" / COLLECTION
    target = os.path.relpath(root, link.parent)
    if link.is_symlink() and os.readlink(link) == target:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        link.unlink()
    link.symlink_to(target)


def bootstrap(root: Path) -> None:
    """Bring the checkout up to date; one process at a time."""
    venv, wanted = root / ".venv", stamp(root)
    link_collection(root)
    if current(venv, wanted):
        return
    with (root / ".ansible" / "bootstrap.lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not current(venv, wanted):
            log = root / ".ansible" / "bootstrap.log"
            log.write_bytes(b"")
            build(root, venv, log, wanted)


def main() -> int:
    try:
        bootstrap(Path(__file__).resolve().parent.parent)
    except (BootstrapError, OSError) as error:
        print(f"bootstrap: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nbootstrap: interrupted; the next run starts .venv anew", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
