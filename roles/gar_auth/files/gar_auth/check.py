# SPDX-License-Identifier: GPL-3.0-or-later
"""See as each user that everything works: doctor's walk up to the index, and a dry publish by Poetry.

Root looks at every user, each in a process of that user, with the environment of a new session; another
user looks at the own account. Exit code: 0 when nothing is wrong, otherwise that of the most severe problem.
A user who has not logged in yet is told what to run, and nothing is wrong with that; what needs no login is
looked at all the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import json
import os
import pwd
import re
import shutil
import tempfile
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from gar_auth import bounded
from gar_auth._as_user import WorkFailed, run_all
from gar_auth.config import Config, account_of
from gar_auth.doctor import examine
from gar_auth.doctor_report import Finding, as_text, good, note, problem, worst
from gar_auth.errors import Exit, Failure
from gar_auth.status import inspect
from gar_auth.store import Store

__all__ = ["run"]

#: Read by PAM for each session: pam_env(8).
SESSION = "/etc/environment"
PATH = "/usr/local/bin:/usr/bin:/bin"
#: Of the dry publish; the walk has deadlines of its own.
SECONDS = 60.0
#: Poetry takes some 100 MB.
AT_ONCE = 4
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*?)\s*")
_PROJECT = """\
[tool.poetry]
name = "gar-auth-check"
version = "0"
description = ""
authors = []

[build-system]
requires = ["poetry-core"]
build-backend = "poetry.core.masonry.api"
"""


@dataclass
class Checked:
    """What was found for one user.

    :ivar state: C(fine), C(problem), or C(waiting) for the user's own login.
    """

    state: str
    findings: list[Finding] = field(default_factory=list)

    def as_dict(self) -> dict[str, t.Any]:
        return {"state": self.state, "findings": [one.as_plain() for one in self.findings]}


def run(
    config: Config,
    store: Store,
    users: t.Sequence[str],
    *,
    poetry: str | None,
    as_json: bool,
) -> int:
    """Print what was found for each user.

    :param users: these only; by default all who were declared, or oneself where somebody else than root asks.
    :param poetry: the program, by default the one on a session's PATH.
    :raises Failure: a user is not declared, or only root may look at that one (77, 78).
    """
    accounts = [account_of(user) for user in users or _seen(config)]
    for account in accounts:
        if account.pw_name not in config.users:
            message = f"no user {account.pw_name!r} in artifact_registry_users; there is nothing to check"
            raise Failure(message, code=Exit.CONFIGURATION)
        if os.geteuid() not in (0, account.pw_uid):
            message = f"only root can look at {account.pw_name}; run it with sudo"
            raise Failure(message, code=Exit.REFUSED)
    found = _check(config, store, accounts, poetry=poetry)
    code = worst([one for checked in found.values() for one in checked.findings])
    if as_json:
        users_found = {user: checked.as_dict() for user, checked in found.items()}
        print(json.dumps({"fine": code is Exit.FINE, "code": int(code), "users": users_found}, indent=2))
    else:
        for user, checked in found.items():
            print(f"{user}:\n{as_text(checked.findings)}")
    return int(code)


def _seen(config: Config) -> t.Sequence[str]:
    if os.geteuid() == 0:
        return config.users
    return [account_of(None).pw_name]


def _check(
    config: Config,
    store: Store,
    accounts: t.Sequence[pwd.struct_passwd],
    *,
    poetry: str | None,
) -> dict[str, Checked]:
    report = inspect(config, store)
    awaited = {
        user: {name for name, entry in own.items() if entry.awaits_login(report.now)}
        for user, own in report.logins.items()
    }
    hints: dict[str, list[Finding]] = {}
    for hint in report.hints():
        user, _colon, text = hint.partition(": ")
        hints.setdefault(user, []).append(note("login", text))
    jobs = []
    for account in accounts:
        rest = _without(config, awaited.get(account.pw_name, ()))
        names = [one.name for one in (*rest.repositories, *config.repositories)]
        publish = functools.partial(_publish, poetry, names[0]) if names else None
        jobs.append((account, functools.partial(_look, rest, store, account, publish=publish)))
    with contextlib.suppress(ImportError):  # the walk says so
        importlib.import_module("requests")  # once, before there are many processes
    answers = run_all(jobs, seconds=3 * SECONDS, at_once=AT_ONCE)
    found = {}
    for account, answer in zip(accounts, answers):
        if isinstance(answer, WorkFailed):
            findings = [_unknown(str(answer))]
        else:
            findings = [Finding.from_plain(one) for one in answer]
        told = hints.get(account.pw_name, [])
        state = "problem" if worst(findings) is not Exit.FINE else "waiting" if told else "fine"
        found[account.pw_name] = Checked(state, [*findings, *told])
    return found


def _without(config: Config, identities: t.Collection[str]) -> Config:
    """The configuration without the repositories of identities that wait for the user's login."""
    kept = tuple(one for one in config.repositories if one.identity not in identities)
    return dataclasses.replace(config, repositories=kept)


def _look(
    config: Config,
    store: Store,
    account: pwd.struct_passwd,
    *,
    publish: t.Callable[[t.Mapping[str, str]], Finding] | None,
) -> list[dict[str, t.Any]]:
    """What the user sees; runs as that user, in a process of its own."""
    environment = session(account)
    os.environ.clear()
    os.environ.update(environment)
    findings = examine(config, store, account, project=None)
    if publish is not None:
        findings.append(publish(environment))
    return [one.as_plain() for one in findings]


def session(account: pwd.struct_passwd, *, file: str = SESSION) -> dict[str, str]:
    """The environment of a new session of that user, as far as the machine decides it."""
    own = {"HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name, "LC_ALL": "C.UTF-8"}
    found = {"PATH": PATH}
    try:
        lines = Path(file).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if parts := _ASSIGNMENT.fullmatch(line):
            value = parts[2]
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
            found[parts[1]] = value[1:-1] if quoted else value
    return {**found, **own}


def _publish(poetry: str | None, repository: str, environment: t.Mapping[str, str]) -> Finding:
    """Let Poetry do all that it does to publish a package of nothing, but for the upload."""
    found = poetry or shutil.which("poetry", path=environment["PATH"])
    if found is None:
        return problem(
            "publish",
            f"there is no poetry in {environment['PATH']}",
            cause="Poetry is not installed for all users",
            cure="run the playbook again, with the role poetry among artifact_registry_roles",
        )
    with tempfile.TemporaryDirectory(prefix="gar-auth-check-") as place:
        package = Path(place) / "gar_auth_check"
        package.mkdir()
        (package / "__init__.py").touch()
        (Path(place) / "pyproject.toml").write_text(_PROJECT, encoding="utf-8")
        quiet = {
            "POETRY_VIRTUALENVS_CREATE": "false",
            "POETRY_CACHE_DIR": f"{place}/cache",
            # Poetry asks git, and anybody can make a repository of the directory above
            "GIT_CEILING_DIRECTORIES": os.path.dirname(os.path.realpath(place)),
        }
        command = [found, "publish", "--build", "--dry-run", "--no-interaction", "--no-ansi"]
        code, said = _run([*command, "--repository", repository], {**environment, **quiet}, directory=place)
    if code == 0:
        return good("publish", f"a dry publish to {repository} works")
    return problem(
        "publish",
        f"poetry publish --dry-run --repository {repository} ended with code {code}",
        cause=" / ".join(said.splitlines()[-3:])[:500],
        cure="run `poetry --version` and `poetry config --list` as this user; then the playbook again",
    )


def _run(command: list[str], environment: dict[str, str], *, directory: str) -> tuple[int, str]:
    """Exit code, and what it said; as a shell calls them, 124 is too late and 126 not to be started."""
    try:
        done = bounded.run(command, environment, deadline=time.monotonic() + SECONDS, directory=directory)
    except bounded.TooLate:
        return 124, f"not done within {SECONDS:g} s"
    except bounded.TooMuch:
        return 125, "it prints without an end"
    except OSError as error:
        return 126, f"{command[0]}: {error.strerror}"
    said = (text.decode("utf-8", "replace").strip() for text in (done.errors, done.output))
    return done.code, next(filter(None, said), "no message")


def _unknown(found: str) -> Finding:
    return problem(
        "check",
        found,
        cause="a part of the program or of the machine does not work",
        cure="run `gar-auth doctor` as this user, or the playbook again",
        code=Exit.TEMPORARY,
    )
