# SPDX-License-Identifier: GPL-3.0-or-later
"""The clients of the benchmark of keyring: commands for rusage, each with what it finds when it starts."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.gar_auth_program import Bed
from bench.keyring_place import GOOGLE as GOOGLES_PACKAGES
from bench.keyring_place import KEYRING as KEYRINGS_PACKAGES
from bench.keyring_place import NAMES, REPOSITORY, VERSION, environment, poetry_environment
from bench.place import BenchError, poetry, run

__all__ = ["CACHES", "CONTROL", "GOOGLE", "OURS", "STATIC", "WARM", "Clients"]

OURS, GOOGLE, STATIC = "ours", "google", "static"
CONTROL = "control"
"""Poetry with a token in auth.toml again, in the environment that has our backend: the same work twice."""
CACHES = EMPTY, WARM = "empty", "warm"
USER = "oauth2accesstoken"
_LOOKUP = Path(__file__).resolve().parent / "keyring_lookup.py"
_PROJECT = """\
[project]
name = "bench"
version = "1.0"
requires-python = ">=3.10"
dependencies = {names}

[tool.poetry]
package-mode = false

[[tool.poetry.source]]
name = "{source}"
url = "{url}"
priority = "primary"
"""


@dataclass(frozen=True, kw_only=True)
class Clients:
    """The same clients with our backend, with Google's, and (Poetry) with a token in auth.toml."""

    made: Bed
    uv: str
    keyrings: dict[str, Path] = field(default_factory=dict)
    poetries: dict[str, Path] = field(default_factory=dict)

    @staticmethod
    def make(made: Bed) -> Clients:
        """Make the environments that are not there."""
        uv = shutil.which("uv")
        if uv is None:
            raise BenchError("there is no uv here: make the environment for development, .venv, anew")
        with_google = (*KEYRINGS_PACKAGES, *GOOGLES_PACKAGES)
        keyrings = {
            OURS: environment("ours", made.interpreter, packages=KEYRINGS_PACKAGES),
            GOOGLE: environment("google", made.interpreter, packages=with_google),
        }
        ours = poetry_environment("ours")
        poetries = {
            STATIC: poetry().parents[1],
            CONTROL: ours,
            OURS: ours,
            GOOGLE: poetry_environment("google", *GOOGLES_PACKAGES),
        }
        return Clients(made=made, uv=uv, keyrings=keyrings, poetries=poetries)

    def variables(self, who: str) -> dict[str, str]:
        """The environment of a client; Google's backend would wait for the metadata server's real address."""
        own = {**self.made.environment, "SSL_CERT_FILE": str(self.made.emulator.ca)}
        return {**own, "GCE_METADATA_IP": own["GCE_METADATA_HOST"]} if who == GOOGLE else own

    def _variables_of_command(self, who: str) -> dict[str, str]:
        """The same for the command; keyring's own loads Google's backend alone, which takes it less time.

        Not so in Poetry, which would win by that with every backend, ours too.
        """
        alone = {"PYTHON_KEYRING_BACKEND": "keyrings.gauth.GooglePythonAuth"} if who == GOOGLE else {}
        return {**self.variables(who), **alone}

    def look_up(self, who: str, count: int) -> dict[str, Any]:
        """Look-ups inside a running Python."""
        python = self.keyrings[who] / "bin" / "python"
        argv = [str(python), "-I", str(_LOOKUP), str(REPOSITORY["index_url"]), str(count)]
        return {"argv": argv, "env": self.variables(who)}

    def get(self, who: str) -> dict[str, Any]:
        """The command keyring, as pip and uv call it."""
        argv = [str(self.command(who)), "get", str(REPOSITORY["index_url"]), USER]
        return {"argv": argv, "env": self._variables_of_command(who)}

    def command(self, who: str) -> Path:
        """The command keyring: ours, or keyring's own."""
        if who == OURS:
            return self.made.program.prefix / "bin" / "keyring"
        return self.keyrings[who] / "bin" / "keyring"

    def publish(self, wheels: list[Path]) -> None:
        """Upload the packages with uv, which asks our command."""
        command = self._uv(OURS, "publish", "--no-cache", "--username", USER)
        command["argv"] += ["--publish-url", REPOSITORY["publish_url"], *map(str, wheels)]
        self.made.use([command])

    @property
    def _target(self) -> Path:
        return self.made.scratch / "uv" / "target"

    def uv_install(self, who: str, *, cache: str) -> dict[str, Any]:
        """`uv pip install` of all packages into a directory that is not there.

        :param cache: `empty`, or `warm`: as this command left it the last time, whoever had the token.
        """
        shutil.rmtree(self._target, ignore_errors=True)
        shutil.rmtree(self._target.with_name(EMPTY), ignore_errors=True)
        command = self._uv(who, "pip", "install", "--cache-dir", str(self._target.with_name(cache)))
        url = str(REPOSITORY["index_url"]).replace("https://", f"https://{USER}@")
        command["argv"] += ["--python", str(self.made.program.python), "--index-url", url]
        command["argv"] += ["--target", str(self._target), *NAMES]
        return command

    def check_uv(self) -> None:
        """:raises BenchError: `uv_install` did not install all packages."""
        _complete(self._target)

    def _uv(self, who: str, *words: str) -> dict[str, Any]:
        variables = self._variables_of_command(who)
        variables["PATH"] = f"{self.command(who).parent}:{variables['PATH']}"
        options = ["--no-config", "--no-progress", "--keyring-provider", "subprocess"]
        return {"argv": [self.uv, *words, *options], "env": variables}

    @property
    def _project(self) -> Path:
        return self.made.scratch / "project"

    def lock(self, token: str) -> None:
        """Make the project, its lock and an environment to copy, and fill the cache."""
        self._project.mkdir()
        text = _PROJECT.format(names=list(NAMES), source=REPOSITORY["name"], url=REPOSITORY["index_url"])
        (self._project / "pyproject.toml").write_text(text, encoding="utf-8")
        entry = f'[http-basic.{REPOSITORY["name"]}]\nusername = "{USER}"\npassword = "{token}"\n'
        for who in self.poetries:
            self._configuration(who).mkdir(parents=True)
            if who in (STATIC, CONTROL):
                secrets = self._configuration(who) / "auth.toml"
                secrets.touch(mode=0o600)
                secrets.write_text(entry, encoding="utf-8")
        environment_of_project = self._project / ".venv"
        python = str(self.poetries[STATIC] / "bin" / "python")
        run([python, "-m", "venv", "--without-pip", str(environment_of_project)])
        environment_of_project.rename(self.made.scratch / "empty")
        self.made.use([self._poetry(STATIC, "lock")])
        self.made.use([self.poetry_install(STATIC)])
        self.check_poetry()

    def poetry_install(self, who: str) -> dict[str, Any]:
        """`poetry install` into an empty environment of the project."""
        place = self._project / ".venv"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.made.scratch / "empty", place, symlinks=True)
        return self._poetry(who, "install")

    def check_poetry(self) -> None:
        """:raises BenchError: `poetry_install` did not install all packages."""
        (packages,) = (self._project / ".venv").glob("lib/python3*/site-packages")
        _complete(packages)

    def _configuration(self, who: str) -> Path:
        return self.made.scratch / "poetry" / who

    def _poetry(self, who: str, *words: str) -> dict[str, Any]:
        own: Mapping[str, str] = {
            "POETRY_CONFIG_DIR": str(self._configuration(who)),
            "POETRY_CACHE_DIR": str(self.made.scratch / "poetry" / "cache"),
            "POETRY_VIRTUALENVS_IN_PROJECT": "true",
        }
        argv = [str(self.poetries[who] / "bin" / "poetry"), "-C", str(self._project), "--no-interaction"]
        return {"argv": [*argv, *words], "env": {**self.variables(who), **own}}


def _complete(packages: Path) -> None:
    there = {path.name for path in packages.glob("*.dist-info")}
    missing = {f"{name.replace('-', '_')}-{VERSION}.dist-info" for name in NAMES} - there
    if missing:
        raise BenchError(f"{packages}: not installed: {', '.join(sorted(missing))}")
