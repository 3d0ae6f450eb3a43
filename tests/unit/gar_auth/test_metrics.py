# SPDX-License-Identifier: GPL-3.0-or-later
"""gar-auth metrics: the textfile collector's format, written in one step, without a secret."""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from unit.gar_auth.program import CANARY, Program

from gar_auth import __version__
from gar_auth.metrics import Sample, render
from gar_auth.store import Status, Store, Token
from lab.emulator.launch import Emulator


def parsed(text: str) -> dict[tuple[str, str], float]:
    """Each sample by its name and its labels."""
    return {
        (
            sample.name,
            ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items())),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_token_that_is_there(program: Program, google: Emulator) -> None:
    before = int(time.time())
    program("fetch", "default", "--now")
    code, output, errors = program("metrics")
    found = parsed(output)
    labels = "identity=default,source=metadata:default"
    assert (code, errors) == (0, "")
    assert found.keys() == {
        ("gar_auth_token_expiry_timestamp_seconds", labels),
        ("gar_auth_token_obtained_timestamp_seconds", labels),
        ("gar_auth_last_look_timestamp_seconds", "identity=default"),
        ("gar_auth_failures", "class=none,identity=default"),
        ("gar_auth_info", f"version={__version__}"),
    }
    assert before + 3590 <= found["gar_auth_token_expiry_timestamp_seconds", labels] <= before + 3610
    assert before <= found["gar_auth_token_obtained_timestamp_seconds", labels] <= before + 10
    assert before - 1 <= found["gar_auth_last_look_timestamp_seconds", "identity=default"] <= before + 10
    assert found["gar_auth_failures", "class=none,identity=default"] == 0


def test_failures_are_counted_by_their_class(program: Program, google: Emulator) -> None:
    google.control.set_fault("metadata", "status:403")
    for _ in range(3):
        program("fetch", "default", "--now")
    found = parsed(program("metrics")[1])
    assert found["gar_auth_failures", "class=refused,identity=default"] == 3
    assert not [name for name, _labels in found if "expiry" in name]


def test_a_damaged_status_is_a_failure_and_no_end(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "run" / "default" / "status.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    code, output, _errors = program("metrics")
    assert (code, parsed(output)["gar_auth_failures", "class=file,identity=default"]) == (0, 1)


def test_identities_that_are_each_users_own_are_in_no_metric(
    program: Program, configure: Callable[..., Path]
) -> None:
    configure(identities={"default": {"type": "adc", "per_user": True}})
    assert list(parsed(program("metrics")[1])) == [("gar_auth_info", f"version={__version__}")]


def test_labels_are_escaped() -> None:
    status = Status('a"\\\n', "file:/a b", expiry=1, obtained=1)
    found = parsed(render([Sample(status, None)]))
    assert ("gar_auth_failures", 'class=none,identity=a"\\\n') in found


def test_the_file_is_replaced_in_one_step_and_everybody_may_read_it(
    program: Program, canary: Store, tmp_path: Path
) -> None:
    path = tmp_path / "gar_auth.prom"
    path.write_text("old")
    before = path.stat().st_ino
    assert program("metrics", "--output", str(path)) == (0, "", "")
    assert path.stat().st_ino != before
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert ("gar_auth_info", f"version={__version__}") in parsed(path.read_text())
    assert CANARY not in path.read_text()
    assert [name for name in os.listdir(tmp_path) if "prom" in name] == ["gar_auth.prom"]


def test_a_link_at_the_file_is_replaced_and_not_followed(program: Program, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "gar_auth.prom").symlink_to(target)
    assert program("metrics", "--output", str(tmp_path / "gar_auth.prom"))[0] == 0
    assert target.read_text() == "precious"


def test_no_directory_is_said_in_one_line(program: Program, tmp_path: Path) -> None:
    code, output, errors = program("metrics", "--output", str(tmp_path / "none" / "gar_auth.prom"))
    cure = f"{tmp_path}/none is no directory; make it, or set gar_auth_metrics_dir to node_exporter's"
    assert (code, output, errors) == (78, "", f"gar-auth: {cure}\n")


def test_a_directory_at_the_file_is_refused(program: Program, tmp_path: Path) -> None:
    (tmp_path / "gar_auth.prom").mkdir()
    code, _output, errors = program("metrics", "--output", str(tmp_path / "gar_auth.prom"))
    assert (code, errors.count("\n")) == (77, 1)
    assert os.listdir(tmp_path / "gar_auth.prom") == []
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == []


def test_a_full_disk_leaves_the_old_file(program: Program, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    path = tmp_path / "gar_auth.prom"
    path.write_text("old")
    real = os.fdopen

    def fdopen(descriptor: int, *arguments: object, **options: object) -> object:
        os.dup2(os.open("/dev/full", os.O_WRONLY), descriptor)
        return real(descriptor, *arguments, **options)  # type: ignore[call-overload]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gar_auth.store.os.fdopen", fdopen)
        code, _output, errors = program("metrics", "--output", str(path))
    assert (code, path.read_text()) == (75, "old")
    assert errors == f"gar-auth: {path}: {os.strerror(errno.ENOSPC)}; the next run tries again\n"
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == []


def test_a_missing_package_is_one_line_with_the_cure(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    message = "the Python package prometheus_client is missing; run the playbook again"
    assert program("metrics") == (78, "", f"gar-auth: {message}\n")


def test_the_token_file_is_not_even_read(
    program: Program, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("default", Token(token=CANARY, expiry=1, source="x"))
    opened: list[str] = []
    real = os.open

    def watched(path: object, *arguments: object, **options: object) -> int:
        opened.append(str(path))
        return int(real(path, *arguments, **options))  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", watched)
    assert program("metrics")[0] == 0
    assert [path for path in opened if "/default/" in path] == [
        str(store.directory("default") / "status.json")
    ]
