# SPDX-License-Identifier: GPL-3.0-or-later
"""Real pip, twine and uv read the files that python_clients makes, and find the user's settings unchanged.

pip is that of the tests' own environment; twine and uv are looked for there and on the PATH.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from unit.plugins.client_texts import BOTH, INDEX, OTHER, TEXTS, edited, uv_texts

USER = "oauth2accesstoken"
_READ = (
    "import json, sys\nfrom twine.utils import get_config\n"
    "print(json.dumps([get_config(path) for path in sys.argv[1:]]))"
)


def program(name: str) -> str:
    found = shutil.which(name, path=f"{sys.prefix}/bin:{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed; with it: uv pip install {name}")
    return found


def run(*command: str, home: Path) -> str:
    environment = {"HOME": str(home), "PATH": os.defpath, "PYTHONUTF8": "1"}
    return subprocess.run(
        command, env=environment, cwd=home, check=True, capture_output=True, text=True, timeout=60
    ).stdout


def pips(text: str, home: Path) -> dict[str, str]:
    """What pip makes of a user's pip.conf."""
    path = home / ".config" / "pip" / "pip.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    lines = run(sys.executable, "-I", "-m", "pip", "config", "list", "--user", home=home).splitlines()
    pairs = (line.split("=", maxsplit=1) for line in lines)
    return {key: ast.literal_eval(value) for key, value in pairs}


@pytest.mark.parametrize("text", TEXTS["pip"])
def test_pip_lists_our_settings_beside_the_users(text: str, home: Path) -> None:
    mine, ours = pips(text, home), pips(edited("pip", text), home)
    assert ours.pop("global.keyring-provider") == "subprocess"
    urls = ours.pop("global.extra-index-url").split()
    assert urls == [*mine.pop("global.extra-index-url", "").split(), INDEX, OTHER]
    mine.pop("global.keyring-provider", None)
    assert ours == mine


def test_pip_looks_in_our_index_with_the_users_name_and_asks_the_command(home: Path) -> None:
    """A search without an index shows which URLs pip takes, by its own option parser."""
    pips(edited("pip", ""), home)
    code = (
        "import sys; sys.argv[1:] = ['x']\n"
        "from pip._internal.commands import create_command\n"
        "options, _rest = create_command('install').parse_args(['x'])\n"
        "print(options.keyring_provider, *options.extra_index_urls)"
    )
    assert run(sys.executable, "-I", "-c", code, home=home).split() == ["subprocess", INDEX, OTHER]


def test_twine_finds_our_servers_beside_the_users(home: Path) -> None:
    with open(program("twine"), encoding="utf-8") as script:
        python = script.readline()[2:].strip()
    paths: list[Path] = []
    for number, text in enumerate(TEXTS["twine"]):
        for name, content in ((f"{number}.mine", text), (f"{number}.ours", edited("twine", text))):
            paths.append(home / name)
            paths[-1].write_bytes(content.encode())
    read: list[dict[str, Any]] = json.loads(run(python, "-c", _READ, *map(str, paths), home=home))
    for text, mine, ours in zip(TEXTS["twine"], read[::2], read[1::2], strict=True):
        for one in BOTH:
            entry = ours.pop(one.name)
            assert entry["repository"].rstrip("/") == one.publish_url.rstrip("/")
            assert (entry["username"], entry["password"]) == (USER, None)
            mine.pop(one.name, None)
        assert ours == mine, text


def uvs(text: str, home: Path) -> tuple[str, list[tuple[str, str]]]:
    """The provider and the indexes (name, URL) that uv finds in a uv.toml; it shows our user as asterisks."""
    (home / "uv.toml").write_bytes(text.encode())
    options = ("--config-file", "uv.toml", "--offline", "--no-cache", "--show-settings")
    shown = run(program("uv"), *options, "pip", "compile", "-", "--python", sys.executable, home=home)
    provider = re.search(r"^ *keyring_provider: (\w+)", shown, re.MULTILINE)
    indexes = shown[shown.index("index_locations:") : shown.index("flat_index:")]
    names = re.findall(r'name: (?:None|Some\(\s*IndexName\(\s*"([^"]*)")', indexes)
    given = re.findall(r'given: (?:None|Some\(\s*"((?:\\.|[^"\\])*)")', indexes)
    assert provider
    return provider[1], list(zip(names, given, strict=True))


OURS = [(one.name, (one.index_url or "").replace("https://", "https://****@")) for one in BOTH]


@pytest.mark.parametrize("text", TEXTS["uv"])
def test_uv_reads_our_indexes_behind_the_users(text: str, home: Path) -> None:
    _provider, mine = uvs(text, home)
    assert uvs(edited("uv", text), home) == ("Subprocess", mine + OURS)


@given(text=uv_texts())
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_uv_reads_our_indexes_in_any_layout(text: str, home: Path) -> None:
    text = re.sub(r"^keyring-provider = .disabled.(?=\r?$)", "", text, flags=re.MULTILINE)  # that of [pip]
    try:
        _provider, mine = uvs(text, home)
    except subprocess.CalledProcessError:
        assume(False)
    assert uvs(edited("uv", text), home) == ("Subprocess", mine + OURS)
