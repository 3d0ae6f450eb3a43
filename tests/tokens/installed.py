# SPDX-License-Identifier: GPL-3.0-or-later
"""The program installed for one Python, with every identity, run as a subprocess as its units run it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import requests

from lab.emulator.launch import Emulator
from tokens.proxy import Proxy
from tokens.pythons import Program
from tokens.sources import ROBOT, SOURCES, Place, secrets_of

__all__ = ["Installed", "Run", "tracer"]

HOST = "europe-west1-python.pkg.dev"
REPOSITORY = "demo-project/python"
GCLOUD = shutil.which("gcloud")


@dataclass(frozen=True, kw_only=True)
class Run:
    """How a command ended."""

    code: int
    output: str
    errors: str


def tracer(file: Path) -> list[str]:
    """The command that notes what the command put after it executes, with all arguments and variables.

    Empty where nothing can be traced; then only the program's own arguments and output are known.
    """
    strace = shutil.which("strace")
    if strace is None:
        return []
    if subprocess.run([strace, "-o", "/dev/null", "true"], check=False, capture_output=True).returncode:
        return []
    return [strace, "-f", "-v", "-s", "1000000", "-e", "trace=execve,execveat", "-o", str(file)]


@dataclass(kw_only=True)
class Installed:
    """The program with an identity of each source, and a repository for each identity.

    :ivar seen: all that was printed, and all arguments and variables of every process started.
    """

    program: Program
    emulator: Emulator
    proxy: Proxy
    scratch: Path
    seen: list[str] = field(default_factory=list, repr=False)

    @property
    def place(self) -> Place:
        return Place(emulator=self.emulator, files=self.scratch / "files")

    @property
    def auth(self) -> Path:
        return self.scratch / "pypoetry" / "auth.toml"

    @property
    def names(self) -> list[str]:
        """The identities, in the order in which they are declared."""
        return [source.name for source in SOURCES] + (["gcloud"] if GCLOUD else [])

    def configure(self) -> None:
        """Write the configuration and the files of the identities; log gcloud in."""
        identities = {source.name: source.declare(self.place) for source in SOURCES}
        if GCLOUD:
            identities["gcloud"] = {"type": "gcloud", "account": ROBOT}
            self._log_gcloud_in()
        content = {
            "identities": identities,
            "repositories": [
                {
                    "name": f"from-{name.replace('_', '-')}",
                    "publish_url": f"https://{HOST}/{REPOSITORY}/",
                    "index_url": f"https://{HOST}/{REPOSITORY}/simple/",
                    "identity": name,
                }
                for name in identities
            ],
            "users": ["root"],
            "config_dir": str(self.auth.parent),
            "run_dir": str(self.scratch / "run"),
            "state_dir": str(self.scratch / "state"),
            "gcloud": GCLOUD,
            "interval": 30,
            "service_manager": "none",
        }
        self.program.config.parent.mkdir(exist_ok=True)
        self.program.config.write_text(json.dumps(content))

    @property
    def environment(self) -> dict[str, str]:
        """What a unit's processes have, and what leads to the emulator."""
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(self.scratch / "home"),
            "GCE_METADATA_HOST": self.emulator.metadata[0],
            "NO_GCE_CHECK": "true",
            "HTTPS_PROXY": self.proxy.url,
            "NO_PROXY": "127.0.0.1,localhost",
            "REQUESTS_CA_BUNDLE": str(self.emulator.ca),
        }

    def __call__(
        self,
        *arguments: str,
        variables: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        traced: bool = True,
    ) -> Run:
        """Run a command of the program.

        :param traced: note what it executes, which makes it slower.
        """
        trace = self.scratch / "trace"
        argv = [*(tracer(trace) if traced else []), str(self.program.command), *arguments]
        done = subprocess.run(
            argv,
            env={**self.environment, **(variables or {})},
            cwd=cwd or "/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        self.seen += [done.stdout, done.stderr, trace.read_text() if trace.exists() else ""]
        trace.unlink(missing_ok=True)
        return Run(code=done.returncode, output=done.stdout, errors=done.stderr)

    def check_secrecy(self) -> None:
        """Nothing secret was printed, and nothing of it stood in arguments or variables of any process."""
        secrets, seen = secrets_of(self.place), "\n".join(self.seen)
        assert len(secrets) > len(self.names), "the search knows what to look for"
        assert not [secret[:12] for secret in secrets if secret in seen]
        assert "Traceback" not in seen

    def grants(self) -> dict[str, int]:
        """What the index answers to the credentials of each repository in auth.toml."""
        entries = tomllib.loads(self.auth.read_text())["http-basic"]
        port = self.emulator.https[0].rpartition(":")[2]
        answers = {}
        with requests.Session() as session:
            session.trust_env = False
            session.verify = str(self.emulator.ca)
            for name, entry in entries.items():
                login = (entry["username"], entry["password"])
                url = f"https://localhost:{port}/{REPOSITORY}/simple/"
                answers[name] = session.get(url, auth=login, timeout=10).status_code
        return answers

    def _log_gcloud_in(self) -> None:
        """Log the account in, in gcloud's configuration directory of the identity, as a person would."""
        state = self.scratch / "state" / "gcloud"
        state.mkdir(parents=True)
        port = self.emulator.https[0].rpartition(":")[2]
        key = self.emulator.control.create_key(ROBOT, token_uri=f"https://localhost:{port}/token")
        properties = f"[core]\ncustom_ca_certs_file = {self.emulator.ca}\ndisable_usage_reporting = true\n"
        (state / "properties").write_text(properties)
        file = self.place.put("gcloud-key.json", key)
        done = subprocess.run(
            [str(GCLOUD), "auth", "activate-service-account", f"--key-file={file}"],
            env={**self.environment, "CLOUDSDK_CONFIG": str(state), "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        os.unlink(file)
