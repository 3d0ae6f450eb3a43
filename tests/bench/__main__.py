# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the benchmarks: `python -m bench [--repetitions N]`, with tests/ on PYTHONPATH (`make bench`).

Prints tables and writes .build/bench/poetry_config.json. A goal that is not met is reported, and is no
failure.

Exit code: 0 when everything was measured, 1 when something broke, 130 when interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from bench import poetry_config
from bench.place import PLACE, POETRY_VERSION, BenchError, file_system, poetry
from bench.report import Report
from lab.console import exit_on_signals, fail, uninterrupted


def count(text: str) -> int:
    """Read a number of repetitions."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}: at least 1")
    return number


def machine(repetitions: int) -> dict[str, str | int]:
    """Name what can make a difference to the times."""
    return {
        "poetry": POETRY_VERSION,
        "python": platform.python_version(),
        "ansible-core": metadata.version("ansible-core"),
        "processors": len(os.sched_getaffinity(0)),
        "file system": file_system(PLACE),
        "repetitions": repetitions,
    }


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="bench", description="Run the benchmarks side by side.")
    parser.add_argument("--repetitions", type=count, default=5, help="samples of each work (default: 5)")
    repetitions = parser.parse_args().repetitions
    exit_on_signals()
    PLACE.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=PLACE))
    try:
        report = Report(machine=machine(repetitions))
        poetry_config.measure(report, scratch=scratch, poetry=poetry(), repetitions=repetitions)
    except BenchError as error:
        fail(str(error))
        return 1
    except KeyboardInterrupt:
        fail("interrupted")
        return 130
    finally:
        with uninterrupted():
            shutil.rmtree(scratch)
    file = PLACE / "poetry_config.json"
    file.write_text(json.dumps(report.as_json(), indent=2) + "\n", encoding="utf-8")
    where = ", ".join(f"{key} {value}" for key, value in report.machine.items())
    print(f"\npoetry_config: medians +- the farthest sample; {where}\n\n{report.text()}\n\nwritten: {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
