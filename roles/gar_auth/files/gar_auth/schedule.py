# SPDX-License-Identifier: GPL-3.0-or-later
"""When an identity's source is to be asked again: pure functions of the time and of what is on record.

The metadata server hands out the same token until its last five minutes. A tick that asks it in each of
those minutes finds the next one at once; asking it before that can bring nothing new. A source that mints on
demand is asked at half of the lifetime, so that its readers always have half an hour.
"""

from __future__ import annotations

__all__ = ["BACKOFF_SECONDS", "LOOK_SECONDS", "MAX_LIFETIME", "due", "spread"]

#: Longest time between two looks at a source that hands out the same token for a while, and at one that was
#: asked for a new token in vain; fewer where ticks are closer than usual.
LOOK_SECONDS = 180
LOOK_TICKS = 6
#: Such a source has the next token when this much is left of the present one.
WINDOW_SECONDS = 300
#: With this little left a failing source is asked more often, and one that is on this machine at every tick.
URGENT_SECONDS = 600
#: The pause after the first failure, the longest, and the longest while it is urgent.
BACKOFF_SECONDS = (30, 300, 60)
#: No token of Google lives longer.
MAX_LIFETIME = 12 * 3600
#: A clock that was set back by more than this makes every time on record doubtful.
CLOCK_SECONDS = 60
#: Timers are late by fractions of a second, never early.
_SLACK_SECONDS = 1


def due(
    now: float,
    *,
    token_expiry: float | None,
    obtained: float | None,
    looked: float | None,
    failures: int,
    failed_at: float | None,
    on_demand: bool,
    interval: int,
    spread: float,
    lasting: bool = False,
    clock_set: bool = False,
) -> bool:
    """Whether to ask the source now; all times in seconds since the epoch.

    :param token_expiry: of the present token, None without one.
    :param obtained: when the present token was first seen.
    :param looked: when the source was last asked; 0: somebody wants it to be asked now.
    :param failures: runs that failed in a row, the last of them at C(failed_at).
    :param on_demand: the source mints a new token whenever it is asked.
    :param interval: seconds between two ticks.
    :param spread: this machine's and identity's own number in [0, 1), so that no two hosts ask in step.
    :param lasting: the failure is of a kind that lasts until somebody does something.
    :param clock_set: the clock was set since the source was asked.
    """
    if looked == 0:
        return True
    left = 0.0 if token_expiry is None else token_expiry - now
    if failures > 0 and failed_at is not None and failed_at <= now + CLOCK_SECONDS:
        urgent = left < URGENT_SECONDS
        pause = backoff(failures, spread=spread, urgent=urgent and not lasting)
        if not (urgent and not on_demand) and now - failed_at + _SLACK_SECONDS < pause:
            return False
    if token_expiry is None or obtained is None or looked is None or left <= 0:
        return True
    if clock_set or max(obtained, looked) > now + CLOCK_SECONDS:
        return True
    if token_expiry > obtained + MAX_LIFETIME + CLOCK_SECONDS:
        return True  # the clock was off then
    if on_demand and now < obtained + (token_expiry - obtained) * (0.5 - 0.1 * spread):
        return False
    pause = min(LOOK_SECONDS, LOOK_TICKS * interval)
    return left <= WINDOW_SECONDS + 2 * interval or now - looked + _SLACK_SECONDS >= pause


def backoff(failures: int, *, spread: float, urgent: bool = False) -> float:
    """Seconds to wait after so many failures in a row: doubled each time, and jittered by a quarter."""
    first, most, most_urgent = BACKOFF_SECONDS
    return min(most_urgent if urgent else most, first * 2.0 ** min(failures - 1, 10)) * (0.75 + 0.25 * spread)


def spread(machine: bytes, identity: str) -> float:
    """A stable number in [0, 1) for each machine and identity."""
    import zlib  # not hashlib, which costs more than all the rest of a tick

    return zlib.crc32(machine.strip() + b"/" + identity.encode()) / 2**32
