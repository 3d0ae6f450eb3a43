# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo without a machine: the same playbook on localhost, every path below one scratch directory."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.emulator import launch
from lab.system import LabError

__all__ = ["NOT_SHOWN", "Sandbox"]

NOT_SHOWN = (
    "systemd's timer and its sandboxed units (the program runs in the foreground instead)",
    "gcloud's installation from a signed apt repository",
    "the host names of Artifact Registry (the index answers on localhost)",
    "several users, and that nothing in a home is written as root",
)
"""What a sandbox cannot show."""

#: Variables that would let the caller's own configuration, or a proxy for everything, take part.
_FOREIGN = (
    "POETRY_",
    "XDG_",
    "ANSIBLE_",
    "PYTHON",
    "VIRTUAL_ENV",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GCE_METADATA_",
)


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """A scratch directory with a home, the emulated Google beside it and the program's processes."""

    scratch: Path
    emulator: launch.Emulator
    user: str

    @classmethod
    @contextlib.contextmanager
    def start(cls, *, keep: bool) -> Iterator[Sandbox]:
        """Make the scratch directory and start the emulator; both go at the end, unless `keep`."""
        try:
            user = pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:
            raise LabError(
                f"uid {os.geteuid()} has no name: add it to /etc/passwd, or run as another user"
            ) from None
        scratch = Path(tempfile.mkdtemp(prefix="devbox-sandbox-"))
        try:
            (scratch / "home" / ".config").mkdir(parents=True)
            (scratch / "bin").mkdir()
            options = ("--metadata", "127.0.0.1:0", "--https", "127.0.0.1:0")
            with launch.start(scratch / "google", *options) as emulator:
                yield cls(scratch=scratch, emulator=emulator, user=user)
        finally:
            if not keep:
                shutil.rmtree(scratch)

    @property
    def publish_url(self) -> str:
        """Return the private repository's publish URL."""
        return f"https://localhost:{self.emulator.https[0].rpartition(':')[2]}/demo-project/python/"

    @property
    def inventory(self) -> Path:
        """Write and return the inventory: this host, by this Python."""
        path = self.scratch / "inventory.ini"
        temporary = self.scratch / "tmp"
        path.write_text(
            f"localhost ansible_connection=local ansible_python_interpreter={sys.executable}"
            f" ansible_remote_tmp={temporary}\n",
            encoding="utf-8",
        )
        return path

    @property
    def variables(self) -> dict[str, Any]:
        """Return the collection's variables: every path is below the scratch directory."""
        return {
            "artifact_registry_become": False,
            "artifact_registry_roles": ["poetry", "poetry_repositories", "gar_auth"],
            "artifact_registry_users": [self.user],
            "artifact_registry_repositories": [
                {"name": "private-repo", "url": self.publish_url, "ca_cert": str(self.emulator.ca)},
            ],
            "poetry_python": sys.executable,
            "poetry_prefix": str(self.scratch / "opt" / "poetry"),
            "poetry_bin_dir": str(self.scratch / "bin"),
            "poetry_repositories_poetry": str(self.scratch / "bin" / "poetry"),
            "poetry_repositories_config_dir": str(self.scratch / "home" / ".config" / "pypoetry"),
            "poetry_repositories_allow_root": os.geteuid() == 0,
            "poetry_repositories_allow_other_hosts": True,
            "gar_auth_service_manager": "none",
            "gar_auth_python": sys.executable,
            "gar_auth_prefix": str(self.scratch / "opt" / "gar-auth"),
            "gar_auth_bin_dir": str(self.scratch / "bin"),
            "gar_auth_etc_dir": str(self.scratch / "etc" / "gar-auth"),
            "gar_auth_config_dir": str(self.scratch / "home" / ".config" / "pypoetry"),
            "gar_auth_allow_root": os.geteuid() == 0,
            "gar_auth_allow_other_hosts": True,
        }

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of a user who lives in the scratch directory."""
        own = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
        path = f"{self.scratch / 'bin'}:/usr/local/bin:/usr/bin:/bin"
        return {**own, "HOME": str(self.scratch / "home"), "PATH": path, "LC_ALL": "C.UTF-8"}

    def execute(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command line as that user."""
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.scratch / "home",
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    @contextlib.contextmanager
    def refresher(self, *, interval: int) -> Iterator[None]:
        """Run `gar-auth refresh --watch` in the foreground while the block lasts."""
        environment = {**self.environment, "GCE_METADATA_HOST": self.emulator.metadata[0]}
        argv = [str(self.scratch / "bin" / "gar-auth"), "refresh", "--watch", str(interval)]
        with (
            (self.scratch / "gar-auth.log").open("w") as log,
            subprocess.Popen(
                argv, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            ) as process,
        ):
            try:
                yield
            finally:
                process.terminate()
