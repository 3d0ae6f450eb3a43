# SPDX-License-Identifier: GPL-3.0-or-later
"""Work in a child process: its answer, its failures, its deadline; its privileges are gone for good."""

from __future__ import annotations

import os
import pwd
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.devbox.artifact_registry.plugins.module_utils import _as_user
from ansible_collections.devbox.artifact_registry.plugins.module_utils._as_user import WorkFailed, run_as


@pytest.mark.parametrize("result", [None, {"a": [1, "é\n", True, None]}, "x" * 1_000_000])
def test_the_result_comes_back(dev: pwd.struct_passwd, result: object) -> None:
    assert run_as(dev, lambda: result) == result


def fail() -> None:
    raise ValueError("no é\nvalue")


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (fail, "ValueError: no é\nvalue"),
        (lambda: {1, 2}, "TypeError: Object of type set is not JSON serializable"),
        (lambda: sys.exit(3), "SystemExit: 3"),
        (lambda: os._exit(0), "the process of user dev ended without an answer"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "the process of user dev ended without an answer"),
    ],
    ids=["exception", "not JSON", "exit", "hard exit", "killed"],
)
def test_a_failure_says_what_happened(dev: pwd.struct_passwd, work: Callable[[], Any], message: str) -> None:
    with pytest.raises(WorkFailed) as caught:
        run_as(dev, work)
    assert str(caught.value) == message


def test_a_child_that_takes_too_long_is_killed(dev: pwd.struct_passwd, tmp_path: Path) -> None:
    def work() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (tmp_path / "pid").write_text(str(os.getpid()))
        time.sleep(60)

    start = time.monotonic()
    with pytest.raises(WorkFailed, match=r"^no answer from the process of user dev within 0.5 s$"):
        run_as(dev, work, seconds=0.5)
    assert time.monotonic() - start < 5
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_an_answer_without_end_is_cut(dev: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_as_user, "_MAX_ANSWER", 100_000)
    with pytest.raises(WorkFailed):
        run_as(dev, lambda: "x" * 1_000_000)


def test_the_child_works_in_the_root_directory_with_a_private_umask(dev: pwd.struct_passwd) -> None:
    def work() -> list[object]:
        before = os.umask(0)
        return [oct(before), os.getcwd(), os.getpid()]

    umask, directory, process = run_as(dev, work)
    assert (umask, directory) == ("0o77", "/")
    assert process != os.getpid()


def test_nothing_of_the_child_stays_behind(dev: pwd.struct_passwd) -> None:
    before = set(os.listdir("/proc/self/fd"))
    children = [run_as(dev, os.getpid) for _repeat in range(5)]
    assert set(os.listdir("/proc/self/fd")) == before
    assert [child for child in children if Path(f"/proc/{child}").exists()] == [], "not even a zombie"


def attempts() -> dict[str, Any]:
    """What the child is, and what of root it can get back."""
    regained = []
    for name, call in (
        ("setuid", lambda: os.setuid(0)),
        ("seteuid", lambda: os.seteuid(0)),
        ("setresuid", lambda: os.setresuid(0, 0, 0)),
        ("setgid", lambda: os.setgid(0)),
        ("setgroups", lambda: os.setgroups([0])),
        ("chown", lambda: os.chown("/tmp", 0, 0)),
        ("read", lambda: Path("/etc/shadow").read_bytes()),
    ):
        try:
            call()
            regained.append(name)
        except PermissionError:
            pass
    status = dict(
        line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line
    )
    capabilities = {status[name].strip() for name in ("CapPrm", "CapEff", "CapAmb")}
    return {
        "uids": os.getresuid(),
        "gids": os.getresgid(),
        "groups": os.getgroups(),
        "regained": regained,
        "capabilities": sorted(capabilities),
    }


def test_root_becomes_the_user_for_good(nobody: pwd.struct_passwd) -> None:
    before = os.getgroups()
    os.setgroups([0, 4])
    try:
        assert run_as(nobody, attempts) == {
            "uids": [nobody.pw_uid] * 3,
            "gids": [nobody.pw_gid] * 3,
            "groups": os.getgrouplist("nobody", nobody.pw_gid),
            "regained": [],
            "capabilities": ["0000000000000000"],
        }
        assert os.getresuid() == (0, 0, 0)
    finally:
        os.setgroups(before)


def test_files_of_the_child_belong_to_the_user(nobody: pwd.struct_passwd) -> None:
    path = Path(nobody.pw_dir) / "file"
    run_as(nobody, lambda: path.write_text("x"))
    info = path.stat()
    assert (info.st_uid, info.st_gid, info.st_mode & 0o777) == (nobody.pw_uid, nobody.pw_gid, 0o600)


def test_an_ordinary_user_cannot_become_another(nobody: pwd.struct_passwd) -> None:
    def work() -> str:
        try:
            run_as(pwd.getpwnam("root"), os.getpid)
        except WorkFailed as problem:
            return str(problem)
        return "became root"

    assert run_as(nobody, work) == "PermissionError: cannot become root: run as root (become: true)"


def test_a_user_with_another_group_at_the_moment_is_still_oneself(nobody: pwd.struct_passwd) -> None:
    elsewhere = pwd.struct_passwd((*nobody[:3], nobody.pw_gid + 1, *nobody[4:]))
    assert run_as(nobody, lambda: run_as(elsewhere, lambda: os.getresgid()[0])) == nobody.pw_gid
