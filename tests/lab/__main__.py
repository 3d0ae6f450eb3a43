# SPDX-License-Identifier: GPL-3.0-or-later
"""Throwaway systemd machines with the emulated Google: python -m lab COMMAND."""

from __future__ import annotations

import argparse
import os
import sys

from lab import aptrepo, boot, images, machines, podman
from lab.console import exit_on_signals, fail, say, step
from lab.host import machine_support
from lab.images import ACCOUNTS, SUITES
from lab.machines import Machine
from lab.system import LabError

UNSUPPORTED = 3
"""Exit code where this host cannot boot machines."""


def main() -> int:
    """Run one command; return 0 if all is well, 1 on an error, 3 where no machine can be booted."""
    arguments = _parser().parse_args()
    exit_on_signals()
    try:
        return int(arguments.run(arguments) or 0)
    except LabError as error:
        fail(str(error))
        return 1
    except KeyboardInterrupt:
        fail("interrupted")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    prepare = commands.add_parser(
        "prepare", help="install what is needed, build the images and gcloud's repository"
    )
    prepare.add_argument(
        "--suite", choices=list(SUITES), action="append", help="only this one; may be repeated"
    )
    prepare.set_defaults(run=_prepare)

    support = commands.add_parser(
        "support", help="say whether machines can be booted here; installs what is missing"
    )
    support.set_defaults(run=_support)

    up = commands.add_parser("up", help="start a machine and leave it running")
    up.add_argument("name", metavar="NAME")
    up.add_argument("--suite", choices=list(SUITES), default="debian12", help="default: %(default)s")
    up.add_argument("--owner", type=int, metavar="PID", help="may be removed once that process is gone")
    up.set_defaults(run=_up)

    down = commands.add_parser("down", help="remove a machine; no error if there is none")
    down.add_argument("name", metavar="NAME")
    down.set_defaults(run=_down)

    enter = commands.add_parser("enter", help="log in to a machine")
    enter.add_argument("name", metavar="NAME")
    enter.add_argument("--user", choices=list(ACCOUNTS), default="dev", help="default: %(default)s")
    enter.set_defaults(run=_enter)

    commands.add_parser("list", help="list the machines").set_defaults(run=_list)
    commands.add_parser(
        "gc", help="remove machines that nobody owns or kept, and outdated images and packages"
    ).set_defaults(run=_collect)
    return parser


def _prepare(arguments: argparse.Namespace) -> int:
    for suite in arguments.suite or SUITES:
        support = machine_support(suite=suite)
        if not support.ok:
            fail(support.reason)
            return UNSUPPORTED
    aptrepo.ensure()
    say("machines can be started here")
    return 0


def _support(_arguments: argparse.Namespace) -> int:
    support = machine_support()
    say("machines can be booted here" if support.ok else support.reason)
    return 0 if support.ok else UNSUPPORTED


def _up(arguments: argparse.Namespace) -> None:
    with step(f"Start the machine {arguments.name} ({SUITES[arguments.suite].title})"):
        machine = Machine.start(
            name=arguments.name, suite=arguments.suite, keep=arguments.owner is None, owner=arguments.owner
        )
    say(f"address    {machine.address}")
    say(f"inventory  {machine.inventory}")
    say(f"variables  {machine.variables}")
    say(f"enter it   python -m lab enter {machine.name}")
    say(f"remove it  python -m lab down {machine.name}")


def _down(arguments: argparse.Namespace) -> None:
    say(
        f"removed {arguments.name}"
        if machines.remove(arguments.name)
        else f"there is no machine {arguments.name}"
    )


def _enter(arguments: argparse.Namespace) -> None:
    machine = Machine.find(arguments.name)
    if machine is None:
        raise LabError(f"no machine {arguments.name} is running: see python -m lab list")
    command = machine.ssh_command(arguments.user)
    sys.stdout.flush()
    os.execvp(command[0], command)  # noqa: S606 - ssh takes over


def _list(_arguments: argparse.Namespace) -> None:
    for container in podman.containers():
        name = container["Names"][0].removeprefix(boot.CONTAINER)
        suite, owner = (container["Labels"][f"{podman.LABEL}.{key}"] for key in ("suite", "owner"))
        say(f"{name:<24} {suite:<10} {container['State']:<10} owner {owner}")


def _collect(_arguments: argparse.Namespace) -> None:
    for name in machines.collect_garbage():
        say(f"removed the machine {name}, whose owner is gone")
    if podman.containers():
        say("machines are running: outdated images and packages stay")
        return
    images.forget_stale()
    aptrepo.forget_stale()


if __name__ == "__main__":
    sys.exit(main())
