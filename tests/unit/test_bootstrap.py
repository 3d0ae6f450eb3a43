# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment's maker: which Python it takes, when it does nothing, what it says when something lacks."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / ".config" / "bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


bootstrap = load()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A directory with a lock and the collection's link, as a checkout has them."""
    (tmp_path / ".config").mkdir()
    (tmp_path / ".config" / "requirements.txt").write_text("one==1 \\\n    --hash=sha256:0\n")
    return tmp_path


def script(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def pythons(*versions: str) -> list[object]:
    """Interpreters from notes such as "3.12" or "3.12-" (without venv)."""
    found = []
    for note in versions:
        major, minor = note.rstrip("-").split(".")
        version = (int(major), int(minor), 0)
        found.append(bootstrap.Interpreter(version=version, path=f"/{note}", venv=not note.endswith("-")))
    return found


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        (["3.11"], "3.11"),
        (["3.9", "3.11", "3.13", "3.12"], "3.13"),
        (["3.15", "3.12"], "3.12"),
        (["3.13-", "3.11"], "3.11"),
        (["3.11-", "3.12-"], "3.12-"),
    ],
)
def test_chooses_the_newest_supported_python_that_can_make_environments(
    found: list[str], chosen: str
) -> None:
    assert bootstrap.choose(pythons(*found)).path == f"/{chosen}"


@pytest.mark.parametrize(
    ("found", "named"), [([], "none"), (["3.9", "3.10"], "3.10.0, 3.9.0"), (["3.15"], "3.15.0")]
)
def test_says_which_pythons_there_are_when_none_can_serve(found: list[str], named: str) -> None:
    with pytest.raises(
        bootstrap.BootstrapError, match=rf"from 3\.11 to 3\.14 .*found: {named}\).*BOOTSTRAP_PYTHON"
    ):
        bootstrap.choose(pythons(*found))


@pytest.mark.parametrize(
    "text", ["echo 'pyenv: python3.13: command not found' >&2; exit 127", "echo no version", ""]
)
def test_a_shim_that_only_prints_is_no_python(tmp_path: Path, text: str) -> None:
    assert bootstrap.probe(script(tmp_path / "python3.13", text)) is None


def test_probing_a_virtual_environment_leads_to_the_python_below_it() -> None:
    answer = bootstrap.probe(sys.executable)
    assert answer.version == sys.version_info[:3]
    assert Path(answer.path).parent != Path(sys.prefix) / "bin" or sys.prefix == sys.base_prefix


def test_every_python_on_the_path_and_of_pyenv_is_a_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = script(tmp_path / "shims" / "python3.13", "exit 127")
    real = script(tmp_path / "bin" / "python3.13", "")
    pyenv = script(tmp_path / ".pyenv" / "versions" / "3.12.1" / "bin" / "python3", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}/shims:{tmp_path}/bin:{tmp_path}/absent")
    monkeypatch.delenv("BOOTSTRAP_PYTHON", raising=False)
    assert bootstrap.candidates() == [shim, real, pyenv, sys.executable]
    monkeypatch.setenv("BOOTSTRAP_PYTHON", pyenv)
    assert bootstrap.candidates() == [pyenv]


def test_a_stamped_environment_is_current_until_lock_place_or_interpreter_change(checkout: Path) -> None:
    venv = checkout / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    wanted = bootstrap.stamp(checkout)
    assert not bootstrap.current(venv, wanted), "half an environment has no stamp"
    interpreter = os.path.realpath(sys.executable)
    (venv / "stamp.json").write_text(json.dumps({"made_of": wanted, "interpreter": interpreter}))
    assert bootstrap.current(venv, wanted)
    (checkout / ".config" / "requirements.txt").write_text("one==2\n")
    assert not bootstrap.current(venv, bootstrap.stamp(checkout))
    (venv / "bin" / "python").unlink()
    assert not bootstrap.current(venv, wanted)
    (venv / "bin" / "python").symlink_to("/bin/sh")
    assert not bootstrap.current(venv, wanted)
    (venv / "stamp.json").write_text("{")
    assert not bootstrap.current(venv, wanted)


def test_builds_anew_what_was_interrupted_and_only_once(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_unused: object) -> None:
        commands.append(command)
        if "venv" in command:
            assert not (checkout / ".venv").exists(), "the half-made environment is gone first"
            (checkout / ".venv" / "bin").mkdir(parents=True)
            (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)

    monkeypatch.setattr(bootstrap, "run", run)
    script(checkout / ".venv" / "bin" / "python", "exit 1")
    bootstrap.bootstrap(checkout)
    assert [command[1:3] for command in commands] == [["-m", "venv"], ["-m", "pip"]]
    assert "--require-hashes" in commands[1]
    assert "about 1 packages from the lock" in capsys.readouterr().out
    bootstrap.bootstrap(checkout)
    assert len(commands) == 2
    assert capsys.readouterr().out == ""


def test_the_collection_is_linked_below_the_collections_path(checkout: Path) -> None:
    link = checkout / ".ansible" / "collections" / bootstrap.COLLECTION
    link.parent.mkdir(parents=True)
    link.symlink_to("/elsewhere")
    bootstrap.link_collection(checkout)
    bootstrap.link_collection(checkout)
    assert link.resolve() == checkout.resolve()
    assert not Path(link.readlink()).is_absolute()


def test_pip_keeps_its_sources_and_loses_what_contradicts_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    for name in ("PIP_TARGET", "PIP_CONSTRAINT", "PIP_USER", "PYTHONPATH"):
        monkeypatch.setenv(name, "1")
    environment = bootstrap.pip_environment()
    assert environment["PIP_INDEX_URL"] == "https://mirror.example/simple"
    assert environment["PIP_USER"] == "0"
    assert not {"PIP_TARGET", "PIP_CONSTRAINT", "PYTHONPATH"} & set(environment)


def test_without_root_one_line_says_what_lacks_and_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tmp_path / "sudo", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(bootstrap.BootstrapError, match=r"no venv: install what python3.13-venv is on Debian"):
        bootstrap.install_debian(["python3.13-venv"], why="no venv", log=tmp_path / "log")
    script(tmp_path / "apt-get", "exit 0")
    with pytest.raises(
        bootstrap.BootstrapError, match=r"no venv: run `sudo apt-get install python3.13-venv` first"
    ):
        bootstrap.install_debian(["python3.13-venv"], why="no venv", log=tmp_path / "log")


def test_a_failed_command_shows_the_end_of_its_output(tmp_path: Path) -> None:
    command = script(tmp_path / "pip", "echo 'ERROR: hash mismatch'; exit 3")
    with pytest.raises(bootstrap.BootstrapError, match=r"ended with 3(.|\n)*ERROR: hash mismatch"):
        bootstrap.run([command], log=tmp_path / "log")
