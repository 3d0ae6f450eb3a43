# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for the interpreter of a play's modules: runs the real one and appends its seconds to a file.

So the time is that of the module's own processes on the machine, from the first interpreter's start to its
exit; what Ansible does before and after on the controller does not count.

Usage: python -I -S stopwatch.py FILE INTERPRETER [ARGUMENT ...]
"""

from __future__ import annotations

import os
import sys
import time


def main() -> int:
    """Run the command, note its time, and end with its exit code."""
    file, *command = sys.argv[1:]
    start = time.monotonic()
    child = os.posix_spawn(command[0], command, os.environ)
    status = os.waitpid(child, 0)[1]
    seconds = time.monotonic() - start
    with open(file, "a", encoding="ascii") as stream:
        stream.write(f"{seconds:.6f}\n")
    return os.waitstatus_to_exitcode(status) & 0xFF


if __name__ == "__main__":
    sys.exit(main())
