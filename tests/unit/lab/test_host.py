# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a host cannot boot machines, who owns one, and what a machine may do to its host."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from lab import host, images, owners, podman, system
from lab.system import LabError


def test_without_root_or_sudo_no_machine_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(system, "find_program", lambda _name: None)
    support = host.machine_support()
    assert support == host.Support(
        ok=False, reason="no machine can be booted: this user is not root and sudo is not installed"
    )


def test_without_podman_and_apt_no_machine_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "root_problem", lambda: None)
    monkeypatch.setattr(host, "find_program", lambda _name: None)
    assert host.machine_support().reason.endswith("podman is not installed and apt-get is not here")


def test_a_failing_trial_boot_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(_suite: str) -> str:
        raise LabError("runc: read-only file system")

    monkeypatch.setattr(host, "root_problem", lambda: None)
    monkeypatch.setattr(host, "find_program", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(podman, "prepare", lambda: None)
    monkeypatch.setattr(images, "ensure", cannot)
    assert host.machine_support().reason == "no machine can be booted: runc: read-only file system"


@pytest.mark.parametrize(
    ("entries", "hybrid"),
    [(["unified", "memory"], True), (["cgroup.controllers"], False), (["memory"], False)],
)
def test_hybrid_control_groups_are_told_from_pure_ones(
    tmp_path: Path, entries: list[str], hybrid: bool
) -> None:
    for entry in entries:
        (tmp_path / entry).mkdir()
    assert podman.hybrid_control_groups(tmp_path) is hybrid


def test_machines_are_not_privileged_and_stay_below_the_hosts_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _limit: (100, 900))
    flags = podman.machine_flags()
    assert "--privileged" not in flags
    assert {"--ulimit=nofile=900:900", "--ulimit=nproc=900:900"} <= set(flags)
    assert any(flag.startswith("--cap-drop=SYS_TIME,") for flag in flags)


def test_an_owner_is_alive_as_long_as_its_process() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = owners.identify(process.pid)
    assert owners.alive(owner)
    process.communicate(b"\n")
    assert not owners.alive(owner)


@pytest.mark.parametrize(
    ("owner", "alive"),
    [("kept", True), (f"{os.getpid()}:1", False), ("0:0", False), ("", False), ("x:y", False)],
)
def test_process_numbers_that_are_used_again_do_not_count(owner: str, alive: bool) -> None:
    assert owners.alive(owner) is alive


def test_state_without_a_machine_is_nobodys_once_its_starter_is_gone(tmp_path: Path) -> None:
    assert not owners.abandoned(tmp_path)  # just made, not claimed yet
    owners.claim(tmp_path)
    assert not owners.abandoned(tmp_path)
    (tmp_path / "starter").write_text("0:0")
    assert owners.abandoned(tmp_path)
    assert not owners.abandoned(tmp_path / "gone")


def test_a_failing_command_is_told_in_one_line() -> None:
    with pytest.raises(LabError, match="ended with code 3: one / two") as caught:
        system.run([sys.executable, "-c", "import sys; print('one\\ntwo', file=sys.stderr); sys.exit(3)"])
    assert "\n" not in str(caught.value)


def test_a_missing_program_and_a_slow_one_are_lab_errors() -> None:
    with pytest.raises(LabError, match="no-such-program is not installed"):
        system.run(["no-such-program"])
    with pytest.raises(LabError, match="did not end within 0 s"):
        system.run(["sleep", "5"], timeout=0.05)


def test_a_host_that_allows_too_few_watches_gets_room_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = tmp_path / "max_user_instances"
    limit.write_text("128\n")
    monkeypatch.setattr(host, "_WATCHES", limit)
    monkeypatch.setattr(system, "as_root", list)
    host.make_room_for_watches(4)
    assert limit.read_text() == "128\n", "four machines have room enough"
    host.make_room_for_watches(12)
    assert int(limit.read_text()) == 260
    assert "fs.inotify.max_user_instances is 260 now" in capsys.readouterr().out


def test_a_host_that_cannot_be_given_room_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "max_user_instances"
    limit.write_text("128\n")
    monkeypatch.setattr(host, "_WATCHES", limit)
    monkeypatch.setattr(system, "as_root", lambda _argv: ["false"])
    with pytest.raises(LabError, match=r"sysctl -w fs\.inotify\.max_user_instances=260"):
        host.make_room_for_watches(12)
