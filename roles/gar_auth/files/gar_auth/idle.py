# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide whether a tick has anything to do, with as few imports as possible: most ticks have not.

Reads the files that C(config.py) and C(store.py) know, and trusts none of them: at the least doubt the tick
is not idle, and the whole program looks and says what is wrong.
"""

from __future__ import annotations

import json
import os
import time

from gar_auth import schedule

# typing.TYPE_CHECKING without the import of typing
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["is_changed", "is_due", "is_idle", "is_user_idle", "remind", "source_of", "started"]

MACHINE_ID = "/etc/machine-id"
_MAX_BYTES = 64 * 1024
#: Errors (errors.Reason) that last until somebody does something.
_LASTING = ("not_logged_in", "login_expired", "no_account", "bad_key")
#: What changes in a home when its owner logs in to gcloud.
_LOGINS = ("credentials.db", "active_config", "application_default_credentials.json")


def is_idle(config_file: str, identity: str) -> bool:
    """Whether C(gar-auth fetch IDENTITY) would do nothing."""
    try:
        config = json.loads(_content(config_file, 1024 * 1024))
        directory = f"{config['run_dir']}/{identity}"
        if not directory.startswith("/") or not _nothing_to_do(config, directory, identity):
            return False
        interval = config.get("interval") or 30
        if len({one["identity"] for one in config["repositories"]}) > 1:
            remind(f"{directory}/token", interval=interval)
        if config.get("metrics_dir"):
            remind(f"{directory}/status.json", interval=interval)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return False
    return True


def is_user_idle(config_file: str, user: str) -> bool:
    """Whether C(gar-auth user USER), run by that user, would do nothing."""
    import pwd

    try:
        account = pwd.getpwnam(user)
        config = json.loads(_content(config_file, 1024 * 1024))
        if account.pw_uid != os.geteuid() or not config["user_run_dir"].startswith("/"):
            return False
        used = {one["identity"] for one in config["repositories"]}
        for identity, declared in config["identities"].items():
            if identity not in used or not declared.get("per_user"):
                continue
            directory = f"{config['user_run_dir']}/{user}/{identity}"
            logins = [f"{account.pw_dir}/.config/gcloud/{name}" for name in _LOGINS]
            logins += [declared["file"]] if "file" in declared else []
            # the configuration: a repository may be new, and this unit writes too
            if is_changed(_looked(directory), config_file, *logins):
                return False
            if not _nothing_to_do(config, directory, identity):
                return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return False
    return True


def _nothing_to_do(config: Any, directory: str, identity: str) -> bool:
    declared = config["identities"][identity]
    on_demand = bool(declared.get("impersonate_service_account")) or declared.get("type") not in (
        "metadata",
        "token_file",
    )
    return not is_due(
        directory,
        identity=identity,
        source=source_of(declared),
        on_demand=on_demand,
        interval=config.get("interval") or 30,
    )


def source_of(declared: Any) -> str:
    """An identity's source as people read it, and as its status names it."""
    kind = declared.get("type") or "metadata"
    named = declared.get("account") or declared.get("file")
    target = declared.get("impersonate_service_account")
    origin = f"{kind}:{named or ('default' if kind == 'metadata' else 'own login')}"
    return f"{origin} as {target}" if target else origin


def is_changed(looked: float, *paths: str) -> bool:
    """Whether one of the files is younger than that; not one from the future, which would be so for ever."""
    now = time.time()
    for path in paths:
        try:
            changed = os.stat(path).st_mtime
        except OSError:
            continue
        if looked < changed <= now:
            return True
    return False


def remind(path: str, *, interval: int) -> None:
    """Let those who watch the file look once more, at the tick after something new.

    systemd does not see a change while the unit that the path unit starts is still running: a writer that
    another identity's token has started would miss this one (path_enter_running in systemd's sources). The
    times of the file stay as they are; that they were set is what is seen.
    """
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return
    if 0 <= time.time() - found.st_mtime < 1.5 * interval:
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)


def is_due(directory: str, *, identity: str, source: str, on_demand: bool, interval: int) -> bool:
    """Whether the identity's source is to be asked now.

    :param directory: where the identity's token and status lie.
    :param source: as it is declared now; a status of another one says nothing.
    """
    try:
        status = json.loads(_content(f"{directory}/status.json"))
        token, then = _token(directory), status.get("started")
        return status["source"] != source or schedule.due(
            time.time(),
            token_expiry=token["expiry"] if token else None,
            obtained=status["obtained"],
            looked=_looked(directory),
            failures=status["failures"],
            failed_at=status["failed_at"],
            lasting=status["error_class"] in _LASTING,
            on_demand=on_demand,
            interval=interval,
            spread=schedule.spread(_machine(), identity),
            clock_set=then is not None and abs(started() - then) > schedule.CLOCK_SECONDS,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return True


def started() -> int:
    """When this machine was started, by what its clock says now: it moves when the clock is set."""
    return int(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME))


def _token(directory: str) -> Any:
    try:
        return json.loads(_content(f"{directory}/token"))
    except FileNotFoundError:
        return None  # then only the backoff counts


def _looked(directory: str) -> float:
    return os.stat(f"{directory}/status.json", follow_symlinks=False).st_mtime


def _machine() -> bytes:
    try:
        return _content(MACHINE_ID)
    except OSError:
        return os.uname().nodename.encode()


def _content(path: str, limit: int = _MAX_BYTES) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(descriptor, limit)
    finally:
        os.close(descriptor)
