# SPDX-License-Identifier: GPL-3.0-or-later
"""See as each user that everything works: doctor's walk up to the index, and a dry publish by Poetry.

Root looks at every user, each in a process of that user, with the environment of a new session; another
user looks at the own account. Exit code: 0 when nothing is wrong, otherwise that of the most severe problem.
A user who has not logged in yet is told what to run, and nothing is wrong with that.
"""

from __future__ import annotations

import functools
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from gar_auth._as_user import WorkFailed, run_all
from gar_auth.config import Config, account_of
from gar_auth.doctor_report import Finding, Level, as_text, good, note, problem, worst
from gar_auth.errors import Exit, Failure
from gar_auth.status import inspect
from gar_auth.store import Store

__all__ = ["run"]

#: Read by PAM for each session: pam_env(8).
SESSION = "/etc/environment"
PATH = "/usr/local/bin:/usr/bin:/bin"
#: Of the walk, and of the dry publish.
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


_AGAIN = """\
import sys
sys.path.insert(0, sys.argv.pop(1))
from gar_auth.__main__ import main
sys.exit(main())
"""


@dataclass
class Checked:
    """What was found for one user.

    :ivar state: C(fine), C(problem), or C(waiting) for the user's own login.
    """

    state: str
    findings: list[Finding] = field(default_factory=list)

    def as_dict(self) -> dict[str, t.Any]:
        return {"state": self.state, "findings": [_plain(one) for one in self.findings]}


def run(
    config: Config,
    store: Store,
    users: t.Sequence[str],
    *,
    config_file: str,
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
    found = _check(config, store, accounts, program=_program(config_file), poetry=poetry)
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


def _program(config_file: str) -> list[str]:
    """The command that runs this program once more, as somebody else too."""
    return [sys.executable, "-I", "-c", _AGAIN, str(Path(__file__).parent.parent), "--config", config_file]


def _check(
    config: Config,
    store: Store,
    accounts: t.Sequence[pwd.struct_passwd],
    *,
    program: t.Sequence[str],
    poetry: str | None,
) -> dict[str, Checked]:
    waiting: dict[str, list[Finding]] = {}
    for hint in inspect(config, store).hints():
        user, _colon, text = hint.partition(": ")
        waiting.setdefault(user, []).append(note("login", text))
    asked = [account for account in accounts if account.pw_name not in waiting]
    repository = config.repositories[0].name if config.repositories else None
    work = functools.partial(_look, program=program, poetry=poetry, repository=repository)
    jobs = [(account, functools.partial(work, account)) for account in asked]
    answers = run_all(jobs, seconds=3 * SECONDS, at_once=AT_ONCE)
    found = {user: Checked("waiting", hints) for user, hints in waiting.items()}
    for account, answer in zip(asked, answers):
        if isinstance(answer, WorkFailed):
            findings = [_unknown("check", str(answer))]
        else:
            findings = [
                Finding(**{**one, "level": Level(one["level"]), "code": Exit(one["code"])}) for one in answer
            ]
        fine = worst(findings) is Exit.FINE
        found[account.pw_name] = Checked("fine" if fine else "problem", findings)
    return {account.pw_name: found[account.pw_name] for account in accounts}


def _look(
    account: pwd.struct_passwd, *, program: t.Sequence[str], poetry: str | None, repository: str | None
) -> list[dict[str, t.Any]]:
    """What the user sees; runs as that user."""
    environment = session(account)
    findings: list[dict[str, t.Any]] = _doctor(program, environment)
    if repository:
        findings.append(_plain(_publish(poetry, repository, environment)))
    return findings


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


def _doctor(program: t.Sequence[str], environment: t.Mapping[str, str]) -> list[dict[str, t.Any]]:
    done = _run([*program, "doctor", "--json"], environment, directory="/")
    try:
        return list(json.loads(done.stdout)["findings"])
    except (ValueError, KeyError, TypeError):
        words = (done.stderr.strip() or "no message").splitlines()[-1]
        return [_plain(_unknown("doctor", f"gar-auth doctor ended with code {done.returncode}: {words}"))]


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
        quiet = {"POETRY_VIRTUALENVS_CREATE": "false", "POETRY_CACHE_DIR": f"{place}/cache"}
        command = [found, "publish", "--build", "--dry-run", "--no-interaction", "--no-ansi"]
        done = _run([*command, "--repository", repository], {**environment, **quiet}, directory=place)
    if done.returncode == 0:
        return good("publish", f"a dry publish to {repository} works")
    words = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
    return problem(
        "publish",
        f"poetry publish --dry-run --repository {repository} ended with code {done.returncode}",
        cause=" / ".join(words[-3:])[:500],
        cure="run `poetry --version` and `poetry config --list` as this user; then the playbook again",
    )


def _run(
    command: t.Sequence[str], environment: t.Mapping[str, str], *, directory: str
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            env=dict(environment),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"not done within {SECONDS:g} s")
    except OSError as error:
        return subprocess.CompletedProcess(command, 126, "", f"{command[0]}: {error.strerror}")


def _unknown(check: str, found: str) -> Finding:
    return problem(
        check,
        found,
        cause="a part of the program or of the machine does not work",
        cure="run `sudo gar-auth doctor`, or the playbook again",
        code=Exit.TEMPORARY,
    )


def _plain(finding: Finding) -> dict[str, t.Any]:
    return {**vars(finding), "level": finding.level.value, "code": int(finding.code)}
