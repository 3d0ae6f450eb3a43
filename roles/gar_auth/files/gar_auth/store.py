# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens between the fetcher and its readers: one directory for each identity, on tmpfs.

C(token) holds the access token, for the service's group only; C(status.json) holds no secret, for everybody.
A token's time of modification is when it was published; that of a status is when the source was last asked.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import stat
import time
import typing as t
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from gar_auth.config import Config, own_run_dir
from gar_auth.errors import Exit, Failure, Reason

__all__ = ["Status", "Store", "Token", "clear_own", "digest", "own_store", "publish", "user_store"]

_MAX_BYTES = 64 * 1024
_MAX_TEXT = 1000
_MAX_NUMBER = 10**11
#: A temporary file that is older belongs to no process any more.
_LEFT_SECONDS = 600


@dataclass(frozen=True)
class Token:
    """An access token; C(expiry) in seconds since the epoch."""

    token: str
    expiry: int
    source: str

    def __repr__(self) -> str:
        return f"Token(expiry={self.expiry}, source={self.source!r})"


@dataclass(frozen=True)
class Status:
    """What everybody may know of an identity's token.

    :ivar expiry: seconds since the epoch, None without a token.
    :ivar obtained: when the present token was first seen, seconds since the epoch.
    :ivar digest: the start of the token's SHA-256, to compare it without knowing it.
    :ivar error: why the last run failed, None where it did not.
    :ivar account: who the token belongs to, None where the source does not say.
    :ivar error_class: the C(Reason) of the error.
    :ivar failed_at: when the last run failed, seconds since the epoch.
    :ivar failures: how many runs have failed in a row.
    :ivar failing_since: when the first of these failed, seconds since the epoch.
    :ivar started: when the machine was started, by the clock that the other times are from.
    """

    identity: str
    source: str
    expiry: int | None = None
    obtained: int | None = None
    digest: str | None = None
    error: str | None = None
    account: str | None = None
    error_class: str | None = None
    failed_at: int | None = None
    failures: int = 0
    failing_since: int | None = None
    started: int | None = None


def digest(token: str) -> str:
    """The first 16 hexadecimal digits of the token's SHA-256: enough to compare, useless to guess from."""
    import hashlib  # a tick with nothing to do goes without

    return hashlib.sha256(token.encode()).hexdigest()[:16]


class Store:
    """The directories below C(run_dir).

    :param shared: the files serve other accounts too (mode 0640 and 0644 instead of 0600).
    """

    def __init__(self, run_dir: Path, *, shared: bool) -> None:
        self._run_dir = run_dir
        self._shared = shared

    def token(self, identity: str) -> Token | None:
        """:raises Failure: there is a token that this user may not read, or a damaged one."""
        data = self._read(identity, "token")
        if data is None:
            return None
        token, expiry = data.get("token"), data.get("expiry")
        if not isinstance(token, str) or not token or not isinstance(expiry, int) or not _fits("int", expiry):
            raise Failure(f"{self.directory(identity) / 'token'} is damaged", code=Exit.UNUSABLE)
        return Token(token=token, expiry=expiry, source=str(data.get("source", "")))

    def status(self, identity: str) -> Status | None:
        """:raises Failure: a damaged file."""
        data = self._read(identity, "status.json")
        if data is None:
            return None
        known = {field.name: field.type for field in fields(Status)}
        if not set(data) <= set(known) or not all(_fits(known[name], value) for name, value in data.items()):
            raise Failure(f"{self.directory(identity) / 'status.json'} is damaged", code=Exit.UNUSABLE)
        return Status(**{"source": "", **data, "identity": identity})

    def write(self, identity: str, value: Token | Status, *, at: float | None = None) -> None:
        """Publish a token or a status in one step.

        :param at: its time of modification, by default now.
        :raises Failure: the directory cannot be written (75).
        """
        name, mode = ("token", 0o640) if isinstance(value, Token) else ("status.json", 0o644)
        path = self.directory(identity) / name
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            publish(path, json.dumps(asdict(value)), mode=mode if self._shared else 0o600, at=at)
        except OSError as error:
            raise Failure(f"{path}: {error.strerror}", code=Exit.TEMPORARY, reason=Reason.FILE) from error

    def looked(self, identity: str) -> float | None:
        """When the source was last asked, seconds since the epoch; None: never."""
        try:
            return os.stat(self.directory(identity) / "status.json", follow_symlinks=False).st_mtime
        except OSError:
            return None

    def touch(self, identity: str, *, at: float) -> None:
        """Note when the source was asked, where nothing has changed; 0: that it is to be asked at once."""
        with contextlib.suppress(OSError):  # it is asked once more too early, no harm
            os.utime(self.directory(identity) / "status.json", (at, at), follow_symlinks=False)

    def note(self, name: str, text: str | None) -> None:
        """Keep a line for people beside the identities, or take it back (None)."""
        path = self._run_dir / name
        with contextlib.suppress(OSError):  # it is a courtesy
            if text is None:
                path.unlink()
            elif not path.exists() or path.read_text(encoding="utf-8") != f"{text}\n":
                self._run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
                publish(path, f"{text}\n", mode=0o600)

    def clear(self) -> None:
        """Remove all tokens and what is known of them."""
        with contextlib.suppress(OSError):
            for directory in [
                entry.path for entry in os.scandir(self._run_dir) if entry.is_dir(follow_symlinks=False)
            ]:
                for name in os.listdir(directory):
                    if name.lstrip(".").startswith(("token", "status.json")):
                        os.unlink(os.path.join(directory, name))
                with contextlib.suppress(OSError):  # something that is not ours
                    os.rmdir(directory)
            os.rmdir(self._run_dir)

    def directory(self, identity: str) -> Path:
        """Where the identity's files lie."""
        return self._run_dir / identity

    def _read(self, identity: str, name: str) -> dict[str, t.Any] | None:
        path = self.directory(identity) / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as stream:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise ValueError("not a regular file")
                data = json.loads(stream.read(_MAX_BYTES))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Failure(f"{path}: {error.strerror}", code=Exit.REFUSED) from error
        except (ValueError, RecursionError) as error:
            raise Failure(f"{path} is damaged ({error})", code=Exit.UNUSABLE) from error
        if not isinstance(data, dict):
            raise Failure(f"{path} is damaged (not a JSON object)", code=Exit.UNUSABLE)
        return data


def _fits(kind: object, value: t.Any) -> bool:
    """Whether the value is of the field's type and of a size that can be shown: the file may be a user's."""
    if value is None:
        return "None" in str(kind)
    if "int" in str(kind):
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MAX_NUMBER
    return isinstance(value, str) and len(value) <= _MAX_TEXT and value.isprintable()


def publish(path: Path, text: str, *, mode: int, at: float | None = None) -> None:
    """Write a file in one step, under a temporary name first; what a killed process left of that goes."""
    now = time.time()
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            os.fchmod(descriptor, mode)
            stream.flush()
            changed = now if at is None else at
            os.utime(descriptor, (now, changed))  # by this program's clock, with which it is compared
        temporary.rename(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    with contextlib.suppress(OSError):
        for left in path.parent.glob(f".{path.name}.{'[0-9a-f]' * 16}"):
            if left.lstat().st_mtime < now - _LEFT_SECONDS:
                left.unlink()


def clear_own(account: pwd.struct_passwd) -> None:
    """Remove the tokens that this user fetched where nothing is scheduled; run as that user."""
    places = [Path(f"/run/user/{account.pw_uid}"), Path(account.pw_dir) / ".cache"]
    places += [
        Path(os.environ[name]) for name in ("XDG_RUNTIME_DIR", "XDG_CACHE_HOME") if os.environ.get(name)
    ]
    for place in places:
        Store(place / "gar-auth", shared=False).clear()


def own_store() -> Store:
    """Where the tokens lie that the user who runs the program fetched without the machine's help."""
    return Store(own_run_dir(), shared=False)


def user_store(config: Config, account: pwd.struct_passwd) -> Store:
    """Where the tokens of a user's own logins lie."""
    if config.user_run_dir:
        return Store(Path(config.user_run_dir) / account.pw_name, shared=False)
    if config.shared_run_dir is None and account.pw_uid == os.geteuid():
        return Store(config.run_dir, shared=False)
    return Store(Path(account.pw_dir) / ".cache" / "gar-auth", shared=False)
