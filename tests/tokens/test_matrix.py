# SPDX-License-Identifier: GPL-3.0-or-later
"""The program on each Python, installed as the role does it: all identities, all commands, no secret seen."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.emulator.launch import start
from tokens.installed import Installed
from tokens.proxy import proxy_to
from tokens.pythons import found, install


@pytest.fixture(scope="module")
def installed(version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """The program on a Python; nothing has run yet but its installation."""
    if version not in found():
        pytest.skip(f"there is no Python {version} here that can make environments")
    scratch = tmp_path_factory.mktemp("installed")
    program = install(found()[version], scratch / "prefix", config=scratch / "etc" / "config.json")
    with (
        start(scratch / "google", "--metadata", "127.0.0.1:0", "--https", "127.0.0.1:0") as emulator,
        proxy_to(emulator.https[0]) as proxy,
    ):
        made = Installed(program=program, emulator=emulator, proxy=proxy, scratch=scratch)
        made.configure()
        yield made


@pytest.fixture(scope="module")
def fetched(installed: Installed) -> Installed:
    """The same, with a token of each identity in auth.toml."""
    for name in installed.names:
        run = installed("fetch", name)
        assert run.code == 0, (name, run.errors)
    run = installed("write")
    assert run.code == 0, run.errors
    return installed


def test_every_identity_gets_a_token_that_the_index_takes(fetched: Installed) -> None:
    assert fetched.grants() == {f"from-{name.replace('_', '-')}": 200 for name in fetched.names}


def test_a_second_tick_and_a_second_write_change_nothing(fetched: Installed) -> None:
    def stamps() -> dict[Path, tuple[int, int]]:
        files = [*(fetched.scratch / "run").glob("*/token"), fetched.auth]
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}

    before = stamps()
    assert len(before) == len(fetched.names) + 1
    for arguments in [*(("fetch", name) for name in fetched.names), ("write",)]:
        run = fetched(*arguments)
        assert (run.code, run.output, run.errors) == (0, "", "")
    assert stamps() == before


def test_status_says_that_all_is_fine(fetched: Installed) -> None:
    run = fetched("status")
    assert run.code == 0, run.output
    report = json.loads(fetched("status", "--json").output)
    assert report["fine"] is True
    assert sorted(report["identities"]) == sorted(fetched.names)


def test_doctor_walks_the_whole_way_to_the_index_and_finds_nothing(fetched: Installed) -> None:
    variables = {"POETRY_CONFIG_DIR": str(fetched.auth.parent)}
    run = fetched("doctor", variables=variables)
    assert run.code == 0, run.output
    for name in fetched.names:
        assert f"from-{name.replace('_', '-')}: europe-west1-python.pkg.dev answers 200" in run.output
    json.loads(fetched("doctor", "--json", variables=variables).output)


def test_metrics_count_all_identities(fetched: Installed) -> None:
    run = fetched("metrics")
    assert run.code == 0, run.errors
    assert all(f'identity="{name}"' in run.output for name in fetched.names)


@pytest.mark.parametrize("name", ["service_account_key", "external_account", "adc", "token_file"])
def test_what_systemd_hands_over_is_used_instead_of_the_file(
    fetched: Installed, tmp_path: Path, name: str
) -> None:
    file = Path(json.loads(fetched.program.config.read_text())["identities"][name]["file"])
    (tmp_path / "source").write_bytes(file.read_bytes())
    (tmp_path / "source").chmod(0o440)
    away = file.rename(file.with_suffix(".away"))
    try:
        run = fetched("fetch", name, "--now", variables={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    finally:
        away.rename(file)
    assert run.code == 0, run.errors


def test_a_failure_is_one_line(fetched: Installed) -> None:
    fetched.emulator.control.set_fault("token", "status:400")
    run = fetched("fetch", "service_account_key", "--now")
    fetched.emulator.control.clear_faults()
    assert run.code in (75, 78)
    assert len(run.errors.splitlines()) == 1
    assert run.errors.startswith("gar-auth: ")


TRAP = "open({traces!r} + '/' + __name__, 'a').close()\n"
MODULES = """
    argparse contextlib dataclasses enum gar_auth google http json os pathlib pwd re requests runpy
    sitecustomize site ssl stat tomllib typing urllib urllib3 usercustomize
"""
PROGRAMS = ("gcloud", "python", "python3", "sh", "env", "id")


def test_code_of_others_is_not_run(fetched: Installed, version: str, tmp_path: Path) -> None:
    """Not from the working directory, PYTHONPATH, the home, PATH, or a variable of Python."""
    traces, evil, programs = tmp_path / "traces", tmp_path / "evil", tmp_path / "bin"
    home = tmp_path / "home"
    own = home / ".local" / "lib" / f"python{version}" / "site-packages"
    for directory in (traces, evil, programs, own):
        directory.mkdir(parents=True)
    for name in MODULES.split():
        for directory in (evil, own):
            (directory / f"{name}.py").write_text(TRAP.format(traces=str(traces)))
    (own / "trap.pth").write_text(f"import os; open({str(traces / 'pth')!r}, 'w').close()\n")
    for name in PROGRAMS:
        (programs / name).write_text(f'#!/bin/sh\n: > "{traces}/{name}"\nexit 1\n')
        (programs / name).chmod(0o755)
    control = {"PYTHONPATH": str(evil), "PATH": str(programs)}
    subprocess.run(["gcloud"], env=control, check=False)
    subprocess.run([fetched.program.python, "-c", "import json"], env=control, check=False)
    assert {"gcloud", "json"} <= {path.name for path in traces.iterdir()}, "who looks there finds the traps"
    for trace in traces.iterdir():
        trace.unlink()
    variables = {
        "PYTHONPATH": str(evil),
        "PYTHONHOME": str(evil),
        "PYTHONSTARTUP": str(evil / "json.py"),
        "PYTHONUSERBASE": str(home / ".local"),
        "HOME": str(home),
        "PATH": f"{programs}:{fetched.environment['PATH']}",
    }
    commands = [*(("fetch", name, "--now") for name in fetched.names), ("write",), ("status",), ("doctor",)]
    for arguments in commands:
        run = fetched(*arguments, variables=variables, cwd=evil)
        assert run.code == 0 or arguments == ("doctor",), (arguments, run.errors)
    assert sorted(path.name for path in traces.iterdir()) == []


def test_nothing_secret_was_printed_or_handed_to_a_process(fetched: Installed) -> None:
    """The last test of the file: it looks at what all others have run."""
    fetched.check_secrecy()
