# SPDX-License-Identifier: GPL-3.0-or-later
"""What in a user's configuration leads Poetry astray, each with cause and cure. Pure, without secrets."""

from __future__ import annotations

import os
import typing as t
from collections import defaultdict
from dataclasses import dataclass, field

from ._poetry_credentials import Candidate, Credentials, names
from ._poetry_effective import (
    ENVIRONMENT,
    PLACEHOLDER,
    PYPI,
    REPOSITORY_VARIABLE,
    Configuration,
    Registered,
    plain,
    split,
)
from ._poetry_plan import AUTH, CONFIG, HTTP_BASIC, PYPI_TOKEN
from ._poetry_show import index_url

__all__ = ["Around", "warnings"]


@dataclass(frozen=True)
class Around:
    """Where things were found, for the words of the warnings."""

    #: Poetry's configuration directory that was read.
    directory: str
    #: The user's netrc, existing or not.
    netrc: str = "~/.netrc"
    #: The variables that are set in /etc/environment; the others are the task's.
    lasting: t.Collection[str] = field(default_factory=frozenset)

    def place(self, variable: str) -> str:
        """A variable's name, and who sets it."""
        return f"{variable} (set {'in /etc/environment' if variable in self.lasting else 'for this task'})"


def warnings(credentials: Credentials, around: Around) -> list[str]:
    """All warnings for one user."""
    config = credentials.config
    everyone = names(config)
    found = [*_directory(config, around), *_hidden(config, everyone, around), *_shared(config, everyone)]
    for name, repository in everyone.items():
        found += _dotted(config, name)
        found += _placeholders(config, name)
        found += _file_shadowed(config, name, around)
        found += _stray(credentials, name, repository, around)
        found += _token(config, name, repository, around)
        found += _keyring_shadowed(credentials, name, repository, around)
        found += _netrc(credentials, name, repository, around)
    for name in config.settings():
        if config.refused(name):
            variable = around.place(config.variable(*name.split(".")))
            found.append(
                f"{variable}: Poetry fails, because it cannot use the value for {name}; correct or unset it"
            )
    return [plain(line) for line in found]  # a name can be a URL


def _directory(config: Configuration, around: Around) -> t.Iterator[str]:
    for variable, below in (("POETRY_CONFIG_DIR", ""), ("XDG_CONFIG_HOME", "/pypoetry")):
        if value := config.environment.get(variable, "").strip():
            there = os.path.normpath(value + below)
            if there != os.path.normpath(around.directory):
                yield (
                    f"{around.place(variable)}: Poetry reads {there}, and not {around.directory};"
                    " unset it, or name that directory in option config_dir"
                )
            return


def _hidden(
    config: Configuration, everyone: t.Mapping[str, Registered | None], around: Around
) -> t.Iterator[str]:
    variables = sorted(filter(REPOSITORY_VARIABLE.match, config.environment))
    hidden = [name for name, repository in everyone.items() if repository and repository.hidden]
    for variable in variables:
        yield (
            f"{around.place(variable)}: Poetry then sees none of the repositories in config.toml"
            f" ({', '.join(hidden) or 'there are none now'}); unset it, and declare the repository"
        )


def _shared(config: Configuration, everyone: t.Iterable[str]) -> t.Iterator[str]:
    sharing: dict[str, list[str]] = defaultdict(list)
    for name in everyone:
        sharing[config.variable(HTTP_BASIC, name, "*")].append(name)
    for variable, same in sharing.items():
        if len(same) > 1:
            yield f"{' and '.join(same)} share the variables {variable}; rename all but one of them"


def _dotted(config: Configuration, name: str) -> t.Iterator[str]:
    table = config.tables("repositories").get(name)
    if "." in name and config.known.before(2, 4):
        version = ".".join(map(str, config.known.version or ()))
        yield (
            f"{name}: Poetry {version} takes a name with a dot for a path, finds no URL and no credential;"
            f" rename it to {name.replace('.', '-')}, or install Poetry 2.4 or newer"
        )
    elif isinstance(table, dict) and "url" not in table:
        for inner in [key for key, value in table.items() if isinstance(value, dict)]:
            yield (
                f"repositories.{name}.{inner} is no repository (Poetry before 2.4 wrote dotted names so);"
                f" remove it, and register {name}-{inner}"
            )


def _placeholders(config: Configuration, name: str) -> t.Iterator[str]:
    for keys in (
        ("repositories", name, "url"),
        (HTTP_BASIC, name, "username"),
        (HTTP_BASIC, name, "password"),
        (PYPI_TOKEN, name),
    ):
        found = config.found(*keys)
        held = found[0].value if found else None
        if isinstance(held, str) and PLACEHOLDER.search(held) and config.value(*keys) != held:
            yield (
                f"{'.'.join(keys)} ({found[0].source}) has a setting's name in braces, and Poetry replaces"
                " that by the setting's value; use a value without braces"
            )


def _file_shadowed(config: Configuration, name: str, around: Around) -> t.Iterator[str]:
    for keys in ((HTTP_BASIC, name, "username"), (HTTP_BASIC, name, "password"), (PYPI_TOKEN, name)):
        found = config.found(*keys)
        if len(found) > 1 and found[0].source == ENVIRONMENT:
            yield (
                f"{around.place(config.variable(*keys))} shadows {'.'.join(keys)} in {found[1].source};"
                " unset the variable, or remove the entry"
            )


def _stray(
    credentials: Credentials, name: str, repository: Registered | None, around: Around
) -> t.Iterator[str]:
    held = _http_basic(credentials, name, repository)
    if held and name != "pypi" and (repository is None or repository.url is None):
        yield (
            f"{_entry(credentials.config, name, held, around)}: no repository {name} is registered, so it"
            " serves only a project's source of that name; correct the name, or register the repository"
        )


def _token(
    config: Configuration, name: str, repository: Registered | None, around: Around
) -> t.Iterator[str]:
    found = config.found(PYPI_TOKEN, name)
    if found and repository and index_url(repository.url or ""):
        variable = config.variable(PYPI_TOKEN, name)
        if found[0].source == ENVIRONMENT:
            entry, cure = around.place(variable), "unset it"
        else:
            entry = f"pypi-token.{name} ({found[0].source})"
            cure = f"remove it with: poetry config --unset pypi-token.{name}"
        yield f"{entry}: Poetry publishes with it, and Artifact Registry accepts no such token; {cure}"


def _keyring_shadowed(
    credentials: Credentials, name: str, repository: Registered | None, around: Around
) -> t.Iterator[str]:
    held = _http_basic(credentials, name, repository)
    if held and repository and credentials.keyring.chosen:
        yield (
            f"{_entry(credentials.config, name, held, around)}: Poetry does not ask the keyring for {name};"
            " remove the entry if the keyring shall serve"
        )


def _netrc(
    credentials: Credentials, name: str, repository: Registered | None, around: Around
) -> t.Iterator[str]:
    uses = credentials.install(name, repository) + credentials.publish(name, repository)
    if any(one.source == "netrc" for one in uses):
        if credentials.config.known.before(2, 3, 3):
            effect = "Poetry before 2.3.3 installs with it, whatever else is configured"
        else:
            effect = "Poetry uses it where it finds no other credential"
        host = split(repository.url or "" if repository else PYPI).hostname
        yield f"{around.netrc} has an entry for {host} ({name}): {effect}; remove it if that is not meant"


def _http_basic(credentials: Credentials, name: str, repository: Registered | None) -> Candidate | None:
    """The http-basic credential that Poetry takes for a name, were there no netrc."""
    own = (ENVIRONMENT, AUTH, CONFIG)
    candidates = credentials.install(name, repository)
    return next((one for one in candidates if one.source in own and not one.loses), None)


def _entry(config: Configuration, name: str, held: Candidate, around: Around) -> str:
    if held.source == ENVIRONMENT:
        return around.place(config.variable(HTTP_BASIC, name, "PASSWORD"))
    return f"http-basic.{name} ({held.source})"
