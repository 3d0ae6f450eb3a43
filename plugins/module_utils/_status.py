# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge what was collected from a host of the fleet: its state, why, and what to do. Pure.

Nothing that a host says is trusted: what is handed on has the type that is expected, is of one line, of a
bounded length, and without a password in a URL.
"""

from __future__ import annotations

import json
import re
import shlex
import typing as t
from dataclasses import asdict, dataclass, field

__all__ = ["FAILED", "FINE", "STALE", "Cause", "Host", "judge"]

FINE = "fine"
STALE = "stale"
FAILED = "failed"

#: The exit code of gar-auth where a token or an entry is not as it should be.
_TEMPORARY = 75
_LONGEST_TEXT = 600
_LONGEST_LIST = 1000
_LONGEST_LIFE = 10**9
_PROGRAMS = ("gar_auth", "poetry", "gcloud")
_ENTRIES = ("fresh", "on demand")
_FAULTS = {
    "hidden": "an entry in auth.toml goes before the keyring",
    "forbidden": "the user may not read the machine's tokens",
}
_REFRESH = "sudo gar-auth refresh"
_DOCTOR = "sudo gar-auth doctor"


@dataclass(frozen=True)
class Cause:
    """Why a host is not fine, in the words of C(gar-auth doctor).

    :ivar check: what was looked at, one word.
    :ivar cure: what to do, with the command where there is one.
    """

    check: str
    found: str
    cause: str
    cure: str


@dataclass
class Host:
    """A host as the report has it; see docs/status.md."""

    name: str
    state: str = FAILED
    system: str | None = None
    python: str | None = None
    provider: str | None = None
    versions: dict[str, str | None] = field(default_factory=lambda: dict.fromkeys(_PROGRAMS))
    tokens: list[dict[str, t.Any]] = field(default_factory=list)
    users: dict[str, dict[str, str]] = field(default_factory=dict)
    causes: list[Cause] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, t.Any]:
        return asdict(self)


def judge(name: str, result: t.Mapping[str, t.Any]) -> Host:
    """Make a host of what its task returned; what nobody thought of is a cause of this host alone.

    :param result: Ansible's own, of the task that ran C(look.py); empty where there is none.
    """
    try:
        return _judged(name, result)
    except Exception as error:  # whatever it is: the report of all others has to be made
        # Its text may quote what the host said.
        found = f"the host's answer cannot be judged: {type(error).__name__}"
        cause = Cause("report", found, "it is nothing that gar-auth says", "sudo gar-auth status")
        return Host(_text(name), causes=[cause])


def _judged(name: str, result: t.Mapping[str, t.Any]) -> Host:
    host = Host(_text(name))
    again = f"ansible-playbook devbox.artifact_registry.devbox --limit {shlex.quote(host.name)}"
    found = _answer(host, result)
    if found is None:
        return host
    host.system, host.python = _or_none(found.get("system")), _or_none(found.get("python"))
    versions = _mapping(found.get("versions"))
    host.versions = {program: _or_none(versions.get(program)) for program in _PROGRAMS}
    if "status" not in found:
        host.causes.append(
            Cause(
                "program",
                "gar-auth is not installed",
                "the playbook has not run here, or not to its end",
                again,
            )
        )
        return host
    status = _mapping(found["status"])
    code, report = status.get("code"), status.get("report")
    if code in (0, _TEMPORARY) and isinstance(report, dict) and isinstance(report.get("fine"), bool):
        _read(host, report)
        # What a user's file or a right is the cause of does not mend itself.
        host.state = FINE if code == 0 and report["fine"] else FAILED if host.causes else STALE
    else:
        host.causes.append(_no_status(code, _text(status.get("error")), again))
    if host.state != FINE:
        host.causes += _told(_mapping(found.get("doctor")).get("report"))
        host.causes = host.causes or [_unexplained(host)]
    return host


def _answer(host: Host, result: t.Mapping[str, t.Any]) -> dict[str, t.Any] | None:
    """What look.py printed; None, with the cause, where it did not run to its end."""
    words = _text(result.get("msg")).removeprefix("Task failed: ")
    if result.get("unreachable"):
        cure = f"ansible {shlex.quote(host.name)} -m ansible.builtin.ping"
        host.causes.append(
            Cause("connection", f"unreachable: {words}", "Ansible cannot log in to the host", cure)
        )
        return None
    cure = f"ansible {shlex.quote(host.name)} --become -m ansible.builtin.command -a id"
    if "rc" not in result:
        words = words or "nothing was returned"
        host.causes.append(Cause("connection", words, "Ansible cannot run a task as root on the host", cure))
        return None
    if result["rc"] != 0:
        lines = _lines(result.get("stderr")) or _lines(result.get("module_stderr")) or [words]
        command = result.get("cmd")
        python = (
            _text(command[0] if isinstance(command, list) and command else command).partition(" ")[0]
            or "python3"
        )
        host.causes.append(
            Cause("python", _text(f"{python}: {lines[-1]}"), "Python does not run on the host", cure)
        )
        return None
    try:
        found = json.loads(result.get("stdout") or "")
    except (ValueError, TypeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        host.causes.append(
            Cause("python", "the host's answer is no report", "something else answers as Python", cure)
        )
        return None
    return found


def _no_status(code: object, error: str, again: str) -> Cause:
    """Why C(gar-auth status) has no report."""
    if code is None:
        found = f"gar-auth status: {error or 'it was killed'}"
        return Cause("program", found, "it hangs, or is another program", "sudo gar-auth status")
    if code in (0, _TEMPORARY):
        return Cause(
            "program", "gar-auth status: what it printed is no report", "it is another program", again
        )
    found, _semicolon, cure = error.removeprefix("gar-auth: ").partition("; ")
    found = found or _text(f"exit code {code}")
    return Cause("program", f"gar-auth status: {found}", "it cannot work", cure or _DOCTOR)


def _read(host: Host, report: t.Mapping[str, t.Any]) -> None:
    """Take over what the report says, as far as it is what is expected."""
    host.provider = _or_none(report.get("provider"))
    host.tokens = [_token(name, None, one) for name, one in _items(report.get("identities"))]
    for user, own in _items(report.get("logins")):
        host.tokens += [_token(name, user, one) for name, one in _items(own)]
    host.users = {
        user: {name: _text(state) for name, state in _items(states)}
        for user, states in _items(report.get("users"))
    }
    hints = report.get("hints")
    host.hints = [_text(hint) for hint in (hints if isinstance(hints, list) else [])[:_LONGEST_LIST]]
    for user, states in host.users.items():
        if "error" in states:
            found, _semicolon, cure = states["error"].partition("; ")
            host.causes.append(
                Cause("user", f"{user}: {found}", "the user's file cannot be used", cure or _DOCTOR)
            )
        for state, cause in _FAULTS.items():
            names = [name for name, one in states.items() if one == state]
            if names:
                found, cure = (
                    f"{user}: {', '.join(names)} {state}",
                    f"sudo -Hu {shlex.quote(user)} gar-auth doctor",
                )
                host.causes.append(Cause("user", _text(found), cause, cure))


def _token(name: str, user: str | None, entry: object) -> dict[str, t.Any]:
    known = _mapping(entry)
    state, left = _text(known.get("state")), known.get("seconds_left")
    counted = isinstance(left, int) and not isinstance(left, bool) and 0 <= left <= _LONGEST_LIFE
    return {
        "identity": name,
        "user": user,
        "account": _or_none(known.get("account")),
        "state": "awaits login" if known.get("login") else state,
        "seconds_left": left if counted else None,
        "expires_at": _or_none(known.get("expires_at")),
    }


def _told(report: object) -> list[Cause]:
    """The problems that C(gar-auth doctor) names."""
    findings = _mapping(report).get("findings")
    problems = [
        one
        for one in (findings if isinstance(findings, list) else [])
        if _mapping(one).get("level") == "problem"
    ]
    return [
        Cause(*(_text(one.get(key)) for key in ("check", "found", "cause", "cure")))
        for one in problems[:_LONGEST_LIST]
    ]


def _unexplained(host: Host) -> Cause:
    """What status says, where doctor has nothing against the host."""
    bad = [
        f"{one['identity']} {one['state']}" for one in host.tokens if one["state"] in ("expired", "missing")
    ]
    if bad:
        return Cause("identity", _text(", ".join(bad)), "there is no valid token", _DOCTOR)
    entries = [
        f"{name} of {user} is {state}"
        for user, states in host.users.items()
        for name, state in states.items()
        if state not in _ENTRIES
    ]
    found = _text(", ".join(entries)) or "gar-auth status says that not all is fine"
    return Cause("user", found, "auth.toml does not have the present token", _REFRESH)


def _mapping(value: object) -> t.Mapping[str, t.Any]:
    return value if isinstance(value, dict) else {}


def _items(value: object) -> list[tuple[str, t.Any]]:
    return [(_text(key), one) for key, one in list(_mapping(value).items())[:_LONGEST_LIST]]


def _lines(value: object) -> list[str]:
    return value.strip().splitlines() if isinstance(value, str) else []


def _or_none(value: object) -> str | None:
    return _text(value) or None


def _text(value: object) -> str:
    """One line that can be shown; nothing of what is no text."""
    if not isinstance(value, str):
        return ""
    line = " ".join(value[: 4 * _LONGEST_TEXT].split())
    line = re.sub(r"//[^\s/]*:[^\s]*@", "//***@", line)
    line = "".join(char if char.isprintable() else "?" for char in line)
    return line if len(line) <= _LONGEST_TEXT else line[: _LONGEST_TEXT - 1] + "…"
