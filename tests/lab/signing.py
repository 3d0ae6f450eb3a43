# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that sign the lab's package repositories, in a GnuPG home of their own that is thrown away."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import TracebackType

from lab.system import Need, run

__all__ = ["NEEDS", "GnuPG"]

NEEDS = (Need(what="gpg", packages=("gpg", "gpg-agent")), Need(what="gpg-agent", packages=("gpg-agent",)))


class GnuPG:
    """A GnuPG home; a context manager."""

    def __init__(self) -> None:
        self._place = tempfile.TemporaryDirectory(prefix="lab-gpg-")
        self.home = Path(self._place.name)

    def __enter__(self) -> GnuPG:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False)
        self._place.cleanup()

    def generate(self, name: str, *, made: str = "", lifetime: str = "never") -> str:
        """Make a key without a passphrase and return its fingerprint.

        :param made: when, as C(20240101T000000); by default now.
        :param lifetime: such as C(1m) for a month.
        """
        algorithm = ["rsa3072", "sign", lifetime]
        past = [f"--faked-system-time={made}"] if made else []
        self._gpg(
            *past,
            "--passphrase",
            "",
            "--cert-digest-algo",
            "SHA512",
            "--quick-generate-key",
            name,
            *algorithm,
        )
        listing = self._gpg("--with-colons", "--list-keys", f"={name}").splitlines()
        return next(line.split(":")[9] for line in listing if line.startswith("fpr:"))

    def export(self, *fingerprints: str) -> str:
        """Return those public keys as one armoured block."""
        return self._gpg("--armor", "--export", *fingerprints)

    def sign_release(self, suite: Path, fingerprint: str, *, when: str = "") -> None:
        """Sign the file C(Release) of a suite, in both ways that apt knows.

        :param when: the time that the signature states, as C(20240101T000000); by default now.
        """
        options = ["--yes", "--local-user", fingerprint, *([f"--faked-system-time={when}"] if when else [])]
        release = str(suite / "Release")
        self._gpg(*options, "--output", str(suite / "InRelease"), "--clear-sign", release)
        self._gpg(*options, "--armor", "--output", str(suite / "Release.gpg"), "--detach-sign", release)
        for path in (suite / "InRelease", suite / "Release.gpg"):
            os.chmod(path, 0o644)

    def _gpg(self, *arguments: str) -> str:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--no-tty", "--quiet"]
        return run([*command, "--digest-algo", "SHA512", *arguments]).stdout
