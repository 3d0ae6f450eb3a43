# SPDX-License-Identifier: GPL-3.0-or-later
"""What the emulator presents to clients: certificates for all names, bad ones on demand, and its date."""

from __future__ import annotations

import email.utils
import http.client
import socket
import ssl
import time
from collections.abc import Iterator

import pytest

from lab.emulator.client import ControlError
from lab.emulator.launch import Emulator, start
from lab.emulator.records import CERTIFICATES


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    state = tmp_path_factory.mktemp("emulator")
    with start(state, "--metadata", "127.0.0.1:0", "--https", "127.0.0.1:0") as emulator:
        yield emulator


@pytest.fixture
def emulator(running: Emulator) -> Iterator[Emulator]:
    yield running
    running.control.set_certificate("valid")
    running.control.set_date_skew(0)
    running.control.set_clock(0)
    running.control.clear_faults()


def shake_hands(emulator: Emulator, name: str) -> None:
    context = ssl.create_default_context(cafile=str(emulator.ca))
    address, _, port = emulator.https[0].rpartition(":")
    with (
        socket.create_connection((address, int(port)), timeout=5) as connection,
        context.wrap_socket(connection, server_hostname=name),
    ):
        pass


@pytest.mark.parametrize(
    "name",
    [
        *(
            f"{place}-python.pkg.dev"
            for place in ("europe-west1", "us-central1", "us", "europe", "asia-east1")
        ),
        "moon-base1-python.pkg.dev",
        "oauth2.googleapis.com",
        "sts.googleapis.com",
        "iamcredentials.googleapis.com",
        "packages.cloud.google.com",
        "localhost",
        "127.0.0.1",
    ],
)
def test_the_certificate_is_for_all_names(emulator: Emulator, name: str) -> None:
    shake_hands(emulator, name)


@pytest.mark.parametrize("name", ["a.b-python.pkg.dev", "us-python.pkg.dev.example.com", "example.com"])
def test_the_certificate_is_for_no_other_name(emulator: Emulator, name: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(emulator, name)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("expired", "certificate has expired"),
        ("wrong_name", "Hostname mismatch"),
        ("untrusted", "unable to get local issuer certificate"),
    ],
)
def test_a_bad_certificate_is_presented(emulator: Emulator, kind: str, message: str) -> None:
    assert kind in CERTIFICATES
    emulator.control.set_certificate(kind)
    with pytest.raises(ssl.SSLCertVerificationError, match=message):
        shake_hands(emulator, "us-python.pkg.dev")
    emulator.control.set_certificate("valid")
    shake_hands(emulator, "us-python.pkg.dev")


def test_only_a_known_certificate_is_presented(emulator: Emulator) -> None:
    with pytest.raises(ControlError, match="need one of valid, expired"):
        emulator.control.set_certificate("golden")


def dates(emulator: Emulator) -> list[float]:
    """Return how far ahead the dates are of an answer of the metadata server, and of the index."""
    context = ssl.create_default_context(cafile=str(emulator.ca))
    ahead = []
    for connection, path in (
        (http.client.HTTPConnection(emulator.metadata[0], timeout=5), "/"),
        (http.client.HTTPSConnection(emulator.https[0], timeout=5, context=context), "/p/r/simple/"),
    ):
        connection.request("GET", path)
        response = connection.getresponse()
        (date,) = response.headers.get_all("Date", [])
        ahead.append(email.utils.parsedate_to_datetime(date).timestamp() - time.time())
        connection.close()
    return ahead


@pytest.mark.parametrize("skew", [0, 7200, -7200])
def test_the_date_of_all_answers(emulator: Emulator, skew: int) -> None:
    emulator.control.set_date_skew(skew)
    assert dates(emulator) == [pytest.approx(skew, abs=3)] * 2
    emulator.control.set_fault("metadata", "status:503")
    emulator.control.set_fault("index", "html")
    assert dates(emulator) == [pytest.approx(skew, abs=3)] * 2


def test_the_date_follows_the_clock(emulator: Emulator) -> None:
    emulator.control.set_clock(3600)
    emulator.control.set_date_skew(60)
    assert dates(emulator) == [pytest.approx(3660, abs=3)] * 2
