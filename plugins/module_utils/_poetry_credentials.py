# SPDX-License-Identifier: GPL-3.0-or-later
"""Which credential Poetry takes for a repository, and which lose. Pure, without a secret in any result."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from ._poetry_effective import PYPI, Configuration, Registered, plain, split
from ._poetry_plan import HTTP_BASIC, PYPI_TOKEN
from ._poetry_show import public_login

__all__ = ["Candidate", "Credentials", "Keyring", "names"]

_VARIABLE = re.compile(r"POETRY_(?:HTTP_BASIC_(.+)_(?:USERNAME|PASSWORD)|PYPI_TOKEN_(.+))")
_NO_KEYRING = ("keyring.backends.null", "keyring.backends.fail")
_BUNDLED = "keyring.backends."


@dataclass(frozen=True)
class Keyring:
    """The keyring, which is never asked: which backends Poetry's environment has."""

    enabled: bool = True
    backends: t.Sequence[str] = ()
    #: PYTHON_KEYRING_BACKEND.
    forced: str | None = None

    @property
    def chosen(self) -> bool:
        """Somebody wants it: a backend is forced, or one is installed beside keyring's own (for desktops)."""
        if self.forced:
            return self.possible
        return self.possible and any(not backend.startswith(_BUNDLED) for backend in self.backends)

    @property
    def possible(self) -> bool:
        usable = bool(self.backends) and not (self.forced or "").startswith(_NO_KEYRING)
        return self.enabled and usable


@dataclass(frozen=True)
class Candidate:
    """One source that has a credential."""

    source: str
    kind: str = HTTP_BASIC
    #: Only where it is surely no secret.
    username: str | None = None
    #: False for the keyring: nobody knows before it is asked.
    certain: bool = True
    #: Poetry passes it over, whatever else there is.
    loses: bool = False


@dataclass(frozen=True)
class Credentials:
    """The credentials of one user."""

    config: Configuration
    keyring: Keyring = field(default_factory=Keyring)
    #: netrc: host (or C(default)) -> public login.
    logins: t.Mapping[str, str | None] = field(default_factory=dict)

    def described(self, name: str, repository: Registered | None) -> dict[str, t.Any]:
        """A name's credentials as the module returns them."""
        return {
            "name": plain(name),
            "registered": name == "pypi" or (repository is not None and not repository.hidden),
            "install": _chosen(self.install(name, repository)),
            "publish": _chosen(self.publish(name, repository)),
        }

    def install(self, name: str, repository: Registered | None) -> list[Candidate]:
        """For a project's source of that name on the repository's host, best first."""
        known = self.config.known
        basic, settled, username = self._http_basic(name)
        netrc = self._netrc(repository.url if repository else None)
        candidates = [*netrc] if known.before(2, 3, 3) else []
        candidates += basic
        if self.keyring.chosen:
            candidates.append(Candidate("keyring", certain=False))
        if username and not settled and not known.before(2):
            # a user name alone is sent with an empty password
            candidates.append(Candidate(self.config.found(HTTP_BASIC, name, "username")[0].source))
        candidates += [] if known.before(2, 3, 3) else netrc
        return self._or_desktop(candidates)

    def publish(self, name: str, repository: Registered | None) -> list[Candidate]:
        """For C(poetry publish -r NAME), best first."""
        if name == "pypi":
            repository = Registered(name, PYPI, "default")
        if repository is None or repository.url is None:
            return []
        found = self.config.found(PYPI_TOKEN, name)
        empty = not self.config.value(PYPI_TOKEN, name)
        candidates = [
            Candidate(value.source, PYPI_TOKEN, loses=number > 0 or empty)
            for number, value in enumerate(found)
            if value.value
        ]
        basic, settled, username = self._http_basic(name)
        nameless = repository.hidden or not (username or (username == "" and self.config.known.before(2)))
        candidates += [Candidate(one.source, loses=True) for one in basic] if nameless else basic
        if self.keyring.chosen:
            candidates.append(
                Candidate("keyring", certain=False, loses=repository.hidden or (settled and nameless))
            )
        candidates += self._netrc(repository.url)
        parts = split(repository.url)
        if parts.password is not None and (parts.username or parts.password):
            candidates.append(Candidate("url", username=public_login(parts.username, parts.password)))
        return self._or_desktop(candidates)

    def _http_basic(self, name: str) -> tuple[list[Candidate], bool, t.Any]:
        """The sources of a password, whether the first counts (then no keyring is asked), the user name."""
        username = self.config.value(HTTP_BASIC, name, "username")
        password = self.config.value(HTTP_BASIC, name, "password")
        if self.config.known.before(2) or not self.config.known.before(2, 1):
            settled = bool(password)
        else:
            settled = bool(username) and password is not None
        login = public_login(username, password)
        found = self.config.found(HTTP_BASIC, name, "password")
        return (
            [
                Candidate(value.source, username=None if number else login, loses=number > 0 or not settled)
                for number, value in enumerate(found)
                if value.value or (settled and not number)
            ],
            settled,
            username,
        )

    def _netrc(self, url: str | None) -> list[Candidate]:
        host = split(url or "").hostname
        entry = next((entry for entry in (host, "default") if host and entry in self.logins), None)
        return [Candidate("netrc", username=self.logins[entry])] if entry else []

    def _or_desktop(self, candidates: list[Candidate]) -> list[Candidate]:
        """Keyring's own backends need a desktop: named only where nothing else could serve."""
        if self.keyring.possible and not self.keyring.chosen and all(one.loses for one in candidates):
            return [*candidates, Candidate("keyring", certain=False)]
        return candidates


def names(config: Configuration) -> dict[str, Registered | None]:
    """All names with a credential or a repository, and the repository."""
    found: dict[str, Registered | None] = {one.name: one for one in config.repositories()}
    for table in (HTTP_BASIC, PYPI_TOKEN):
        found.update(dict.fromkeys(name for name in config.tables(table) if name not in found))
    variables = {config.variable(HTTP_BASIC, name, "") for name in found}
    for variable in sorted(config.environment):
        match = _VARIABLE.fullmatch(variable)
        part = (match[1] or match[2]) if match else None
        if part and f"POETRY_HTTP_BASIC_{part}_" not in variables:
            found.setdefault(part.lower().replace("_", "-"))
    return found


def _chosen(candidates: list[Candidate]) -> dict[str, t.Any]:
    winner = next((one for one in candidates if not one.loses), None)
    present: bool | None = any(one.certain and not one.loses for one in candidates)
    if winner and not present:
        present = None
    return {
        "present": present,
        "kind": winner.kind if winner else None,
        "source": winner.source if winner else None,
        "username": winner.username if winner else None,
        "shadowed": [{"kind": one.kind, "source": one.source} for one in candidates if one is not winner],
    }
