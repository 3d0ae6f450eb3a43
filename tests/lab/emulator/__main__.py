# SPDX-License-Identifier: GPL-3.0-or-later
"""Command line of the emulated Google: ``python -m lab.emulator --state DIR ...``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .network import Address, NetworkError
from .records import DEFAULT_ACCOUNT
from .server import Options, run

DEFAULT_REPOSITORY = "demo-project/python"


def parse(arguments: list[str] | None = None) -> Options:
    """Read the command line; leaves with status 2 and a message when it cannot be understood."""
    parser = argparse.ArgumentParser(prog="python -m lab.emulator", description=__doc__)
    add = parser.add_argument
    add("--state", type=Path, required=True, metavar="DIR", help="all files are written here")
    add("--netns", type=Path, action="append", default=[], metavar="PATH", help="listen inside; repeatable")
    add("--metadata", type=Address.parse, default="169.254.169.254:80", metavar="ADDR:PORT")
    add("--https", type=Address.parse, default="127.0.0.2:443", metavar="ADDR:PORT")
    add("--apt", type=Path, metavar="DIR", help="served at https://packages.cloud.google.com/apt/")
    add("--lifetime", type=float, default=3600, metavar="SECONDS", help="of access tokens")
    add(
        "--window",
        type=float,
        default=300,
        metavar="SECONDS",
        help="metadata tokens are renewed before the end",
    )
    add(
        "--repository",
        action="append",
        metavar="PROJECT/REPO",
        help=f"repeatable; default {DEFAULT_REPOSITORY}",
    )
    add(
        "--service-account",
        action="append",
        metavar="EMAIL",
        help=f"attached to the machine; repeatable, the first is its default; default {DEFAULT_ACCOUNT}",
    )
    add("--watch-pid", type=int, metavar="PID", help="stop when this process is gone")
    given = parser.parse_args(arguments)
    if given.apt and not given.apt.is_dir():
        parser.error(f"--apt: found no directory {given.apt}; make it first")
    return Options(
        state=given.state.absolute(),
        namespaces=given.netns,
        metadata=given.metadata,
        https=given.https,
        apt=given.apt,
        lifetime=given.lifetime,
        window=given.window,
        repositories=given.repository or [DEFAULT_REPOSITORY],
        accounts=given.service_account or [DEFAULT_ACCOUNT],
        watch_pid=given.watch_pid,
    )


def main() -> int:
    """Run the emulator; returns the exit status."""
    options = parse()
    try:
        run(options)
    except (NetworkError, ValueError, OSError) as error:
        print(f"lab.emulator: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
