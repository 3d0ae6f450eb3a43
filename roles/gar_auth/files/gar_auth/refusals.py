# SPDX-License-Identifier: GPL-3.0-or-later
"""What Google's refusals mean, and what to do: from the endpoint's answer to one line for people.

Only the error's code and known words of its description are used; nothing of an answer is repeated.
"""

from __future__ import annotations

import json
import re
import shlex
import typing as t

from gar_auth.errors import Exit, Failure, Reason

if t.TYPE_CHECKING:
    from gar_auth.transport import Answer

__all__ = [
    "bad_key",
    "bad_reply",
    "clock",
    "exchange_refused",
    "impersonation_refused",
    "key_refused",
    "login_refused",
    "subject_unread",
]

#: A clock that is off by more than this makes Google refuse what we sign.
CLOCK_SECONDS = 240

_CODE = re.compile(r"[A-Za-z_]{1,40}")


def error_of(answer: Answer | None) -> tuple[str, str]:
    """The code and the description of the error in the answer; the second is for comparing only."""
    try:
        data = json.loads(answer.data) if answer else {}
    except (ValueError, RecursionError):
        return "", ""
    error = data.get("error") if isinstance(data, dict) else None
    if isinstance(error, dict):
        code, description = error.get("status"), error.get("message")
    else:
        code, description = error, data.get("error_description") if isinstance(data, dict) else None
    code = code if isinstance(code, str) and _CODE.fullmatch(code) else ""
    return code, description if isinstance(description, str) else ""


def clock(answer: Answer | None) -> Failure | None:
    """The machine's clock is what is wrong, if it is."""
    if answer is None or abs(answer.skew) < CLOCK_SECONDS:
        return None
    minutes = round(abs(answer.skew) / 60)
    way = "ahead" if answer.skew > 0 else "behind"
    return Failure(
        f"this machine's clock is {minutes} min {way}, so {answer.host} refuses us;"
        " set it, for example with: timedatectl set-ntp true",
        code=Exit.TEMPORARY,
        reason=Reason.REFUSED,
    )


def bad_reply(answer: Answer | None) -> Failure:
    """The endpoint answered, but no token."""
    host = answer.host if answer else "the token endpoint"
    return Failure(
        f"the answer of {host} holds no usable token; check the proxy, or wait: the next run tries again",
        code=Exit.TEMPORARY,
        reason=Reason.BAD_REPLY,
    )


def bad_key(path: str, found: str, *, cure: str) -> Failure:
    """The file itself is what is wrong."""
    return Failure(f"{path} {found}; {cure}", code=Exit.CONFIGURATION, reason=Reason.BAD_KEY)


def new_key(path: str, account: str | None) -> str:
    """How to make a new key."""
    owner = shlex.quote(account) if account else "ACCOUNT"
    return (
        f"make a new key: gcloud iam service-accounts keys create {shlex.quote(path)} --iam-account={owner}"
    )


def key_refused(answer: Answer | None, *, path: str, account: str | None) -> Failure:
    """Google refuses what a service account's key has signed."""
    code, description = error_of(answer)
    if not code.islower():
        return _unknown(answer)
    if "not found" in description:
        return Failure(
            f"the service account of {path} does not exist (any more); name another one's key",
            code=Exit.CONFIGURATION,
            reason=Reason.NO_ACCOUNT,
        )
    why = ": the key was deleted or disabled" if code == "invalid_grant" else ""
    return bad_key(path, f"is refused by Google ({code}){why}", cure=new_key(path, account))


def login_refused(answer: Answer | None, *, path: str, user: str | None) -> Failure:
    """Google refuses a user's refresh token."""
    code, _description = error_of(answer)
    if not code.islower():
        return _unknown(answer)
    command = "run `gcloud auth application-default login`"
    cure = f"{command} as {user}" if user else f"{command} and put the new file there"
    if code == "invalid_grant":
        message = f"the login in {path} has expired or was revoked; {cure}"
        return Failure(message, code=Exit.CONFIGURATION, reason=Reason.LOGIN_EXPIRED)
    return bad_key(path, f"is refused by Google ({code})", cure=cure)


def subject_unread(info: dict[str, t.Any], *, path: str) -> Failure:
    """Nothing was asked yet: what is to be exchanged could not be read."""
    source = info.get("credential_source")
    named = source.get("file") if isinstance(source, dict) else None
    found = (
        f"{named} holds no subject token that can be read"
        if isinstance(named, str)
        else "there is no subject token"
    )
    return Failure(
        f"{found}; check credential_source in {path}, and subject_token_file of the identity",
        code=Exit.CONFIGURATION,
        reason=Reason.FILE,
    )


def exchange_refused(answer: Answer | None, *, path: str) -> Failure:
    """The token service refuses to exchange what the workload presents."""
    code, description = error_of(answer)
    if not code.islower():
        return _unknown(answer)
    if "expired" in description or "stale" in description:
        return Failure(
            f"the subject token that {path} names has expired; see to it that its issuer renews it",
            code=Exit.TEMPORARY,
            reason=Reason.REFUSED,
        )
    return Failure(
        f"the token exchange of {path} is refused ({code}); check the pool's provider, its audience and"
        " condition, and the subject token",
        code=Exit.CONFIGURATION,
        reason=Reason.REFUSED,
    )


def impersonation_refused(
    answer: Answer | None, *, target: str, account: str | None, lifetime: int
) -> Failure:
    """IAM refuses a token for the service account that is to be impersonated."""
    code, description = error_of(answer)
    status = answer.status if answer else 0
    caller = account or "the account of the source"
    reason = Reason.REFUSED
    if status == 404:
        reason = Reason.NO_ACCOUNT
        message = f"there is no service account {target}; create it, or name another one"
    elif status == 403 and ("has not been used" in description or "disabled" in description):
        message = (
            f"{target} cannot be impersonated; enable the API:"
            " gcloud services enable iamcredentials.googleapis.com"
        )
    elif status == 403:
        message = (
            f"{caller} may not impersonate {target};"
            f" grant roles/iam.serviceAccountTokenCreator on {target} to {caller}"
        )
    elif status == 400 and lifetime > 3600:
        message = (
            f"tokens of {target} may not live {lifetime} s; set lifetime to 3600, or allow more by the"
            " organisation policy constraints/iam.allowServiceAccountCredentialLifetimeExtension"
        )
    elif code:
        message = (
            f"{target} cannot be impersonated ({status}, {code}); check its name and the source's account"
        )
    else:
        return _unknown(answer)
    return Failure(message, code=Exit.CONFIGURATION, reason=reason)


def _unknown(answer: Answer | None) -> Failure:
    """No error of OAuth, whose codes are in small letters: who answers is not Google, or not well."""
    if answer is None or answer.status == 200:
        return bad_reply(answer)
    code = error_of(answer)[0]
    reason = f"({code})" if code else "without a reason"
    return Failure(
        f"{answer.host} answers {answer.status} {reason}; check proxy and name resolution",
        code=Exit.TEMPORARY,
        reason=Reason.BAD_REPLY,
    )
