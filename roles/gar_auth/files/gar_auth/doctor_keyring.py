# SPDX-License-Identifier: GPL-3.0-or-later
"""C(gar-auth doctor): whether this user's Poetry asks our keyring backend, and that may read a token."""

from __future__ import annotations

import configparser
import os
import pwd
import shlex
import shutil
import typing as t
from dataclasses import dataclass
from pathlib import Path

from gar_auth.config import Config
from gar_auth.doctor_report import Finding, good, note, problem
from gar_auth.environments import site_packages, version_in
from gar_auth.errors import Exit
from gar_auth.status import may_read

__all__ = ["Keyring", "check_keyring", "look"]

BACKEND = "gar_auth_keyring.backend.ArtifactRegistry"
_CHAIN = "keyring.backends.chainer.ChainerBackend"
_PLAYBOOK = "run the playbook again"


@dataclass(frozen=True)
class Keyring:
    """The facts.

    :ivar environments: where the role puts the backend -> its version there; None: there is none.
    :ivar poetry: the program on this shell's PATH, None where there is none.
    :ivar poetry_version: the backend's version in that program's environment.
    :ivar chosen: the one backend that keyring is told to take, and who says so.
    :ivar member: this user is among those who may read the machine's tokens.
    :ivar session: this session is, too.
    """

    environments: t.Mapping[str, str | None]
    poetry: str | None
    poetry_version: str | None
    chosen: tuple[str, str] | None
    member: bool
    session: bool


def look(config: Config, account: pwd.struct_passwd) -> Keyring:
    """Gather the facts, as that user."""
    poetry = shutil.which("poetry")
    return Keyring(
        environments={place: version_in(site_packages(place)) for place in config.keyring_environments},
        poetry=poetry,
        poetry_version=version_in(site_packages(poetry)) if poetry else None,
        chosen=_chosen(account),
        member=may_read(config, account),
        session=_session(config),
    )


def _session(config: Config) -> bool:
    """Whether the tokens that there are can be read."""
    if config.shared_run_dir is None:
        return True
    tokens = [config.shared_run_dir / identity.name / "token" for identity in config.host_identities()]
    return all(os.access(path, os.R_OK) for path in tokens if path.exists())


def _chosen(account: pwd.struct_passwd) -> tuple[str, str] | None:
    """What keyring takes instead of all backends; its variable counts before its file.

    https://keyring.readthedocs.io/en/stable/#configuring
    """
    named = os.environ.get("PYTHON_KEYRING_BACKEND")
    if named:
        return named, "PYTHON_KEYRING_BACKEND"
    top = os.environ.get("XDG_CONFIG_HOME") or f"{account.pw_dir}/.config"
    path = Path(top) / "python_keyring" / "keyringrc.cfg"
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
        return parser.get("backend", "default-keyring").strip(), os.fspath(path)
    except (configparser.Error, UnicodeDecodeError, OSError):
        return None


def check_keyring(found: Keyring, *, user: str, version: str) -> list[Finding]:
    """All that can go wrong between the token and a client that asks.

    :param version: the program's own, which the backend has to have.
    """
    findings = [_environment(place, there, version) for place, there in found.environments.items()]
    findings += _poetry(found)
    if found.chosen:
        findings.append(_only(*found.chosen, poetry_version=found.poetry_version))
    findings += _allowed(found, user)
    return findings


def _environment(place: str, there: str | None, version: str) -> Finding:
    if there == version:
        return good("keyring", f"{place} has the backend")
    return problem(
        "keyring",
        f"{place} has no backend of ours" if there is None else f"{place} has the backend of release {there}",
        cause="it was made anew, or upgraded, since the playbook ran"
        if there is None
        else f"the program is {version}",
        cure=_PLAYBOOK,
    )


def _poetry(found: Keyring) -> t.Iterator[Finding]:
    if found.poetry is None:
        yield note("keyring", "there is no poetry on the PATH of this shell")
    elif found.poetry_version is None:
        yield problem(
            "keyring",
            f"{found.poetry}, the poetry on this PATH, has no backend of ours",
            cause="it is another installation than the one that the playbook knows, so it finds no token",
            cure=f"add {found.poetry} to gar_auth_keyring_environments and run the playbook, or use the"
            " machine's own",
        )


def _only(backend: str, source: str, *, poetry_version: str | None) -> Finding:
    if backend == BACKEND and poetry_version is None:
        return problem(
            "keyring",
            f"{source} names our backend, and this poetry has none",
            cause="keyring fails where the backend that it is told to take is missing",
            cure="unset PYTHON_KEYRING_BACKEND, or name this environment in gar_auth_keyring_environments",
        )
    if backend in (BACKEND, _CHAIN):
        return good("keyring", f"{source} names {backend.rpartition('.')[2]}")
    return problem(
        "keyring",
        f"{source} names {backend}",
        cause="keyring takes that backend alone, and does not ask ours",
        cure="unset PYTHON_KEYRING_BACKEND" if source.isupper() else f"remove default-keyring from {source}",
    )


def _allowed(found: Keyring, user: str) -> t.Iterator[Finding]:
    if not found.member:
        yield problem(
            "keyring",
            f"{user} may not read the machine's tokens",
            cause="they are for the users who are declared",
            cure=f"add {shlex.quote(user)} to artifact_registry_users, and run the playbook",
            code=Exit.REFUSED,
        )
    elif not found.session:
        yield problem(
            "keyring",
            f"this session of {user} may not read the machine's tokens",
            cause="it began before the user was put into the group, which counts from the next login on",
            cure="log out and in again",
            code=Exit.REFUSED,
        )
    else:
        yield good("keyring", f"{user} may read the machine's tokens")
