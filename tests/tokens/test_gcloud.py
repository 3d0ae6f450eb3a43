# SPDX-License-Identifier: GPL-3.0-or-later
"""The real gcloud, in real time with tokens of 20 seconds: its clock and its cache are its own."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Iterator

import pytest

from lab.emulator.launch import start
from tokens.installed import GCLOUD, Installed
from tokens.proxy import proxy_to
from tokens.pythons import chosen, found, install

LIFETIME = 20
SECONDS = 25


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    if GCLOUD is None:
        pytest.skip("there is no gcloud here; on Debian: apt-get install google-cloud-cli")
    tmp_path = tmp_path_factory.mktemp("gcloud")
    python = found()[chosen()[-1]]
    program = install(python, tmp_path / "prefix", config=tmp_path / "etc" / "config.json")
    with (
        start(tmp_path / "google", "--metadata", "127.0.0.1:0", "--https", "127.0.0.1:0") as emulator,
        proxy_to(emulator.https[0]) as proxy,
    ):
        made = Installed(program=program, emulator=emulator, proxy=proxy, scratch=tmp_path)
        emulator.control.set_tokens(lifetime=LIFETIME)
        made.configure()
        yield made


def test_a_reader_never_finds_an_expired_token(installed: Installed) -> None:
    control = installed.emulator.control
    begin = time.time()
    end, least, held = begin + SECONDS, float(LIFETIME), set()
    while time.time() < end:
        run = installed("fetch", "gcloud", traced=False)
        assert run.code == 0, run.errors
        if run.output:
            installed("write", traced=False)
        password = tomllib.loads(installed.auth.read_text())["http-basic"]["from-gcloud"]["password"]
        expiry = {token.value: token.expires_at for token in control.tokens()}[password]
        least = min(least, expiry - time.time())
        held.add(password)
        time.sleep(0.2)
    assert least > 0
    earliest = 0.4 * (LIFETIME - 1)  # what the program leaves of a lifetime at most before it asks again
    assert 1 + SECONDS // LIFETIME <= len(held) <= 2 + SECONDS // earliest
    installed.check_secrecy()


def test_a_refresh_is_one_call_of_gcloud(installed: Installed) -> None:
    """gcloud itself asks for an identity token too; with less than 5 minutes left, twice for both."""
    control = installed.emulator.control
    control.set_tokens(lifetime=2000)
    installed("fetch", "gcloud", "--now")
    begin = time.time()
    assert installed("fetch", "gcloud", "--now").output
    assert len([seen for seen in control.requests(since=begin) if seen.target == "token"]) <= 2
    trace = installed.seen[-1]
    starts = [line for line in trace.splitlines() if "config-helper" in line and "/gcloud.py" in line]
    assert len(starts) == (1 if trace else 0)


def test_a_tick_with_nothing_to_do_does_not_start_gcloud(installed: Installed) -> None:
    assert installed("fetch", "gcloud").code == 0
    installed.seen.clear()
    assert installed("fetch", "gcloud").code == 0
    assert "CLOUDSDK" not in "".join(installed.seen)
