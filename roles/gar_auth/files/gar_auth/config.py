# SPDX-License-Identifier: GPL-3.0-or-later
"""The program's configuration, a JSON file written by the role (root-owned, no secret in it)."""

from __future__ import annotations

import json
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from gar_auth.errors import Exit, Failure

__all__ = ["Config", "Identity", "Repository", "account_of"]


@dataclass(frozen=True)
class Identity:
    """Where tokens come from: C(metadata) with the service account C(account)."""

    name: str
    account: str


@dataclass(frozen=True)
class Repository:
    """A repository as Poetry knows it, and the identity that it is served with."""

    name: str
    publish_url: str
    identity: str


@dataclass(frozen=True)
class Config:
    """What the role declared.

    :ivar users: the users that the provider token_timer serves.
    :ivar config_dir: Poetry's configuration directory, absolute or below each user's home.
    :ivar run_dir: where tokens lie, one directory for each identity; None: a cache directory of each user.
    """

    identities: dict[str, Identity]
    repositories: tuple[Repository, ...]
    users: tuple[str, ...]
    config_dir: str
    shared_run_dir: Path | None

    @classmethod
    def load(cls, path: Path) -> Config:
        """Read the file.

        :raises Failure: missing, unreadable or not what the role writes (78).
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            identities = {
                name: Identity(name=name, account=str(item["account"]))
                for name, item in data["identities"].items()
            }
            repositories = tuple(
                Repository(name=item["name"], publish_url=item["publish_url"], identity=item["identity"])
                for item in data["repositories"]
            )
            for repository in repositories:
                identities[repository.identity]  # KeyError: named, but not declared
            run_dir = data["run_dir"]
            return cls(
                identities=identities,
                repositories=repositories,
                users=tuple(data["users"]),
                config_dir=str(data["config_dir"]),
                shared_run_dir=Path(run_dir) if run_dir else None,
            )
        except OSError as error:
            raise Failure(
                f"{path}: {error.strerror}; run the playbook again", code=Exit.CONFIGURATION
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problem = f"{type(error).__name__}: {error}"
            raise Failure(
                f"{path} is damaged ({problem}); run the playbook again", code=Exit.CONFIGURATION
            ) from error

    @property
    def run_dir(self) -> Path:
        """The machine's directory of tokens, or this user's own where nothing is scheduled machine-wide."""
        if self.shared_run_dir is not None:
            return self.shared_run_dir
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        if runtime:
            return Path(runtime) / "gar-auth"
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gar-auth"

    def identity(self, name: str) -> Identity:
        """:raises Failure: no such identity (78)."""
        try:
            return self.identities[name]
        except KeyError:
            known = ", ".join(sorted(self.identities)) or "none"
            raise Failure(f"no identity {name!r}; known: {known}", code=Exit.CONFIGURATION) from None

    def directory_of(self, account: pwd.struct_passwd) -> str:
        """Poetry's configuration directory of a user, absolute."""
        return os.path.join(account.pw_dir, self.config_dir)


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
