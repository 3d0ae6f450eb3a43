# SPDX-License-Identifier: GPL-3.0-or-later
"""See whether the index answers as another configuration wants it, before that one is put in force.

Looked at are the repositories that both configurations have, where the new one has another URL, certificate
or identity for them: somebody may use these now. A token of the new identity is fetched for that and kept
nowhere. Whoever runs this is root; who asks Google and the index is the service's own account. What it cannot
have, such as a login that nobody has made yet, a key that only users may read or an authority that only their
own Poetry is told of, is not tried.

Exit code: 0 when nothing is wrong, otherwise that of the most severe problem.
"""

from __future__ import annotations

import json
import os
import shutil
import typing as t

from gar_auth._as_user import WorkFailed, run_as
from gar_auth.check import session
from gar_auth.config import Config, Identity, Repository
from gar_auth.cycle import material_of, service_account
from gar_auth.doctor_index import Held, check_answer
from gar_auth.doctor_probe import Answer, ask_all
from gar_auth.doctor_report import Finding, as_dict, as_text, note, problem, worst
from gar_auth.errors import Exit, Failure, carried, unpacked
from gar_auth.gcloud import PATH, is_logged_in
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
    there = {path for one in asked for path in _files(one) if os.path.exists(path)}
    try:
        answer = run_as(
            account, lambda: carried(lambda: _ask(wanted, asked, material, account, there)), seconds=SECONDS
        )
    except WorkFailed as failed:
        return [*findings, _no_end(str(failed))]
    return findings + [Finding.from_plain(one) for one in unpacked(answer)]


def _files(repository: Repository) -> list[str]:
    return [path for path in (repository.ca_cert, repository.client_cert) if path]


def _ask(
    wanted: Config,
    repositories: t.Sequence[Repository],
    material: t.Mapping[str, Material | None],
    account: pwd.struct_passwd,
    there: t.Collection[str],
) -> list[dict[str, t.Any]]:
    """Fetch a token for each identity, and ask with it; runs as the service's account.

    :param there: the repositories' files that exist, as root sees it.
    """
    findings: list[Finding] = []
    asked = []
    for repository in repositories:
        closed = [path for path in _files(repository) if path in there and not os.access(path, os.R_OK)]
        if closed:
            text = f"{repository.name} is not tried: only its users may read {closed[0]}"
            findings.append(note("index", text))
        else:
            asked.append(repository)
    replies: dict[str, Reply] = {}
    for name in sorted({repository.identity for repository in asked}):
        identity = wanted.identities[name]
        if identity.type == "gcloud" and (missing := _of_gcloud(identity, wanted)):
            findings.append(note("identity", f"{name} is not tried: {missing}"))
            continue
        try:
            replies[name] = request(identity, material=material[name], config=wanted)
        except Failure as failure:
            findings.append(_no_token(name, failure))
    asked = [repository for repository in asked if repository.identity in replies]
    for answer in _answers(asked, {one.name: replies[one.identity].token for one in asked}, account):
        if (
            answer.trouble is not None
            and answer.trouble.kind == "ca_missing"
            and not answer.repository.ca_cert
        ):
            name, host = answer.repository.name, answer.host
            text = f"{name} is not tried: only its users may know the authority of {host}"
            findings.append(note("tls", text))
            continue
        identity = wanted.identities[answer.repository.identity]
        reply = replies[identity.name]
        held = Held(account=reply.account or identity.owner, left=reply.lifetime, current=True)
        findings.append(check_answer(answer, held))
    return [one.as_plain() for one in findings]


def _of_gcloud(identity: Identity, wanted: Config) -> str | None:
    """What is not there yet, and may come with the release; None where all is."""
    if not is_logged_in(identity, wanted):
        return "nobody is logged in to gcloud"
    return None if shutil.which(wanted.gcloud, path=PATH) else f"there is no {wanted.gcloud} yet"


def _answers(
    repositories: t.Sequence[Repository], tokens: t.Mapping[str, str | None], account: pwd.struct_passwd
) -> list[Answer]:
    """Ask as a session does; without an answer by the units' proxy, which users' profiles may have, too."""
    units = dict(os.environ)
    os.environ.clear()
    os.environ.update(session(account))
    answers = {answer.repository.name: answer for answer in ask_all(repositories, tokens)}
    again = [one for one in repositories if answers[one.name].trouble is not None]
    if again:
        os.environ.update(units)
        answers |= {one.repository.name: one for one in ask_all(again, tokens) if one.proxy}
    return list(answers.values())


def _no_token(name: str, failure: Failure) -> Finding:
    found, _semicolon, cure = str(failure).partition("; ")
    return problem(
        "identity",
        f"{name}: {found}",
        cause="there is no token of this identity to ask with",
        cure=cure or "correct it in artifact_registry_identities",
        code=failure.code,
    )


def _no_end(found: str) -> Finding:
    return problem(
        "index",
        found,
        cause="a source of tokens, or the index, is too slow",
        cure="try again in some minutes; see https://status.cloud.google.com",
        code=Exit.TEMPORARY,
    )
