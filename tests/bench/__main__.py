# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the benchmarks: `python -m bench [--repetitions N] [NAME ...]`, tests/ on PYTHONPATH (`make bench`).

Prints tables and writes .build/bench/NAME.json for each NAME. A goal that is not met is reported, and is no
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
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from bench import fleet, gar_auth, installers, keyring, poetry_config
from bench.place import PLACE, POETRY_VERSION, BenchError, file_system, poetry, run
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
        "python": platform.python_version(),
        "processors": len(os.sched_getaffinity(0)),
        "file system": file_system(PLACE),
        "repetitions": repetitions,
    }


def of_poetry_config(scratch: Path, repetitions: int) -> Report:
    """Measure the module."""
    versions = {"poetry": POETRY_VERSION, "ansible-core": metadata.version("ansible-core")}
    report = Report(machine={**versions, **machine(repetitions)})
    poetry_config.measure(report, scratch=scratch, poetry=poetry(), repetitions=repetitions)
    return report


def of_gar_auth(scratch: Path, repetitions: int) -> Report:
    """Measure the program."""
    gcloud = run(["gcloud", "version", "--format=value('Google Cloud SDK')"]).strip()
    report = Report(machine={"gcloud": gcloud, **machine(repetitions)})
    gar_auth.measure(report, scratch=scratch, repetitions=repetitions)
    return report


def of_keyring(scratch: Path, repetitions: int) -> Report:
    """Measure the keyring backend and its command."""
    gcloud = run(["gcloud", "version", "--format=value('Google Cloud SDK')"]).strip()
    report = Report(machine={"gcloud": gcloud, **machine(repetitions)})
    keyring.measure(report, scratch=scratch, repetitions=repetitions)
    return report


def of_installers(scratch: Path, repetitions: int) -> Report:
    """Measure the roles gcloud and poetry, on a machine."""
    versions = {"poetry": POETRY_VERSION, "ansible-core": metadata.version("ansible-core")}
    report = Report(machine={**versions, **machine(repetitions)})
    installers.measure(report, scratch=scratch, repetitions=repetitions)
    return report


def of_fleet(scratch: Path, repetitions: int) -> Report:
    """Measure rollouts that change nothing, on a fleet of machines."""
    versions = {"poetry": POETRY_VERSION, "ansible-core": metadata.version("ansible-core")}
    report = Report(machine={**versions, **machine(repetitions)})
    fleet.measure(report, scratch=scratch, repetitions=repetitions)
    return report


BENCHES: dict[str, Callable[[Path, int], Report]] = {
    "poetry_config": of_poetry_config,
    "gar_auth": of_gar_auth,
    "keyring": of_keyring,
    "installers": of_installers,
    "fleet": of_fleet,
}


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="bench", description="Run the benchmarks side by side.")
    parser.add_argument("--repetitions", type=count, default=5, help="samples of each work (default: 5)")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)} (default: all)")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in BENCHES]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(BENCHES)}")
    exit_on_signals()
    PLACE.mkdir(parents=True, exist_ok=True)
    try:
        for name in options.names or BENCHES:
            bench(name, options.repetitions)
    except BenchError as error:
        fail(str(error))
        return 1
    except KeyboardInterrupt:
        fail("interrupted")
        return 130
    return 0


def bench(name: str, repetitions: int) -> None:
    """Run one, print its tables and write its JSON."""
    scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=PLACE))
    try:
        report = BENCHES[name](scratch, repetitions)
    finally:
        with uninterrupted():
            shutil.rmtree(scratch)
    file = PLACE / f"{name}.json"
    file.write_text(json.dumps(report.as_json(), indent=2) + "\n", encoding="utf-8")
    where = ", ".join(f"{key} {value}" for key, value in report.machine.items())
    print(f"\n{name}: medians +- the farthest sample; {where}\n\n{report.text()}\n\nwritten: {file}")


if __name__ == "__main__":
    sys.exit(main())
