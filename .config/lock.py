# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolve requirements.in anew into requirements.txt: one lock with hashes for every supported Python.

The resolver (uv) comes from the package index into an environment of its own below .build/. No address of
an index gets into the lock. Every package is brought to its newest version; the difference is for a person
to read before it is committed.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

CONFIG = Path(__file__).resolve().parent
OLDEST = "3.11"


def main() -> int:
    """Make the resolver's environment, then the lock."""
    environment = CONFIG.parent / ".build" / "lock"
    python = environment / "bin" / "python"
    if not (environment / "bin" / "uv").exists():
        venv.create(environment, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "uv"], check=True)
    options = ["--universal", "--python-version", OLDEST, "--generate-hashes", "--upgrade"]
    clean = ["--no-emit-index-url", "--no-emit-find-links", "--custom-compile-command", "make lock"]
    command = [str(environment / "bin" / "uv"), "pip", "compile", "--quiet", *options, *clean]
    subprocess.run([*command, "requirements.in", "--output-file", "requirements.txt"], cwd=CONFIG, check=True)
    subprocess.run(["git", "diff", "--stat", "--", "requirements.txt"], cwd=CONFIG, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
