# SPDX-License-Identifier: GPL-3.0-or-later
"""C(gar-auth doctor): what the answer of a repository's index means."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from urllib.parse import urlsplit

from gar_auth.doctor_probe import Answer
from gar_auth.doctor_report import Finding, good, note, problem, public_url
from gar_auth.doctor_way import no_answer, other_host
from gar_auth.errors import Exit
from gar_auth.status_text import span

__all__ = ["Held", "check_answer"]

#: What Google's answers hold where a service perimeter (VPC Service Controls) refuses a request.
_PERIMETER = (
    "vpcservicecontrols",
    "vpc service controls",
    "prohibited by organization's policy",
    "security_policy_violated",
)
_GOOGLE = ".pkg.dev"


@dataclass(frozen=True)
class Held:
    """The token that was sent for a repository; never the token itself.

    :ivar account: who it belongs to, None where nobody knows.
    :ivar left: seconds until it expires, as far as is known.
    :ivar current: it is the identity's present token.
    :ivar again: the command that puts the present token in its place.
    """

    account: str | None = None
    left: int | None = None
    current: bool = False
    again: str = "gar-auth refresh"


def check_answer(answer: Answer, held: Held) -> Finding:
    """What the index of one repository said to this user's token."""
    name = answer.repository.name
    if answer.trouble is not None:
        return no_answer(answer, answer.trouble)
    status = answer.status or 0
    found = f"{name}: {answer.host} answers {status}"
    if 300 <= status < 400:
        return other_host(answer, f"{found} and sends the client to {answer.location or 'another place'}")
    if status in (401, 407) and not answer.authenticated:
        return note("index", f"{name}: {answer.host} is reached; there is no token to ask it with")
    if status == 401:
        return _unauthenticated(found, held)
    if status == 403:
        return _forbidden(answer, found, held)
    if status == 404:
        return _missing(answer, found)
    if status == 200:
        who = f" as {held.account}" if held.account else ""
        return good("index", f"{found}{who}")
    return problem(
        "index",
        found,
        cause="the server, or a proxy before it, has a fault",
        cure="try again in some minutes; see https://status.cloud.google.com",
        code=Exit.TEMPORARY,
    )


def _unauthenticated(found: str, held: Held) -> Finding:
    if held.left is not None and held.left <= 0:
        cause = f"the token expired {span(-held.left)} ago"
    elif held.current:
        cause = "the token was revoked, or its account disabled or deleted, since it was issued"
    else:
        cause = "the password in auth.toml is not the present token: an older one, or somebody else's"
    return problem(
        "index", f"{found} to this user's token", cause=cause, cure=held.again, code=Exit.TEMPORARY
    )


def _forbidden(answer: Answer, found: str, held: Held) -> Finding:
    account = held.account or "the account of this identity"
    project, repository, location = _place(answer)
    if any(hint in answer.body.lower() for hint in _PERIMETER):
        return problem(
            "index",
            f"{found} to {account}",
            cause=f"a service perimeter (VPC Service Controls) of project {project} keeps this machine out",
            cure=f"let the perimeter's administrator admit {account} or this network to"
            " artifactregistry.googleapis.com, or run this inside the perimeter",
        )
    return problem(
        "index",
        f"{found} to {account}",
        cause=f"permission: {account} may not read the repository {repository}, or it is the wrong account",
        cure=f"gcloud artifacts repositories add-iam-policy-binding {repository} --project={project}"
        f" --location={location} --member={_member(held.account)} --role=roles/artifactregistry.reader"
        " (to publish: roles/artifactregistry.writer)",
    )


def _missing(answer: Answer, found: str) -> Finding:
    project, repository, location = _place(answer)
    if answer.repository.index_url is None:
        return note("index", f"{found} at simple/; where its packages are listed is not known here")
    return problem(
        "index",
        found,
        cause=f"there is no repository {repository} in project {project} at location {location}",
        cure=f"gcloud artifacts repositories list --project={project}; then correct"
        f" {answer.repository.name} in artifact_registry_repositories",
    )


def _place(answer: Answer) -> tuple[str, str, str]:
    """Project, repository and location, as far as the URL tells."""
    parts = [part for part in urlsplit(answer.repository.publish_url).path.split("/") if part]
    project, repository = (parts + ["PROJECT", "REPOSITORY"][len(parts) :])[:2]
    host = answer.host
    location = host[: -len("-python.pkg.dev")] if host.endswith(f"-python{_GOOGLE}") else "LOCATION"
    return public_url(project), public_url(repository), location


def _member(account: str | None) -> str:
    if account is None:
        return "MEMBER"
    if "://" in account:  # a workload identity: principal://iam.googleapis.com/…
        return shlex.quote(account)
    kind = "serviceAccount" if account.endswith("gserviceaccount.com") else "user"
    return f"{kind}:{shlex.quote(account)}"
