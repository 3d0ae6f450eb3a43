# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook status on a machine: what it says of a host that is well, stale, broken, or not there."""

from __future__ import annotations

import json
import shlex
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.machines import Machine
from uses import plays

NAME = "st-status"
GONE = "gone"
AUTH = "/home/dev/.config/pypoetry/auth.toml"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("status")


@pytest.fixture(scope="module")
def machine(place: Path) -> Iterator[Machine]:
    """A machine that the playbook devbox has set up, without gcloud."""
    with Machine.start(name=NAME, suite="debian12") as started:
        variables = yaml.safe_load(started.variables.read_text(encoding="utf-8"))
        variables["artifact_registry_roles"] = ["poetry", "poetry_repositories", "gar_auth"]
        done = plays.run("devbox", inventory=started.inventory, place=place, variables=variables)
        assert done.code == 0, done.output
        yield started


@pytest.fixture(scope="module")
def inventory(machine: Machine, place: Path) -> Path:
    """The machine, and a host at an address where nobody is."""
    path = plays.inventory(place / "inventory.json", [machine])
    hosts = json.loads(path.read_text(encoding="utf-8"))
    hosts["all"]["hosts"][GONE] = {
        "ansible_host": "192.0.2.1",
        "ansible_ssh_common_args": "-F none -o BatchMode=yes -o ConnectTimeout=3",
    }
    path.write_text(json.dumps(hosts), encoding="utf-8")
    return path


def report(inventory: Path, place: Path, *arguments: str) -> tuple[plays.Play, dict[str, Any]]:
    """Run the playbook; what it wrote, by the name of the host."""
    done = plays.run("status", *arguments, inventory=inventory, place=place)
    assert done.code == 0, done.output
    made = json.loads((place / "artifact-registry-status" / "status.json").read_text(encoding="utf-8"))
    assert made["summary"]["hosts"] == len(made["hosts"])
    return done, {**made, "hosts": {host["name"]: host for host in made["hosts"]}}


def refresh(machine: Machine) -> None:
    """Let all be fresh again."""
    machine.ssh("admin", "sudo gar-auth refresh", check=True)
    machine.ssh("admin", "sudo gar-auth status --wait 30", check=True)


def test_a_host_that_is_well_and_one_that_is_not_there(
    machine: Machine, inventory: Path, place: Path
) -> None:
    refresh(machine)
    done, made = report(inventory, place)
    assert made["summary"] == {"hosts": 2, "fine": 1, "stale": 0, "failed": 1}
    host = made["hosts"][NAME]
    assert (host["state"], host["causes"], host["hints"]) == ("fine", [], [])
    assert host["users"] == {user: {"private-repo": "fresh"} for user in ("dev", "ops")}
    (token,) = host["tokens"]
    assert (token["identity"], token["user"], token["state"]) == ("default", None, "valid")
    assert 0 < token["seconds_left"] <= 3600
    assert token["expires_at"] > made["made_at"]
    poetry = machine.ssh("dev", "poetry --version", check=True).stdout
    assert f"version {host['versions']['poetry']})" in poetry
    program = machine.ssh("dev", "gar-auth --version", check=True).stdout
    assert program == f"gar-auth {host['versions']['gar_auth']}\n"
    assert host["versions"]["gcloud"] is None
    assert host["system"] == "Debian GNU/Linux 12 (bookworm)"
    assert host["python"] in machine.ssh("dev", "/usr/bin/python3 --version", check=True).stdout
    gone = made["hosts"][GONE]
    assert gone["state"] == "failed"
    assert gone["causes"][0]["check"] == "connection"
    assert gone["causes"][0]["found"].startswith("unreachable: ")
    assert f"failed: {GONE}: unreachable: " in done.output, "the summary names it, too"
    assert done.recap[NAME]["failed"] == done.recap[GONE]["failed"] == 0


def test_the_files_are_for_everybody_and_the_page_has_the_hosts(
    machine: Machine, inventory: Path, place: Path
) -> None:
    report(inventory, place)
    for name in ("status.json", "status.html"):
        path = place / "artifact-registry-status" / name
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
    page = (place / "artifact-registry-status" / "status.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert f">{NAME}</button>" in page
    assert f">{GONE}</button>" in page


def test_the_report_has_no_token(machine: Machine, inventory: Path, place: Path) -> None:
    token = machine.ssh("dev", "gar-auth get --identity default", check=True).stdout.strip()
    assert len(token) > 20
    done, _made = report(inventory, place, "-vvv")
    written = [path.read_text(encoding="utf-8") for path in (place / "artifact-registry-status").iterdir()]
    assert [text for text in (done.output, *written) if token in text] == []


def test_a_machine_that_gets_no_new_tokens_is_stale_with_the_cause(
    machine: Machine, inventory: Path, place: Path
) -> None:
    refresh(machine)
    stale = f"sudo -u dev sed -i 's/^password = .*/password = \"an older one\"/' {AUTH}"
    machine.ssh("admin", stale, check=True)
    try:
        _done, made = report(inventory, place, "--limit", NAME)
        host = made["hosts"][NAME]
        assert host["state"] == "stale"
        assert host["users"] == {"dev": {"private-repo": "stale"}, "ops": {"private-repo": "fresh"}}
        (cause,) = host["causes"]
        assert cause["found"] == "private-repo of dev is stale"
        machine.ssh("admin", cause["cure"], check=True)
        machine.ssh("admin", "sudo gar-auth status --wait 30", check=True)
        _done, made = report(inventory, place, "--limit", NAME)
        assert made["hosts"][NAME]["state"] == "fine", "the cure helps"
    finally:
        refresh(machine)


def test_a_user_with_a_broken_file_fails_the_host_and_the_cure_helps(
    machine: Machine, inventory: Path, place: Path
) -> None:
    machine.ssh("dev", f"echo '[broken' > {AUTH}", check=True)
    try:
        _done, made = report(inventory, place)
        host = made["hosts"][NAME]
        assert host["state"] == "failed"
        assert host["users"]["ops"] == {"private-repo": "fresh"}
        assert list(host["users"]["dev"]) == ["error"]
        first = host["causes"][0]
        assert (first["check"], first["found"].startswith(f"dev: {AUTH}: invalid TOML")) == ("user", True)
        command = first["cure"].rpartition(": ")[2]
        assert command == f"mv {AUTH} {AUTH}.old"
        machine.ssh("dev", command, check=True)
        refresh(machine)
        _done, made = report(inventory, place, "--limit", NAME)
        assert made["hosts"][NAME]["state"] == "fine"
    finally:
        machine.ssh("dev", f"rm -f {AUTH}.old; grep -q broken {AUTH} && rm {AUTH}")
        refresh(machine)


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("#!/bin/sh\necho Welcome!", "what it printed is no report"),
        ("#!/bin/sh\nexec sleep 600", "did not end in time"),
        ("#!/bin/sh\necho 'gar-auth: no configuration; run the playbook' >&2; exit 78", "no configuration"),
        (None, "gar-auth is not installed"),
    ],
)
def test_a_program_that_is_missing_hangs_or_prints_rubbish_fails_the_host_only(
    machine: Machine, inventory: Path, place: Path, script: str | None, found: str
) -> None:
    link = "/usr/local/bin/gar-auth"
    machine.ssh("admin", f"sudo mv {link} {link}.away", check=True)
    try:
        if script is not None:
            put = f"printf %s {shlex.quote(script)} | sudo tee {link} > /dev/null && sudo chmod 0755 {link}"
            machine.ssh("admin", put, check=True)
        start = time.monotonic()
        done, made = report(inventory, place, "--limit", NAME)
        assert time.monotonic() - start < 150
        host = made["hosts"][NAME]
        assert host["state"] == "failed"
        assert found in host["causes"][0]["found"]
        assert found in done.output
    finally:
        machine.ssh("admin", f"sudo mv {link}.away {link}", check=True)


def test_check_mode_looks_and_writes_nothing(machine: Machine, inventory: Path, tmp_path: Path) -> None:
    done = plays.run("status", "--check", "--diff", "--limit", NAME, inventory=inventory, place=tmp_path)
    assert done.code == 0, done.output
    assert "1 host: 1 fine, 0 stale, 0 failed" in done.output
    assert not (tmp_path / "artifact-registry-status").exists()


def test_the_directory_may_be_another_one(machine: Machine, inventory: Path, place: Path) -> None:
    chosen = place / "elsewhere" / "reports"
    chosen.parent.mkdir()
    done = plays.run(
        "status",
        "--limit",
        NAME,
        inventory=inventory,
        place=place,
        variables={"fleet_status_directory": str(chosen)},
    )
    assert done.code == 0, done.output
    assert sorted(path.name for path in chosen.iterdir()) == ["status.html", "status.json"]


def test_nothing_is_changed_on_the_host(machine: Machine, inventory: Path, place: Path) -> None:
    listing = "sudo find /etc /opt /usr/local /home /root -xdev -newer /run/before -not -path '*/.ansible*'"
    machine.ssh("admin", "sudo touch /run/before && sleep 1", check=True)
    report(inventory, place, "--limit", NAME)
    assert machine.ssh("admin", f"{listing} -type f").stdout == ""
