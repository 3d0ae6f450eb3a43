# SPDX-License-Identifier: GPL-3.0-or-later
"""What Poetry makes of one user's files, environment and netrc: settings, repositories, credentials.

Pure, and without a secret in any result. The rules are those in the sources of Poetry 1.8.0 to 2.5.1:
Config.get (which source wins), PasswordManager and Authenticator (install), Publisher and Uploader (publish).
"""

from __future__ import annotations

import functools
import re
import typing as t
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from ._poetry_plan import AUTH, CONFIG, HTTP_BASIC, PYPI_TOKEN
from ._poetry_settings import BUILD_SETTINGS, flattened, package_key
from ._poetry_show import SECTIONS, index_url, public_url
from ._toml_edit import REMOVE, look_up

__all__ = [
    "DEFAULT",
    "ENVIRONMENT",
    "PLACEHOLDER",
    "PYPI",
    "REPOSITORY_VARIABLE",
    "Configuration",
    "Known",
    "Registered",
    "Value",
    "expanded",
    "plain",
    "split",
]

DEFAULT, ENVIRONMENT = "default", "environment"
PYPI = "https://upload.pypi.org/legacy/"

Path = tuple[str, ...]

#: A setting's name in a value, which Poetry replaces by that setting's value.
PLACEHOLDER = re.compile(r"{(.+?)}")
#: While one of these is set, Poetry sees no repository of a file.
REPOSITORY_VARIABLE = re.compile(r"POETRY_REPOSITORIES_([A-Z_]+)_URL")


@dataclass(frozen=True)
class Known:
    """What the installed Poetry says about itself; without one, the rules of the newest one count."""

    version: tuple[int, ...] | None = None
    #: Dotted names.
    settings: t.Collection[str] = ()
    #: As Poetry's Config.default_config, nested.
    defaults: t.Mapping[str, t.Any] = field(default_factory=dict)
    #: Name of a setting and text of its variable -> value; a ValueError where Poetry would fail, too.
    typed: t.Callable[[str, str], t.Any] = lambda _name, text: text

    def before(self, *version: int) -> bool:
        """Whether the installed Poetry is older than this version."""
        return self.version is not None and self.version < version


@dataclass(frozen=True)
class Value:
    """What one source holds; before C({placeholder}) is replaced."""

    value: t.Any
    #: environment, auth.toml, config.toml or default.
    source: str


@dataclass(frozen=True)
class Registered:
    """A repository that Poetry can publish to, as far as it has a URL."""

    name: str
    url: str | None
    source: str
    #: Of a file, while a variable POETRY_REPOSITORIES_*_URL is set.
    hidden: bool = False


@dataclass(frozen=True)
class Configuration:
    """One user's files and what is around them."""

    home: str
    #: config.toml and auth.toml, parsed.
    files: t.Mapping[str, t.Mapping[str, t.Any]]
    environment: t.Mapping[str, str] = field(default_factory=dict)
    known: Known = field(default_factory=Known)

    def variable(self, *keys: str) -> str:
        """The environment variable that Poetry reads for a key."""
        return "POETRY_" + "_".join(key.upper().replace("-", "_") for key in self._path(keys))

    def found(self, *keys: str) -> list[Value]:
        """What each source holds for a key; the first is the one that counts."""
        path = self._path(keys)
        values = []
        text = self.environment.get(self.variable(*keys))
        if text is not None:
            values.append(Value(self._typed(".".join(path), text), ENVIRONMENT))
        for source, tree in (
            (AUTH, self.files[AUTH]),
            (CONFIG, self.files[CONFIG]),
            (DEFAULT, self._defaults),
        ):
            held = look_up(tree, path)
            if held is not REMOVE:
                values.append(Value(held, source))
        return values

    def value(self, *keys: str, resolving: tuple[Path, ...] = ()) -> t.Any:
        """The effective value of a key, C({placeholder}) replaced; None where no source has it."""
        found = self.found(*keys)
        value = found[0].value if found else None
        if not isinstance(value, str):
            return value

        def other(match: re.Match[str]) -> str:
            path = tuple(match[1].split("."))
            if path in resolving or path == keys:
                return match[0]  # Poetry itself would not come to an end
            if path[0] in (HTTP_BASIC, PYPI_TOKEN):
                return "***"
            inner = self.value(*path, resolving=(*resolving, keys))
            kept = not inner if self.known.before(2, 4) else inner is None
            return match[0] if kept or isinstance(inner, dict) else str(inner)

        return PLACEHOLDER.sub(other, value)

    def refused(self, name: str) -> bool:
        """Whether Poetry fails because of the variable that is set for a setting."""
        text = self.environment.get(self.variable(*name.split(".")))
        try:
            if text is not None:
                self.known.typed(name, text)
        except ValueError:
            return True
        return False

    def tables(self, name: str) -> dict[str, t.Any]:
        """A table of both files; auth.toml has the last word."""
        held = (self.files[file].get(name) for file in (CONFIG, AUTH))
        return {key: value for table in held if isinstance(table, dict) for key, value in table.items()}

    def settings(self) -> dict[str, dict[str, t.Any]]:
        """The settings by dotted name: C(value) and C(source)."""
        names = set(self.known.settings)
        for tree in self.files.values():
            for path, _value in flattened(tree):
                unnamed = not self.known.settings and path[0] in SECTIONS
                if unnamed or path[:-1] == BUILD_SETTINGS:
                    names.add(".".join(path))
        if look_up(self.known.defaults, BUILD_SETTINGS) is not REMOVE:
            prefix = self.variable(*BUILD_SETTINGS) + "_"
            packages = [name[len(prefix) :] for name in self.environment if name.startswith(prefix)]
            names |= {".".join((*BUILD_SETTINGS, package_key(package))) for package in packages}
        result = {}
        for name in sorted(names):
            found = self.found(*name.split("."))
            source = found[0].source if found else DEFAULT
            result[name] = {"value": plain(self.value(*name.split("."))), "source": source}
        return result

    def repositories(self) -> list[Registered]:
        """The repositories, in Poetry's order; those that the environment hides come last."""
        variables = (REPOSITORY_VARIABLE.match(name) for name in self.environment)
        declared = {match[1].lower().replace("_", "-") for match in variables if match}
        names = {**dict.fromkeys(sorted(declared)), **self.tables("repositories")}
        registered = []
        for name in names:
            found = self.found("repositories", name, "url")
            url = self.value("repositories", name, "url")
            registered.append(
                Registered(
                    name=name,
                    url=url if isinstance(url, str) else None,
                    source=found[0].source if found else CONFIG,
                    hidden=bool(declared) and name not in declared,
                )
            )
        return registered

    def described(self, repository: Registered) -> dict[str, t.Any]:
        """A repository as the module returns it."""
        certificate = self.value("certificates", repository.name, "verify")
        if certificate is None:
            certificate = self.value("certificates", repository.name, "cert")
        client = self.value("certificates", repository.name, "client-cert")
        return {
            "name": plain(repository.name),
            "publish_url": None if repository.url is None else public_url(repository.url),
            "index_url": None if repository.url is None else index_url(repository.url),
            "source": repository.source,
            "hidden": repository.hidden,
            "ca_cert": plain(certificate) if isinstance(certificate, str) else None,
            "client_cert": plain(client) if isinstance(client, str) else None,
            "verify": certificate is not False,
        }

    def _path(self, keys: Path) -> Path:
        return tuple(".".join(keys).split(".")) if self.known.before(2, 4) else keys

    def _typed(self, name: str, text: str) -> t.Any:
        try:
            value = self.known.typed(name, text)
        except ValueError:
            return None
        return sorted(value) if isinstance(value, list) else value  # Poetry's have any order

    @functools.cached_property
    def _defaults(self) -> dict[str, t.Any]:
        """Poetry's defaults with this user's directories: Poetry asked for those of the task's user."""
        directories = {
            "cache-dir": self._directory("XDG_CACHE_HOME", ".cache"),
            "data-dir": self.environment.get("POETRY_HOME")
            or self._directory("XDG_DATA_HOME", ".local/share"),
        }
        own = {
            key: expanded(directory, self.home)
            for key, directory in directories.items()
            if key in self.known.defaults
        }
        return {**self.known.defaults, **own}

    def _directory(self, variable: str, usual: str) -> str:
        base = self.environment.get(variable, "").strip() or f"{self.home}/{usual}"
        return f"{base}/pypoetry"


def plain(value: t.Any) -> t.Any:
    """A value of a file as JSON has it, without users and passwords of URLs."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = str(value)
    before, slashes, rest = text.partition("//")  # over line breaks too, which C(redact) leaves alone
    _hidden, at, shown = rest.rpartition("@")
    return f"{before}{slashes}***@{shown}" if at else text


def expanded(path: str, home: str) -> str:
    """The path with the user's home for the C(~) at its start."""
    return re.sub("^~(?=/|$)", lambda _match: home, path)


def split(url: str) -> SplitResult:
    """The parts of a URL; of one that is none at all, no parts."""
    try:
        return urlsplit(url)
    except ValueError:  # its message may hold the password
        return urlsplit("")
