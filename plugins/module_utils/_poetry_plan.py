# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to change in Poetry's two files, as a pure function of what is declared and what they hold."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ._toml_edit import REMOVE, look_up
from ._validate import Credential, Repository

__all__ = ["AUTH", "CONFIG", "HTTP_BASIC", "PURGEABLE", "PYPI_TOKEN", "Wanted", "plan"]

CONFIG, AUTH = "config.toml", "auth.toml"
HTTP_BASIC, PYPI_TOKEN = "http-basic", "pypi-token"

Path = tuple[str, ...]
#: What C(purge) can name -> the tables, in both files.
PURGEABLE: dict[str, tuple[str, ...]] = {
    "settings": (),
    "repositories": ("repositories",),
    "certificates": ("certificates",),
    "credentials": (HTTP_BASIC, PYPI_TOKEN),
}
#: Tables that are no settings; all other keys of config.toml are.
_TABLES = frozenset(table for tables in PURGEABLE.values() for table in tables)


@dataclass(frozen=True)
class Wanted:
    """What is declared for each user."""

    repositories: t.Sequence[Repository] = ()
    #: Key path -> value in Poetry's own type, a mapping only for a whole table of a setting.
    settings: t.Mapping[Path, t.Any] = field(default_factory=dict)
    credentials: t.Sequence[Credential] = ()
    present: bool = True
    #: Keys of PURGEABLE.
    purge: t.Collection[str] = ()

    @property
    def adds(self) -> bool:
        """Whether there is something that has to be there."""
        return self.present and bool(self.repositories or self.settings or self.credentials)


def plan(
    wanted: Wanted, config: t.Mapping[str, t.Any], auth: t.Mapping[str, t.Any]
) -> dict[str, dict[Path, t.Any]]:
    """The changes of each file: key path -> value, or REMOVE.

    Poetry reads all from both files, auth.toml last, and writes certificates and credentials to auth.toml;
    so each is set where Poetry sets it, and removed where it would win, or from both.

    :param config: parsed config.toml.
    :param auth: parsed auth.toml.
    """
    changes: dict[str, dict[Path, t.Any]] = {CONFIG: {}, AUTH: {}}
    declared = _declared(wanted)
    for path, value in declared.items():
        if path[0] not in _TABLES:
            present = look_up(config, path)
            kept = isinstance(value, list) and _same_members(value, present)
            changes[CONFIG].update(_leaves(path, present if kept else value, present))
            changes[AUTH][path] = REMOVE  # it would win
        elif path[0] == "repositories":
            changes[CONFIG][path] = value
            changes[AUTH][path] = REMOVE
        else:
            changes[AUTH][path] = value
            if value is REMOVE or path[0] == "certificates":
                changes[CONFIG][path] = REMOVE
    for section in wanted.purge:
        for file, tree in ((CONFIG, config), (AUTH, auth)):
            if section == "settings":
                unlisted = _unlisted_settings(tree, declared)
            else:
                unlisted = _unlisted_entries(tree, PURGEABLE[section], declared)
            for path in unlisted:
                for inner in [inner for inner in changes[file] if inner[: len(path)] == path]:
                    del changes[file][inner]  # a removal inside of what goes as a whole
                changes[file][path] = REMOVE
    return changes


def _declared(wanted: Wanted) -> dict[Path, t.Any]:
    """All declared entries: key path -> value, or REMOVE for what should not be there."""
    entries: dict[Path, t.Any] = {}
    for repository in wanted.repositories:
        name = repository.name
        entries["repositories", name, "url"] = repository.publish_url
        # Without a certificate of its own the entry of an earlier run has to go.
        entries["certificates", name, "cert"] = repository.ca_cert or REMOVE
        entries["certificates", name, "client-cert"] = repository.client_cert or REMOVE
    for credential in wanted.credentials:
        name, token = credential.name, credential.token
        if token is None:
            entries[HTTP_BASIC, name, "username"] = credential.username
            entries[HTTP_BASIC, name, "password"] = credential.password
        only_name = credential.username is credential.password is token is None
        # Beside a login there is no token: Poetry would publish with that of an earlier run.
        if wanted.present or token is not None or only_name:
            entries[PYPI_TOKEN, name] = REMOVE if token is None else token
    entries.update(wanted.settings)
    return entries if wanted.present else dict.fromkeys(entries, REMOVE)


def _same_members(one: list[t.Any], other: t.Any) -> bool:
    """Whether both name the same packages: Poetry writes them in any order."""
    return isinstance(other, list) and sorted(map(repr, one)) == sorted(map(repr, other))


def _leaves(path: Path, value: t.Any, present: t.Any) -> t.Iterator[tuple[Path, t.Any]]:
    """A mapping as its values, without those that the table has beside; any other value as it is."""
    if not isinstance(value, dict):
        yield path, value
        return
    for key, item in value.items():
        yield (*path, key), item
    for key in present if isinstance(present, dict) else ():
        if key not in value:
            yield (*path, key), REMOVE


def _unlisted_settings(
    config: t.Mapping[str, t.Any], declared: t.Mapping[Path, t.Any], prefix: Path = ()
) -> t.Iterator[Path]:
    for key, value in config.items():
        path = (*prefix, key)
        if path[0] in _TABLES or path in declared:
            continue
        if any(other[: len(path)] == path for other in declared):
            yield from _unlisted_settings(value if isinstance(value, dict) else {}, declared, path)
        elif value != {}:  # Poetry 1.8 leaves empty tables behind
            yield path


def _unlisted_entries(
    tree: t.Mapping[str, t.Any], tables: t.Sequence[str], declared: t.Mapping[Path, t.Any]
) -> t.Iterator[Path]:
    listed = {path[:2] for path, value in declared.items() if value is not REMOVE}
    for table in tables:
        entries = tree.get(table)
        for name in entries if isinstance(entries, dict) else ():
            if (table, name) not in listed:
                yield table, name
