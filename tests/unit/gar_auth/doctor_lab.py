# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine on which everything is right, to break one thing at a time; and a server with bad manners."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import email.utils
import http.server
import json
import os
import pwd
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme

from gar_auth import doctor, doctor_machine
from gar_auth.config import Config
from gar_auth.store import Status, Store, Token, digest, user_store
from lab.emulator.launch import Emulator
from lab.emulator.records import DEFAULT_ACCOUNT

__all__ = ["HOST", "URL", "Walk", "misbehaving", "refusing_proxy"]

HOST = "europe-west1-python.pkg.dev"
URL = f"https://{HOST}/demo-project/python/"
UNITS = {
    "gar-auth-fetch@default.timer": {},
    "gar-auth-fetch@default.service": {"ActiveState": "inactive", "UnitFileState": "static"},
    "gar-auth-write@dev.path": {},
    "gar-auth-write@dev.service": {"ActiveState": "inactive", "UnitFileState": "static"},
}
SOUND = {
    "LoadState": "loaded",
    "UnitFileState": "enabled",
    "ActiveState": "active",
    "Result": "success",
    "ExecMainStatus": "0",
}


@dataclass
class Walk:
    """The machine; C(here) sends the index's host names to one of the test's servers."""

    google: Emulator
    top: Path
    home: Path
    patch: pytest.MonkeyPatch
    capfd: pytest.CaptureFixture[str]
    identity: dict[str, Any] = field(default_factory=lambda: {"type": "metadata", "account": "default"})
    repository: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    units: dict[str, dict[str, str]] = field(default_factory=dict)
    sources: list[tuple[str, str]] = field(default_factory=lambda: [("private-repo", f"{URL}simple/")])
    registered: dict[str, str] = field(default_factory=lambda: {"private-repo": URL})
    token: str = ""
    username: str = "oauth2accesstoken"
    name: str = "private-repo"
    said: str = ""
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __post_init__(self) -> None:
        self.token = self.google.control.issue(DEFAULT_ACCOUNT)
        self.move(self.top)
        for name in [name for name in os.environ if name.lower().endswith("_proxy") or "CA_BUNDLE" in name]:
            self.patch.delenv(name)
        for name in [name for name in os.environ if name.startswith("POETRY_") or name == "NETRC"]:
            self.patch.delenv(name)
        self.patch.setattr("gar_auth.doctor_probe.SECONDS", 2.0)
        self.here(self.google.https[0])

    def move(self, top: Path) -> None:
        """Keep the machine's files there."""
        self.top = top
        self.booted = top / "booted"
        self.booted.mkdir()
        self.patch.setattr(doctor_machine, "BOOTED", str(self.booted))
        self.systemctl = top / "systemctl"
        self.patch.setattr(doctor_machine, "SYSTEMCTL", (str(self.systemctl),))

    def here(self, address: str, *unknown: str) -> None:
        """Let all hosts of Artifact Registry be that server; some names do not resolve."""
        numeric, _, port = address.partition(":")
        real = socket.getaddrinfo

        def getaddrinfo(host: str, service: object, *arguments: Any, **options: Any) -> Any:
            if host in unknown:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            if str(host).endswith(".pkg.dev"):
                return real(numeric, int(port), *arguments, **options)
            return real(host, service, *arguments, **options)  # type: ignore[arg-type]

        self.patch.setattr(socket, "getaddrinfo", getaddrinfo)

    def config(self) -> Config:
        repository = {
            "name": "private-repo",
            "publish_url": URL,
            "index_url": f"{URL}simple/",
            "identity": "default",
            "ca_cert": str(self.google.ca),
            **self.repository,
        }
        content = {
            "identities": {"default": self.identity},
            "repositories": [repository],
            "users": ["dev"],
            "config_dir": ".config/pypoetry",
            "run_dir": str(self.top / "run"),
            "user_run_dir": str(self.top / "user"),
            "service_manager": "systemd",
            **self.settings,
        }
        path = self.top / "config.json"
        path.write_text(json.dumps(content))
        return Config.load(path)

    def prepare(self) -> tuple[Config, Store]:
        """Write all files as they are declared here."""
        config = self.config()
        machine = Store(config.run_dir, shared=True)
        identity = config.identities["default"]
        store = user_store(config, _dev(self.home)) if identity.per_user else machine
        now = int(time.time())
        status: dict[str, Any] = {
            "identity": "default",
            "source": identity.source,
            "expiry": now + 3000,
            "obtained": now - 600,
            "digest": digest(self.token),
            "account": DEFAULT_ACCOUNT,
            **self.status,
        }
        store.write("default", Status(**status))
        if status["expiry"] is not None:
            store.write("default", Token(token=self.token, expiry=status["expiry"], source=identity.source))
        directory = self.home / ".config" / "pypoetry"
        for path in (directory.parent, directory):
            path.mkdir(mode=0o755, exist_ok=True)
        auth = directory / "auth.toml"
        if self.name:
            entry = f"[http-basic.{self.name}]\nusername = {self.username!r}\npassword = {self.token!r}\n"
            auth.write_text(entry.replace("'", '"'))
            auth.chmod(0o600)
        lines = [f'[repositories.{name}]\nurl = "{url}"\n' for name, url in self.registered.items()]
        (directory / "config.toml").write_text("".join(lines))
        project = self.top / "project"
        project.mkdir(exist_ok=True)
        tables = [f'[[tool.poetry.source]]\nname = "{name}"\nurl = "{url}"\n' for name, url in self.sources]
        (project / "pyproject.toml").write_text("".join(tables))
        self.systemctl.write_text(self._systemctl())
        self.systemctl.chmod(0o755)
        return config, machine

    def _systemctl(self) -> str:
        units = {
            name: {**SOUND, **properties, **self.units.get(name, {})} for name, properties in UNITS.items()
        }
        blocks = [
            "\n".join(f"{key}={value}" for key, value in {"Id": name, **unit}.items())
            for name, unit in units.items()
        ]
        return "#!/bin/sh\ncat <<'END'\n" + "\n\n".join(blocks) + "\nEND\n"

    def __call__(self) -> tuple[int, dict[str, Any], str]:
        """Run the doctor for programs and for people: exit code, data, text."""
        config, store = self.prepare()
        arguments = argparse.Namespace(json=True, project=self.top / "project")
        code = doctor.run(config, store, arguments)
        data = self.capfd.readouterr()
        assert doctor.run(config, store, argparse.Namespace(json=False, project=arguments.project)) == code
        text = self.capfd.readouterr()
        self.said += data.out + data.err + text.out + text.err
        assert (data.err, text.err) == ("", "")
        return code, json.loads(data.out), text.out


def _dev(home: Path) -> pwd.struct_passwd:
    return pwd.struct_passwd(("dev", "x", os.geteuid(), os.getegid(), "", str(home), "/bin/sh"))


@contextlib.contextmanager
def misbehaving(
    directory: Path,
    *,
    status: int = 200,
    body: str = "",
    skew: float = 0.0,
    pause: float = 0.0,
    name: str = HOST,
    valid: tuple[float, float] = (-3600.0, 3600.0),
) -> Iterator[tuple[str, Path]]:
    """A server of one answer; its address, and the file of the authority that vouches for it.

    :param skew: seconds that its clock is ahead.
    :param pause: seconds before each byte of the body.
    :param name: the host in its certificate, which is valid between these seconds from now.
    """
    authority = trustme.CA()
    now = datetime.datetime.now(datetime.UTC)
    first, last = (now + datetime.timedelta(seconds=seconds) for seconds in valid)
    certificate = authority.issue_cert(name, not_before=first, not_after=last)
    pem = directory / "authority.pem"
    authority.cert_pem.write_to_path(str(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = body.encode()
            self.send_response_only(status)
            self.send_header("Date", email.utils.formatdate(time.time() + skew, usegmt=True))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            for byte in content if pause else ():
                time.sleep(pause)
                self.wfile.write(bytes([byte]))
            self.wfile.write(b"" if pause else content)

        def log_message(self, *_: object) -> None:
            pass

    with _served(Handler, context) as at:
        yield at, pem


@contextlib.contextmanager
def refusing_proxy() -> Iterator[str]:
    """A proxy that wants a login; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            self.send_error(407)

        def log_message(self, *_: object) -> None:
            pass

    with _served(Handler) as at:
        yield at


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        pass  # a client that trusts nobody hangs up


@contextlib.contextmanager
def _served(
    handler: type[http.server.BaseHTTPRequestHandler], context: ssl.SSLContext | None = None
) -> Iterator[str]:
    with _Server(("127.0.0.1", 0), handler) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
