# SPDX-License-Identifier: GPL-3.0-or-later
"""`make demo`: the whole way on a fresh machine, or in a sandbox where none can be booted."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from lab.article import Article
from lab.console import exit_on_signals, fail, say, seconds, step
from lab.host import machine_support
from lab.machines import Machine
from lab.playbook import Collection
from lab.sandbox import NOT_SHOWN, Sandbox
from lab.system import LabError

__all__ = ["main"]

INTERVAL = 5
"""Seconds between two looks for a new token, so that nobody has to wait for the default of 30."""

INDEX_URL = "https://europe-west1-python.pkg.dev/demo-project/python/simple/"


def main() -> int:
    """Run the demo; 0 only when all of it was seen."""
    exit_on_signals()
    start = time.monotonic()
    keep, lab = bool(os.environ.get("KEEP")), os.environ.get("LAB", "")
    try:
        if lab not in ("", "machine", "sandbox"):
            raise LabError(f"LAB={lab}: use LAB=machine, LAB=sandbox or nothing")
        reason = "asked for by LAB=sandbox" if lab == "sandbox" else ""
        if not reason:
            with step("See whether a machine can be booted here"):
                support = machine_support()
            reason = support.reason.removeprefix("no machine can be booted: ")
        if reason and lab == "machine":
            raise LabError(reason)
        shown = in_sandbox(reason, keep=keep) if reason else on_machine(keep=keep)
    except LabError as error:
        fail(str(error))
        return 1
    except KeyboardInterrupt:
        fail("interrupted")
        return 130
    say("")
    say(f"Shown in {seconds(time.monotonic() - start)}:")
    for line in shown:
        say(f"  + {line}")
    if reason:
        say(f"Not shown ({reason}):")
        for line in NOT_SHOWN:
            say(f"  - {line}")
    return 0


def on_machine(*, keep: bool) -> list[str]:
    """Provision a fresh machine and walk the article's way as the user dev."""
    with tempfile.TemporaryDirectory(prefix="devbox-demo-") as place:
        with step("Build the collection and install it from its tarball"):
            collection = Collection.install(Path(place))
        with step("Boot a fresh Debian 12 machine"):
            machine = Machine.start(name="demo", suite="debian12", keep=keep)
        with machine:
            variables = {
                **json.loads(machine.variables.read_text(encoding="utf-8")),
                "gar_auth_interval": INTERVAL,
            }
            with step("Run the playbook devbox.artifact_registry.devbox"):
                collection.play("devbox", inventory=machine.inventory, variables=variables)
            with step("Look at the machine as the user dev"):
                for command in ("gcloud --version | head -n 1", "poetry --version", "gar-auth status"):
                    done = machine.ssh("dev", command, check=True)
                    say(f"$ {command}")
                    for line in done.stdout.splitlines():
                        say(f"  {line}")
            article = Article(
                execute=lambda command: machine.ssh("dev", command),
                control=machine.control,
                index_url=INDEX_URL,
                patience=90,
            )
            article.shown.append(
                "gcloud, Poetry and gar-auth were installed on a fresh machine by one playbook"
            )
            article.walk()
            article.roll_over()
            if keep:
                python = os.path.relpath(sys.executable)
                say(f"The machine runs on. Enter it:  PYTHONPATH=tests {python} -m lab enter demo")
                say(f"Remove it:                      PYTHONPATH=tests {python} -m lab down demo")
    return article.shown


def in_sandbox(reason: str, *, keep: bool) -> list[str]:
    """Run the same playbook below a scratch directory and walk the same way."""
    say(f"No machine is booted ({reason}). A sandbox on this host takes its place; it cannot show:")
    for line in NOT_SHOWN:
        say(f"  - {line}")
    with Sandbox.start(keep=keep) as sandbox:
        with step("Build the collection and install it from its tarball"):
            collection = Collection.install(sandbox.scratch)
        with step("Run the playbook devbox.artifact_registry.devbox on localhost"):
            collection.play(
                "devbox",
                inventory=sandbox.inventory,
                variables=sandbox.variables,
                environment=sandbox.environment,
            )
        article = Article(
            execute=sandbox.execute,
            control=sandbox.emulator.control,
            index_url=f"{sandbox.publish_url}simple/",
            patience=60,
        )
        article.shown.append(
            "Poetry and gar-auth were installed below a scratch directory by the same playbook"
        )
        with sandbox.refresher(interval=2):
            with step("Wait for the first token of gar-auth refresh"):
                article.await_token(set())
            article.walk()
            article.roll_over()
        if keep:
            say(f"The scratch directory stays: {sandbox.scratch}")
    return article.shown


if __name__ == "__main__":
    sys.exit(main())
