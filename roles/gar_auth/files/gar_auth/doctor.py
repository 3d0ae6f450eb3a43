# SPDX-License-Identifier: GPL-3.0-or-later
"""Walk the whole way from the source of tokens to this user's project; name the cause and the cure.

Everything runs as whoever calls it: root sees the machine's parts, the tokens of the store and, where root is
one of the users, its own Poetry; another user sees the machine's world-readable status and their own Poetry.
Exit code: 0 when nothing is wrong, otherwise that of the most severe problem (78, 77, 65, 75).
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from gar_auth import (
    __version__,
    doctor_index,
    doctor_keyring,
    doctor_machine,
    doctor_probe,
    doctor_project,
    doctor_way,
)
from gar_auth.config import Config, Identity, Repository, account_of
from gar_auth.doctor_hidden import check_poetry
from gar_auth.doctor_identity import again_of, check_identity
from gar_auth.doctor_index import Held
from gar_auth.doctor_poetry import Poetry
from gar_auth.doctor_poetry import look as look_at_poetry
from gar_auth.doctor_report import Finding, as_dict, as_text, good, note, problem, worst
from gar_auth.errors import Failure
from gar_auth.status import Entry
from gar_auth.store import Status, Store, digest, user_store

__all__ = ["examine", "run"]


@dataclass
class _Visit:
    """One walk; what was found so far.

    :ivar entries: by identity, what is known of its token.
    :ivar tokens: by repository, the token to try; never shown.
    """

    config: Config
    account: pwd.struct_passwd
    served: bool
    now: float
    findings: list[Finding] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict, repr=False)
    poetry: Poetry | None = None

    def failed(self, check: str, error: Failure) -> None:
        """A Failure says both what was found and what to do."""
        found, _semicolon, cure = str(error).partition("; ")
        self.findings.append(
            problem(
                check,
                found,
                cause="the file cannot be used" if check != "index" else "a part of the program is missing",
                cure=cure or "run `sudo gar-auth doctor`, or the playbook again",
                code=error.code,
            )
        )


def run(config: Config, store: Store, options: argparse.Namespace) -> int:
    """Print one line for each check, and cause and cure of each problem.

    :param options: C(json) (bool) and C(project) (directory or None: the working directory).
    """
    account = account_of(None)
    findings = examine(config, store, account, project=options.project)
    if options.json:
        print(json.dumps(as_dict(findings, user=account.pw_name), indent=2))
    else:
        print(as_text(findings))
    return int(worst(findings))


def examine(
    config: Config, store: Store, account: pwd.struct_passwd, *, project: Path | None
) -> list[Finding]:
    """Walk, as who runs this process.

    :param project: its directory; None: the working directory, or one above.
    """
    visit = _Visit(config, account, account.pw_name in config.users, time.time())
    visit.findings.append(_declared(config))
    _machine(visit)
    _identities(visit, store)
    if visit.served:
        try:
            visit.poetry, visit.tokens = look_at_poetry(config, account)
        except Failure as error:
            visit.failed("poetry", error)
    _repositories(visit, store)
    _poetry(visit)
    _project(visit, project)
    return visit.findings


def _declared(config: Config) -> Finding:
    def count(number: int, one: str, more: str) -> str:
        return f"{number} {one if number == 1 else more}"

    parts = (
        count(len(config.identities), "identity", "identities"),
        count(len(config.repositories), "repository", "repositories"),
        count(len(config.users), "user", "users"),
    )
    return good("configuration", ", ".join(parts))


def _machine(visit: _Visit) -> None:
    root = os.geteuid() == 0
    machine = doctor_machine.look(visit.config, user=None if root else visit.account.pw_name)
    visit.findings.append(doctor_machine.check_boot(machine))
    for name, properties in (machine.units or {}).items():
        visit.findings.append(doctor_machine.check_unit(name, properties))


def _identities(visit: _Visit, store: Store) -> None:
    config, user = visit.config, visit.account.pw_name
    places: list[tuple[Identity, Store]] = [(one, store) for one in config.host_identities()]
    if visit.served:
        own = user_store(config, visit.account)
        places += [(one, own) for one in config.user_identities()]
    for identity, place in places:
        try:
            status = place.status(identity.name) or Status(identity=identity.name, source=identity.source)
        except Failure as error:
            visit.failed("identity", error)
            continue
        entry = Entry(identity, status, place.looked(identity.name))
        visit.entries[identity.name] = entry
        visit.findings += check_identity(entry, config, user=user, now=visit.now)


def _repositories(visit: _Visit, store: Store) -> None:
    """Ask every repository, with the token that Poetry would send."""
    tokens: dict[str, str | None] = {}
    for repository in visit.config.repositories:
        tokens[repository.name] = visit.tokens.get(repository.name) or _stored(visit, store, repository)
    certificates = visit.poetry.certificates if visit.poetry else {}
    asked = [
        replace(one, ca_cert=one.ca_cert or certificates.get(one.name)) for one in visit.config.repositories
    ]
    try:
        answers = doctor_probe.ask_all(asked, tokens)
    except Failure as error:
        visit.failed("index", error)
        return
    for host, proxied in sorted({answer.host: answer.proxy is not None for answer in answers}.items()):
        if host:
            failure = doctor_probe.resolve(host)
            visit.findings.append(doctor_way.check_name(host, failure, proxied=proxied))
    once: list[Finding | None] = [doctor_way.check_clock(answers)]
    once += [doctor_way.check_proxy(answer) for answer in answers]
    visit.findings += dict.fromkeys(one for one in once if one is not None)
    for answer in answers:
        token = tokens[answer.repository.name]
        visit.findings.append(doctor_index.check_answer(answer, _held(visit, answer.repository, token)))
        if hidden := doctor_way.check_bundle(answer):
            visit.findings.append(hidden)


def _stored(visit: _Visit, store: Store, repository: Repository) -> str | None:
    """The identity's token, where this user may read it."""
    identity = visit.config.identities[repository.identity]
    if identity.per_user and not visit.served:
        return None
    try:
        token = (user_store(visit.config, visit.account) if identity.per_user else store).token(identity.name)
    except Failure:
        return None
    return token.token if token else None


def _held(visit: _Visit, repository: Repository, token: str | None) -> Held:
    identity = visit.config.identities[repository.identity]
    again = again_of(identity, visit.config)
    entry = visit.entries.get(identity.name)
    if entry is None or token is None:
        return Held(again=again)
    current = digest(token) == entry.status.digest
    return Held(
        account=entry.status.account or identity.owner,
        left=entry.left(visit.now) if current else None,
        current=current,
        again=again,
    )


def _poetry(visit: _Visit) -> None:
    name = visit.account.pw_name
    if not visit.served:
        text = f"Poetry of {name} is not looked at: {name} is not among artifact_registry_users"
        if os.geteuid() == 0:
            visit.findings.append(note("poetry", text))
        else:
            visit.findings.append(
                problem(
                    "poetry",
                    text,
                    cause="tokens are only for the users who are declared",
                    cure=f"add {name} to artifact_registry_users, and run the playbook",
                )
            )
    elif visit.poetry is not None:
        present = {
            one.name: _digest(visit.entries.get(one.identity), visit.now) for one in visit.config.repositories
        }
        again = {
            one.name: again_of(visit.config.identities[one.identity], visit.config)
            for one in visit.config.repositories
        }
        keyring = not visit.config.writes
        if keyring:
            found = doctor_keyring.look(visit.config, visit.account)
            visit.findings += doctor_keyring.check_keyring(found, user=name, version=__version__)
        visit.findings += check_poetry(
            visit.poetry, visit.config.repositories, present, again=again, keyring=keyring
        )


def _digest(entry: Entry | None, now: float) -> str | None:
    return entry.status.digest if entry and entry.valid(now) else None


def _project(visit: _Visit, project: Path | None) -> None:
    start = Path(os.path.abspath(project)) if project else _working_directory()
    path = doctor_project.find(start) if start else None
    if path is None:
        where = f"{start} and the directories above have" if start else "the working directory has"
        visit.findings.append(
            note("project", f"{where} no pyproject.toml; name a project with --project DIR")
        )
        return
    try:
        found = doctor_project.sources(path)
    except Failure as error:
        visit.failed("project", error)
        return
    visit.findings += doctor_project.check_sources(str(path), found, visit.config.repositories)


def _working_directory() -> Path | None:
    try:
        return Path.cwd()
    except OSError:
        return None
