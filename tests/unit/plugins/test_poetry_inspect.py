# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read around Poetry's files: /etc/environment, netrc, the keyring's backends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.devbox.artifact_registry.plugins.module_utils import _poetry_inspect as inspect

ETC = """\
# a comment
PATH="/usr/bin:/bin"
export POETRY_CACHE_DIR=/cache   # why
  POETRY_CONFIG_DIR='/srv/po#etry'
EMPTY=
BAD-NAME=x
no assignment
LAST=a=b"""


def test_etc_environment_is_read_as_pam_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "environment"
    monkeypatch.setattr(inspect, "ETC_ENVIRONMENT", str(path))
    assert inspect.etc_environment() == {}
    path.write_bytes(ETC.encode() + b"\xff\n")
    assert inspect.etc_environment() == {
        "PATH": "/usr/bin:/bin",
        "POETRY_CACHE_DIR": "/cache",
        "POETRY_CONFIG_DIR": "/srv/po#etry",
        "LAST": "a=b\N{REPLACEMENT CHARACTER}",
    }


NETRC = """\
machine one.example.com login dev password canary
machine two.example.com login canary password x-oauth-basic
machine three.example.com account acc password canary
default login all password canary
"""


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_of_a_netrc_hosts_and_logins_are_kept(home: Path, mode: int) -> None:
    path = home / ".netrc"
    path.write_text(NETRC)
    path.chmod(mode)
    logins = inspect.netrc_logins(inspect.netrc_path(str(home), {}))
    assert logins == {
        "one.example.com": "dev",
        "two.example.com": None,
        "three.example.com": "acc",
        "default": "all",
    }


def spoil_directory(path: Path) -> None:
    path.mkdir()


def spoil_fifo(path: Path) -> None:
    os.mkfifo(path)


def spoil_syntax(path: Path) -> None:
    path.write_text("machine canary nonsense\n")


def spoil_encoding(path: Path) -> None:
    path.write_bytes(b"machine h login u password \xff\n")


def spoil_size(path: Path) -> None:
    path.write_text(NETRC + "#" * 2**20)


@pytest.mark.parametrize(
    "spoil", [None, spoil_directory, spoil_fifo, spoil_syntax, spoil_encoding, spoil_size]
)
def test_a_netrc_that_cannot_be_used_counts_as_none(home: Path, spoil: object) -> None:
    path = home / ".netrc"
    if callable(spoil):
        spoil(path)
    assert inspect.netrc_logins(str(path)) == {}


@pytest.mark.parametrize(
    ("environment", "files", "expected"),
    [
        ({}, [], "HOME/.netrc"),
        ({}, ["_netrc"], "HOME/_netrc"),
        ({}, ["_netrc", ".netrc"], "HOME/.netrc"),
        ({"NETRC": "/srv/netrc"}, [".netrc"], "/srv/netrc"),
        ({"NETRC": "~/mine"}, [".netrc"], "HOME/mine"),
        ({"NETRC": "~other/mine"}, [".netrc"], "~other/mine"),
    ],
)
def test_the_netrc_is_the_one_that_poetry_reads(
    home: Path, environment: dict[str, str], files: list[str], expected: str
) -> None:
    for name in files:
        (home / name).touch()
    assert inspect.netrc_path(str(home), environment) == expected.replace("HOME", str(home))


def test_the_keyrings_backends_are_listed_and_none_is_loaded(tmp_path: Path) -> None:
    for name, entries in {
        "keyring-25.7.0": "SecretService = keyring.backends.SecretService\nmacOS = keyring.backends.macOS\n",
        "gar_auth-1.0": "gar-auth = gar_auth.keyring_backend\n",
    }.items():
        info = tmp_path / f"{name}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: x\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[keyring.backends]\n{entries}[console_scripts]\nx = y:z\n")
    assert inspect._backends(str(tmp_path)) == ["gar_auth.keyring_backend", "keyring.backends.SecretService"]
