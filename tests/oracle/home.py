# SPDX-License-Identifier: GPL-3.0-or-later
"""A home that the module and Poetry work on in turn, and the module as Ansible's own payload."""

from __future__ import annotations

import json
import os
import pwd
import select
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .releases import HERE, ROOT, Release

__all__ = [
    "MODULE",
    "Home",
    "Payload",
    "Poetry",
    "ansible_environment",
    "meaning",
    "parse_list",
    "user_environment",
]

MODULE = "devbox.artifact_registry.poetry_config"
SECONDS = 60


def user_environment(home: Path) -> dict[str, str]:
    """The whole environment of a user with that home: nothing of the caller's takes part."""
    config = home / ".config"
    return {
        "PATH": os.defpath,
        "LC_ALL": "C.UTF-8",
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(config),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "XDG_DATA_HOME": str(home / ".local/share"),
        "POETRY_CONFIG_DIR": str(config / "pypoetry"),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    }


def ansible_environment(home: Path) -> dict[str, str]:
    """The environment of Ansible's own programs on the controller."""
    return {
        **user_environment(home),
        "PATH": os.environ.get("PATH", os.defpath),
        "ANSIBLE_HOME": str(home / "ansible"),
        "ANSIBLE_REMOTE_TMP": str(home / "ansible/remote"),
        "ANSIBLE_CONFIG": str(ROOT / ".config/ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible/collections"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
    }


class Judge:
    """A Poetry that answers questions about homes (see judge.py), in a process of its own."""

    def __init__(self, python: str, *, scratch: Path) -> None:
        self._process = subprocess.Popen(
            [python, str(HERE / "judge.py")],
            env=user_environment(scratch),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, home: Path, questions: Iterable[tuple[str, Any]]) -> list[Any]:
        """The answers for the user with that home."""
        assert self._process.stdin
        assert self._process.stdout
        asked = {"environment": user_environment(home), "questions": list(questions)}
        self._process.stdin.write(f"{json.dumps(asked)}\n")
        self._process.stdin.flush()
        ready, _write, _error = select.select([self._process.stdout], [], [], SECONDS)
        assert ready, f"no answer within {SECONDS} s to {asked['questions']}"
        answers = json.loads(self._process.stdout.readline() or "null")
        assert isinstance(answers, list), f"Poetry failed at {asked['questions']}: see its traceback"
        return answers

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=SECONDS)


@dataclass(frozen=True)
class Poetry:
    """An installed release."""

    release: Release
    environment: Path
    judge: Judge
    #: Every setting that it knows, with the candidates of samples.py that it accepts, as it stores them.
    settings: Mapping[str, Mapping[str, Any]]

    @property
    def executable(self) -> str:
        return f"{self.environment}/bin/poetry"


class Payload:
    """The module as Ansible sends it, kept from one run of `ansible` and executed with other arguments.

    This is what Ansible's developer guide describes for debugging modules: ANSIBLE_KEEP_REMOTE_FILES, then
    `explode` and `execute`. It saves the second that each start of Ansible takes.
    """

    def __init__(self, home: Path) -> None:
        environment = {**ansible_environment(home), "ANSIBLE_KEEP_REMOTE_FILES": "1"}
        command = [sys.executable, "-m", "ansible", "adhoc", "localhost", "--connection", "local", "--check"]
        arguments = json.dumps({"poetry": "/nonexistent/poetry", "settings": {}})
        done = subprocess.run(  # how the task ends does not matter: its file is kept
            [*command, "-e", f"ansible_python_interpreter={sys.executable}", "-m", MODULE, "-a", arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
            check=False,
            text=True,
        )
        kept = list(home.glob("ansible/remote/*/AnsiballZ_poetry_config.py"))
        assert len(kept) == 1, done.stdout
        self._file = str(kept[0])
        subprocess.run([sys.executable, self._file, "explode"], check=True, stdout=subprocess.DEVNULL)
        self._arguments = kept[0].parent / "debug_dir/args"
        sent = json.loads(self._arguments.read_text())["ANSIBLE_MODULE_ARGS"]
        self._internal = {key: value for key, value in sent.items() if key.startswith("_ansible")}

    def run(self, options: Mapping[str, Any], *, home: Path, check: bool) -> dict[str, Any]:
        """One task; its result as JSON."""
        arguments = {**self._internal, "_ansible_check_mode": check, "_ansible_diff": True, **options}
        self._arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
        done = subprocess.run(
            [sys.executable, self._file, "execute"],
            cwd=home,
            env=user_environment(home),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
            text=True,
        )
        try:
            result: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            raise AssertionError(f"no result, but:\n{done.stdout}\n{done.stderr}") from None
        return result


class Home:
    """An empty home of the user that runs the tests, on which the module and one Poetry work in turn."""

    def __init__(self, path: Path, *, poetry: Poetry, payload: Payload) -> None:
        self.path = path
        self.poetry = poetry
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self.directory = path / ".config/pypoetry"
        self.config = self.directory / "config.toml"
        self.auth = self.directory / "auth.toml"
        self._payload = payload
        self.directory.parent.mkdir(parents=True)

    def write(self, *, config: str | None = None, auth: str | None = None) -> None:
        """Put files there, as the user would by hand."""
        for path, text in ((self.config, config), (self.auth, auth)):
            if text is not None:
                self.directory.mkdir(exist_ok=True, mode=0o700)
                path.write_bytes(text.encode())
                path.chmod(0o600)

    def files(self) -> dict[str, bytes]:
        """Every file of Poetry's directory."""
        return {path.name: path.read_bytes() for path in sorted(self.directory.glob("*"))}

    def arguments(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a task for this home and this Poetry."""
        root = {"users": ["root"], "allow_root": True} if self.user == "root" else {}
        return {"config_dir": str(self.directory), "poetry": self.poetry.executable, **root, **options}

    def run(self, *, check: bool = False, **options: Any) -> dict[str, Any]:
        """One task with these options; its result, whether it failed or not."""
        return self._payload.run(self.arguments(options), home=self.path, check=check)

    def changes(self, *, check: bool = False, **options: Any) -> list[str]:
        """One task that must succeed; the keys that it changed."""
        result = self.run(check=check, **options)
        assert not result.get("failed"), result["msg"]
        user = result["users"][self.user]
        assert result["changed"] == user["changed"] == bool(user["changes"])
        return sorted(user["changes"])

    def ask(self, *questions: tuple[str, Any]) -> list[Any]:
        """Let Poetry answer questions of judge.py; then a minute has passed since it wrote a file.

        It leaves empty files, and the module may wait for one that is being written.
        """
        answers = self.poetry.judge.ask(self.path, questions)
        before = time.time() - 60
        for path in self.directory.glob("*"):
            os.utime(path, (before, before))
        return answers

    def config_commands(self, *commands: list[str]) -> None:
        """Run `poetry config ARGUMENTS` for each; all must succeed."""
        answers = self.ask(*(("command", ["config", *arguments]) for arguments in commands))
        for arguments, answer in zip(commands, answers, strict=True):
            assert answer["code"] == 0, f"poetry config {arguments}: {answer['errors']}"

    def listed(self, *commands: list[str]) -> dict[str, Any]:
        """What `poetry config --list` shows, after the `poetry config` commands: key to value."""
        asked = [*commands, ["--list"]]
        answers = self.ask(*(("command", ["config", *arguments]) for arguments in asked))
        for arguments, answer in zip(asked, answers, strict=True):
            assert answer["code"] == 0, f"poetry config {arguments}: {answer['errors']}"
        return parse_list(answers[-1]["output"])

    def credentials(self, *names: str) -> dict[str, dict[str, Any]]:
        """What Poetry finds for repositories of these names: logins, tokens, certificates."""
        answer: dict[str, dict[str, Any]] = self.ask(("credentials", names))[0]
        return answer


def parse_list(text: str) -> dict[str, Any]:
    """The lines `KEY = JSON  # comment` as a dictionary; a list, which Poetry prints as text, sorted."""
    found: dict[str, Any] = {}
    for line in text.splitlines():
        key, equals, value = line.partition(" = ")
        if not equals:
            continue  # a warning of Poetry's
        decoded, _end = json.JSONDecoder().raw_decode(value)
        if isinstance(decoded, str) and decoded.startswith("[") and decoded.endswith("]"):
            decoded = sorted(decoded[1:-1].split(", "))
        found[key] = decoded
    return found


def meaning(path: Path) -> dict[str, Any]:
    """What a TOML file says, without its empty tables and with lists sorted: Poetry's are in any order."""

    def simple(value: Any) -> Any:
        if isinstance(value, dict):
            inner = {key: simple(item) for key, item in value.items()}
            return {key: item for key, item in inner.items() if item != {}}
        return sorted(value, key=repr) if isinstance(value, list) else value

    read: dict[str, Any] = simple(tomllib.loads(path.read_bytes().decode())) if path.exists() else {}
    return read
