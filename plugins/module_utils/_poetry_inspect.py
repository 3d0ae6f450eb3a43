# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module poetry_config_info does: as each user, read what their Poetry reads; describe it."""

from __future__ import annotations

import functools
import importlib.metadata
import netrc
import os
import re
import stat
import sys
import typing as t
from dataclasses import dataclass

from . import _poetry
from ._home_file import MAX_BYTES, FileProblem
from ._poetry_credentials import Credentials, Keyring, names
from ._poetry_effective import Configuration, Known, expanded
from ._poetry_files import read
from ._poetry_show import public_login
from ._poetry_warnings import Around, warnings
from ._toml_read import HAS_TOML
from ._users import accounts, for_each

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

__all__ = ["run"]

ETC_ENVIRONMENT = "/etc/environment"

_ASSIGNMENT = re.compile(r"(?:export\s+)?([A-Za-z0-9_]+)=(.*)")
#: Of keyring's own backends those that never serve on Linux.
_FOREIGN = ("keyring.backends.Windows", "keyring.backends.macOS", "keyring.backends.chainer")


@dataclass(frozen=True)
class Machine:
    """What is the same for all users."""

    environment: t.Mapping[str, str]
    #: The variables that are set in /etc/environment only.
    lasting: t.Collection[str]
    known: Known
    backends: t.Sequence[str]


def run(module: AnsibleModule) -> dict[str, t.Any]:
    """Describe all users; the module's result.

    :raises InvalidInput, PoetryProblem: the options cannot be used, or no Python here parses TOML.
    """
    params = module.params
    users = accounts(params["users"], allow_root=params["allow_root"])
    known, backends = _installed(module)
    etc = etc_environment()
    machine = Machine(
        environment={**etc, **os.environ},
        lasting=frozenset(etc) - frozenset(os.environ),
        known=known,
        backends=backends,
    )
    described = for_each(users, params, functools.partial(inspect, machine=machine))
    version = ".".join(map(str, known.version)) if known.version else None
    return {"changed": False, "poetry_version": version, "users": described}


def inspect(directory: str, *, home: str, machine: Machine, follow: bool) -> dict[str, t.Any]:
    """One user's configuration, without a secret; runs as that user.

    :returns: where the files cannot be used only C(failure), one line that says why and what to do.
    """
    try:
        files = read(directory, home=home, follow=follow)
    except FileProblem as problem:
        return {"failure": str(problem)}
    config = Configuration(home, files, machine.environment, machine.known)
    enabled = bool(config.value("keyring", "enabled") is not False)
    forced = machine.environment.get("PYTHON_KEYRING_BACKEND") or None
    path = netrc_path(home, machine.environment)
    credentials = Credentials(config, Keyring(enabled, machine.backends, forced), netrc_logins(path))
    around = Around(directory, path, machine.lasting)
    return {
        "settings": config.settings(),
        "repositories": [config.described(repository) for repository in config.repositories()],
        "credentials": [credentials.described(name, one) for name, one in sorted(names(config).items())],
        "keyring": {"enabled": enabled, "backends": list(machine.backends), "forced": forced},
        "warnings": warnings(credentials, around),
    }


def netrc_path(home: str, environment: t.Mapping[str, str]) -> str:
    """The netrc that Poetry's HTTP library reads."""
    if "NETRC" in environment:
        return expanded(environment["NETRC"], home)
    usual, other = f"{home}/.netrc", f"{home}/_netrc"
    return other if os.path.exists(other) and not os.path.exists(usual) else usual


def netrc_logins(path: str) -> dict[str, str | None]:
    """The hosts of a netrc (C(default) for all others) and their logins, no password.

    A file that cannot be read or parsed counts as none, as it does for Poetry.
    """
    try:
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode) or info.st_size > MAX_BYTES:
            return {}
        hosts = netrc.netrc(path).hosts
    except (OSError, UnicodeDecodeError, netrc.NetrcParseError):
        return {}
    return {
        host: public_login(login or account, password) for host, (login, account, password) in hosts.items()
    }


def etc_environment() -> dict[str, str]:
    """What every login gets from /etc/environment: lines C(NAME=value), as pam_env reads them."""
    try:
        with open(ETC_ENVIRONMENT, encoding="utf-8", errors="replace") as stream:
            lines = stream.read(MAX_BYTES).splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        if match := _ASSIGNMENT.fullmatch(line.strip()):
            quoted = re.fullmatch(r"(['\"])(.*)\1\s*(?:#.*)?", match[2])
            found[match[1]] = quoted[2] if quoted else match[2].partition("#")[0].strip()
    return {name: value for name, value in found.items() if value}


def _installed(module: AnsibleModule) -> tuple[Known, list[str]]:
    """What the installed Poetry knows, and its keyring's backends; may go on under its interpreter."""
    try:
        found = _poetry.find(module.params["poetry"])
        _poetry.use(found, module.params, have_toml=HAS_TOML)
        return _known(found.version or _poetry.version()), _backends(found.packages)
    except (_poetry.PoetryProblem, ImportError) as problem:
        if not HAS_TOML:
            raise _poetry.PoetryProblem(
                f"needs Python 3.11 or newer, or Poetry's own: {problem}"
            ) from problem
        module.warn(
            f"{problem}; without Poetry only what the files set is listed, by the newest Poetry's rules"
        )
        return Known(), []


def _known(version: tuple[int, ...]) -> Known:
    from poetry.config.config import Config
    from poetry.console.commands.config import ConfigCommand

    return Known(
        version=version,
        settings=frozenset(ConfigCommand().unique_config_values),
        defaults=Config.default_config,
        typed=lambda name, text: Config._get_normalizer(name)(text),
    )


def _backends(packages: str | None) -> list[str]:
    """The keyring backends in Poetry's environment, by the names of their modules; none is loaded."""
    found = {
        entry.value
        for distribution in importlib.metadata.distributions(path=[packages] if packages else sys.path)
        for entry in distribution.entry_points
        if entry.group == "keyring.backends"
    }
    return sorted(found - set(_FOREIGN))
