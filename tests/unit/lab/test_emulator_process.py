# SPDX-License-Identifier: GPL-3.0-or-later
"""The emulator as a process: its files, its end, its refusals, and a network namespace of a machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.emulator.client import Control, ControlError
from lab.emulator.launch import LaunchError, start
from lab.emulator.network import Address, NetworkError, check_metadata_address

LOCAL = ("--metadata", "127.0.0.1:0", "--https", "127.0.0.1:0")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    emulator = start(tmp_path / "state", *LOCAL)
    emulator.process.send_signal(number)
    assert emulator.process.wait(5) == 0
    left = {path.name for path in emulator.state.iterdir()}
    assert left == {"ca.key", "ca.pem", "server.key", "server.pem", "log", "output", "packages"}
    with pytest.raises(ControlError, match="no emulator answers"):
        emulator.control.health()


def test_it_is_described_in_ready_json(tmp_path: Path) -> None:
    with start(tmp_path / "state", *LOCAL) as emulator:
        ready = json.loads((emulator.state / "ready.json").read_text())
        assert ready["pid"] == emulator.process.pid == emulator.control.health()
        assert ready["https"] == emulator.https
        assert (emulator.state / "ca.key").stat().st_mode & 0o777 == 0o600
        assert (emulator.state / "control.sock").stat().st_mode & 0o777 == 0o600


def test_the_authority_survives_a_restart_in_a_deep_directory(tmp_path: Path) -> None:
    state = tmp_path / ("d" * 60) / ("e" * 60)
    authorities = []
    for _ in range(2):
        with start(state, *LOCAL) as emulator:
            authorities.append(emulator.ca.read_bytes())
            emulator.control.stop()
            assert emulator.process.wait(5) == 0
    assert authorities[0] == authorities[1]


def test_it_ends_with_the_watched_process(tmp_path: Path) -> None:
    watched = subprocess.Popen(["sleep", "60"])
    emulator = start(tmp_path / "state", *LOCAL, "--watch-pid", str(watched.pid), outlive=True)
    watched.kill()
    watched.wait()
    assert emulator.process.wait(5) == 0


def test_it_refuses_a_link_local_address_on_the_host(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="never on the host's: give --netns"):
        start(tmp_path / "state", "--https", "127.0.0.1:0")


def test_it_refuses_the_hosts_own_namespace() -> None:
    host = Path(f"/proc/{1 if os.access('/proc/1/ns/net', os.R_OK) else 'self'}/ns/net")
    with pytest.raises(NetworkError, match="host's own network namespace"):
        check_metadata_address(Address("169.254.169.254", 80), [host])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--metadata", "localhost"), "invalid parse value"),
        ((*LOCAL, "--apt", "/nowhere"), "found no directory"),
        ((*LOCAL, "--repository", "python"), "need PROJECT/REPO"),
        ((*LOCAL, "--netns", "/nowhere"), "cannot open the network namespace"),
        (("--metadata", "127.0.0.1:0", "--https", "192.0.2.1:1"), "cannot listen at 192.0.2.1:1"),
    ],
)
def test_bad_arguments_are_named(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(LaunchError, match=message):
        start(tmp_path / "state", *arguments)


@pytest.fixture
def namespace() -> Iterator[Path]:
    """Give a fresh network namespace, kept by a sleeping process."""
    try:
        keeper = subprocess.Popen(["unshare", "--net", "sleep", "60"], stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        pytest.skip("the program `unshare` is missing")
    path = Path(f"/proc/{keeper.pid}/ns/net")
    deadline = time.monotonic() + 5
    while keeper.poll() is None and path.samefile("/proc/self/ns/net"):
        assert time.monotonic() < deadline
    if keeper.poll() is not None:
        pytest.skip("network namespaces cannot be made here (needs root)")
    yield path
    keeper.kill()
    keeper.wait()


def test_it_listens_inside_a_machine(tmp_path: Path, namespace: Path) -> None:
    code = """
import ssl, sys, urllib.request
headers = {"Metadata-Flavor": "Google"}
for base, context in (
    ("http://169.254.169.254/computeMetadata/v1/project/project-id", None),
    ("https://127.0.0.2/apt/", ssl.create_default_context(cafile=sys.argv[1])),
):
    try:
        print(urllib.request.urlopen(urllib.request.Request(base, headers=headers), context=context).status)
    except urllib.error.HTTPError as error:
        print(error.code)
"""
    with start(tmp_path / "state", "--netns", str(namespace)) as emulator:
        assert (emulator.metadata, emulator.https) == (["169.254.169.254:80"], ["127.0.0.2:443"])
        assert Control(emulator.state / "control.sock").health()
        done = subprocess.run(
            ["nsenter", f"--net={namespace}", sys.executable, "-c", code, str(emulator.ca)],
            env={"PATH": os.environ["PATH"], "no_proxy": "*"},
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
    assert done.stdout.split() == ["200", "401"], done.stderr
    addresses = subprocess.run(["ip", "address"], capture_output=True, text=True, check=True).stdout
    assert "169.254.169.254" not in addresses


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_goes_on_as_the_owner_of_its_directory(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    os.chown(tmp_path / "state", 65534, 65534)
    for parent in tmp_path.parents:
        if parent.name.startswith("pytest-"):
            parent.chmod(0o711)
    tmp_path.chmod(0o711)
    with start(tmp_path / "state", *LOCAL) as emulator:
        assert Path(f"/proc/{emulator.process.pid}").stat().st_uid == 65534
        assert (emulator.state / "control.sock").stat().st_uid == 65534
        assert emulator.control.create_key("robot@demo-project.iam.gserviceaccount.com")
