# SPDX-License-Identifier: GPL-3.0-or-later
"""A running metadata server, and the program with its configuration and store for the user of the tests."""

from __future__ import annotations

import importlib
import json
import os
import pwd
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tokens.proxy import Proxy, proxy_to
from unit.gar_auth.program import CANARY, Clock, Program

from gar_auth import cycle as cycle_module
from gar_auth import metadata, transport
from gar_auth import write as write_module
from gar_auth.config import Config
from gar_auth.store import Store, Token
from lab.emulator.launch import Emulator, start

HOST = "https://europe-west1-python.pkg.dev"
URL = f"{HOST}/my-project/python/"
#: Another user may not be able to read the Python of these tests: then it has to be loaded before.
NEEDED = (
    "concurrent.futures.thread",
    "encodings.idna",
    "gar_auth.fetch",
    "gar_auth.metadata",
    "gar_auth.minted",
    "gar_auth.user",
    "google.oauth2.service_account",
    "stringprep",
)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    state = tmp_path_factory.mktemp("google")
    with start(state, "--metadata", "127.0.0.1:0", "--https", "127.0.0.1:0") as emulator:
        yield emulator


@pytest.fixture
def google(running: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """The metadata server, with a token that nobody has seen yet; tries are quick and short."""
    running.control.clear_faults()
    running.control.set_tokens(lifetime=3600, window=300)
    running.control.expire_all()
    monkeypatch.setenv("GCE_METADATA_HOST", running.metadata[0])
    monkeypatch.setattr(metadata, "TOTAL_SECONDS", 1.0)
    monkeypatch.setattr(metadata, "TRY_SECONDS", 0.3)
    monkeypatch.setattr("random.uniform", lambda _low, _high: 0.01)
    return running


@pytest.fixture
def internet(running: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Google's names lead to the emulator, with its certificates; tries are quick and short."""
    running.control.clear_faults()
    running.control.set_tokens(lifetime=3600, window=300)
    running.control.expire_all()
    monkeypatch.setattr(transport, "TOTAL_SECONDS", 2.0)
    monkeypatch.setattr(transport, "TRY_SECONDS", 0.5)
    monkeypatch.setattr("random.uniform", lambda _low, _high: 0.01)
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with proxy_to(running.https[0]) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(running.ca))
        yield proxy


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of day stands still, until a test moves it."""
    clock = Clock(float(int(time.time())))
    monkeypatch.setattr("time.time", lambda: clock.now)
    monkeypatch.setattr("time.clock_gettime", lambda _which: clock.now - clock.started)
    return clock


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """What the role writes into the configuration."""
    return {
        "identities": {"default": {"type": "metadata", "account": "default"}},
        "repositories": [{"name": "private-repo", "publish_url": URL, "identity": "default"}],
        "users": ["dev"],
        "config_dir": ".config/pypoetry",
        "run_dir": str(tmp_path / "run"),
    }


@pytest.fixture
def configure(tmp_path: Path, settings: dict[str, Any]) -> Callable[..., Path]:
    """Write the configuration, with changes, and return its path."""

    def configure(**changes: Any) -> Path:
        path = tmp_path / "config.json"
        path.write_text(json.dumps({**settings, **changes}))
        return path

    return configure


@pytest.fixture
def config(configure: Callable[..., Path]) -> Config:
    return Config.load(configure())


@pytest.fixture
def store(config: Config) -> Store:
    return Store(config.run_dir, shared=True)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the program keeps for the user who runs it does not come into a real home."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def accounts(monkeypatch: pytest.MonkeyPatch, dev: pwd.struct_passwd) -> None:
    """The program finds the user of the test under the name dev."""
    by_uid, by_name = pwd.getpwuid, pwd.getpwnam
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: dev if uid == os.geteuid() else by_uid(uid))
    monkeypatch.setattr(pwd, "getpwnam", lambda name: dev if name == "dev" else by_name(name))


@pytest.fixture
def program(
    capfd: pytest.CaptureFixture[str], configure: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Program]:
    monkeypatch.setattr(write_module, "_READ_BACK_SECONDS", 0.01)
    program = Program(capfd, configure())
    yield program
    assert CANARY not in program.said
    assert not re.search(r"ya29\.c\.[A-Za-z0-9_-]{20}", program.said), "a token of the emulator"
    assert "Traceback" not in program.said


@pytest.fixture
def canary(store: Store) -> Store:
    """A store that holds a valid token with a well-known value."""
    store.write("default", Token(token=CANARY, expiry=int(time.time()) + 600, source="metadata:default"))
    return store


@pytest.fixture
def everybody(
    configure: Callable[..., Path], nobody: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The configuration of a machine with cron: the service's account and a user are one here."""
    for name in NEEDED:
        importlib.import_module(name)
    service = pwd.struct_passwd(("gar-auth", *nobody[1:]))
    monkeypatch.setattr(cycle_module, "ACCOUNT", "gar-auth")
    known = {"gar-auth": service, "nobody": nobody}
    monkeypatch.setattr(pwd, "getpwnam", known.__getitem__)
    top = Path(nobody.pw_dir).parent
    (top / "run").mkdir(mode=0o755)
    key = top / "key.json"
    key.touch(mode=0o600)
    key.write_text("{}")
    identities = {
        "default": {"type": "metadata"},
        "ci": {"type": "service_account_key", "file": str(key)},
    }
    repositories = [
        {"name": "private-repo", "publish_url": f"{HOST}/my-project/a/", "identity": "default"},
        {"name": "ci-repo", "publish_url": f"{HOST}/my-project/b/", "identity": "ci"},
    ]
    configure(
        identities=identities,
        repositories=repositories,
        users=["nobody"],
        run_dir=str(top / "run" / "gar-auth"),
        user_run_dir=str(top / "run" / "gar-auth-user"),
    )
    return top
