# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens that are minted on demand, by google-auth: from a service account's key, a workload's or a user's
credentials, and for a service account that another identity impersonates.

Protocols: RFC 7523 (key), RFC 6749 (user), RFC 8693 (workload),
https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import pwd
import time
import typing as t
import warnings

from gar_auth import refusals
from gar_auth.errors import Failure
from gar_auth.source import Reply, account_name, is_token, lifetime_of

with warnings.catch_warnings():  # about old Pythons: the administrator's choice, not a user's
    warnings.simplefilter("ignore")
    from gar_auth import transport
    from gar_auth.transport import Answer, Transport, within

if t.TYPE_CHECKING:
    from gar_auth.config import Identity
    from gar_auth.material import Material

__all__ = ["SCOPE", "impersonate", "mint"]

SCOPE = "https://www.googleapis.com/auth/cloud-platform"

#: Seconds that an impersonated token lives, where no other lifetime is asked for.
USUAL = 3600

#: The C(type) in the files that an identity may name.
KINDS = {
    "service_account_key": ("service_account",),
    "external_account": ("external_account",),
    "adc": (
        "authorized_user",
        "external_account",
        "external_account_authorized_user",
        "impersonated_service_account",
        "service_account",
    ),
}

Explain = t.Callable[[t.Optional[Answer]], Failure]


def mint(identity: Identity, material: Material) -> Reply:
    """A new token by the identity's credentials; three tries, 20 s in all.

    :raises Failure: C(TEMPORARY) where a later call may succeed, C(CONFIGURATION) where somebody has to act.
    """
    path = material.path
    info = _parse(identity, material)
    kind = info["type"]
    account = account_name(info.get("client_email") or info.get("account"))
    credentials = _credentials(kind, info, path=path, account=account, subject=material.subject)
    account = account or account_name(getattr(credentials, "service_account_email", None))

    def explain(answer: Answer | None) -> Failure:
        if answer and answer.host.startswith("iamcredentials."):
            target = account or "the service account"
            return refusals.impersonation_refused(answer, target=target, account=None, lifetime=USUAL)
        if kind == "service_account":
            return refusals.key_refused(answer, path=path, account=account)
        if kind == "external_account" and answer is None:
            return refusals.subject_unread(info, path=path)
        if kind == "external_account":
            return refusals.exchange_refused(answer, path=path)
        user = pwd.getpwuid(os.geteuid()).pw_name if identity.per_user else None
        return refusals.login_refused(answer, path=path, user=user)

    itself = kind == "impersonated_service_account" or info.get("service_account_impersonation_url")
    return _refreshed(credentials, explain, account=account, asked=USUAL if itself else None)


def impersonate(identity: Identity, source: Reply) -> Reply:
    """A token of the identity's C(impersonate_service_account), asked for with the token of its source.

    :raises Failure: as C(mint).
    """
    import google.auth.impersonated_credentials
    import google.oauth2.credentials

    target = identity.impersonate_service_account or ""
    credentials = google.auth.impersonated_credentials.Credentials(  # type: ignore[no-untyped-call]
        source_credentials=google.oauth2.credentials.Credentials(source.token),  # type: ignore[no-untyped-call]
        target_principal=target,
        target_scopes=[SCOPE],
        lifetime=identity.lifetime,
    )

    def explain(answer: Answer | None) -> Failure:
        return refusals.impersonation_refused(
            answer, target=target, account=source.account, lifetime=identity.lifetime
        )

    return _refreshed(credentials, explain, account=target, asked=identity.lifetime)


def _parse(identity: Identity, material: Material) -> dict[str, t.Any]:
    allowed = KINDS[identity.type]
    cure = (
        f"put {'the key' if allowed == ('service_account',) else 'the credentials'} there as Google made them"
    )
    try:
        info = json.loads(material.source)
    except (ValueError, RecursionError):
        raise refusals.bad_key(material.path, "is not JSON", cure=cure) from None
    kind = info.get("type") if isinstance(info, dict) else None
    if kind not in allowed:
        found = f"is of type {kind}" if kind in KINDS["adc"] else "holds no credentials of Google"
        cure = f"need {' or '.join(allowed)}: {cure}"
        raise refusals.bad_key(material.path, found, cure=cure)
    return t.cast("dict[str, t.Any]", info)


def _credentials(
    kind: str, info: dict[str, t.Any], *, path: str, account: str | None, subject: bytes | None
) -> t.Any:
    """google-auth's object for the file; it checks the rest of the contents."""
    if kind == "external_account":
        info = _workload(info, path=path, subject=subject)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _BUILDERS[kind](info)
    except Exception:  # of many kinds; their texts may hold parts of the file
        cure = "put the credentials there again as Google made them"
        if kind == "service_account":
            cure = refusals.new_key(path, account)
        raise refusals.bad_key(path, f"is no usable {kind}", cure=cure) from None


def _workload(info: dict[str, t.Any], *, path: str, subject: bytes | None) -> dict[str, t.Any]:
    source = info.get("credential_source")
    if isinstance(source, dict) and "executable" in source:
        cure = "let it write a file, and name that as credential_source.file"
        raise refusals.bad_key(path, "names a program, which is not run here", cure=cure)
    if subject is None:
        return info
    if not isinstance(source, dict) or "file" not in source:
        cure = "leave subject_token_file out, or name the file there"
        raise refusals.bad_key(path, "names no file for the subject token", cure=cure)
    form = source.get("format")
    name = None
    if isinstance(form, dict) and form.get("type") == "json":
        name = form.get("subject_token_field_name")
    try:
        token = json.loads(subject)[name] if name else subject.decode()
    except (ValueError, KeyError, TypeError, RecursionError):
        token = ""
    if not token or not isinstance(token, str):
        raise refusals.subject_unread(info, path=path)
    return {
        **{key: value for key, value in info.items() if key != "credential_source"},
        "subject_token_supplier": _supplier(token),
    }


def _supplier(token: str) -> t.Any:
    from google.auth import identity_pool

    class Supplier(identity_pool.SubjectTokenSupplier):
        """What was handed over."""

        def get_subject_token(self, context: object, request: object) -> str:
            return token

    return Supplier()


def _service_account(info: dict[str, t.Any]) -> t.Any:
    from google.oauth2 import service_account

    return service_account.Credentials.from_service_account_info(info, scopes=[SCOPE])  # type: ignore[no-untyped-call]


def _authorized_user(info: dict[str, t.Any]) -> t.Any:
    import google.oauth2.credentials

    return google.oauth2.credentials.Credentials.from_authorized_user_info(info)  # type: ignore[no-untyped-call]


def _external_account(info: dict[str, t.Any]) -> t.Any:
    if "environment_id" in info.get("credential_source", {}):
        from google.auth import aws

        return aws.Credentials.from_info(info, scopes=[SCOPE])  # type: ignore[no-untyped-call]
    from google.auth import identity_pool

    return identity_pool.Credentials.from_info(info, scopes=[SCOPE])  # type: ignore[no-untyped-call]


def _external_user(info: dict[str, t.Any]) -> t.Any:
    from google.auth import external_account_authorized_user

    return external_account_authorized_user.Credentials.from_info(info)  # type: ignore[no-untyped-call]


def _impersonated(info: dict[str, t.Any]) -> t.Any:
    from google.auth import impersonated_credentials

    return impersonated_credentials.Credentials.from_impersonated_service_account_info(  # type: ignore[no-untyped-call]
        info, scopes=[SCOPE]
    )


_BUILDERS: dict[str, t.Callable[[dict[str, t.Any]], t.Any]] = {
    "service_account": _service_account,
    "authorized_user": _authorized_user,
    "external_account": _external_account,
    "external_account_authorized_user": _external_user,
    "impersonated_service_account": _impersonated,
}


def _refreshed(credentials: t.Any, explain: Explain, *, account: str | None, asked: int | None) -> Reply:
    """The new token.

    :param asked: the lifetime asked of IAM, which answers with a time of its clock; None: whoever is asked
        answers with a lifetime, and the time is by this machine's clock.
    """
    logging.getLogger("google").addHandler(logging.NullHandler())
    sender = Transport()
    late = "the token endpoint does not answer in time"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            within(transport.TOTAL_SECONDS, lambda: credentials.refresh(sender), late=late)
    except Failure:
        raise
    except Exception:  # google-auth's errors, and what unchecked replies make of it
        answer = sender.last
        if answer is None or answer.status != 200:
            raise refusals.clock(answer) or explain(answer) from None
        raise refusals.bad_reply(answer) from None
    finally:
        sender.close()
    ahead = sender.last.skew if asked and sender.last else 0.0
    lifetime = _lifetime(credentials.expiry, ahead=ahead)
    if not is_token(credentials.token) or lifetime is None:
        raise refusals.clock(sender.last) or refusals.bad_reply(sender.last)
    return Reply(token=credentials.token, lifetime=min(lifetime, asked or lifetime), account=account)


def _lifetime(expiry: datetime.datetime | None, *, ahead: float) -> int | None:
    """From google-auth's time without a zone, which is UTC."""
    if not isinstance(expiry, datetime.datetime):
        return None
    left = expiry.replace(tzinfo=datetime.timezone.utc).timestamp() - time.time()
    return lifetime_of(round(left + ahead))
