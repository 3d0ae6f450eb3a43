# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the key material of an identity: from what systemd hands over, else from the file itself.

systemd reads the file as root at each start of the unit (C(LoadCredential=)) and shows the copy to that
unit alone. A blank copy stands for a file that was not there (C(SetCredential=)).

A key is refused where everybody may use it. A subject token lives for minutes, and the platform that keeps
it fresh decides on its mode and may put a link there (Kubernetes does both): it is refused only where
everybody may replace it.
"""

from __future__ import annotations

import errno
import os
import pwd
import shlex
import stat
import typing as t
from dataclasses import dataclass, field

from gar_auth.errors import Exit, Failure, Reason

if t.TYPE_CHECKING:
    from gar_auth.config import Identity

__all__ = ["MAX_BYTES", "Material", "own_login", "read"]

MAX_BYTES = 64 * 1024
#: What nobody but the owner and the group may have, of a key and of a subject token.
_KEY, _SUBJECT = 0o007, 0o002


@dataclass(frozen=True)
class Material:
    """What an identity's files hold; is shown to nobody.

    :ivar path: the file that people know, for messages.
    :ivar subject: the token that an external_account exchanges, where it is handed over.
    :ivar written: when that file was last written, None where it cannot be seen from here.
    """

    path: str
    source: bytes = field(repr=False)
    subject: bytes | None = field(default=None, repr=False)
    written: float | None = field(default=None, compare=False)


def read(identity: Identity) -> Material:
    """Read the identity's files.

    :raises Failure: missing, unreadable, readable by everybody, or too large (78).
    """
    path = identity.file if identity.file and not identity.per_user else own_login(identity)
    if identity.per_user and not os.path.lexists(path):
        user = pwd.getpwuid(os.geteuid()).pw_name
        raise Failure(
            f"{path} is missing; run `gcloud auth application-default login` as {user}",
            code=Exit.CONFIGURATION,
            reason=Reason.NOT_LOGGED_IN,
        )
    handed_over = os.environ.get("CREDENTIALS_DIRECTORY") if not identity.per_user else None
    subject = None
    if identity.subject_token_file:
        subject = _content(identity.subject_token_file, "subject", handed_over, private=_SUBJECT)
    source = _content(path, "source", handed_over, private=_KEY)
    info = _info(path)
    written = info.st_mtime if info and stat.S_ISREG(info.st_mode) else None
    return Material(path=path, source=source, subject=subject, written=written)


def own_login(identity: Identity) -> str:
    """The file of the user's own application-default login."""
    if identity.file:
        return identity.file
    home = pwd.getpwuid(os.geteuid()).pw_dir
    return os.path.join(home, ".config", "gcloud", "application_default_credentials.json")


def _content(path: str, name: str, handed_over: str | None, *, private: int) -> bytes:
    copy = os.path.join(handed_over, name) if handed_over else None
    if copy is None or not os.path.exists(copy):
        return _read(path, shown=path, private=private)
    info = _info(path)  # the copy is private; the file that it was made from may not be
    if info and stat.S_ISREG(info.st_mode):
        _check_mode(info.st_mode, path, private=private)
    content = _read(copy, shown=path, private=0)
    if not content.strip():
        raise _failure(f"{path} is missing or empty; put it there, or name another one")
    return content


def _read(path: str, *, shown: str, private: int) -> bytes:
    links = 0 if private == _SUBJECT else os.O_NOFOLLOW
    try:
        descriptor = os.open(path, os.O_RDONLY | links | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        cure = "put it there, or name another one"
        if isinstance(error, PermissionError):
            cure = f"let uid {os.geteuid()} read it, or run as root"
        elif error.errno == errno.ELOOP:
            raise _failure(f"{shown} is a symbolic link; name the file itself") from None
        raise _failure(f"{shown}: {error.strerror}; {cure}") from None
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise _failure(f"{shown} is not a regular file; name another one")
        _check_mode(info.st_mode, shown, private=private)
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise _failure(f"{shown}: {error.strerror}; see: dmesg", code=Exit.TEMPORARY) from None
    finally:
        os.close(descriptor)
    if len(content) > MAX_BYTES:
        raise _failure(f"{shown} is larger than 64 KiB; name another one")
    return content


def _info(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None


def _check_mode(mode: int, shown: str, *, private: int) -> None:
    if not mode & private:
        return
    quoted = shlex.quote(shown)
    cure = f"repair with: chmod o= {quoted}, and replace the key: it may be known"
    if private == _SUBJECT:
        cure = f"repair with: chmod o-w {quoted}"
    raise _failure(f"{shown} has mode {stat.S_IMODE(mode):04o}, everybody may use it; {cure}")


def _failure(message: str, *, code: Exit = Exit.CONFIGURATION) -> Failure:
    return Failure(message, code=code, reason=Reason.FILE)
