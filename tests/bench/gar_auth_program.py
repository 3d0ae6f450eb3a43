# SPDX-License-Identifier: GPL-3.0-or-later
"""The program `gar-auth` as the role installs it, and gcloud beside it, both with a key of the emulator."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokens.proxy import proxy_to
from tokens.pythons import Program, found, install

from bench.place import PYTHON, BenchError
from lab.emulator.launch import Emulator, start

__all__ = ["IDENTITY", "Bed", "Use", "bed", "repositories"]

IDENTITY = "bench"
ROBOT = "robot@demo-project.iam.gserviceaccount.com"
_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, kw_only=True)
class Use:
    """What a command took: seconds, seconds of processor time, and at its peak MB of memory."""

    seconds: float
    cpu: float
    rss: float
    output: str


def repositories(number: int) -> list[dict[str, str | None]]:
    """Declare repositories as in config.json."""
    url = "https://europe-west1-python.pkg.dev/demo-project/python-{:02}/"
    return [
        {
            "name": f"private-{index:02}",
            "publish_url": url.format(index),
            "index_url": url.format(index) + "simple/",
            "identity": IDENTITY,
        }
        for index in range(number)
    ]


@dataclass(frozen=True, kw_only=True)
class Bed:
    """The emulator, the program with a key as its identity, and gcloud logged in with that key."""

    scratch: Path
    emulator: Emulator
    program: Program
    key: Path
    environment: dict[str, str]
    interpreter: str

    def ours(self, *arguments: str, **more: object) -> dict[str, Any]:
        """A command of the program."""
        return {"argv": [str(self.program.command), *arguments], "env": self.environment, **more}

    def gcloud(self, *arguments: str) -> dict[str, Any]:
        """A command of gcloud."""
        program = shutil.which("gcloud")
        if program is None:
            raise BenchError("there is no gcloud here: install the package google-cloud-cli")
        own = {
            "CLOUDSDK_CONFIG": str(self.scratch / "cloudsdk"),
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
            "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE": str(self.emulator.ca),
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
            "NO_GCE_CHECK": "true",
        }
        return {"argv": [program, *arguments], "env": {**self.environment, **own}}

    def alone(self) -> dict[str, Any]:
        """google-auth in a script, in the program's own environment."""
        argv = [str(self.program.python), "-I", str(_HERE / "google_auth_alone.py"), str(self.key)]
        return {"argv": argv, "env": self.environment}

    def configure(self, **changes: object) -> None:
        """Write the program's configuration."""
        content = {
            "identities": {IDENTITY: {"type": "service_account_key", "file": str(self.key)}},
            "repositories": repositories(1),
            "users": ["root"],
            "config_dir": ".config/pypoetry",
            "run_dir": str(self.scratch / "run"),
            "state_dir": str(self.scratch / "state"),
            "interval": 30,
            "service_manager": "systemd",
            **changes,
        }
        self.program.config.write_text(json.dumps(content))

    def use(
        self, commands: Sequence[Mapping[str, Any]], *, at_once: int = 1, inside: Sequence[str] = ()
    ) -> list[Use]:
        """Run commands and tell what each took.

        :param inside: a command that runs the command put after it, such as `unshare`.
        :raises BenchError: one failed; with its words.
        """
        done = subprocess.run(
            [*inside, PYTHON, "-I", "-S", str(_HERE / "rusage.py")],
            input=json.dumps({"commands": list(commands), "at_once": at_once}),
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise BenchError(f"the commands could not be run (code {done.returncode})")
        results = json.loads(done.stdout)
        for command, result in zip(commands, results, strict=True):
            if result.pop("code") != 0:
                words = " ".join(str(part) for part in command["argv"])
                raise BenchError(f"{words} failed:\n  {result['output'].strip()}")
        return [Use(**result) for result in results]


def _interpreter() -> str:
    """The newest Python here that any user can run; where there is none, the newest."""
    pythons = [*found().values(), os.path.realpath("/usr/bin/python3")]
    usable = [path for path in pythons if os.access(path, os.X_OK) and _for_everybody(Path(path))]
    return (usable or pythons[:-1])[-1]


def _for_everybody(path: Path) -> bool:
    return all(place.stat().st_mode & 0o001 for place in path.resolve().parents)


@contextlib.contextmanager
def bed(scratch: Path) -> Iterator[Bed]:
    """Start the emulator, install the program, log gcloud in."""
    scratch.chmod(0o711)
    interpreter = _interpreter()
    program = install(interpreter, scratch / "prefix", config=scratch / "etc" / "config.json")
    program.config.parent.mkdir(mode=0o755)
    key = scratch / "key.json"
    with contextlib.ExitStack() as stack:
        state = scratch / "google"
        emulator = stack.enter_context(start(state, "--metadata", "127.0.0.1:0", "--https", "127.0.0.1:0"))
        proxy = stack.enter_context(proxy_to(emulator.https[0]))
        environment = {
            "PATH": os.defpath,
            "LC_ALL": "C.UTF-8",
            "HOME": str(scratch),
            "GCE_METADATA_HOST": emulator.metadata[0],
            "HTTPS_PROXY": proxy.url,
            "NO_PROXY": "127.0.0.1",
            "REQUESTS_CA_BUNDLE": str(emulator.ca),
        }
        key.touch(mode=0o600)
        key.write_text(json.dumps(emulator.control.create_key(ROBOT)))
        made = Bed(
            scratch=scratch,
            emulator=emulator,
            program=program,
            key=key,
            environment=environment,
            interpreter=interpreter,
        )
        made.configure()
        made.use([made.gcloud("auth", "activate-service-account", f"--key-file={key}")])
        yield made
