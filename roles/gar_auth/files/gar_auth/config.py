# SPDX-License-Identifier: GPL-3.0-or-later
"""The program's configuration, a JSON file written by the role (root-owned, no secret in it)."""

from __future__ import annotations

import json
import os
import pwd
import shlex
import typing as t
from dataclasses import dataclass
from pathlib import Path

from gar_auth.errors import Exit, Failure
from gar_auth.idle import source_of
from gar_auth_keyring.lookup import own_directory

__all__ = ["TYPES", "Config", "Identity", "Repository", "account_of", "own_run_dir"]

#: The types of identities, and whether each needs the option C(file).
TYPES = {
    "metadata": False,
    "service_account_key": True,
    "external_account": True,
    "gcloud": False,
    "adc": True,
    "token_file": True,
}


@dataclass(frozen=True)
class Identity:
    """Where tokens come from.

    :ivar account: of type metadata: the service account, or C(default); of type gcloud: who is logged in.
    :ivar file: the key, the configuration or the token, on the machine.
    :ivar subject_token_file: what an external_account exchanges, where the fetcher may not read it itself.
    :ivar lifetime: of impersonated tokens, in seconds.
    :ivar per_user: each user's own login, instead of one token for the machine.
    """

    name: str
    type: str = "metadata"
    account: str | None = None
    file: str | None = None
    subject_token_file: str | None = None
    impersonate_service_account: str | None = None
    lifetime: int = 3600
    per_user: bool = False

    @property
    def source(self) -> str:
        """The source as people read it in C(gar-auth status)."""
        return source_of(vars(self))

    @property
    def login(self) -> str:
        """What somebody runs once to log in, for an identity that has a login."""
        if self.type == "adc":
            return "gcloud auth application-default login"
        return f"gcloud auth login {shlex.quote(self.account)}" if self.account else "gcloud auth login"

    @property
    def owner(self) -> str | None:
        """Whose the token is, as far as that is declared; None for the machine's own account."""
        declared = self.impersonate_service_account or self.account
        return None if declared == "default" else declared

    @property
    def on_demand(self) -> bool:
        """Whether the source mints a token whenever asked, or hands out the same one for a while."""
        return bool(self.impersonate_service_account) or self.type not in ("metadata", "token_file")


@dataclass(frozen=True)
class Repository:
    """A repository as Poetry knows it, and the identity that it is served with."""

    name: str
    publish_url: str
    identity: str
    index_url: str | None = None
    ca_cert: str | None = None
    client_cert: str | None = None


@dataclass(frozen=True)
class Config:
    """What the role declared.

    :ivar users: the users that tokens are for.
    :ivar provider: how a token reaches the client: C(token_timer) writes it into auth.toml, C(keyring) hands
        it out when a client asks.
    :ivar keyring_environments: the Python environments that have the keyring backend.
    :ivar keyring_group: whose members may read the machine's tokens, with the provider keyring.
    :ivar config_dir: Poetry's configuration directory, absolute or below each user's home.
    :ivar shared_run_dir: where the machine's tokens lie, one directory for each identity; None: nothing is
        scheduled machine-wide, and each user has a directory of their own.
    :ivar user_run_dir: where the tokens of users' own logins lie, one for each user; None: as above.
    :ivar state_dir: where gcloud keeps its logins, one directory for each identity.
    :ivar interval: seconds between two ticks of the timer.
    """

    identities: dict[str, Identity]
    repositories: tuple[Repository, ...]
    users: tuple[str, ...]
    config_dir: str
    shared_run_dir: Path | None
    user_run_dir: str | None = None
    state_dir: str = "/var/lib/gar-auth"
    gcloud: str = "gcloud"
    interval: int = 30
    service_manager: str = "none"
    provider: str = "token_timer"
    keyring_environments: tuple[str, ...] = ()
    keyring_group: str | None = None

    @classmethod
    def load(cls, path: Path) -> Config:
        """Read the file.

        :raises Failure: missing, unreadable or not what the role writes (78).
        """
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise Failure(
                f"{path}: {error.strerror}; run the playbook again", code=Exit.CONFIGURATION
            ) from error
        except ValueError as error:
            raise _damaged(path, error) from error
        return cls.parse(text, where=path)

    @classmethod
    def parse(cls, text: str, *, where: Path | str) -> Config:
        """Understand what the role writes.

        :param where: the text's place, for messages.
        :raises Failure: not what the role writes (78).
        """
        try:
            data = json.loads(text)
            identities = {name: _identity(name, item) for name, item in data["identities"].items()}
            repositories = tuple(_repository(item) for item in data["repositories"])
            for repository in repositories:
                identities[repository.identity]  # KeyError: named, but not declared
            run_dir = data["run_dir"]
            return cls(
                identities=identities,
                repositories=repositories,
                users=tuple(data["users"]),
                config_dir=str(data["config_dir"]),
                shared_run_dir=Path(run_dir) if run_dir else None,
                user_run_dir=data.get("user_run_dir") or None,
                state_dir=str(data.get("state_dir") or cls.state_dir),
                gcloud=str(data.get("gcloud") or cls.gcloud),
                interval=int(data.get("interval") or cls.interval),
                service_manager=str(data.get("service_manager") or cls.service_manager),
                provider=str(data.get("provider") or cls.provider),
                keyring_environments=tuple(data.get("keyring_environments") or ()),
                keyring_group=data.get("keyring_group") or None,
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _damaged(where, error) from error

    @property
    def writes(self) -> bool:
        """Whether tokens are written into the users' auth.toml."""
        return self.provider == "token_timer"

    @property
    def run_dir(self) -> Path:
        """The machine's directory of tokens, or this user's own where nothing is scheduled machine-wide."""
        return own_run_dir() if self.shared_run_dir is None else self.shared_run_dir

    def identity(self, name: str) -> Identity:
        """:raises Failure: no such identity (78)."""
        try:
            return self.identities[name]
        except KeyError:
            known = ", ".join(sorted(self.identities)) or "none"
            raise Failure(f"no identity {name!r}; known: {known}", code=Exit.CONFIGURATION) from None

    def host_identities(self) -> list[Identity]:
        """The identities in use whose one token serves the whole machine."""
        return self._used(per_user=False)

    def user_identities(self) -> list[Identity]:
        """The identities in use that are each user's own login."""
        return self._used(per_user=True)

    def _used(self, *, per_user: bool) -> list[Identity]:
        names = sorted({repository.identity for repository in self.repositories})
        return [self.identities[name] for name in names if self.identities[name].per_user is per_user]

    def directory_of(self, account: pwd.struct_passwd) -> str:
        """Poetry's configuration directory of a user, absolute."""
        return os.path.join(account.pw_dir, self.config_dir)


def _damaged(where: Path | str, error: Exception) -> Failure:
    problem = f"{type(error).__name__}: {error}"
    return Failure(f"{where} is damaged ({problem}); run the playbook again", code=Exit.CONFIGURATION)


def _identity(name: str, item: dict[str, t.Any]) -> Identity:
    identity = Identity(name=name, **item)
    if identity.type not in TYPES:
        raise ValueError(f"unknown type {identity.type!r} of identity {name}")
    if TYPES[identity.type] and not identity.file and not identity.per_user:
        raise ValueError(f"identity {name} names no file")
    if identity.type == "metadata" and identity.account is None:
        return Identity(name=name, **{**item, "account": "default"})
    return identity


def _repository(item: dict[str, t.Any]) -> Repository:
    return Repository(
        name=item["name"],
        publish_url=item["publish_url"],
        identity=item["identity"],
        index_url=item.get("index_url"),
        ca_cert=item.get("ca_cert"),
        client_cert=item.get("client_cert"),
    )


def own_run_dir() -> Path:
    """Where tokens lie that this user fetched without the machine's help."""
    return Path(own_directory(pwd.getpwuid(os.geteuid()).pw_dir))


def account_of(user: str | None) -> pwd.struct_passwd:
    """The user's entry in the passwd database; None: of who runs the program.

    :raises Failure: no such user (78).
    """
    if user is None:
        try:
            return pwd.getpwuid(os.geteuid())
        except KeyError:
            raise Failure(
                f"uid {os.geteuid()} has no name on this machine; add it to /etc/passwd",
                code=Exit.CONFIGURATION,
            ) from None
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise Failure(
            f"no user {user!r} on this machine; remove it from artifact_registry_users",
            code=Exit.CONFIGURATION,
        ) from None
