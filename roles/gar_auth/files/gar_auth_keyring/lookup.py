# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the token for a URL; shared by the keyring backend, the command and C(gar-auth get).

Needs the standard library only, and little of it: it runs inside the clients' own environments, and as a
process for each question of pip and uv. Every failure is None and one line in the log, never an exception:
a client without a credential asks or goes on, one with a traceback ends.
"""

from __future__ import annotations

import json
import os
import re
import stat
import time

# typing.TYPE_CHECKING without the import of typing
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["USERNAME", "Settings", "identity_of", "is_ours", "own_directory", "settings", "token"]

#: What Artifact Registry expects beside an access token:
#: https://cloud.google.com/artifact-registry/docs/python/authentication
USERNAME = "oauth2accesstoken"

#: Written beside this file where it is installed: the path of the configuration.
PLACE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "place.json")
#: The program's deadline is a second less.
GET_SECONDS = 10.0
_AGAIN_SECONDS = 15.0
_CONFIG = "/etc/gar-auth/config.json"
_MAX_BYTES = 1024 * 1024
_MAX_URL = 2000
#: A token that ends sooner is fetched anew.
_LEFT_SECONDS = 60
#: No token of Google lives longer.
_MAX_LIFETIME = 12 * 3600
#: An https URL that means the same to everybody: no empty or relative segments, no fragment.
_URL = re.compile(
    r"https://(?:(?P<user>[A-Za-z0-9._~-]*)(?::[^/?#@\s]*)?@)?"
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:/(?!\.{1,2}(?:[/?;]|\Z))(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%(?![01]|25|2[EeFf]|5[Cc])[0-9A-Fa-f]{2})+)*/?)"
    r"(?:\?[!-\"$-;=?-\[\]-~]*)?",
    re.ASCII,
)
_GOOGLE = re.compile(r"[a-z0-9-]+-python\.pkg\.dev", re.ASCII)
#: RFC 6750, section 2.1
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,16384}=*", re.ASCII)
_PATH = "/usr/local/bin:/usr/bin:/bin"
_HANDED_ON = ("HOME", "USER", "LOGNAME", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME")
_PROXIES = ("https_proxy", "http_proxy", "no_proxy", "all_proxy")


class Repository:
    """Where a repository is served: everything below the root belongs to it."""

    __slots__ = ("host", "identity", "port", "root")

    def __init__(self, host: str, port: int, root: str, identity: str) -> None:
        self.host, self.port, self.root, self.identity = host, port, root, identity


class Settings:
    """What the configuration says, as far as a look-up needs it.

    :raises KeyError, TypeError, AttributeError: it is not what the role writes.
    """

    def __init__(self, data: Any) -> None:
        identities = data["identities"]
        self.identities = frozenset(identities)
        self.per_user = frozenset(name for name, one in identities.items() if one.get("per_user"))
        self.run_dir: str | None = data.get("run_dir")
        self.user_run_dir: str | None = data.get("user_run_dir")
        self.program = str(data.get("program") or "/opt/gar-auth/bin/gar-auth")
        self.other_repositories = data.get("keyring_other_repositories") is True
        self.repositories: list[Repository] = []
        for one in data["repositories"]:
            place = _split(one["publish_url"])
            if place is not None:
                host, port, path, _user = place
                self.repositories.append(Repository(host, port, path, str(one["identity"])))


#: What was read, by path, with the file's inode, time and size: parsed again only when it was replaced.
_kept: dict[str, tuple[tuple[int, ...], Any]] = {}


#: By identity, until when the program is not asked again (monotonic).
_failed: dict[str, float] = {}


def token(url: str, username: str | None = None) -> str | None:
    """The token for a URL, None where the URL is not ours, the user name is another, or nothing works."""
    try:
        found = settings()
        identity = found and identity_of(url, found, username=username)
        if not found or not identity:
            return None
        return _from_file(found, identity) or _from_program(found, identity)
    except Exception as error:  # whatever it is: it must not reach the client
        _warn(f"gar-auth: {type(error).__name__} while looking for a token; see: gar-auth doctor")
        return None


def is_ours(url: str, username: str | None = None) -> bool:
    """Whether that is a URL whose token we hand out, be there one or not."""
    try:
        found = settings()
        return found is not None and identity_of(url, found, username=username) is not None
    except Exception:  # as above; the look-up itself tells it
        return False


def identity_of(url: str, found: Settings, *, username: str | None = None) -> str | None:
    """The identity whose token belongs to that URL: an https URL at or below the root of a repository."""
    place = _split(url)
    if place is None or username not in (None, "", USERNAME):
        return None
    host, port, path, user = place
    if user not in (None, "", USERNAME):
        return None
    ours = [
        one
        for one in found.repositories
        if one.host == host and one.port == port and path.startswith(one.root)
    ]
    if ours:
        return max(ours, key=lambda one: len(one.root)).identity
    if found.other_repositories and port == 443 and _GOOGLE.fullmatch(host):
        return "default" if "default" in found.identities else None
    return None


def _split(url: object) -> tuple[str, int, str, str | None] | None:
    """Host, port, path (with a slash at its end) and user of an https URL, else None."""
    if not isinstance(url, str) or len(url) > _MAX_URL:
        return None
    parts = _URL.fullmatch(url)
    if parts is None:
        return None
    port, path = parts["port"], parts["path"]
    return parts["host"].lower(), int(port or 443), path if path.endswith("/") else f"{path}/", parts["user"]


def settings(path: str | None = None) -> Settings | None:
    """The machine's configuration; None where there is none: the role has not run, or was taken back.

    :param path: of the configuration, by default where the installed package says.
    """
    if path is None:
        path = _read(PLACE, lambda data: str(data["config"])) or _CONFIG
    found = _read(path, Settings)
    return found if isinstance(found, Settings) else None


def _from_file(found: Settings, identity: str) -> str | None:
    """The machine's fresh token, or the user's own."""
    for directory in _directories(found, identity):
        data = _read(f"{directory}/token", dict, quiet=True) or {}
        value, expiry = data.get("token"), data.get("expiry")
        left = expiry - time.time() if isinstance(expiry, int) else 0
        if not _LEFT_SECONDS < left <= _MAX_LIFETIME + _LEFT_SECONDS:
            continue
        if isinstance(value, str) and _TOKEN.fullmatch(value):
            return value
    return None


def _directories(found: Settings, identity: str) -> list[str]:
    """Where the identity's token may lie: the machine's, and what this user fetched for want of it."""
    import pwd

    account = pwd.getpwuid(os.geteuid())
    own = f"{own_directory(account.pw_dir)}/{identity}"
    if identity in found.per_user:
        return [f"{found.user_run_dir}/{account.pw_name}/{identity}"] if found.user_run_dir else [own]
    return [f"{found.run_dir}/{identity}", own] if found.run_dir else [own]


def own_directory(home: str) -> str:
    """Where the tokens lie that a user fetched without the machine's help.

    A variable that names somebody else's directory, as after C(su) or C(sudo -E), is not this user's.

    :param home: of who runs this, by the passwd database.
    """
    for variable in ("XDG_RUNTIME_DIR", "XDG_CACHE_HOME"):
        named = os.environ.get(variable)
        if named and _is_own(named):
            return f"{named}/gar-auth"
    named = os.environ.get("HOME")
    return f"{named if named and _is_own(named) else home}/.cache/gar-auth"


def _is_own(path: str) -> bool:
    """Whether it is this user's; one that is still to be made is, where nobody else can make it."""
    while True:
        try:
            return os.stat(path).st_uid == os.geteuid()
        except FileNotFoundError:
            path = os.path.dirname(path.rstrip("/"))
            if path in ("", "/"):
                return False
        except OSError:
            return False


def _from_program(found: Settings, identity: str) -> str | None:
    """Ask C(gar-auth get), for at most ten seconds: it fetches where this user may."""
    from gar_auth_keyring.program import ask

    names = [name for name in os.environ if name in _HANDED_ON or name.lower() in _PROXIES]
    environment = {"PATH": _PATH, "LC_ALL": "C.UTF-8", **{name: os.environ[name] for name in names}}
    if time.monotonic() < _failed.get(identity, 0.0):
        return None  # told a moment ago; a client asks for each of its URLs
    value, problem = ask([found.program, "get", "--identity", identity], environment, seconds=GET_SECONDS)
    if _TOKEN.fullmatch(value):
        return value
    _failed[identity] = time.monotonic() + _AGAIN_SECONDS
    _warn(problem or f"gar-auth: no token for {identity}; see: gar-auth doctor")
    return None


def _read(path: str, parse: Callable[[Any], Any], *, quiet: bool = False) -> Any:
    """What a JSON file says; None where it cannot be read or understood.

    :param quiet: that it cannot be read is nothing to tell: there is another way.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if not quiet and not isinstance(error, FileNotFoundError):
            _warn(f"gar-auth: {path}: {error.strerror}")
        return None
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode) or not _trusted(path, info):
            _warn(f"gar-auth: {path} is not what the role made; run the playbook again")
            return None
        stamp = (info.st_ino, info.st_mtime_ns, info.st_ctime_ns, info.st_size)
        kept = _kept.get(path)
        if kept is not None and kept[0] == stamp:
            return kept[1]
        value = parse(json.loads(os.read(descriptor, _MAX_BYTES)))
    except Exception:  # of any kind: the content is anybody's
        _warn(f"gar-auth: {path} is damaged; run the playbook again")
        return None
    finally:
        os.close(descriptor)
    _kept[path] = (stamp, value)
    return value


def _trusted(path: str, info: os.stat_result) -> bool:
    """Whether it is root's, this user's, or of whom root gave its directory to; nobody else may write it."""
    directory = os.lstat(os.path.dirname(path))
    above = os.lstat(os.path.dirname(os.path.dirname(path)))
    given = directory.st_uid if above.st_uid == 0 and not above.st_mode & stat.S_IWOTH else 0
    return info.st_uid in (0, os.geteuid(), given) and not info.st_mode & stat.S_IWOTH


def _warn(text: str) -> None:
    """One line in the client's log."""
    import logging  # costs more than all the rest, and most look-ups have nothing to tell

    plain = "".join(one if one.isprintable() else "?" for one in text)[:500]
    logging.getLogger("gar_auth_keyring").warning("%s", plain)
