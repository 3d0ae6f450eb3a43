# SPDX-License-Identifier: GPL-3.0-or-later
"""C(sudo gar-auth refresh) where something is scheduled: start now what the machine does anyway."""

from __future__ import annotations

import os
import subprocess
import sys

from gar_auth.config import Config
from gar_auth.errors import Exit, Failure
from gar_auth.store import Store

__all__ = ["refresh_machine"]

_SYSTEMCTL = "/usr/bin/systemctl"
_SECONDS = 60


def refresh_machine(config: Config, store: Store) -> int:
    """Ask every identity's source without waiting a failure out, and write for everybody.

    :returns: the exit code: 0 when everybody has a valid token afterwards, or one of a failure.
    :raises Failure: not root (77), or systemd does not answer (75).
    """
    if os.geteuid() != 0:
        message = "here the machine does that for everybody; to have it done now: sudo gar-auth refresh"
        raise Failure(message, code=Exit.REFUSED)
    for identity in config.host_identities():
        store.touch(identity.name, at=0)
    if config.service_manager == "cron":
        from gar_auth.cycle import cycle

        return cycle(config, store)
    from gar_auth.status import inspect

    writers = _writers(config)
    for units in (_fetchers(config), writers, _users(config)):
        _start(units)
    report = inspect(config, store)
    if writers and not report.fine:
        # One that the first new token had started counts as started, and may have read the others before.
        _start(writers)
        report = inspect(config, store)
    print(report.as_text())
    return Exit.FINE if report.fine else Exit.TEMPORARY


def _fetchers(config: Config) -> list[str]:
    return [f"gar-auth-fetch@{identity.name}.service" for identity in config.host_identities()]


def _writers(config: Config) -> list[str]:
    writes = config.writes and config.host_identities()
    return [f"gar-auth-write@{user}.service" for user in config.users] if writes else []


def _users(config: Config) -> list[str]:
    return [f"gar-auth-user@{user}.service" for user in config.users] if config.user_identities() else []


def _start(units: list[str]) -> None:
    """Start the services and wait for them; that one fails is told by the state afterwards."""
    if not units:
        return
    try:
        subprocess.run(
            [_SYSTEMCTL, "start", "--", *units],
            stdin=subprocess.DEVNULL,
            stderr=sys.stderr,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        what = f"no answer within {_SECONDS} s" if isinstance(error, subprocess.TimeoutExpired) else error
        message = f"{_SYSTEMCTL} start: {what}; see: systemctl list-jobs"
        raise Failure(message, code=Exit.TEMPORARY) from None
