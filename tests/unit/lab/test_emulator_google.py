# SPDX-License-Identifier: GPL-3.0-or-later
"""The running emulator: metadata server, token endpoint, fault switches, asked as clients ask them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
import requests

from lab.emulator.client import ControlError
from lab.emulator.launch import Emulator, start
from lab.emulator.records import DEFAULT_ACCOUNT

ACCOUNT = "/computeMetadata/v1/instance/service-accounts/default"
FLAVOR = {"Metadata-Flavor": "Google"}
ROBOT = "robot@demo-project.iam.gserviceaccount.com"
Get = Callable[..., requests.Response]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    state = tmp_path_factory.mktemp("emulator")
    with start(state, "--metadata", "127.0.0.1:0", "--https", "127.0.0.1:0") as emulator:
        yield emulator


@pytest.fixture
def emulator(running: Emulator) -> Emulator:
    running.control.clear_faults()
    running.control.set_tokens(lifetime=3600, window=300)
    running.control.expire_all()
    return running


@pytest.fixture
def session(emulator: Emulator) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(emulator.ca)
        yield session


@pytest.fixture
def get(emulator: Emulator, session: requests.Session) -> Get:
    def get(path: str, *, headers: dict[str, str] | None = None, timeout: float = 5) -> requests.Response:
        url = f"http://{emulator.metadata[0]}{path}"
        sent = FLAVOR if headers is None else headers
        return session.get(url, headers=sent, timeout=timeout, allow_redirects=False)

    return get


@pytest.fixture
def token_uri(emulator: Emulator) -> str:
    return f"https://localhost:{emulator.https[0].rpartition(':')[2]}/token"


@pytest.mark.parametrize(
    "headers", [{}, {"Metadata-Flavor": "google"}, {**FLAVOR, "X-Forwarded-For": "10.0.0.1"}]
)
def test_metadata_wants_its_header(get: Get, headers: dict[str, str]) -> None:
    response = get(f"{ACCOUNT}/email", headers=headers)
    assert response.status_code == 403
    assert response.headers["Metadata-Flavor"] == "Google"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/", "computeMetadata/\n"),
        ("/computeMetadata/v1/", "instance/\nproject/\nuniverse/\n"),
        ("/computeMetadata/v1/project/project-id", "demo-project"),
        ("/computeMetadata/v1/project/numeric-project-id", "123456789012"),
        ("/computeMetadata/v1/universe/universe-domain", "googleapis.com"),
        ("/computeMetadata/v1/instance/zone", "projects/123456789012/zones/europe-west1-b"),
        ("/computeMetadata/v1/instance/service-accounts/", f"default/\n{DEFAULT_ACCOUNT}/\n"),
        (f"{ACCOUNT}/", "aliases\nemail\nidentity\nscopes\ntoken\n"),
        (f"{ACCOUNT}/email", DEFAULT_ACCOUNT),
    ],
)
def test_metadata_values(get: Get, path: str, text: str) -> None:
    response = get(path)
    assert (response.status_code, response.text) == (200, text)
    assert response.headers["Metadata-Flavor"] == "Google"
    assert response.headers["Server"] == "Metadata Server for VM"


def test_metadata_account_as_json(get: Get) -> None:
    content = get(f"{ACCOUNT}/?recursive=true").json()
    assert set(content) == {"aliases", "email", "scopes"}
    assert get(f"{ACCOUNT.replace('default', DEFAULT_ACCOUNT)}/?recursive=True").json() == content


@pytest.mark.parametrize(
    "path", ["/computeMetadata/v1/instance/attributes/x", "/latest/meta-data", f"{ACCOUNT}/email/x"]
)
def test_metadata_does_not_know_the_rest(get: Get, path: str) -> None:
    response = get(path)
    assert response.status_code == 404
    assert "was not found on this server" in response.text
    assert response.headers["Metadata-Flavor"] == "Google"


def test_metadata_identity_token_has_the_audience(get: Get) -> None:
    assert get(f"{ACCOUNT}/identity").status_code == 400
    assert get(f"{ACCOUNT}/identity?audience=https://x.example").text.count(".") == 2


def test_metadata_token_is_cached_until_its_window(emulator: Emulator, get: Get) -> None:
    first = get(f"{ACCOUNT}/token").json()
    assert first["token_type"] == "Bearer"
    assert 3590 <= first["expires_in"] <= 3600
    assert get(f"{ACCOUNT}/token").json()["access_token"] == first["access_token"]
    emulator.control.set_tokens(window=3600)
    assert get(f"{ACCOUNT}/token").json()["access_token"] != first["access_token"]


@pytest.mark.parametrize("end", ["expire_all", "revoke_all"])
def test_metadata_token_is_new_after_the_old_one_ended(emulator: Emulator, get: Get, end: str) -> None:
    first = get(f"{ACCOUNT}/token").json()["access_token"]
    getattr(emulator.control, end)()
    assert get(f"{ACCOUNT}/token").json()["access_token"] != first


@pytest.mark.parametrize(
    ("mode", "check"),
    [
        ("status:503", lambda r: r.status_code == 503 and r.headers["Retry-After"] == "1"),
        ("status:404", lambda r: r.status_code == 404 and r.headers["Metadata-Flavor"] == "Google"),
        ("html", lambda r: r.text.startswith("<!DOCTYPE html>")),
        ("truncated", lambda r: r.text.startswith('{"access_token"') and not r.text.endswith("}")),
        ("huge", lambda r: len(r.content) > 10_000_000),
        (
            "redirect",
            lambda r: r.status_code == 302 and r.headers["Location"] == f"{ACCOUNT}/token/redirected",
        ),
        ("no_flavor", lambda r: r.json()["expires_in"] and "Metadata-Flavor" not in r.headers),
        ('json:{"access_token": 3}', lambda r: r.text == '{"access_token": 3}'),
        ("json:", lambda r: r.text == ""),
    ],
)
def test_fault_modes(
    emulator: Emulator, get: Get, mode: str, check: Callable[[requests.Response], bool]
) -> None:
    emulator.control.set_fault("metadata", mode, count=1, path="/token")
    assert get(f"{ACCOUNT}/email").text == DEFAULT_ACCOUNT
    assert check(get(f"{ACCOUNT}/token"))
    assert get(f"{ACCOUNT}/token").json()["token_type"] == "Bearer"


def test_a_hanging_fault_never_answers(emulator: Emulator, get: Get) -> None:
    emulator.control.set_fault("metadata", "hang")
    with pytest.raises(requests.ReadTimeout):
        get("/", timeout=0.2)
    emulator.control.set_fault("metadata", "ok")
    assert get("/").status_code == 200


def test_a_slow_fault_sends_one_byte_a_second(emulator: Emulator, session: requests.Session) -> None:
    emulator.control.set_fault("metadata", "slow")
    url = f"http://{emulator.metadata[0]}/computeMetadata/v1/project/project-id"
    began = time.monotonic()
    with session.get(url, headers=FLAVOR, stream=True, timeout=5) as response:
        content = response.iter_content(1)
        assert next(content) + next(content) == b"de"
    assert 0.9 < time.monotonic() - began < 3


@pytest.mark.parametrize(("target", "mode"), [("moon", "ok"), ("token", "explode"), ("token", "status:oops")])
def test_unknown_faults_are_refused(emulator: Emulator, target: str, mode: str) -> None:
    with pytest.raises(ControlError, match="need"):
        emulator.control.set_fault(target, mode)


def test_requests_are_recorded_without_the_token(emulator: Emulator, get: Get) -> None:
    since = time.time()
    token = get(f"{ACCOUNT}/token").json()["access_token"]
    (seen,) = emulator.control.requests(since=since, target="metadata")
    assert (seen.method, seen.path, seen.status) == ("GET", f"{ACCOUNT}/token", 200)
    assert seen.identity == DEFAULT_ACCOUNT
    assert emulator.control.requests(since=since, target="index") == []
    assert token not in (emulator.state / "log").read_text()


def test_statistics_count_tokens(emulator: Emulator) -> None:
    before = emulator.control.stats()
    token = emulator.control.issue("someone@example.com")
    after = emulator.control.stats()
    assert after.issued.get("someone@example.com", 0) == before.issued.get("someone@example.com", 0) + 1
    assert after.valid == before.valid + 1
    assert [issued.value for issued in emulator.control.tokens() if issued.valid] == [token]


def test_google_auth_gets_metadata_credentials(emulator: Emulator) -> None:
    pytest.importorskip("google.auth")
    code = """
import google.auth, google.auth.transport.requests
credentials, project = google.auth.default()
credentials.refresh(google.auth.transport.requests.Request())
print(project, credentials.service_account_email, credentials.token)
"""
    address = emulator.metadata[0]
    home = str(emulator.state)  # no login of the person who runs the tests
    environment = {"PATH": os.environ["PATH"], "HOME": home, "CLOUDSDK_CONFIG": home}
    environment |= {"GCE_METADATA_HOST": address, "GCE_METADATA_IP": address}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr
    project, email, token = done.stdout.split()
    assert (project, email) == ("demo-project", DEFAULT_ACCOUNT)
    assert token in [issued.value for issued in emulator.control.tokens() if issued.valid]


def test_google_auth_gets_tokens_for_a_key(
    emulator: Emulator, session: requests.Session, token_uri: str
) -> None:
    pytest.importorskip("google.auth")
    from google.auth import exceptions
    from google.auth.transport.requests import Request
    from google.oauth2 import service_account

    key = emulator.control.create_key(ROBOT, token_uri=token_uri)
    assert json.loads(json.dumps(key))["type"] == "service_account"
    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
    credentials = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
        key, scopes=scopes
    )
    credentials.refresh(Request(session))
    (issued,) = [token for token in emulator.control.tokens() if token.valid]
    assert (issued.value, issued.identity) == (credentials.token, ROBOT)

    identity = service_account.IDTokenCredentials.from_service_account_info(  # type: ignore[no-untyped-call]
        key, target_audience="https://x.example"
    )
    identity.refresh(Request(session))
    assert identity.token.count(".") == 2

    emulator.control.delete_keys(ROBOT)
    emulator.control.create_key(ROBOT)
    with pytest.raises(exceptions.RefreshError, match="Invalid JWT Signature"):
        credentials.refresh(Request(session))
    emulator.control.delete_keys(ROBOT)
    with pytest.raises(exceptions.RefreshError, match="account not found"):
        credentials.refresh(Request(session))


def test_a_refresh_token_is_a_users_login(
    emulator: Emulator, session: requests.Session, token_uri: str
) -> None:
    emulator.control.register_refresh_token(
        "1//lab", email="dev@example.com", client_id="id", client_secret="s"
    )
    form = {"grant_type": "refresh_token", "refresh_token": "1//lab", "client_id": "id", "client_secret": "s"}
    answer = session.post(token_uri, data=form, timeout=5).json()
    assert {"access_token", "expires_in", "id_token", "token_type"} == set(answer)
    (issued,) = [token for token in emulator.control.tokens() if token.valid]
    assert (issued.value, issued.identity) == (answer["access_token"], "dev@example.com")

    wrong = session.post(token_uri, data={**form, "client_secret": "x"}, timeout=5)
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")
    emulator.control.delete_refresh_token("1//lab")
    gone = session.post(token_uri, data=form, timeout=5)
    assert (gone.status_code, gone.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "unsupported_grant_type"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "x"}, "invalid_grant"),
    ],
)
def test_other_grants_are_refused(
    session: requests.Session, token_uri: str, form: dict[str, str], error: str
) -> None:
    response = session.post(token_uri, data=form, timeout=5)
    assert (response.status_code, response.json()["error"]) == (400, error)
