# SPDX-License-Identifier: GPL-3.0-or-later
"""C(gar-auth doctor): whether an identity has a valid token of the right account, and if not, why."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from gar_auth.config import Config, Identity
from gar_auth.doctor_report import Finding, good, problem
from gar_auth.errors import Exit, Reason
from gar_auth.status import Entry
from gar_auth.status_text import span, utc

__all__ = ["again_of", "check_identity"]

#: The longest pause between two looks at a source that hands out the same token for a while is 3 minutes.
_LATE_SECONDS = 900
_LOGIN = (Reason.NOT_LOGGED_IN, Reason.LOGIN_EXPIRED)
_PASSING = (Reason.UNREACHABLE, Reason.BAD_REPLY)


@dataclass(frozen=True)
class _Case:
    """An identity, and what its cures need to know."""

    identity: Identity
    config: Config
    user: str

    @property
    def name(self) -> str:
        return f"{self.identity.name} ({self.identity.source})"

    @property
    def login(self) -> str:
        command = self.identity.login
        if self.identity.per_user:
            return f"run `{command}` as {self.user}"
        directory = f"{self.config.state_dir}/{self.identity.name}"
        return f"run `sudo -u gar-auth env CLOUDSDK_CONFIG={directory} {command}`, then {self.again}"

    @property
    def again(self) -> str:
        """The command that asks the source once more."""
        return again_of(self.identity, self.config)


def again_of(identity: Identity, config: Config) -> str:
    """The command that asks the source again, and writes what is there."""
    if config.service_manager == "none":
        return "`gar-auth refresh`"
    return "`gar-auth user`" if identity.per_user else "`sudo gar-auth refresh`"


def check_identity(entry: Entry, config: Config, *, user: str, now: float) -> list[Finding]:
    """What is known of an identity's token.

    :param user: whose login it is, where the identity is each user's own.
    """
    case, status = _Case(entry.identity, config, user), entry.status
    findings = []
    left = entry.left(now)
    if left is None:
        state = "has no token"
    elif left <= 0:
        state = f"has a token that expired {span(-left)} ago"
    else:
        state = f"has a token that is valid for {span(left)}"
    if status.error_class is not None:
        findings.append(_failing(case, entry, state))
    elif left is None:
        findings.append(_never(case, state))
    elif left <= 0:
        findings.append(
            problem(
                "identity",
                f"{case.name} {state}",
                cause=_stopped(case, entry, now),
                cure=f"{case.again}; then `gar-auth doctor` again: a unit that does not run is named there",
                code=Exit.TEMPORARY,
            )
        )
    else:
        account = f" ({status.account})" if status.account else ""
        findings.append(good("identity", f"{case.name} {state}{account}"))
        if _is_late(entry, now):
            findings.append(
                problem(
                    "identity",
                    f"{case.name} was last looked at {span(now - (entry.looked or 0))} ago",
                    cause=_stopped(case, entry, now),
                    cure=case.again,
                    code=Exit.TEMPORARY,
                )
            )
    if wrong := _wrong_account(case, entry):
        findings.append(wrong)
    return findings


def _never(case: _Case, state: str) -> Finding:
    if case.identity.per_user:
        return problem(
            "identity",
            f"{case.name} {state}",
            cause=f"{case.user} has not logged in yet",
            cure=case.login,
            code=Exit.TEMPORARY,
        )
    return problem(
        "identity",
        f"{case.name} {state}",
        cause="its source was never asked",
        cure=case.again,
        code=Exit.TEMPORARY,
    )


def _failing(case: _Case, entry: Entry, state: str) -> Finding:
    status = entry.status
    reason = _reason(status.error_class)
    times = f"{status.failures} times in a row, last " if status.failures > 1 else ""
    when = f" ({times}{utc(status.failed_at)})" if status.failed_at else ""
    code = Exit.CONFIGURATION
    if reason in _PASSING or (reason in _LOGIN and case.identity.per_user):
        code = Exit.TEMPORARY
    return problem(
        "identity",
        f"{case.name} {state}, and the next one is not to be had{when}",
        cause=f"{_cause(case, reason)}: {status.error}",
        cure=_cure(case, reason),
        code=code,
    )


def _reason(text: str | None) -> Reason:
    try:
        return Reason(text)
    except ValueError:
        return Reason.OTHER


def _cause(case: _Case, reason: Reason) -> str:
    who = case.user if case.identity.per_user else "nobody"
    causes: dict[Reason, str] = {
        Reason.NOT_LOGGED_IN: f"{who} has not logged in yet" if who != "nobody" else "nobody is logged in",
        Reason.LOGIN_EXPIRED: "the login has expired or was revoked",
        Reason.UNREACHABLE: "the source cannot be reached",
        Reason.REFUSED: "the source refuses the token",
        Reason.NO_ACCOUNT: "the account does not exist there",
        Reason.BAD_KEY: "the key is revoked, deleted or damaged",
        Reason.BAD_REPLY: "the source's answer is no token",
        Reason.NOT_GOOGLE: "something else than Google answers",
        Reason.FILE: "its file cannot be used",
    }
    return causes.get(reason, "the source failed")


def _cure(case: _Case, reason: Reason) -> str:
    identity = case.identity
    if reason in _LOGIN:
        return case.login
    if reason is Reason.REFUSED:
        return _grant(identity)
    file = identity.file or "the file"
    metadata = identity.type == "metadata"
    cures: dict[Reason, str] = {
        Reason.UNREACHABLE: "is this a Google Cloud VM? If not, declare an identity of another type; if so,"
        " no firewall may stand before 169.254.169.254"
        if metadata
        else "check the network, the proxy and the name resolution of oauth2.googleapis.com",
        Reason.NO_ACCOUNT: f"attach the service account {identity.account or 'default'} to this VM, or"
        " correct the identity's account"
        if metadata
        else f"correct the identity's account, or {case.login}",
        Reason.BAD_KEY: f"make a new key in Google Cloud, put it at {file} (owner root, mode 0600), and"
        " delete the old one",
        Reason.BAD_REPLY: f"the next tick tries again; where it lasts, see who answers instead: {case.again}",
        Reason.NOT_GOOGLE: "unset GCE_METADATA_HOST; on a machine outside Google Cloud declare an identity of"
        " another type",
        Reason.FILE: f"see to it that {file} is there, belongs to root and has mode 0600, then {case.again}",
    }
    return cures.get(reason, f"{case.again}, then read: journalctl -u 'gar-auth*' -n 20")


def _grant(identity: Identity) -> str:
    if identity.impersonate_service_account:
        return (
            "grant the role roles/iam.serviceAccountTokenCreator on"
            f" {identity.impersonate_service_account} to the account of {identity.type}"
        )
    if identity.type == "metadata":
        return "give the VM the access scope cloud-platform (stop it, edit it, start it)"
    return (
        "see to it that the account is not disabled, and that it may have tokens (IAM, organisation policy)"
    )


def _is_late(entry: Entry, now: float) -> bool:
    """Whether nobody looks any more, though the token is still good."""
    return not entry.identity.on_demand and entry.looked is not None and now - entry.looked > _LATE_SECONDS


def _stopped(case: _Case, entry: Entry, now: float) -> str:
    if case.config.service_manager == "none":
        return "nothing is scheduled here, and nobody has run `gar-auth refresh` since"
    when = f" since {utc(entry.looked)}" if entry.looked and entry.looked <= now else ""
    return f"its source has not been asked{when}: the timer does not run, or the clock was set"


def _wrong_account(case: _Case, entry: Entry) -> Finding | None:
    identity, found = case.identity, entry.status.account
    declared = {identity.account, identity.impersonate_service_account} - {None, "default"}
    if not found or not declared or found in t.cast("set[str]", declared):
        return None
    wanted = identity.impersonate_service_account or identity.account
    return problem(
        "identity",
        f"{case.name} has a token of {found}",
        cause=f"wrong account: {wanted} is declared, and somebody else is logged in or attached",
        cure=case.login
        if identity.type == "gcloud"
        else f"attach {wanted}, or correct the account of artifact_registry_identities.{identity.name}",
    )
