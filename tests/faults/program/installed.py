# SPDX-License-Identifier: GPL-3.0-or-later
"""The program gar-auth as the role installs it: root's files, its own environment, the template's link.

It runs as real processes, as users of the machine (see machine.py) and as root.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google.auth
import jinja2
from faults.files import URL
from faults.machine import Machine, User

__all__ = ["GROUP", "TOKEN", "Ended", "Gar", "assert_auth", "entry", "more_users"]

ROLE = Path(__file__).resolve().parents[3] / "roles" / "gar_auth"
#: The group of the service's account, which its units have and no login has.
GROUP = 61900
TOKEN = "ya29.c.canary-0cc175b9c0f1b6a831c399e269772661"
WRITE_SECONDS = 90.0


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run of the program ended; C(trace) is what strace saw of it."""

    code: int
    stdout: str
    stderr: str
    seconds: float
    trace: str = ""

    @property
    def said(self) -> str:
        """What it says on standard error, without its name."""
        return self.stderr.strip().removeprefix("gar-auth: ")

    @property
    def hit(self) -> bool:
        """Whether the injected error has happened."""
        return "(INJECTED)" in self.trace or "(DELAYED)" in self.trace

    def check(self) -> Ended:
        """What holds for every run: one line at most, no traceback, no token in it (I5)."""
        told = self.stdout + self.stderr
        assert TOKEN not in told, "the token was shown"
        assert "Traceback" not in told, told
        assert self.stderr.count("\n") <= 1, self.stderr
        assert self.stderr or self.stdout or self.code <= 0, f"nothing was said: {self}"
        return self


class Gar:
    """The installed program with its configuration and its run directory.

    :param place: an empty directory of root that everybody may enter.
    """

    def __init__(self, machine: Machine, place: Path) -> None:
        self.machine = machine
        self.place = place
        self.prefix = place / "prefix"
        self.etc = place / "etc"
        self.run_dir = place / "run"
        self.user_run_dir = place / "run-user"
        self.state_dir = place / "state"
        self.keys = place / "keys"
        #: The account of the service, as on a machine.
        self.service = User(name="gar-auth", uid=GROUP, home=Path("/nonexistent"))
        with (machine.top / "passwd").open("a") as passwd:
            passwd.write(f"gar-auth:x:{GROUP}:{GROUP}::/nonexistent:/usr/sbin/nologin\n")
        self.program = self.prefix / "bin" / "gar-auth"
        for path in (self.prefix, self.etc, self.program.parent):
            path.mkdir(mode=0o755)
        self._install()
        self.new_state()

    def _install(self) -> None:
        library = self.prefix / "lib"
        ignore = shutil.ignore_patterns("__pycache__")
        for package in ("gar_auth", "gar_auth_keyring"):
            shutil.copytree(ROLE / "files" / package, library / package, symlinks=False, ignore=ignore)
        venv = self.prefix / "venv"
        python = [str(self.machine.python), "-I", "-m"]
        for command in (["venv", "--without-pip", str(venv)], ["compileall", "-q", str(library)]):
            subprocess.run([*python, *command], env=self.machine.environment, check=True)
        # google-auth and what it needs: from the environment of the tests
        packages = self.machine._bind(Path(google.auth.__file__).parents[2], self.place / "packages")
        (site,) = (venv / "lib").glob("python*/site-packages")
        (site / "packages.pth").write_text(f"{packages}\n")
        template = jinja2.Template(
            (ROLE / "templates" / "gar-auth.j2").read_text(), keep_trailing_newline=True
        )
        names = {"gar_auth_prefix": self.prefix, "gar_auth_etc_dir": self.etc, "ansible_managed": "Managed"}
        names["__gar_auth_venv"] = venv
        self.program.write_text(template.render(names))
        self.program.chmod(0o755)

    def new_state(self) -> None:
        """Put configuration, tokens and logins back to what the role makes."""
        for path in (self.run_dir, self.user_run_dir, self.state_dir, self.keys):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(mode=0o755)
        self.configure()

    def identity(self, **declared: Any) -> None:
        """Configure one identity, C(default), for one repository, and make its directories."""
        self.configure(identities={"default": declared})
        self.service.own(self._made(self.run_dir / "default"), self._made(self.state_dir / "default"))

    @staticmethod
    def _made(path: Path) -> Path:
        path.mkdir(mode=0o755, exist_ok=True)
        return path

    def put_key(self, content: object, *, name: str = "key.json") -> Path:
        """A key file that the service may read and nobody else."""
        path = self.keys / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        path.chmod(0o400)
        self.service.own(path)
        return path

    def fetch(self, *arguments: str, **options: Any) -> Ended:
        """`gar-auth fetch default` as the service."""
        return self("fetch", "default", *arguments, user=self.service, **options)

    def token(self) -> dict[str, Any] | None:
        """What the token file holds."""
        try:
            found: dict[str, Any] = json.loads((self.run_dir / "default" / "token").read_text())
        except FileNotFoundError:
            return None
        return found

    def status(self) -> dict[str, Any]:
        """What the status file holds."""
        found: dict[str, Any] = json.loads((self.run_dir / "default" / "status.json").read_text())
        return found

    def configure(self, **changes: Any) -> None:
        """Write the configuration as the role does, with changes."""
        settings: dict[str, Any] = {
            "identities": {"default": {"type": "metadata", "account": "default"}},
            "repositories": [self.repository("ours")],
            "users": ["dev"],
            "config_dir": ".config/pypoetry",
            "run_dir": str(self.run_dir),
            "user_run_dir": str(self.user_run_dir),
            "state_dir": str(self.state_dir),
            "gcloud": str(self.prefix / "bin" / "gcloud"),
            "interval": 30,
            "service_manager": "none",
        }
        (self.etc / "config.json").write_text(json.dumps({**settings, **changes}))

    @staticmethod
    def repository(name: str, identity: str = "default") -> dict[str, Any]:
        """A repository as the configuration names it."""
        return {
            "name": name,
            "publish_url": URL,
            "index_url": f"{URL}simple/",
            "identity": identity,
            "ca_cert": None,
            "client_cert": None,
        }

    def put_token(self, token: str = TOKEN, *, identity: str = "default", left: float = 1800) -> None:
        """Leave a token as the fetcher does: for root and the service's group only."""
        path = self._made(self.run_dir / identity) / "token"
        self.service.own(path.parent)
        new = path.with_name("new")
        data = {"token": token, "expiry": int(time.time() + left), "source": "metadata:default"}
        new.write_text(json.dumps(data))
        new.chmod(0o640)
        self.service.own(new)
        new.rename(path)

    def start(
        self, *arguments: str, user: User | None = None, tracer: list[str] | None = None, **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start the program as a user, in the service's group as its units do; by default as root.

        :param options: of Popen; C(env) is added to the environment.
        """
        environment = {"PATH": os.environ["PATH"], **self.machine.environment, **options.pop("env", {})}
        ids = {"user": user.uid, "group": user.uid, "extra_groups": [GROUP]} if user else {}
        return subprocess.Popen(
            [*(tracer or []), str(self.program), *arguments],
            **{"cwd": "/", "stdin": subprocess.DEVNULL, "umask": 0o022, **ids, **options},
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    @staticmethod
    def end(process: subprocess.Popen[bytes], *, started: float, trace: Path | None = None) -> Ended:
        """Wait for the end of a process."""
        output, errors = (
            part.decode("utf-8", "replace") for part in process.communicate(timeout=WRITE_SECONDS)
        )
        seconds = time.monotonic() - started
        text = trace.read_text(errors="replace") if trace else ""
        code = process.returncode
        return Ended(code=code, stdout=output, stderr=errors, seconds=seconds, trace=text).check()

    def __call__(self, *arguments: str, **options: Any) -> Ended:
        """Run a command to its end."""
        started = time.monotonic()
        return self.end(self.start(*arguments, **options), started=started)

    def traced(self, *arguments: str, user: User, rule: str = "", **options: Any) -> Ended:
        """Run a command as a user under strace, with a rule such as inject=fsync:error=EIO:when=1.

        Without a rule all calls on files and descriptors are seen, with one those of its name only.
        """
        place = self.place / f"trace-{user.uid}"
        place.mkdir(mode=0o700, exist_ok=True)
        user.own(place)
        log = place / "log"
        log.unlink(missing_ok=True)
        if rule:
            call = rule.partition("=")[2].partition(":")[0]
            wanted = ["-e", f"trace={call}", "-e", rule]
            if "signal=" not in rule:  # strace 6.1 sends no signals there
                wanted += ["-f", "--seccomp-bpf"]
        else:
            wanted = ["-y", "-e", "trace=%file,%desc"]
        tracer = ["strace", "-qq", "-e", "signal=none", *wanted, "-o", str(log), "--"]
        started = time.monotonic()
        process = self.start(*arguments, user=user, tracer=tracer, **options)
        return self.end(process, started=started, trace=log)


def entry(token: str = TOKEN, *, name: str = "ours") -> dict[str, str]:
    """What auth.toml holds for a repository."""
    return {"username": "oauth2accesstoken", "password": token}


def assert_auth(user: User, *, token: str | None = TOKEN, name: str = "ours") -> dict[str, Any]:
    """auth.toml is whole, private, the user's, with nothing but config.toml beside it; holds the token."""
    info = user.auth.lstat()
    assert stat.S_ISREG(info.st_mode)
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (user.uid, user.uid, 0o600)
    assert set(os.listdir(user.config_dir)) <= {"auth.toml", "config.toml"}, os.listdir(user.config_dir)
    found: dict[str, Any] = tomllib.loads(user.auth.read_text(encoding="utf-8"))
    assert found.get("http-basic", {}).get(name) == (None if token is None else entry(token))
    return found


@contextmanager
def more_users(machine: Machine, count: int) -> Iterator[list[User]]:
    """Add users to the machine for a while: many cases at the same time, each in its own home."""
    passwd = machine.top / "passwd"
    before = passwd.read_text()
    homes = machine.top / "homes"
    users = [User(name=f"lane{n}", uid=61100 + n, home=homes / f"lane{n}") for n in range(count)]
    lines = [f"{user.name}:x:{user.uid}:{user.uid}::{user.home}:/bin/sh\n" for user in users]
    passwd.write_text(before + "".join(lines))
    for user in users:
        user.home.mkdir(mode=0o755)
        user.own(user.home)
    try:
        yield users
    finally:
        passwd.write_text(before)
        for user in users:
            shutil.rmtree(user.home)
