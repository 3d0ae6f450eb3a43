# SPDX-License-Identifier: GPL-3.0-or-later
"""The emulated Artifact Registry and apt repository: upload, list, download, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Iterator

import pytest
import requests

from lab.emulator.client import ControlError
from lab.emulator.launch import Emulator, start

IDENTITY = "dev@example.com"
ROBOT = "robot@demo-project.iam.gserviceaccount.com"
WHEEL = b"not really a wheel"
NAME = "my_private_package-0.1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    apt = tmp_path_factory.mktemp("apt")
    (apt / "doc").mkdir()
    (apt / "doc" / "apt-key.gpg").write_bytes(b"0123456789" * 300_000)
    state = tmp_path_factory.mktemp("emulator")
    addresses = ("--metadata", "127.0.0.1:0", "--https", "127.0.0.1:0")
    with start(state, *addresses, "--apt", str(apt), "--repository", "demo-project/python") as emulator:
        yield emulator


class Client:
    """Somebody with a token, and the addresses of one repository."""

    def __init__(self, emulator: Emulator, token: str, repository: str) -> None:
        self.host = f"https://localhost:{emulator.https[0].rpartition(':')[2]}"
        self.url = f"{self.host}/{repository}/"
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(emulator.ca)
        self.session.auth = ("oauth2accesstoken", token)

    def upload(self, fields: dict[str, str] | None = None, *, data: bytes = WHEEL) -> requests.Response:
        form = {":action": "file_upload", "name": "my-private-package", "version": "0.1.0", "file": NAME}
        form |= fields or {}
        content = (form.pop("file"), data)
        return self.session.post(self.url, data=form, files={"content": content}, timeout=5)

    def get(self, path: str, **options: str) -> requests.Response:
        return self.session.get(f"{self.url}{path}", headers=options, timeout=5)


@pytest.fixture
def client(running: Emulator, request: pytest.FixtureRequest) -> Iterator[Client]:
    running.control.clear_faults()
    running.control.allow_all()
    repository = f"demo-project/{re.sub('[^a-z0-9]', '-', request.node.name.lower())}"
    running.control.create_repository(repository)
    client = Client(running, running.control.issue(IDENTITY), repository)
    yield client
    client.session.close()


def test_an_uploaded_file_is_listed_and_served(client: Client) -> None:
    digests = {
        "sha256_digest": hashlib.sha256(WHEEL).hexdigest(),
        "md5_digest": hashlib.md5(WHEEL, usedforsecurity=False).hexdigest(),
    }
    assert client.upload(digests).status_code == 200
    assert 'href="my-private-package/"' in client.get("simple/").text
    page = client.get("simple/my-private-package/").text
    (link,) = re.findall(r'href="([^"]+)"', page)
    path, _, digest = link.partition("#sha256=")
    assert digest == digests["sha256_digest"]
    assert client.session.get(client.host + path, timeout=5).content == WHEEL


def test_a_second_upload_is_refused_as_google_does(client: Client) -> None:
    client.upload()
    again = client.upload(data=b"other")
    assert (again.status_code, again.text) == (400, "requested entity already exists")
    assert client.get(f"my-private-package/{NAME}").content == WHEEL


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sha256_digest": "0" * 64}, "sha256_digest does not match"),
        ({"md5_digest": "0" * 32}, "md5_digest does not match"),
        ({"file": "../evil-1.0.tar.gz", "name": "evil"}, "invalid file name"),
        ({"file": "evil/../../evil-1.0.tar.gz", "name": "evil"}, "invalid file name"),
        ({"file": "my_private_package-0.1.exe"}, "invalid file name"),
        ({"name": "other"}, "invalid file name"),
        ({"name": ""}, "invalid file name"),
        ({":action": "submit"}, ":action"),
    ],
)
def test_bad_uploads_are_refused(client: Client, fields: dict[str, str], message: str) -> None:
    response = client.upload(fields)
    assert response.status_code == 400
    assert message in response.text
    assert client.get("simple/my-private-package/").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "simple/unknown/",
        "simple/My_Package/",
        "simple/../../x/",
        "unknown/unknown-1.0.tar.gz",
        "no",
        "../none/simple/",
    ],
)
def test_what_is_not_there_is_not_found(client: Client, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    "auth",
    [
        None,
        ("oauth2accesstoken", "ya29.invented"),
        ("oauth2accesstoken", ""),
        ("someone", "TOKEN"),
        ("", "TOKEN"),
    ],
)
def test_only_a_valid_token_enters(client: Client, auth: tuple[str, str] | None) -> None:
    token = client.session.auth[1]  # type: ignore[index]
    client.session.auth = (auth[0], auth[1].replace("TOKEN", token)) if auth else None
    for response in (
        client.get("simple/"),
        client.get("nowhere/at/all"),
        client.upload(data=b"x" * 3_000_000),
    ):
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"].startswith("Basic realm=")
        assert response.text == "The request does not have valid authentication credentials."


@pytest.mark.parametrize("end", ["expire_all", "revoke_all"])
def test_an_ended_token_no_longer_enters(running: Emulator, client: Client, end: str) -> None:
    assert client.get("simple/").status_code == 200
    getattr(running.control, end)()
    assert client.get("simple/").status_code == 401


def test_a_token_ends_with_its_lifetime(running: Emulator, client: Client) -> None:
    running.control.set_tokens(lifetime=0.3)
    client.session.auth = ("oauth2accesstoken", running.control.issue(IDENTITY))
    running.control.set_tokens(lifetime=3600)
    assert client.get("simple/").status_code == 200
    deadline = time.monotonic() + 5
    while client.get("simple/").status_code != 401:
        assert time.monotonic() < deadline


def test_permissions_can_be_denied(running: Emulator, client: Client) -> None:
    running.control.deny(IDENTITY, permission="upload")
    denied = client.upload()
    assert denied.status_code == 403
    assert "artifactregistry.repositories.uploadArtifacts" in denied.text
    assert client.get("simple/").status_code == 200
    running.control.deny(IDENTITY, permission="download")
    assert client.get("simple/").status_code == 403
    with pytest.raises(ControlError, match="need one of"):
        running.control.deny(IDENTITY, permission="fly")


def test_a_refusal_names_permission_and_repository(running: Emulator, client: Client) -> None:
    running.control.deny(IDENTITY, permission="download")
    url = f"{client.url}simple/".replace("localhost", "127.0.0.1")
    for host, location in (("asia-east1-python.pkg.dev", "asia-east1"), ("localhost", "us")):
        refused = client.session.get(url, headers={"Host": host}, timeout=5)
        assert refused.status_code == 403
        resource = f"projects/demo-project/locations/{location}/repositories/{client.url.split('/')[-2]}"
        assert refused.text == (
            f'Permission "artifactregistry.repositories.downloadArtifacts" denied on resource "{resource}" '
            "(or it may not exist)"
        )


def test_a_perimeter_keeps_everybody_out(running: Emulator, client: Client) -> None:
    running.control.set_perimeter(True)
    for answer in (client.get("simple/"), client.upload()):
        assert answer.status_code == 403
        assert answer.text.startswith("Request is prohibited by organization's policy. vpcServiceControls")
    client.session.auth = None
    assert client.get("simple/").status_code == 401
    client.session.auth = ("oauth2accesstoken", running.control.issue(IDENTITY))
    running.control.set_perimeter(False)
    assert client.get("simple/").status_code == 200
    running.control.set_perimeter(True)
    running.control.allow_all()
    assert client.get("simple/").status_code == 200


def test_a_repository_that_is_not_there_is_not_found(running: Emulator, client: Client) -> None:
    url = f"{client.host}/demo-project/nowhere/simple/"
    assert client.session.get(url, timeout=5).status_code == 404


def test_a_bearer_token_enters(running: Emulator, client: Client) -> None:
    client.session.auth = None
    token = running.control.issue(IDENTITY)
    assert client.get("simple/", Authorization=f"Bearer {token}").status_code == 200
    assert client.get("simple/", Authorization="Bearer ya29.invented").status_code == 401
    running.control.revoke_all()
    assert client.get("simple/", Authorization=f"Bearer {token}").status_code == 401


def test_a_registered_key_enters(running: Emulator, client: Client) -> None:
    key = running.control.create_key(ROBOT)
    other = running.control.create_key("other@demo-project.iam.gserviceaccount.com")

    def answer(content: object, *, user: str = "_json_key_base64") -> int:
        text = content if isinstance(content, str) else json.dumps(content)
        client.session.auth = (user, base64.b64encode(text.encode()).decode())
        return client.get("simple/").status_code

    since = time.time()
    assert answer(key) == 200
    (seen,) = running.control.requests(since=since, target="index")
    assert seen.identity == ROBOT
    assert answer(key, user="oauth2accesstoken") == 401
    for wrong in (
        {**key, "private_key": other["private_key"]},
        {**key, "client_email": "none@x.example"},
        {**key, "private_key": "x"},
        {"client_email": ROBOT},
        "[]",
        "no JSON",
    ):
        assert answer(wrong) == 401
    client.session.auth = ("_json_key_base64", json.dumps(key))
    assert client.get("simple/").status_code == 401

    running.control.deny(ROBOT, permission="download")
    assert answer(key) == 403
    running.control.allow_all()
    running.control.disable_keys(ROBOT)
    assert answer(key) == 401


def test_requests_are_recorded_with_the_identity(running: Emulator, client: Client) -> None:
    since = time.time()
    client.get("simple/")
    (seen,) = running.control.requests(since=since, target="index")
    assert (seen.method, seen.status, seen.identity) == ("GET", 200, IDENTITY)
    assert seen.path.endswith("/simple/")


def test_faults_reach_uploads(running: Emulator, client: Client) -> None:
    running.control.set_fault("index", "status:500", count=1)
    assert client.upload(data=b"x" * 3_000_000).status_code == 500
    assert client.upload().status_code == 200


@pytest.mark.parametrize("name", ["python", "a/b/c", "../x", "Demo/python", "/python"])
def test_repository_names_are_checked(running: Emulator, name: str) -> None:
    with pytest.raises(ControlError, match="need PROJECT/REPO"):
        running.control.create_repository(name)


@pytest.mark.parametrize(
    ("host", "path", "status"),
    [
        ("packages.cloud.google.com", "/apt/doc/apt-key.gpg", 200),
        ("packages.cloud.google.com", "/apt/dists/none", 404),
        ("packages.cloud.google.com", "/apt/../../etc/passwd", 404),
        ("europe-west1-python.pkg.dev", "/demo-project/python/simple/", 200),
        ("oauth2.googleapis.com", "/token", 405),
        ("www.example.com", "/", 404),
    ],
)
def test_host_names_choose_the_part(client: Client, host: str, path: str, status: int) -> None:
    response = client.session.get(client.host + path, headers={"Host": host}, timeout=5)
    assert response.status_code == status


def test_apt_files_come_in_ranges(client: Client) -> None:
    headers = {"Host": "packages.cloud.google.com", "Range": "bytes=1000003-1000007"}
    response = client.session.get(f"{client.host}/apt/doc/apt-key.gpg", headers=headers, timeout=5)
    assert (response.status_code, response.content) == (206, b"34567")
    assert response.headers["Content-Range"] == "bytes 1000003-1000007/3000000"
