# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the effective configuration share: files as texts, a Poetry's version, its answers."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from ansible_collections.devbox.artifact_registry.plugins.module_utils._poetry_credentials import (
    Credentials,
    Keyring,
    names,
)
from ansible_collections.devbox.artifact_registry.plugins.module_utils._poetry_effective import (
    Configuration,
    Known,
)

HOST = "europe-west1-python.pkg.dev"
URL = f"https://{HOST}/my-project/python/"
REPOSITORY = f'[repositories.private-repo]\nurl = "{URL}"\n'
NO_KEYRING = Keyring(backends=["keyring.backends.SecretService"], forced="keyring.backends.null.Keyring")
CHOSEN = Keyring(backends=["gar_auth.keyring_backend", "keyring.backends.SecretService"])
DESKTOP = Keyring(backends=["keyring.backends.SecretService"])

DEFAULTS = {
    "cache-dir": "/root/.cache/pypoetry",
    "data-dir": "/root/.local/share/pypoetry",
    "virtualenvs": {"in-project": None, "path": "{cache-dir}/virtualenvs", "prompt": "{project_name}"},
    "installer": {"max-workers": None, "parallel": True, "no-binary": None, "build-config-settings": {}},
    "keyring": {"enabled": True},
}
SETTINGS = [
    "cache-dir",
    "data-dir",
    "installer.max-workers",
    "installer.no-binary",
    "installer.parallel",
    "keyring.enabled",
    "virtualenvs.in-project",
    "virtualenvs.path",
    "virtualenvs.prompt",
]


def typed(name: str, text: str) -> Any:
    """As Poetry's own normalizers."""
    if name == "installer.max-workers":
        return int(text)
    if name == "installer.no-binary":
        return text.split(",")
    if name in ("installer.parallel", "keyring.enabled", "virtualenvs.in-project"):
        return text.lower() in ("true", "1")
    return text


def known(version: str = "2.5.1") -> Known:
    """A Poetry with some settings."""
    number = tuple(map(int, version.split(".")))
    return Known(version=number, settings=SETTINGS, defaults=DEFAULTS, typed=typed)


def configuration(
    config: str = "",
    auth: str = "",
    *,
    env: Mapping[str, str] | None = None,
    version: str | None = "2.5.1",
) -> Configuration:
    """The configuration of a user with these two files and that environment; without a version no Poetry."""
    files = {"config.toml": tomllib.loads(config), "auth.toml": tomllib.loads(auth)}
    return Configuration("/home/dev", files, env or {}, known(version) if version else Known())


def described(
    config: Configuration, name: str = "private-repo", *, logins: Any = (), keyring: Keyring = NO_KEYRING
) -> dict[str, Any]:
    """What is said of one name's credentials."""
    return Credentials(config, keyring, dict(logins)).described(name, names(config).get(name))


def basic(username: str | None, password: str | None, name: str = "private-repo") -> str:
    """A table http-basic."""
    lines = [
        f'{key} = "{value}"\n'
        for key, value in (("username", username), ("password", password))
        if value is not None
    ]
    return f"[http-basic.{name}]\n{''.join(lines)}"
