# SPDX-License-Identifier: GPL-3.0-or-later
"""The real gcloud against the emulator: a person's login, a workload identity, impersonation."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.emulator.launch import Emulator, start
from lab.emulator.records import principal

AUDIENCE = (
    "//iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/ci/providers/runner"
)
PERSON = "dev@example.com"
TARGET = "publisher@demo-project.iam.gserviceaccount.com"
GCLOUD = shutil.which("gcloud")

pytestmark = pytest.mark.skipif(
    GCLOUD is None, reason="there is no gcloud here; on Debian: apt-get install google-cloud-cli"
)
Gcloud = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    with start(tmp_path / "google", "--metadata", "127.0.0.1:0", "--https", "127.0.0.1:0") as emulator:
        yield emulator


@pytest.fixture
def host(emulator: Emulator) -> str:
    return f"localhost:{emulator.https[0].rpartition(':')[2]}"


@pytest.fixture
def gcloud(emulator: Emulator, host: str, tmp_path: Path) -> Gcloud:
    def gcloud(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        metadata = emulator.metadata[0]
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "LC_ALL": "C.UTF-8",
            "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE": str(emulator.ca),
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
            "CLOUDSDK_AUTH_TOKEN_HOST": f"https://{host}/token",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS": f"https://{host}/",
            "GCE_METADATA_ROOT": metadata,
            "GCE_METADATA_HOST": metadata,
            "GCE_METADATA_IP": metadata,
            "NO_GCE_CHECK": "true",
            **variables,
        }
        return subprocess.run(
            [str(GCLOUD), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )

    return gcloud


def credential(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["credential"]
    return found


def owner(emulator: Emulator, token: str) -> str:
    (issued,) = [issued for issued in emulator.control.tokens() if issued.value == token]
    assert issued.valid
    return issued.identity


def test_a_persons_login(emulator: Emulator, gcloud: Gcloud) -> None:
    login = emulator.control.authorized_user(PERSON)
    client = {
        "CLOUDSDK_AUTH_CLIENT_ID": login["client_id"],
        "CLOUDSDK_AUTH_CLIENT_SECRET": login["client_secret"],
    }
    activated = gcloud("auth", "activate-refresh-token", PERSON, login["refresh_token"], **client)
    assert activated.returncode == 0, activated.stderr
    helper = ("config", "config-helper", "--format=json", f"--account={PERSON}")
    assert owner(emulator, credential(gcloud(*helper))["access_token"]) == PERSON

    emulator.control.grant(PERSON, TARGET)
    token = gcloud("auth", "print-access-token", f"--impersonate-service-account={TARGET}")
    assert owner(emulator, token.stdout.strip()) == TARGET

    assert emulator.control.revoke_logins(PERSON) == 1
    refused = gcloud(*helper, "--force-auth-refresh")
    assert refused.returncode == 1
    assert "invalid_grant: Token has been expired or revoked." in refused.stderr


def test_a_workload_identity(emulator: Emulator, gcloud: Gcloud, host: str, tmp_path: Path) -> None:
    subject, file = tmp_path / "subject", tmp_path / "external.json"
    subject.write_text(emulator.control.create_subject_token("runner", AUDIENCE))
    file.write_text(json.dumps(emulator.control.external_account(str(subject), audience=AUDIENCE, host=host)))
    since = time.time()
    done = gcloud("auth", "login", f"--cred-file={file}")
    assert done.returncode == 0, done.stderr
    assert f"[{principal(AUDIENCE, 'runner')}]" in done.stderr
    seen = emulator.control.requests(since=since, target="sts")
    assert [(request.path, request.status) for request in seen] == [
        ("/v1/token", 200),
        ("/v1/introspect", 200),
    ]
    found = credential(gcloud("config", "config-helper", "--format=json"))
    assert owner(emulator, found["access_token"]) == principal(AUDIENCE, "runner")
