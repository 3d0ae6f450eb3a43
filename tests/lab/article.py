# SPDX-License-Identifier: GPL-3.0-or-later
"""The article's way, command by command, as an ordinary user without `export`; then the tokens roll over."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lab.console import say, step
from lab.emulator.client import Control
from lab.system import LabError

__all__ = ["Article"]

PACKAGE = "my_private_package"
PROJECT = "myproject"
VERSION = f"import importlib.metadata, {PACKAGE}; print(importlib.metadata.version('{PACKAGE}'))"


@dataclass(kw_only=True)
class Article:
    """Walks the way and keeps what was seen.

    `execute` runs a command line as the user, in the user's home. `index_url` is the private index.
    `patience` is how many seconds a new token may take to arrive.
    """

    execute: Callable[[str], subprocess.CompletedProcess[str]]
    control: Control
    index_url: str
    patience: float
    shown: list[str] = field(default_factory=list)

    def walk(self) -> None:
        """Publish a package and use it in a second project."""
        with step("Create and publish a private package"):
            self._type(f"poetry new {PACKAGE}")
            self._type("poetry publish --build --repository private-repo", at=PACKAGE)
            self._check_uploads("0.1.0")
        with step("Add it to another project"):
            self._type(f"poetry new {PROJECT}")
            self._type("poetry source add --priority=primary PyPI", at=PROJECT)
            self._type(f"poetry source add --priority=supplemental private-repo {self.index_url}", at=PROJECT)
            self._type(f"poetry add --source private-repo {PACKAGE}", at=PROJECT)
            self._check_import("0.1.0")
        self.shown.append(
            "a private package was published, added to a second project and imported; nobody handled a token"
        )

    def roll_over(self) -> None:
        """Kill every token so far and do it all again with the next version."""
        with step("Let every token so far expire, and revoke it"):
            before = {token.value for token in self.control.tokens()}
            self.control.expire_all()
            self.control.revoke_all()
            if self.control.stats().valid:
                raise LabError("the emulator still accepts an old token")
            say(f"the index now answers 401 to all {len(before)} of them")
        with step(f"Wait until the new token has arrived by itself (at most {self.patience:.0f} s)"):
            self.await_token(before)
        with step("Publish version 0.2.0 and update to it"):
            self._type("poetry version 0.2.0", at=PACKAGE)
            # dist/ still holds 0.1.0: without a terminal, Poetry's question about it has no end
            self._type("poetry publish --build --repository private-repo --no-interaction", at=PACKAGE)
            self._check_uploads("0.2.0")
            self._type(f"poetry add --source private-repo {PACKAGE}@latest", at=PROJECT)
            self._check_import("0.2.0")
        self.shown.append(
            "after every token had expired and was revoked, version 0.2.0 was published and installed;"
            " nobody did anything"
        )

    def _type(self, command: str, *, at: str = "") -> str:
        """Run one command of the article and fail with its last words."""
        say(f"$ {command}")
        done = self.execute(f"cd {shlex.quote(at)} && {command}" if at else command)
        if done.returncode:
            words = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
            raise LabError(f"`{command}` ended with code {done.returncode}:\n{words}")
        return done.stdout

    def _check_uploads(self, version: str) -> None:
        """The index itself, not Poetry, says whether the package has arrived."""
        uploads = [seen for seen in self.control.requests(target="index") if seen.method == "POST"]
        accepted = [seen for seen in uploads if seen.status == 200]
        if len(accepted) != (2 if version == "0.1.0" else 4):
            raise LabError(f"the index accepted {len(accepted)} of {len(uploads)} uploads up to {version}")

    def _check_import(self, version: str) -> None:
        found = self._type(f'poetry run python -c "{VERSION}"', at=PROJECT).strip()
        if found != version:
            raise LabError(f"imported {PACKAGE} {found}, not {version}")
        say(f"imported {PACKAGE} {found}")

    def await_token(self, before: set[str]) -> None:
        """Wait until a token that is not one of `before` has reached the user."""
        deadline = time.monotonic() + self.patience
        while time.monotonic() < deadline:
            new = [token for token in self.control.tokens() if token.valid and token.value not in before]
            if new and self.execute("gar-auth status").returncode == 0:
                return
            time.sleep(0.5)
        status = self.execute("gar-auth status").stdout.strip()
        raise LabError(f"no new token within {self.patience:.0f} s; gar-auth status says:\n{status}")
