# SPDX-License-Identifier: GPL-3.0-or-later
"""gar-auth doctor with the provider keyring: what keeps a client from asking it, or it from a token."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from unit.gar_auth.doctor_lab import HOST, URL, Walk

from gar_auth import __version__
from gar_auth.config import Config
from gar_auth.doctor_keyring import BACKEND, Keyring, check_keyring, look
from gar_auth.doctor_report import Finding, Level
from gar_auth.environments import install
from lab.emulator.launch import Emulator
from lab.emulator.records import DEFAULT_ACCOUNT


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Poetry's environment, with the backend, and Poetry on the PATH."""
    place = tmp_path / "poetry"
    packages = place / "lib" / "python3.11" / "site-packages" / "keyring"
    packages.mkdir(parents=True)
    (packages / "__init__.py").touch()
    (place / "pyvenv.cfg").touch()
    (place / "bin").mkdir()
    (place / "bin" / "poetry").touch(mode=0o755)
    install(str(place), config_file="/etc/gar-auth/config.json")
    monkeypatch.setenv("PATH", f"{place / 'bin'}:{os.environ['PATH']}")
    for name in ("PYTHON_KEYRING_BACKEND", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return place


@pytest.fixture
def walk(
    google: Emulator,
    environment: Path,
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Walk]:
    google.control.allow_all()
    walk = Walk(google, tmp_path, home, monkeypatch, capfd)
    walk.name = ""
    walk.settings = {"provider": "keyring", "keyring_environments": [str(environment / "bin" / "poetry")]}
    yield walk
    assert not re.search(r"ya29\.c\.[A-Za-z0-9_-]{20}", walk.said), "a token of the emulator"
    assert "Traceback" not in walk.said


def test_nothing_is_wrong(walk: Walk, environment: Path) -> None:
    code, data, _text = walk()
    told = [(one["check"], one["found"]) for one in data["findings"] if one["check"] != "identity"]
    assert told == [
        ("configuration", "1 identity, 1 repository, 1 user"),
        ("boot", "systemd runs"),
        ("unit", "gar-auth-fetch@default.timer is active"),
        ("unit", "gar-auth-fetch@default.service is inactive"),
        ("name", f"{HOST} resolves"),
        ("clock", "the clock agrees with the server's"),
        ("index", f"private-repo: {HOST} answers 200 as {DEFAULT_ACCOUNT}"),
        ("keyring", f"{environment}/bin/poetry has the backend"),
        ("keyring", "dev may read the machine's tokens"),
        ("poetry", "auth.toml has nothing for private-repo, so Poetry asks the keyring"),
        ("project", "source private-repo is registered under the same name"),
    ]
    assert code == 0


def problems(walk: Walk) -> list[tuple[str, str, str]]:
    _code, data, _text = walk()
    return [
        (one["found"], one["cause"], one["cure"]) for one in data["findings"] if one["level"] == "problem"
    ]


def test_an_entry_in_auth_toml_hides_the_keyring(walk: Walk) -> None:
    walk.name = "private-repo"
    ((found, cause, cure),) = problems(walk)
    assert found == "auth.toml has http-basic.private-repo"
    assert "instead of the keyring" in cause
    assert cure == "poetry config --unset http-basic.private-repo"


def test_a_source_under_another_name_is_served(walk: Walk) -> None:
    walk.registered = {"private-repo": URL, "other": URL}
    assert problems(walk) == []


def test_a_revoked_token_is_named(walk: Walk) -> None:
    walk.prepare()
    walk.google.control.revoke_all()
    ((found, cause, _cure),) = problems(walk)
    assert "answers 401" in found
    assert "revoked" in cause


def test_a_setting_that_keeps_poetry_from_asking(
    walk: Walk, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POETRY_KEYRING_ENABLED", "false")
    ((found, _cause, cure),) = problems(walk)
    assert (found, cure) == ("POETRY_KEYRING_ENABLED is false", "unset POETRY_KEYRING_ENABLED")


def upgraded(environment: Path) -> None:
    (packages,) = environment.glob("lib/python3*/site-packages")
    for path in packages.glob("gar_auth_keyring-*.dist-info"):
        path.rename(path.with_name("gar_auth_keyring-0.0.1.dist-info"))


def made_anew(environment: Path) -> None:
    (packages,) = environment.glob("lib/python3*/site-packages")
    (packages / "gar_auth_keyring" / "backend.py").unlink()


@pytest.mark.parametrize(
    ("change", "says"),
    [(upgraded, "has the backend of release 0.0.1"), (made_anew, "has no backend of ours")],
)
def test_an_environment_that_is_not_as_the_role_left_it(
    walk: Walk, environment: Path, change: Callable[[Path], None], says: str
) -> None:
    change(environment)
    found, _cause, cure = problems(walk)[0]
    assert found.endswith(says)
    assert cure == "run the playbook again"


def test_another_poetry_on_the_path_is_named(
    walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own" / "bin"
    own.mkdir(parents=True)
    (own / "poetry").touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{own}:{os.environ['PATH']}")
    ((found, _cause, cure),) = problems(walk)
    assert found == f"{own}/poetry, the poetry on this PATH, has no backend of ours"
    assert cure.startswith(f"add {own}/poetry to gar_auth_keyring_environments")


@pytest.mark.parametrize(
    ("backend", "wrong"),
    [
        ("keyring.backends.null.Keyring", True),
        ("keyring.backends.SecretService.Keyring", True),
        (BACKEND, False),
        ("keyring.backends.chainer.ChainerBackend", False),
    ],
)
@pytest.mark.parametrize("where", ["environment", "file"])
def test_another_backend_that_is_taken_alone(
    walk: Walk, home: Path, monkeypatch: pytest.MonkeyPatch, where: str, backend: str, wrong: bool
) -> None:
    if where == "environment":
        monkeypatch.setenv("PYTHON_KEYRING_BACKEND", backend)
    else:
        path = home / ".config" / "python_keyring" / "keyringrc.cfg"
        path.parent.mkdir(parents=True)
        path.write_text(f"[backend]\ndefault-keyring = {backend}\n")
    said = problems(walk)
    assert bool(said) is wrong
    if wrong:
        assert said[0][0].endswith(f"names {backend}")
        assert said[0][2].startswith("unset PYTHON" if where == "environment" else "remove default-keyring")


def test_a_damaged_keyringrc_is_nobodys(walk: Walk, home: Path) -> None:
    path = home / ".config" / "python_keyring" / "keyringrc.cfg"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\xff[[[")
    assert problems(walk) == []


def told(**changes: object) -> list[Finding]:
    facts: dict[str, object] = {
        "environments": {},
        "poetry": "/usr/local/bin/poetry",
        "poetry_version": __version__,
        "chosen": None,
        "member": True,
        "session": True,
    }
    found = check_keyring(Keyring(**{**facts, **changes}), user="dev", version=__version__)  # type: ignore[arg-type]
    return [one for one in found if one.level is Level.PROBLEM]


def test_who_is_not_in_the_group_or_only_since_this_session_began() -> None:
    (stranger,) = told(member=False, session=False)
    assert stranger.cure == "add dev to artifact_registry_users, and run the playbook"
    (early,) = told(session=False)
    assert early.cure == "log out and in again"


def test_a_variable_that_names_our_backend_where_it_is_missing() -> None:
    said = told(chosen=(BACKEND, "PYTHON_KEYRING_BACKEND"), poetry_version=None)
    assert any("keyring fails where" in str(one.cause) for one in said)


def test_a_session_that_may_not_read_is_seen(
    walk: Walk, monkeypatch: pytest.MonkeyPatch, dev: pwd.struct_passwd
) -> None:
    config: Config = walk.config()
    walk.prepare()
    assert look(config, dev).session
    monkeypatch.setattr("os.access", lambda _path, _mode: False)
    assert not look(config, dev).session
