# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of C(gar-auth)."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import typing as t
from pathlib import Path

from gar_auth import __version__
from gar_auth.config import Config, account_of
from gar_auth.errors import Exit, Failure
from gar_auth.store import Store

__all__ = ["main"]

DEFAULT_CONFIG = Path("/etc/gar-auth/config.json")


def main(arguments: list[str] | None = None, *, config_file: Path = DEFAULT_CONFIG) -> int:
    """Run a command and return its exit code; a failure is one line on standard error.

    :param config_file: where the role wrote the configuration.
    """
    options = _parser().parse_args(arguments)
    os.umask(0o077)
    try:
        config = Config.load(options.config or config_file)
        store = Store(config.run_dir, shared=config.shared_run_dir is not None)
        return int(options.run(config, store, options))
    except Failure as problem:
        print(f"gar-auth: {problem}", file=sys.stderr)
        return int(problem.code)
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gar-auth",
        description="Keeps access tokens for Google Artifact Registry fresh in Poetry's auth.toml.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--config", type=Path, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    fetch = commands.add_parser("fetch", help="get a fresh token for an identity (the fetcher's unit)")
    fetch.add_argument("identity")
    fetch.set_defaults(run=_fetch)

    write = commands.add_parser("write", help="put the tokens into a user's auth.toml (the writer's unit)")
    write.add_argument("user", nargs="?", help="default: who runs the command")
    write.add_argument("--remove", action="store_true", help="take our entries out again")
    write.set_defaults(run=_write)

    refresh = commands.add_parser("refresh", help="fetch and write for oneself, where nothing is scheduled")
    refresh.add_argument(
        "--watch", type=_seconds, metavar="SECONDS", help="go on, every SECONDS, until interrupted"
    )
    refresh.set_defaults(run=_refresh)

    status = commands.add_parser("status", help="how long each token still lives and who has it")
    status.add_argument("--json", action="store_true", help="for programs")
    status.add_argument(
        "--wait", type=float, default=0.0, metavar="SECONDS", help="until all is fine, at most that long"
    )
    status.set_defaults(run=_status)
    return parser


def _seconds(text: str) -> int:
    seconds = int(text)
    if seconds < 1:
        raise ValueError
    return seconds


def _fetch(config: Config, store: Store, options: argparse.Namespace) -> int:
    from gar_auth.fetch import fetch  # each command imports only what it needs: the fetcher runs every minute

    if fetch(config.identity(options.identity), store):
        print(f"new token for identity {options.identity}")
    return Exit.FINE


def _write(config: Config, store: Store, options: argparse.Namespace) -> int:
    from gar_auth._as_user import WorkFailed, run_as
    from gar_auth.write import remove, tokens, write

    account = account_of(options.user)
    known = {} if options.remove else tokens(config, store)

    def work() -> dict[str, t.Any]:
        try:
            return {"changed": remove(config, account) if options.remove else write(config, known, account)}
        except Failure as problem:
            return {"failure": str(problem), "code": int(problem.code)}

    try:
        result = work() if os.geteuid() == account.pw_uid else run_as(account, work)
    except WorkFailed as problem:
        raise Failure(str(problem), code=Exit.REFUSED) from None
    if "failure" in result:
        raise Failure(str(result["failure"]), code=Exit(result["code"]))
    if result["changed"]:
        print(
            f"{'removed the tokens from' if options.remove else 'new tokens in'}"
            f" auth.toml of {account.pw_name}"
        )
    return Exit.FINE


def _refresh(config: Config, store: Store, options: argparse.Namespace) -> int:
    from gar_auth.fetch import fetch
    from gar_auth.write import tokens, write

    account = account_of(None)
    used = sorted({repository.identity for repository in config.repositories})
    while True:
        try:
            for name in used:
                fetch(config.identity(name), store)
            if write(config, tokens(config, store), account):
                print(f"new tokens in auth.toml of {account.pw_name}", flush=True)
        except Failure as problem:
            if not options.watch or problem.code not in (Exit.TEMPORARY,):
                raise
            print(f"gar-auth: {problem}", file=sys.stderr, flush=True)
        if not options.watch:
            return Exit.FINE
        time.sleep(options.watch)


def _status(config: Config, store: Store, options: argparse.Namespace) -> int:
    from gar_auth.status import inspect

    deadline = time.monotonic() + options.wait
    report = inspect(config, store)
    while not report.fine and time.monotonic() < deadline:
        time.sleep(0.2)
        report = inspect(config, store)
    print(json.dumps(report.as_dict(), indent=2) if options.json else report.as_text())
    return Exit.FINE if report.fine else Exit.TEMPORARY


if __name__ == "__main__":
    sys.exit(main())
