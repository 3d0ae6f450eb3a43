# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of C(gar-auth); each imports only what it needs."""

from __future__ import annotations

import json
import os
import pwd
import sys
import time
import types
import typing as t
from pathlib import Path

from gar_auth import __version__
from gar_auth.config import Config, account_of
from gar_auth.errors import Exit, Failure, carried, unpacked
from gar_auth.store import Store, clear_own

if t.TYPE_CHECKING:
    import argparse

__all__ = ["run"]


def run(arguments: list[str], *, config_file: str) -> int:
    """Run a command and return its exit code; a failure is one line on standard error."""
    options = _plain_write(arguments) or _parser().parse_args(arguments)
    options.config_file = os.fspath(options.config or config_file)
    if options.run is _keyring:
        return int(_keyring(options))  # also before there is a configuration
    try:
        config = Config.load(Path(options.config_file))
        store = Store(config.run_dir, shared=config.shared_run_dir is not None)
        return int(options.run(config, store, options))
    except Failure as problem:
        print(f"gar-auth: {problem}", file=sys.stderr)
        return int(problem.code)
    except KeyboardInterrupt:
        return 130


def _plain_write(arguments: list[str]) -> argparse.Namespace | None:
    """C(gar-auth write --if-any USER), which a new token starts for all users at once, without argparse."""
    if len(arguments) != 3 or arguments[:2] != ["write", "--if-any"] or arguments[2].startswith("-"):
        return None
    options = types.SimpleNamespace(
        run=_write, config=None, user=arguments[2], if_any=True, remove=False, only=None
    )
    return t.cast("argparse.Namespace", options)


def _parser() -> argparse.ArgumentParser:
    import argparse

    parser = argparse.ArgumentParser(
        prog="gar-auth",
        description="Keeps access tokens for Google Artifact Registry fresh in Poetry's auth.toml.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--config", type=Path, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: t.Callable[..., int], summary: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=summary)
        added.set_defaults(run=run)
        return added

    fetch = command("fetch", _fetch, "get a fresh token for an identity (the fetcher's unit)")
    fetch.add_argument("identity")
    fetch.add_argument("--now", action="store_true", help="also where the present token is good enough")

    write = command("write", _write, "put the tokens into a user's auth.toml (the writer's unit)")
    write.add_argument("user", nargs="?", help="default: who runs the command")
    write.add_argument(
        "--if-any",
        action="store_true",
        help="a token that is missing is no failure: one is started when it comes",
    )
    write.add_argument("--remove", action="store_true", help="take our entries out again")
    write.add_argument("--check", action="store_true", help="with --remove: only say whether there are any")
    write.add_argument(
        "--only", action="append", metavar="NAME", help="only this repository; may be given several times"
    )

    user = command("user", _user, "fetch with one's own login and write, as that user (the user's unit)")
    user.add_argument("user", nargs="?", help="default: who runs the command")

    refresh = command("refresh", _refresh, "fetch and write at once: for oneself, or as root for everybody")
    refresh.add_argument(
        "--watch", type=_seconds, metavar="SECONDS", help="go on, every SECONDS, until interrupted"
    )

    get = command("get", _get, "print the token of a URL or of an identity, for scripts")
    what = get.add_mutually_exclusive_group(required=True)
    what.add_argument("url", nargs="?", metavar="URL", help="a repository's, or any below it")
    what.add_argument("--identity", metavar="NAME", help="whose token, instead of a URL's")

    keyring = command("keyring", _keyring, "put the keyring backend into Python environments, or take it out")
    keyring.add_argument("action", choices=("install", "remove"))
    keyring.add_argument(
        "places", nargs="+", metavar="PLACE", help="a virtual environment, or a program in one"
    )
    keyring.add_argument("--check", action="store_true", help="only say what would be done")

    command("cycle", _cycle, "fetch and write for everybody, as root, where there is no systemd (cron)")

    status = command("status", _status, "how long each token still lives and who has it")
    status.add_argument("--json", action="store_true", help="for programs")
    status.add_argument(
        "--wait", type=float, default=0.0, metavar="SECONDS", help="until all is fine, at most that long"
    )

    doctor = command("doctor", _doctor, "walk the whole way to the repositories; name the cause and the cure")
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.add_argument(
        "--project", type=Path, metavar="DIR", help="also look at this project's pyproject.toml"
    )

    check = command("check", _check, "see as each user that the index answers and that Poetry could publish")
    check.add_argument("users", nargs="*", metavar="USER", help="default: everybody, or oneself")
    check.add_argument("--json", action="store_true", help="for programs")
    check.add_argument("--poetry", metavar="PROGRAM", help="default: the one on the PATH of a new session")

    trial = command("try", _try, "see whether the index answers as the configuration on stdin wants (root)")
    trial.add_argument("--json", action="store_true", help="for programs")

    metrics = command("metrics", _metrics, "the state as metrics for node_exporter's textfile collector")
    metrics.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    return parser


def _seconds(text: str) -> int:
    seconds = int(text)
    if seconds < 1:
        raise ValueError
    return seconds


def _fetch(config: Config, store: Store, options: argparse.Namespace) -> int:
    from gar_auth.fetch import fetch

    if fetch(config.identity(options.identity), store, config, force=options.now):
        print(f"new token for identity {options.identity}")
    return Exit.FINE


def _write(config: Config, store: Store, options: argparse.Namespace) -> int:
    from gar_auth.write import remove, tokens, write

    account = account_of(options.user)
    if not options.remove and not config.writes:
        message = "the provider is keyring: nothing is written into auth.toml; to see a token: gar-auth get"
        raise Failure(message, code=Exit.CONFIGURATION)
    only = frozenset(options.only) if options.only else None
    problems: list[Failure] = []
    known = {} if options.remove else tokens(config, store, problems, only=only)
    unknown = (only or frozenset()) - {repository.name for repository in config.repositories}
    if unknown and not options.remove:
        message = f"no repository {sorted(unknown)[0]!r}; see: gar-auth status"
        raise Failure(message, code=Exit.CONFIGURATION)

    def work() -> bool:
        if options.remove:
            removed = config.writes and remove(config, account, only=only, check=options.check)
            if only is None and not options.check:
                clear_own(account)
            return removed
        return write(config, known, account, only=only, if_any=options.if_any)

    if as_user(account, work):
        removed = "would remove" if options.remove and options.check else "removed"
        done = f"{removed} the tokens from" if options.remove else "new tokens in"
        print(f"{done} auth.toml of {account.pw_name}")
    if problems:
        raise problems[0]
    return Exit.FINE


def as_user(account: pwd.struct_passwd, work: t.Callable[[], bool]) -> bool:
    """Do the work as that user; where that is somebody else, in a child process.

    :raises Failure: as the work does; not root (77); the child ended without an answer (75).
    """
    if os.geteuid() == account.pw_uid:
        return work()
    if os.geteuid() != 0:
        message = f"only root can act for {account.pw_name}; run it with sudo, or as {account.pw_name}"
        raise Failure(message, code=Exit.REFUSED)
    from gar_auth._as_user import WorkFailed, run_as

    try:
        answer = run_as(account, lambda: carried(work))
    except WorkFailed as problem:
        raise Failure(str(problem), code=Exit.TEMPORARY) from None
    return bool(unpacked(answer))


def _user(config: Config, store: Store, options: argparse.Namespace) -> int:
    from gar_auth.user import refresh_user

    account = account_of(options.user)
    now = options.user is None  # a person, not the unit
    if as_user(account, lambda: refresh_user(config, account, now=now)):
        print(f"new tokens in auth.toml of {account.pw_name}")
    return Exit.FINE


def _refresh(config: Config, store: Store, options: argparse.Namespace) -> int:
    from gar_auth.user import refresh

    if config.service_manager != "none":
        from gar_auth.machine import refresh_machine

        return refresh_machine(config, store)
    account = account_of(None)
    while True:
        try:
            if refresh(config, store, account, now=not options.watch):
                print(f"new tokens in auth.toml of {account.pw_name}", flush=True)
        except Failure as problem:
            if not options.watch or problem.code != Exit.TEMPORARY:
                raise
            print(f"gar-auth: {problem}", file=sys.stderr, flush=True)
        if not options.watch:
            return Exit.FINE
        time.sleep(options.watch)


def _get(config: Config, store: Store, options: argparse.Namespace) -> int:
    from gar_auth.get import get, identity_for

    name = options.identity or identity_for(options.url, options.config_file)
    print(get(config, store, config.identity(name), account_of(None)))
    return Exit.FINE


def _keyring(options: argparse.Namespace) -> int:
    """Do it for every place; what goes wrong with one is told, and keeps nobody from the next."""
    from gar_auth.environments import install, remove

    code = 0
    for place in options.places:
        try:
            if options.action == "install":
                done = install(place, config_file=options.config_file, check=options.check)
            else:
                done = remove(place, check=options.check)
        except Failure as problem:
            print(f"gar-auth: {problem}", file=sys.stderr)
            code = code or int(problem.code)
            continue
        if done:
            would = "would be " if options.check else ""
            print(f"the keyring backend {would}{options.action.rstrip('e')}ed: {place}")
    return code


def _cycle(config: Config, store: Store, options: argparse.Namespace) -> int:
    from gar_auth.cycle import cycle

    return cycle(config, store)


def _status(config: Config, store: Store, options: argparse.Namespace) -> int:
    from gar_auth.status import inspect

    deadline = time.monotonic() + options.wait
    report = inspect(config, store)
    while not report.fine and time.monotonic() < deadline:
        time.sleep(0.2)
        report = inspect(config, store)
    print(json.dumps(report.as_dict(), indent=2) if options.json else report.as_text())
    return Exit.FINE if report.fine else Exit.TEMPORARY


def _doctor(config: Config, store: Store, options: argparse.Namespace) -> int:
    from gar_auth.doctor import run as examine

    return int(examine(config, store, options))


def _check(config: Config, store: Store, options: argparse.Namespace) -> int:
    from gar_auth.check import run as look

    return look(config, store, options.users, poetry=options.poetry, as_json=options.json)


def _try(config: Config, store: Store, options: argparse.Namespace) -> int:
    from gar_auth.trial import run as look

    return look(config, sys.stdin, as_json=options.json)


def _metrics(config: Config, store: Store, options: argparse.Namespace) -> int:
    from gar_auth.metrics import run as publish

    return int(publish(config, store, options))
