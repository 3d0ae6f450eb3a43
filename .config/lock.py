# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve each requirements.in anew into its requirements.txt: locks with hashes for every supported Python.

One is for the controller's environment, one for the program gar-auth on the machines. The resolver (uv) comes
from the package index into an environment of its own below .build/. No address of an index gets into a lock.
Every package is brought to its newest version; the difference is for a person to read before it is committed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: Where a requirements.in lies, and the oldest Python that its lock is for.
LOCKS = {".config": "3.11", "roles/gar_auth/files": "3.10"}


def main() -> int:
    """Make the resolver's environment, then the locks."""
    environment = ROOT / ".build" / "lock"
    python = environment / "bin" / "python"
    if not (environment / "bin" / "uv").exists():
        venv.create(environment, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "uv"], check=True)
    for directory, oldest in LOCKS.items():
        options = ["--universal", "--python-version", oldest, "--generate-hashes", "--upgrade"]
        clean = ["--no-emit-index-url", "--no-emit-find-links", "--custom-compile-command", "make lock"]
        command = [str(environment / "bin" / "uv"), "pip", "compile", "--quiet", *options, *clean]
        subprocess.run(
            [*command, "requirements.in", "--output-file", "requirements.txt"],
            cwd=ROOT / directory,
            env={**os.environ, "UV_PYTHON_DOWNLOADS": "never"},
            check=True,
        )
    files = [f"{directory}/requirements.txt" for directory in LOCKS]
    subprocess.run(["git", "diff", "--stat", "--", *files], cwd=ROOT, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
