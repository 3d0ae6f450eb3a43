# SPDX-License-Identifier: GPL-3.0-or-later
"""See whether the index answers as another configuration wants it, before that one is put in force.

Looked at are the repositories that both configurations have, where the new one has another URL, certificate
or identity for them: somebody may use these now. A token of the new identity is fetched for that and kept
nowhere. Whoever runs this is root; who asks Google and the index is the service's own account.

Exit code: 0 when nothing is wrong, otherwise that of the most severe problem.
"""

from __future__ import annotations

import json
import os
import typing as t

from gar_auth._as_user import WorkFailed, run_as
from gar_auth.check import session
from gar_auth.config import Config, Identity, Repository
from gar_auth.cycle import material_of, service_account
from gar_auth.doctor_index import Held, check_answer
from gar_auth.doctor_probe import ask_all
from gar_auth.doctor_report import Finding, as_dict, as_text, note, problem, worst
from gar_auth.errors import Exit, Failure, Reason, carried, unpacked
from gar_auth.source import Reply, request

if t.TYPE_CHECKING:
    import pwd

    from gar_auth.material import Material

__all__ = ["changed", "run"]

#: gcloud and each of the index's steps have deadlines of their own.
SECONDS = 120.0


def run(present: Config, source: t.TextIO, *, as_json: bool) -> int:
    """Print what was found.

    :param present: what is in force.
    :param source: the configuration to be tried, as the role writes it.
    :raises Failure: not root (77), no such configuration (78), or the service's account is missing (78).
    """
    if os.geteuid() != 0:
        raise Failure("only root can try another configuration; run it with sudo", code=Exit.REFUSED)
    wanted = Config.parse(source.read(), where="standard input")
    findings = _look(wanted, changed(present, wanted))
    print(json.dumps(as_dict(findings, user="root"), indent=2) if as_json else as_text(findings))
    return int(worst(findings))


def changed(present: Config, wanted: Config) -> list[Repository]:
    """The repositories of both that would be served in another way."""

    def served(config: Config) -> dict[str, tuple[Repository, Identity]]:
        return {one.name: (one, config.identities[one.identity]) for one in config.repositories}

    now, then = served(present), served(wanted)
    return [
        repository
        for name, (repository, _identity) in then.items()
        if now.get(name, then[name]) != then[name]
    ]


def _look(wanted: Config, repositories: t.Sequence[Repository]) -> list[Finding]:
    findings: list[Finding] = []
    material: dict[str, Material | None] = {}
    for name in sorted({repository.identity for repository in repositories}):
        identity = wanted.identities[name]
        if identity.per_user:
            findings.append(note("identity", f"{name} is each user's own login, which is not tried"))
            continue
        try:
            material[name] = material_of(identity)
        except Failure as failure:
            findings.append(_no_token(name, failure))
    asked = [repository for repository in repositories if repository.identity in material]
    if not asked:
        return findings
    account = service_account()
    try:
        answer = run_as(
            account, lambda: carried(lambda: _ask(wanted, asked, material, account)), seconds=SECONDS
        )
    except WorkFailed as failed:
        raise Failure(str(failed), code=Exit.TEMPORARY) from None
    return findings + [Finding.from_plain(one) for one in unpacked(answer)]


def _ask(
    wanted: Config,
    repositories: t.Sequence[Repository],
    material: t.Mapping[str, Material | None],
    account: pwd.struct_passwd,
) -> list[dict[str, t.Any]]:
    """Fetch a token for each identity, and ask with it; runs as the service's account."""
    findings: list[Finding] = []
    replies: dict[str, Reply] = {}
    for name, content in material.items():
        try:
            replies[name] = request(wanted.identities[name], material=content, config=wanted)
        except Failure as failure:
            findings.append(_no_token(name, failure))
    environment = session(account)  # what a user's Poetry finds, and no longer what a unit does
    os.environ.clear()
    os.environ.update(environment)
    asked = [repository for repository in repositories if repository.identity in replies]
    for answer in ask_all(asked, {one.name: replies[one.identity].token for one in asked}):
        identity = wanted.identities[answer.repository.identity]
        reply = replies[identity.name]
        declared = identity.impersonate_service_account or identity.account
        held = Held(
            account=reply.account or (None if declared == "default" else declared),
            left=reply.lifetime,
            current=True,
        )
        findings.append(check_answer(answer, held))
    return [one.as_plain() for one in findings]


def _no_token(name: str, failure: Failure) -> Finding:
    """Without a token nothing is replaced; a login can only be made when its place is there."""
    found, _semicolon, cure = str(failure).partition("; ")
    if failure.reason is Reason.NOT_LOGGED_IN:
        return note("identity", f"{name}: {found}; it is not tried")
    return problem(
        "identity",
        f"{name}: {found}",
        cause="there is no token of this identity to ask with",
        cure=cure or "correct it in artifact_registry_identities",
        code=failure.code,
    )
