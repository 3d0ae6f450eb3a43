# SPDX-License-Identifier: GPL-3.0-or-later
"""A tick with nothing to do: found out cheaply, and never in doubt."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from unit.gar_auth.program import CANARY, Clock, Program

from gar_auth import __main__ as cli
from gar_auth import idle, schedule
from gar_auth import source as source_module
from gar_auth.config import Config, Identity
from gar_auth.fetch import fetch
from gar_auth.idle import is_idle
from gar_auth.source import Reply
from gar_auth.store import Status, Store, Token
from lab.emulator.launch import Emulator

SOURCE = "metadata:default"


@pytest.fixture
def quiet(store: Store, program: Program) -> Path:
    """A good token, seen and asked for a moment ago; the directory of its files."""
    now = int(time.time())
    store.write("default", Token(token=CANARY, expiry=now + 3600, source=SOURCE))
    store.write("default", Status(identity="default", source=SOURCE, expiry=now + 3600, obtained=now))
    os.utime(program.path, (now - 100, now - 100))
    return store.directory("default")


def idles(program: Program, identity: str = "default") -> bool:
    return is_idle(str(program.path), identity)


def test_a_tick_with_nothing_to_do(program: Program, quiet: Path) -> None:
    assert idles(program)
    assert program("fetch", "default") == (0, "", "")


@pytest.mark.parametrize(
    ("age", "others", "reminded"),
    [
        (30, True, True),
        (30, False, False),
        (44, True, True),
        (46, True, False),
        (3000, True, False),
        (-5, True, False),
    ],
)
def test_whoever_watches_a_new_token_is_reminded_of_it_once_and_its_times_stay(
    program: Program, quiet: Path, age: int, others: bool, reminded: bool
) -> None:
    """systemd loses a change while the writer that another identity's token has started is still running."""
    config = json.loads(program.path.read_text())
    config["repositories"].append({**config["repositories"][0], "identity": "ci" if others else "default"})
    program.path.write_text(json.dumps(config))
    os.utime(program.path, (1, 1))
    token = quiet / "token"
    written = time.time() - age
    os.utime(token, (written, written))
    before = token.stat()
    time.sleep(0.02)  # the kernel's clock for files goes in steps of up to 10 ms
    assert idles(program)
    after = token.stat()
    assert (after.st_ctime_ns > before.st_ctime_ns) == reminded
    assert after.st_mtime_ns == before.st_mtime_ns


def rewrite(**changes: Any) -> Callable[[Path], object]:
    def spoil(path: Path) -> None:
        info = path.stat()
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))

    return spoil


def text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("token", Path.unlink),
        ("token", text("")),
        ("token", text("{")),
        ("token", text("[]")),
        ("token", text("[" * 60_000)),
        ("token", rewrite(expiry="later")),
        ("token", rewrite(expiry=None)),
        ("token", rewrite(expiry=0)),
        ("token", rewrite(expiry=10**12)),
        ("token", link),
        ("token", pipe),
        ("status.json", Path.unlink),
        ("status.json", text("null")),
        ("status.json", text("\x00")),
        ("status.json", rewrite(obtained=None)),
        ("status.json", rewrite(obtained=10**12)),
        ("status.json", rewrite(failures="many")),
        ("status.json", lambda path: path.write_text('{"identity": "default"}')),
        ("status.json", lambda path: os.utime(path, (1, 1))),
        ("status.json", link),
    ],
)
def test_in_doubt_it_is_not_idle(
    program: Program, quiet: Path, name: str, spoil: Callable[[Path], object]
) -> None:
    spoil(quiet / name)
    assert not idles(program)


@pytest.mark.parametrize("identity", ["ci", "../run/default", "", "default/", "\x00", "a\nb"])
def test_an_identity_that_is_not_declared_is_not_idle(program: Program, quiet: Path, identity: str) -> None:
    assert not idles(program, identity)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"identities": {"default": 3}}', "[" * 60_000])
def test_a_damaged_configuration_is_not_idle(program: Program, quiet: Path, content: str) -> None:
    program.path.write_text(content)
    os.utime(program.path, (1, 1))
    assert not idles(program)


@pytest.mark.parametrize("age", [100, 0, -1000], ids=["old", "now", "from the future"])
def test_the_source_is_compared_whatever_the_age_of_the_configuration(
    program: Program, quiet: Path, configure: Callable[..., Path], age: int
) -> None:
    changed = time.time() - age
    os.utime(program.path, (changed, changed))
    assert idles(program)
    configure(identities={"default": {"type": "metadata", "account": "ci@p.iam.gserviceaccount.com"}})
    os.utime(program.path, (changed, changed))
    assert not idles(program)


@pytest.mark.parametrize(
    "declared",
    [
        {},
        {"type": "metadata", "account": None},
        {"type": "metadata", "account": "ci@p.iam.gserviceaccount.com"},
        {"type": "token_file", "file": "/t", "impersonate_service_account": "ci@p.iam.gserviceaccount.com"},
        {"type": "gcloud", "per_user": True},
        {"type": "adc", "per_user": True},
    ],
)
def test_a_source_has_one_name(configure: Callable[..., Path], declared: dict[str, Any]) -> None:
    config = Config.load(configure(identities={"default": declared}))
    assert idle.source_of(declared) == config.identity("default").source


def test_a_clock_that_is_set_back_is_noticed_at_the_next_tick(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice, by less than the token's age: by the clock alone it would seem fresh beyond its end."""
    key = Identity(name="ci", type="service_account_key", file="/key.json")
    config = Config(identities={}, repositories=(), users=(), config_dir="", shared_run_dir=Path("/"))
    monkeypatch.setattr(source_module, "request", lambda *_what, **_more: Reply(f"ya29.{clock.now}", 3600))

    def tick() -> bool:
        return fetch(key, store, config)

    assert tick()
    for _time in range(2):
        clock.now += 1200
        assert not tick()
        clock.set_back(59)
        assert not tick(), "what a server of time does is no reason"
        clock.set_back(900)
        assert tick()
        assert not tick()


def test_where_each_user_has_a_store_it_is_not_idle(program: Program, quiet: Path) -> None:
    program.path.write_text(program.path.read_text().replace(json.dumps(str(quiet.parent)), "null"))
    os.utime(program.path, (1, 1))
    assert not idles(program)


def test_a_pause_after_failures_is_idle_without_a_token(
    program: Program, store: Store, quiet: Path, configure: Callable[..., Path]
) -> None:
    configure(identities={"default": {"type": "service_account_key", "file": "/key"}})
    os.utime(program.path, (1, 1))
    (quiet / "token").unlink()
    status = Status(
        identity="default", source="service_account_key:/key", failures=3, failed_at=int(time.time())
    )
    store.write("default", status)
    assert idles(program)
    store.write("default", replace(status, failed_at=int(time.time()) - 300))
    assert not idles(program)


def test_now_asks_whatever_the_schedule_says(program: Program, google: Emulator, quiet: Path) -> None:
    assert program("fetch", "default", "--now") == (0, "new token for identity default\n", "")


def test_a_machine_without_an_id_uses_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(idle, "MACHINE_ID", str(tmp_path / "missing"))
    assert idle._machine() == os.uname().nodename.encode()
    (tmp_path / "missing").write_text("0123456789abcdef\n")
    assert schedule.spread(idle._machine(), "x") == schedule.spread(b"0123456789abcdef", "x")


HEAVY = {
    "argparse",
    "dataclasses",
    "gar_auth.commands",
    "gar_auth.config",
    "google",
    "hashlib",
    "http.client",
    "inspect",
    "pathlib",
    "random",
    "requests",
    "socket",
    "ssl",
    "typing",
}


def test_it_costs_next_to_nothing(program: Program, quiet: Path) -> None:
    lines = [
        "import sys",
        f"sys.path.insert(0, {str(Path(cli.__file__).parents[1])!r})",
        "from gar_auth.__main__ import main",
        f"code = main(['fetch', 'default'], config_file={str(program.path)!r})",
        "print(code, *sys.modules)",
    ]
    command = [sys.executable, "-I", "-S", "-c", "\n".join(lines)]
    used = []
    for _repeat in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    code, *modules = done.stdout.split()
    assert (code, done.stderr) == ("0", "")
    assert HEAVY.isdisjoint(modules)
    assert min(used) < 0.05
