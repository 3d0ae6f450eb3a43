# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the Google Cloud CLI for a token of an account that is logged in to it.

It is called once and never twice at a time in one configuration, cannot prompt, and is ended with all its
children when it takes too long or the program is ended; only its JSON is used.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shlex
import shutil
import time
import typing as t

from gar_auth.bounded import TooLate, TooMuch, locked, run
from gar_auth.errors import Exit, Failure, Reason
from gar_auth.source import UNKNOWN_LIFETIME, Reply, account_name, is_token, lifetime_of
from gar_auth.token_file import seconds_until

if t.TYPE_CHECKING:
    from gar_auth.config import Config, Identity

__all__ = ["ask", "is_logged_in", "login_of"]

TOTAL_SECONDS = 20.0
PATH = "/usr/local/bin:/usr/bin:/bin"
#: A cached token with less left than this is replaced. The most that gcloud takes: who asks only when a new
#: token is due shall get one with all its life ahead.
MIN_EXPIRY = "1h"

#: What the program inherits, beside gcloud's own settings.
_ENVIRONMENT = re.compile(
    r"CLOUDSDK_\w+|(https?|no|all)_proxy|GCE_METADATA_\w+|NO_GCE_CHECK|REQUESTS_CA_BUNDLE|SSL_CERT_FILE",
    re.IGNORECASE,
)
_NOT_LOGGED_IN = re.compile(
    r"does not have any valid credentials|no credentialed accounts|do not currently have an active account"
    r"|you do not currently have this account|gcloud auth login.{0,40}to obtain new credentials",
    re.IGNORECASE | re.DOTALL,
)
_EXPIRED = re.compile(r"invalid_grant|invalid_rapt|reauthenticat|expired or revoked", re.IGNORECASE)
_UNREACHABLE = re.compile(
    r"unable to (find the server|connect)|max retries|timed? ?out|name resolution|name or service not known"
    r"|connection (refused|reset|aborted)|network is unreachable|transporterror|sslerror|certificate verify"
    r"|proxyerror|internal server error|service unavailable",
    re.IGNORECASE,
)
_BUSY = re.compile(r"database (table )?is locked", re.IGNORECASE)
_FULL = re.compile(r"no space left on device|disk quota exceeded|disk is full", re.IGNORECASE)


def ask(identity: Identity, config: Config) -> Reply:
    """A token of the identity's account.

    :raises Failure: not logged in, or not any more (78); no answer in time, or none that can be used (75).
    """
    deadline = time.monotonic() + TOTAL_SECONDS
    program = _program(config.gcloud)
    directory = login_of(identity, config)
    login = _Login(identity, directory)
    if not is_logged_in(identity, config):
        raise login.failure("nobody is logged in to gcloud", reason=Reason.NOT_LOGGED_IN)
    command = [program, "config", "config-helper", "--format=json", f"--min-expiry={MIN_EXPIRY}"]
    if identity.account:
        command.append(f"--account={identity.account}")
    try:
        with locked(directory, deadline=deadline):
            done = run(command, _environment(directory), deadline=deadline)
    except TooLate:
        message = f"gcloud does not answer within {TOTAL_SECONDS:g} s; the next run tries again"
        raise Failure(message, code=Exit.TEMPORARY, reason=Reason.UNREACHABLE) from None
    except TooMuch:
        raise _unusable() from None
    except OSError as error:
        message = f"{program}: {error.strerror}; install the Google Cloud CLI again"
        raise Failure(message, code=Exit.CONFIGURATION) from None
    if done.code != 0:
        raise _refused(done.errors.decode("utf-8", "replace"), done.code, login)
    return _parse(done.output)


def is_logged_in(identity: Identity, config: Config) -> bool:
    """Whether gcloud has ever kept a login there."""
    return os.path.exists(os.path.join(login_of(identity, config), "credentials.db"))


def login_of(identity: Identity, config: Config) -> str:
    """gcloud's configuration directory: the user's own, or one for each of the machine's identities."""
    if not identity.per_user:
        return os.path.join(config.state_dir, identity.name)
    return os.path.join(pwd.getpwuid(os.geteuid()).pw_dir, ".config", "gcloud")


class _Login:
    """Says how to log in."""

    def __init__(self, identity: Identity, directory: str) -> None:
        account = f" {shlex.quote(identity.account)}" if identity.account else ""
        user = pwd.getpwuid(os.geteuid()).pw_name
        self._before = "run `"
        self._after = f"` as {user}"
        if not identity.per_user:
            self._before += f"sudo -u {user} env CLOUDSDK_CONFIG={shlex.quote(directory)} "
            self._after = "`"
        self._login = identity.login
        chosen = f" --account={account.strip()}" if account else ""
        self._more = f"gcloud config config-helper --format=none{chosen}"  # prints no token

    def failure(self, found: str, *, reason: Reason) -> Failure:
        message = f"{found}; {self._before}{self._login}{self._after}"
        return Failure(message, code=Exit.CONFIGURATION, reason=reason)

    def unknown(self, found: str) -> Failure:
        message = f"{found}; to see why, {self._before}{self._more}{self._after}"
        return Failure(message, code=Exit.CONFIGURATION)


def _program(name: str) -> str:
    found = shutil.which(name, path=PATH)
    if found is None:
        raise Failure(
            f"there is no {name}; install the Google Cloud CLI, for example with the role gcloud",
            code=Exit.CONFIGURATION,
        )
    return found


def _environment(directory: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if _ENVIRONMENT.fullmatch(name)}
    authorities = kept.get("REQUESTS_CA_BUNDLE") or kept.get("SSL_CERT_FILE")
    if authorities:
        kept.setdefault("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", authorities)
    return {
        **kept,
        "PATH": PATH,
        "HOME": directory,
        "LC_ALL": "C.UTF-8",
        "CLOUDSDK_CONFIG": directory,
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_FILE_LOGGING": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
        "CLOUDSDK_CORE_CHECK_GCE_METADATA": "0",  # else the VM's account takes the place of who is logged in
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
    }


def _refused(said: str, code: int, login: _Login) -> Failure:
    if code < 0:
        found = f"gcloud was killed by signal {-code}; see: journalctl -k; the next run tries again"
        return Failure(found, code=Exit.TEMPORARY)
    if _BUSY.search(said):
        found = "gcloud's database is locked by another gcloud; the next run tries again"
        return Failure(found, code=Exit.TEMPORARY, reason=Reason.FILE)
    if _FULL.search(said):
        found = "gcloud finds no space left; free some where its configuration lies; the next run tries again"
        return Failure(found, code=Exit.TEMPORARY, reason=Reason.FILE)
    if _EXPIRED.search(said):
        return login.failure("the login to gcloud has expired or was revoked", reason=Reason.LOGIN_EXPIRED)
    if _UNREACHABLE.search(said):
        message = "gcloud cannot reach Google; check name resolution and proxy; the next run tries again"
        return Failure(message, code=Exit.TEMPORARY, reason=Reason.UNREACHABLE)
    if _NOT_LOGGED_IN.search(said):
        return login.failure("this account is not logged in to gcloud", reason=Reason.NOT_LOGGED_IN)
    return login.unknown(f"gcloud failed (exit code {code})")


def _parse(output: bytes) -> Reply:
    try:
        data = json.loads(output)
        credential, properties = data["credential"], data["configuration"]["properties"]
        token, expiry, account = (
            credential["access_token"],
            credential.get("token_expiry"),
            properties["core"].get("account"),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _unusable() from None
    if not is_token(token):
        raise _unusable()
    account = account_name(account)
    if expiry is None:
        return Reply(token=token, lifetime=UNKNOWN_LIFETIME, account=account, from_seen=True)
    lifetime = lifetime_of(seconds_until(expiry))
    if lifetime is None:
        raise _unusable()
    return Reply(token=token, lifetime=lifetime, account=account)


def _unusable() -> Failure:
    return Failure(
        "gcloud's answer holds no usable token; try: gcloud config config-helper",
        code=Exit.TEMPORARY,
        reason=Reason.BAD_REPLY,
    )
