# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve all requirements anew into locks: exact versions with hashes, for every supported Python.

The controller's environment and the program gar-auth have a requirements.in and a requirements.txt each. For
Poetry there is a lock for each version that the role poetry installs, and beside it what each plugin adds.
The resolver (uv) comes from the package index into an environment of its own below .build/. No address of an
index gets into a lock. Every package is brought to its newest version; the difference is for a person to read
before it is committed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
#: Where a requirements.in lies, and the oldest Python that its lock is for.
LOCKS = {".config": "3.11", "roles/gar_auth/files": "3.10"}
POETRY = ROOT / "roles" / "poetry"
#: The newest Python that machines have.
NEWEST = "3.14"
#: A requirement with its hashes, and comments between them.
BLOCK = re.compile(r"^[A-Za-z0-9].*(?:\n[ \t#].*)*\n", re.MULTILINE)


def main() -> int:
    """Make the resolver's environment, then the locks."""
    environment = ROOT / ".build" / "lock"
    python = environment / "bin" / "python"
    if not (environment / "bin" / "uv").exists():
        venv.create(environment, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "uv"], check=True)
    uv = environment / "bin" / "uv"
    for directory, oldest in LOCKS.items():
        files = "requirements.in", "--output-file", "requirements.txt"
        compile_lock(uv, oldest, *files, cwd=ROOT / directory)
    lock_poetry(uv)
    changed = [f"{directory}/requirements.txt" for directory in LOCKS]
    subprocess.run(["git", "diff", "--stat", "--", *changed, POETRY / "files"], cwd=ROOT, check=True)
    return 0


def lock_poetry(uv: Path) -> None:
    """Write the locks of the versions and plugins that the role's variables name."""
    settings = yaml.safe_load((POETRY / "vars" / "main.yml").read_text(encoding="utf-8"))
    for version, oldest in settings["__poetry_versions"].items():
        path = POETRY / "files" / f"poetry-{version}.txt"
        wanted = f"poetry=={version}\n"
        lock = compile_lock(uv, oldest, "-", wanted=wanted)
        path.write_text(lock, encoding="utf-8")
        for plugin in settings["__poetry_plugins"]:
            constraint = f"--constraint={path}"
            more = compile_lock(uv, oldest, "-", constraint, wanted=f"{wanted}{plugin}\n")
            blocks = [block for block in BLOCK.findall(more) if block not in lock]
            added = path.with_name(f"poetry-{version}-{plugin}.txt")
            added.write_text("".join(blocks), encoding="utf-8")
        last = settings["__poetry_newest_python"].get(version, NEWEST)
        for minor in range(int(oldest.partition(".")[2]), int(last.partition(".")[2]) + 1):
            check_wheels(uv, f"3.{minor}", path)


def check_wheels(uv: Path, python: str, lock: Path) -> None:
    """Fail where something in a lock has no wheel for a Python: the role builds nothing."""
    options = ["--require-hashes", "--no-deps", "--only-binary=:all:", "--python-version", python]
    place = ["--target", str(ROOT / ".build" / "lock" / "nothing"), "--dry-run", "--quiet"]
    for platform in ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28"):
        command = [str(uv), "pip", "install", *options, *place, "--python-platform", platform]
        subprocess.run([*command, "--requirement", str(lock)], check=True)


def compile_lock(uv: Path, oldest: str, *arguments: str, wanted: str = "", cwd: Path = ROOT) -> str:
    """Return the lock for an oldest Python, of a file that is named or of what is wanted."""
    options = ["--universal", "--python-version", oldest, "--generate-hashes", "--upgrade"]
    clean = ["--no-emit-index-url", "--no-emit-find-links", "--custom-compile-command", "make lock"]
    if wanted:
        clean.append("--no-annotate")
    done = subprocess.run(
        [str(uv), "pip", "compile", "--quiet", *options, *clean, *arguments],
        cwd=cwd,
        env={**os.environ, "UV_PYTHON_DOWNLOADS": "never"},
        input=wanted,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
