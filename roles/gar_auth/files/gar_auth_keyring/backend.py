# SPDX-License-Identifier: GPL-3.0-or-later
"""The keyring backend: the machine's token for registered repositories, nothing for all else."""

from __future__ import annotations

from keyring.backend import KeyringBackend
from keyring.credentials import Credential, SimpleCredential
from keyring.errors import PasswordDeleteError, PasswordSetError

from gar_auth_keyring.lookup import USERNAME, token

__all__ = ["ArtifactRegistry"]


class _NotHere(PasswordSetError, PasswordDeleteError, NotImplementedError):
    """For a caller an error of keyring's; for the chain of backends the sign to ask the next one."""


class ArtifactRegistry(KeyringBackend):
    """Hands out access tokens; stores nothing.

    The priority is above Google's own backend (9) and below the chain of all backends (10): with 10 or more
    keyring would take this one alone, and users would lose what their other backends hold.
    """

    priority = 9.5

    def get_password(self, service: str, username: str | None) -> str | None:
        """The token for a URL of a registered repository."""
        return token(service, username)

    def get_credential(self, service: str, username: str | None) -> Credential | None:
        """The same together with the user name that Artifact Registry expects."""
        value = token(service, username)
        return None if value is None else SimpleCredential(USERNAME, value)

    def set_password(self, service: str, username: str, password: str) -> None:
        """:raises PasswordSetError: always; another backend may store it."""
        raise _NotHere("gar-auth stores no passwords")

    def delete_password(self, service: str, username: str) -> None:
        """:raises PasswordDeleteError: always; another backend may hold it."""
        raise _NotHere("gar-auth stores no passwords")
