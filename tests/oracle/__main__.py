# SPDX-License-Identifier: GPL-3.0-or-later
"""Run these tests with one pytest for each Poetry, as many at a time as there are processors.

Usage: python -m oracle [pytest's options]. The output of each comes as a whole when it has ended.

Exit code: 0 when all passed, else 1.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from .releases import HERE, RELEASES, ROOT, Release


def main() -> int:
    """Run all, then say which failed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    running: list[subprocess.Popen[str]] = []

    def run(release: Release) -> tuple[int, str]:
        only = ["--poetry", release.version, "-p", "no:cacheprovider"]
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", str(HERE), *only, *sys.argv[1:]],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running.append(process)
        output = process.communicate()[0]
        return process.returncode, output

    failed = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for release, (code, output) in zip(RELEASES, pool.map(run, RELEASES), strict=True):
                print(f"--- Poetry {release.version}\n{output}", flush=True)
                failed += [release.version] if code else []
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in running:
                process.terminate()
            return 130
    print(f"failed with Poetry {', '.join(failed)}" if failed else "passed with every Poetry")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
