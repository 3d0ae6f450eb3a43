# SPDX-License-Identifier: GPL-3.0-or-later
"""Poetry in exact versions: up, down, interrupted, refused, taken back; one of them works all the time."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import mirror
from lab.machines import Machine
from machine import plays
from machine.installers import interrupted, wheelhouse

OLD, NEW, OTHER = "2.2.1", "2.5.1", "2.0.1"
POETRY = {"artifact_registry_roles": ["poetry"]}
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def play(*arguments: str, **variables: Any) -> plays.Play:
    return plays.run(*arguments, variables={**POETRY, **variables})


def version(machine: Machine) -> str:
    """What an unprivileged user has on the PATH."""
    return machine.ssh("dev", "poetry --version", check=True).stdout.strip()


def environments(machine: Machine) -> dict[str, str]:
    """What lies below /opt/poetry, and of links where they lead."""
    lines = machine.ssh(
        "admin", "find /opt/poetry -mindepth 1 -maxdepth 1 -printf '%f %l\\n'", check=True
    ).stdout
    return {name: target for name, _space, target in (line.partition(" ") for line in lines.splitlines())}


@pytest.fixture(scope="module")
def wheels(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The archive of all that is installed here, on the controller."""
    python = machine.ssh(
        "dev", "python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'", check=True
    )
    files = wheelhouse.locks(OLD, NEW, OTHER)
    yield wheelhouse.make(tmp_path_factory.mktemp("wheels"), python=python.stdout.strip(), files=files)
    play(poetry_state="absent")


@pytest.fixture(scope="module")
def installed(machine: Machine, wheels: Path) -> dict[str, Any]:
    """The old version, with a plugin, from the controller."""
    variables = {
        "poetry_wheelhouse": str(wheels),
        "poetry_version": OLD,
        "poetry_plugins": ["poetry-plugin-export"],
    }
    assert play("--check", **variables).changed > 0
    assert machine.ssh("admin", "ls -d /opt/poetry /usr/local/bin/poetry").stdout == ""
    done = play(**variables)
    assert done.code == 0, done.output
    return variables


def test_it_is_there_for_everybody_and_stays(machine: Machine, installed: dict[str, Any]) -> None:
    assert version(machine) == f"Poetry (version {OLD})"
    assert "poetry-plugin-export" in machine.ssh("dev", "poetry self show plugins", check=True).stdout
    assert play(**installed).changed == 0
    assert play("--check", **installed).changed == 0


def test_shells_complete_it(machine: Machine, installed: dict[str, Any]) -> None:
    install = "sudo apt-get -qq update && sudo apt-get -qqy install --no-install-recommends"
    machine.ssh("admin", f"{install} bash-completion zsh fish", check=True)
    machine.ssh(
        "dev",
        "bash -c '. /usr/share/bash-completion/bash_completion; _completion_loader poetry;"
        " complete -p poetry'",
        check=True,
    )
    assert (
        "_poetry"
        in machine.ssh("dev", "zsh -c 'autoload -U compinit; compinit -u; echo $_comps[poetry]'").stdout
    )
    assert "publish" in machine.ssh("dev", "fish -c 'complete -C \"poetry pub\"'").stdout


def test_nobody_else_can_change_what_everybody_runs(machine: Machine, installed: dict[str, Any]) -> None:
    walk = """
import os, pathlib, stat, sys
seen, places = set(), ["/usr/local/bin/poetry", "/usr/local/bin/poetry/../../../..", sys.argv[1], *sys.path]
def look(path):
    for one in [path, *pathlib.Path(path).parents]:
        if one in seen: continue
        seen.add(one)
        info = os.lstat(one)
        if info.st_uid or (not stat.S_ISLNK(info.st_mode) and info.st_mode & 0o022): print(one)
        if stat.S_ISLNK(info.st_mode): look(pathlib.Path(os.path.join(one.parent, os.readlink(one))))
look(pathlib.Path("/usr/local/bin/poetry"))
look(pathlib.Path(sys.executable))
for one in sys.path:
    if one and os.path.exists(one): look(pathlib.Path(one))
"""
    python = "/opt/poetry/current/bin/python"
    machine.ssh(
        "dev",
        "mkdir -p ~/.local/lib/python3.11/site-packages ~/.local/lib/python3.13/site-packages",
        check=True,
    )
    done = machine.ssh("dev", f"{python} - x", input=walk, check=True)
    assert done.stdout == ""
    assert "/home" not in machine.ssh("dev", f"{python} -c 'import sys; print(sys.path)'", check=True).stdout


def test_a_poetry_of_somebody_elses_is_named(machine: Machine, installed: dict[str, Any]) -> None:
    machine.ssh(
        "admin",
        "printf '#!/bin/sh\\n' | sudo tee /usr/bin/poetry; sudo chmod 755 /usr/bin/poetry",
        check=True,
    )
    done = play(**installed)
    machine.ssh("admin", "sudo rm /usr/bin/poetry", check=True)
    assert (done.code, done.changed) == (0, 0)
    assert "/usr/bin/poetry is a Poetry of somebody else's" in done.output
    machine.ssh("admin", "sudo mkdir /srv/bin; sudo touch /srv/bin/poetry", check=True)
    refused = play(**installed, poetry_bin_dir="/srv/bin")
    machine.ssh("admin", "sudo rm -r /srv/bin", check=True)
    assert (refused.code, refused.changed) == (2, 0)
    assert "/srv/bin/poetry is not this role's" in refused.output


def test_places_that_others_can_write_to_are_refused(machine: Machine, installed: dict[str, Any]) -> None:
    machine.ssh("admin", "sudo install -d -o dev /srv/devs", check=True)
    refused = play(**{**installed, "poetry_prefix": "/srv/devs/poetry"})
    machine.ssh("admin", "sudo rm -r /srv/devs", check=True)
    assert (refused.code, refused.changed) == (2, 0)
    assert "others than root can write to /srv/devs" in refused.output


def test_an_upgrade_that_is_killed_at_any_task_leaves_one_that_works(
    machine: Machine, installed: dict[str, Any]
) -> None:
    upgrade = {**POETRY, **installed, "poetry_version": NEW}
    seen = set()

    def works(task: str) -> None:
        said = version(machine)
        assert said in (f"Poetry (version {OLD})", f"Poetry (version {NEW})"), task
        seen.add(said)

    killed = interrupted.at_each_task(upgrade, works)
    assert killed > 12
    assert version(machine) == f"Poetry (version {NEW})"
    assert seen == {f"Poetry (version {OLD})", f"Poetry (version {NEW})"}
    assert plays.run(variables=upgrade).changed == 0


def test_going_back_needs_nothing_but_a_link(machine: Machine, installed: dict[str, Any]) -> None:
    down = play(
        **{**installed, "poetry_wheelhouse": "", "poetry_index_url": "https://nowhere.invalid/simple/"}
    )
    assert down.code == 0, down.output
    assert down.changed == 2  # the links current and previous
    assert version(machine) == f"Poetry (version {OLD})"


def test_the_one_before_is_kept_and_older_ones_go(machine: Machine, installed: dict[str, Any]) -> None:
    done = play(**{**installed, "poetry_version": OTHER})
    assert done.code == 0, done.output
    found = environments(machine)
    assert found["current"].startswith(f"{OTHER}-")
    assert found["previous"].startswith(f"{OLD}-")
    assert set(found) == {"current", "previous", found["current"], found["previous"]}


def test_a_mirror_serves_it_by_its_own_authority(
    machine: Machine, installed: dict[str, Any], wheels: Path, tmp_path: Path
) -> None:
    directory, url = mirror.place(machine, "pypi")
    wheelhouse.serve(wheels, directory)
    variables = {
        "poetry_version": NEW,
        "poetry_index_url": f"{url}/simple/",
        "poetry_environment": {"PIP_CERT": CERTIFICATES, "PIP_CONFIG_FILE": "/dev/null"},
    }
    wheels_of_core = list((directory / "files").glob("poetry_core-*.whl"))
    assert wheels_of_core
    for wheel in wheels_of_core:
        shutil.copy(wheel, tmp_path)
        with wheel.open("ab") as stream:
            stream.write(b"x")
    refused = play(**variables)
    assert refused.code == 2
    assert "Compare the mirror with its source; do not install from it" in refused.output
    for wheel in wheels_of_core:
        shutil.copy(tmp_path / wheel.name, wheel)
    proxied = play(
        **{
            **variables,
            "poetry_environment": {"PIP_CONFIG_FILE": "/dev/null", "HTTPS_PROXY": "http://127.0.0.1:9"},
        }
    )
    assert proxied.code == 2
    assert "poetry_environment a proxy" in proxied.output
    assert version(machine) == f"Poetry (version {OTHER})"
    assert not any(name.startswith(NEW) for name in environments(machine))
    done = play(**variables)
    assert done.code == 0, done.output
    assert version(machine) == f"Poetry (version {NEW})"


def test_a_wheelhouse_without_what_is_locked_leaves_the_old_one(
    machine: Machine, installed: dict[str, Any], wheels: Path, tmp_path: Path
) -> None:
    poor = tmp_path / "poor.tar.gz"
    with tarfile.open(wheels) as rich, tarfile.open(poor, "w:gz") as stream:
        for member in rich:
            if not member.name.startswith("tomlkit"):
                stream.addfile(member, rich.extractfile(member))
    refused = play(**{**installed, "poetry_wheelhouse": str(poor)})
    assert refused.code == 2
    assert "Make the archive that poetry_wheelhouse names" in refused.output
    assert version(machine) == f"Poetry (version {NEW})"


def test_a_full_disk_leaves_the_old_one(machine: Machine, installed: dict[str, Any]) -> None:
    assert play(poetry_state="absent").code == 0
    machine.ssh(
        "admin",
        "sudo mkdir -p /opt/poetry && sudo mount -t tmpfs -o size=190m,mode=755 lab /opt/poetry",
        check=True,
    )
    try:
        assert play(**installed).code == 0
        refused = play(**{**installed, "poetry_version": NEW})
        assert refused.code == 2
        assert "Free some space there" in refused.output
        assert version(machine) == f"Poetry (version {OLD})"
        assert len(environments(machine)) == 2
    finally:
        machine.ssh("admin", "sudo umount /opt/poetry", check=True)


def test_absent_takes_everything_back_and_present_comes_again(
    machine: Machine, installed: dict[str, Any]
) -> None:
    assert play(**installed).code == 0
    assert play("--check", poetry_state="absent").changed > 0
    assert version(machine) == f"Poetry (version {OLD})"
    assert play(poetry_state="absent").code == 0
    left = "find /opt /usr/local /etc/fish -name '*poetry*'; ls -A /opt"
    assert machine.ssh("admin", left).stdout == ""
    assert play(poetry_state="absent").changed == 0
    assert play(**installed).code == 0
    assert version(machine) == f"Poetry (version {OLD})"
