# SPDX-License-Identifier: GPL-3.0-or-later
"""Run these tests: one pytest for each source and for each Python, some at the same time.

Usage: python -m tokens [pytest's options]. The output of each comes as a whole when it has ended; at the end
comes the table of the soak. FAULTS=full takes every Python found, not only the oldest and the newest.

Exit code: 0 when all passed, else 1.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .pythons import BUILD, ROOT, VERSIONS, chosen, found
from .sources import SOURCES
from .table import table

HERE = Path(__file__).resolve().parent
RECORDS = BUILD / "soak"


def shards() -> dict[str, list[str]]:
    """The arguments of each pytest, by its name; what takes longest first."""
    soak, matrix = str(HERE / "test_soak.py"), str(HERE / "test_matrix.py")
    return {
        **{f"soak of {source.name}": [soak, "-k", f"[{source.name}]"] for source in SOURCES},
        "gcloud": [str(HERE / "test_gcloud.py")],
        **{f"Python {version}": [matrix, f"--python={version}"] for version in chosen()},
    }


def main() -> int:
    """Run all, print the table, then say what failed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    shutil.rmtree(RECORDS, ignore_errors=True)
    running: list[subprocess.Popen[str]] = []

    def run(arguments: list[str]) -> tuple[int, str, float]:
        start = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, *sys.argv[1:]],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running.append(process)
        output = process.communicate()[0]
        return process.returncode, output, time.monotonic() - start

    failed = []
    works = shards()
    with ThreadPoolExecutor((os.cpu_count() or 1) + 1) as pool:  # the one with gcloud mostly waits
        try:
            for name, (code, output, seconds) in zip(works, pool.map(run, works.values()), strict=True):
                print(f"--- {name}: {seconds:.1f} s\n{output}", flush=True)
                failed += [name] if code else []
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in running:
                process.terminate()
            return 130
    outages = [f"{source.name} with outages" for source in SOURCES if source.on_demand]
    print(table(RECORDS, [*(source.name for source in SOURCES), *outages]))
    print("not run: 48 hours of gcloud, which has a clock and a cache of its own; its ticks were real ones")
    for version in VERSIONS:
        if version not in found():
            print(f"not run: Python {version}, which is not here")
    print(f"failed: {', '.join(failed)}" if failed else "all passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
