# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, inventory and files of a machine, and the console that tells about it."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import tarfile
import threading
from pathlib import Path

import pytest

from lab import connection, console, guest, machines
from lab.system import LabError


@pytest.mark.parametrize("name", ["", "Upper", "a_b", "-a", "a" * 41, "../x", "a/b"])
def test_bad_names_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(LabError, match="use 1 to 40 lower-case letters"):
        machines._state_directory(name)


def test_a_cache_too_deep_for_sockets_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ("x" * 80)))
    with pytest.raises(LabError, match="set XDG_CACHE_HOME to a shorter path"):
        machines._state_directory("m")


def test_only_state_of_machines_is_ever_removed(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="not removed"):
        machines._remove_directory(tmp_path)
    assert tmp_path.is_dir()


def test_inventory_pins_the_host_key_and_needs_no_file_of_the_users(tmp_path: Path) -> None:
    host = connection.inventory(name="m", address="10.0.0.9", directory=tmp_path)["all"]["hosts"]["m"]
    options = shlex.split(host["ansible_ssh_common_args"])
    assert "StrictHostKeyChecking=yes" in options
    assert f"UserKnownHostsFile={tmp_path}/known_hosts" in options
    assert options[:2] == ["-F", "none"]
    assert (host["ansible_user"], host["ansible_host"]) == ("admin", "10.0.0.9")
    assert "ansible_become" not in host  # plays must ask for it themselves


def test_fingerprints_are_overridden_only_for_the_stand_in(tmp_path: Path) -> None:
    assert "gcloud_key_fingerprints" not in connection.variables(fingerprints=None)
    values = connection.variables(fingerprints=["AB"])
    assert values["gcloud_key_fingerprints"] == ["AB"]
    connection.write(tmp_path / "v.yml", values)
    assert json.loads((tmp_path / "v.yml").read_text()) == values


def test_only_the_emulated_names_are_redirected() -> None:
    names = guest.host_names(packages=False)
    assert names["metadata.google.internal"] == "169.254.169.254"
    assert names["europe-west1-python.pkg.dev"] == "127.0.0.2"
    assert "packages.cloud.google.com" not in names
    assert guest.host_names(packages=True)["packages.cloud.google.com"] == "127.0.0.2"


def test_seed_gives_every_account_its_own_key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("id", "host"):
        (tmp_path / name).write_text(f"private {name}")
        (tmp_path / f"{name}.pub").write_text(f"public {name}")
    monkeypatch.setattr(guest, "extra_authorities", lambda: ["CERTIFICATE"])
    keys = guest.Keys(client=tmp_path / "id", host=tmp_path / "host")
    with tarfile.open(fileobj=io.BytesIO(guest.seed(keys))) as archive:
        found = {member.name: (member.uid, oct(member.mode)) for member in archive}
    assert found["home/dev/.ssh"] == (1001, "0o700")
    assert found["home/dev/.ssh/authorized_keys"] == (1001, "0o600")
    assert found["etc/ssh/ssh_host_ed25519_key"] == (0, "0o600")
    assert "usr/local/share/ca-certificates/host-1.crt" in found


def test_only_certificates_beyond_mozillas_are_taken_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle.crt"
    bundle.write_text("-----BEGIN CERTIFICATE-----\nTEST+ONLY\n-----END CERTIFICATE-----\n")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    assert guest.extra_authorities() == [bundle.read_text()]
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    assert guest.extra_authorities() == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.44, "0.4 s"), (9.94, "9.9 s"), (31.4, "31 s"), (59.7, "1 min 00 s"), (125, "2 min 05 s")],
)
def test_durations_are_spelled_for_people(value: float, text: str) -> None:
    assert console.seconds(value) == text


def test_steps_nest_and_tell_failure(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        with console.step("outer"):
            with console.step("inner"):
                console.say("detail")
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        work()
    assert capsys.readouterr().out.splitlines() == [
        "- outer",
        "  - inner",
        "    detail",
        "    done in 0.0 s",
        "  failed after 0.0 s",
    ]


def test_a_long_step_shows_that_it_is_alive(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "HEARTBEAT", 0.01)
    with console.step("long"):
        threading.Event().wait(0.2)
    assert "  still working, " in capsys.readouterr().out


def test_cleanup_is_not_interrupted_but_what_follows_is() -> None:
    done = []
    with console.uninterrupted():
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("cleanup")
    assert done == ["cleanup"]
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN
