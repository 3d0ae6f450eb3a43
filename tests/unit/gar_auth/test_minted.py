# SPDX-License-Identifier: GPL-3.0-or-later
"""Minting by google-auth against the emulated Google: every kind of credentials, and every refusal."""

from __future__ import annotations

import http.server
import json
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tokens.proxy import Proxy

from gar_auth import source, transport
from gar_auth.config import Config, Identity
from gar_auth.errors import Exit, Failure, Reason
from gar_auth.source import Reply
from gar_auth.transport import Answer, Transport
from lab.emulator.launch import Emulator
from lab.emulator.records import principal

ROBOT = "robot@demo-project.iam.gserviceaccount.com"
TARGET = "publisher@demo-project.iam.gserviceaccount.com"
PERSON = "dev@example.com"
AUDIENCE = (
    "//iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/ci/providers/runner"
)
CONFIG = Config(identities={}, repositories=(), users=(), config_dir="", shared_run_dir=None)

pytestmark = pytest.mark.usefixtures("internet")

Put = Callable[..., str]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Write a private file and return its path."""

    def put(content: object, *, name: str = "credentials.json") -> str:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        path.chmod(0o600)
        return str(path)

    return put


@pytest.fixture(scope="module")
def key(running: Emulator) -> dict[str, str]:
    return running.control.create_key(ROBOT)


@pytest.fixture
def robot(put: Put, key: dict[str, str]) -> Identity:
    return Identity(name="ci", type="service_account_key", file=put(key))


@pytest.fixture
def person(running: Emulator, put: Put) -> Identity:
    return Identity(name="dev", type="adc", file=put(running.control.authorized_user(PERSON)))


@pytest.fixture
def workload(running: Emulator, put: Put) -> Identity:
    subject = put(running.control.create_subject_token("runner-1", AUDIENCE), name="subject")
    made = running.control.external_account(subject, audience=AUDIENCE)
    return Identity(name="wif", type="external_account", file=put(made))


def request(identity: Identity, **more: Any) -> Reply:
    return source.request(identity, config=CONFIG, **more)


def failure(identity: Identity, **more: Any) -> Failure:
    with pytest.raises(Failure) as caught:
        request(identity, **more)
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None, "no traceback shows a reply"
    return caught.value


def whose(running: Emulator, reply: Reply) -> str:
    (issued,) = [token for token in running.control.tokens() if token.value == reply.token and token.valid]
    return issued.identity


def impersonating(identity: Identity, **more: Any) -> Identity:
    fields = {**identity.__dict__, "impersonate_service_account": TARGET, **more}
    return Identity(**fields)


def test_a_service_accounts_key(running: Emulator, robot: Identity) -> None:
    reply = request(robot)
    assert (whose(running, reply), reply.account) == (ROBOT, ROBOT)
    assert 3595 <= reply.lifetime <= 3600
    assert reply.token not in repr(reply)
    assert request(robot).token != reply.token


def test_a_users_login(running: Emulator, person: Identity) -> None:
    reply = request(person)
    assert whose(running, reply) == PERSON
    assert 3595 <= reply.lifetime <= 3600


def test_a_key_as_application_default_credentials(running: Emulator, robot: Identity) -> None:
    assert whose(running, request(Identity(name="adc", type="adc", file=robot.file))) == ROBOT


def test_a_workloads_identity(running: Emulator, workload: Identity) -> None:
    reply = request(workload)
    assert whose(running, reply) == principal(AUDIENCE, "runner-1")
    assert 3595 <= reply.lifetime <= 3600


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_subject_token_that_is_handed_over(
    running: Emulator,
    workload: Identity,
    put: Put,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    form: str,
) -> None:
    info = json.loads(Path(workload.file or "").read_text())
    subject = Path(info["credential_source"]["file"])
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    token = subject.read_text()
    subject.unlink()
    if form == "json":
        info["credential_source"]["format"] = {"type": "json", "subject_token_field_name": "value"}
        token = json.dumps({"value": token})
    (credentials / "source").write_text(json.dumps(info))
    (credentials / "subject").write_text(token)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    identity = Identity(
        name="wif", type="external_account", file=workload.file, subject_token_file=str(subject)
    )
    assert whose(running, request(identity)) == principal(AUDIENCE, "runner-1")


def test_a_workload_that_impersonates_by_its_own_file(running: Emulator, put: Put) -> None:
    running.control.grant(principal(AUDIENCE, "runner-1"), TARGET)
    subject = put(running.control.create_subject_token("runner-1", AUDIENCE), name="subject")
    made = running.control.external_account(subject, audience=AUDIENCE, impersonate=TARGET, lifetime=1200)
    reply = request(Identity(name="wif", type="external_account", file=put(made)))
    assert (whose(running, reply), reply.account) == (TARGET, TARGET)
    assert 1190 <= reply.lifetime <= 1200


@pytest.mark.parametrize("base", ["robot", "person", "workload"])
def test_impersonation_on_top_of_any_source(
    running: Emulator, request: pytest.FixtureRequest, base: str
) -> None:
    identity: Identity = request.getfixturevalue(base)
    for caller in (ROBOT, PERSON, principal(AUDIENCE, "runner-1")):
        running.control.grant(caller, TARGET)
    reply = source.request(impersonating(identity, lifetime=900), config=CONFIG)
    assert (whose(running, reply), reply.account) == (TARGET, TARGET)
    assert 890 <= reply.lifetime <= 900


def test_impersonation_on_top_of_the_machines_account(google: Emulator) -> None:
    machine = "dev-vm@demo-project.iam.gserviceaccount.com"
    google.control.grant(machine, TARGET)
    reply = request(impersonating(Identity(name="default", account="default")))
    assert whose(google, reply) == TARGET
    google.control.revoke_grant(machine, TARGET)


def test_a_lifetime_that_the_organisation_allows(running: Emulator, robot: Identity) -> None:
    target = "long@demo-project.iam.gserviceaccount.com"
    running.control.grant(ROBOT, target)
    identity = impersonating(robot, impersonate_service_account=target, lifetime=43200)
    problem = failure(identity)
    assert problem.code == Exit.CONFIGURATION
    assert str(problem).startswith(f"tokens of {target} may not live 43200 s; set lifetime to 3600")
    running.control.allow_long_lifetime(target)
    assert 43190 <= request(identity).lifetime <= 43200


def test_impersonation_that_is_denied_names_the_role(running: Emulator, robot: Identity) -> None:
    running.control.revoke_grant(ROBOT, TARGET)
    problem = failure(impersonating(robot))
    role = "roles/iam.serviceAccountTokenCreator"
    assert str(problem) == f"{ROBOT} may not impersonate {TARGET}; grant {role} on {TARGET} to {ROBOT}"
    assert (problem.code, problem.reason) == (Exit.CONFIGURATION, Reason.REFUSED)


def test_a_key_that_was_deleted(running: Emulator, put: Put) -> None:
    gone = "gone@demo-project.iam.gserviceaccount.com"
    path = put(running.control.create_key(gone))
    identity = Identity(name="ci", type="service_account_key", file=path)
    running.control.disable_keys(gone)
    problem = failure(identity)
    make = f"make a new key: gcloud iam service-accounts keys create {path} --iam-account={gone}"
    expected = f"{path} is refused by Google (invalid_grant): the key was deleted or disabled; {make}"
    assert str(problem) == expected
    assert (problem.code, problem.reason) == (Exit.CONFIGURATION, Reason.BAD_KEY)
    running.control.delete_keys(gone)
    problem = failure(identity)
    assert str(problem).startswith(f"the service account of {path} does not exist (any more)")
    assert (problem.code, problem.reason) == (Exit.CONFIGURATION, Reason.NO_ACCOUNT)


def test_a_login_that_has_expired(running: Emulator, person: Identity) -> None:
    running.control.revoke_logins(PERSON)
    problem = failure(person)
    command = "run `gcloud auth application-default login` and put the new file there"
    assert str(problem) == f"the login in {person.file} has expired or was revoked; {command}"
    assert (problem.code, problem.reason) == (Exit.CONFIGURATION, Reason.LOGIN_EXPIRED)


def test_a_subject_token_that_has_expired_may_be_renewed(running: Emulator, put: Put) -> None:
    subject = put(running.control.create_subject_token("runner-1", AUDIENCE, lifetime=-4000), name="subject")
    made = running.control.external_account(subject, audience=AUDIENCE)
    problem = failure(Identity(name="wif", type="external_account", file=put(made)))
    assert "has expired; see to it that its issuer renews it" in str(problem)
    assert (problem.code, problem.reason) == (Exit.TEMPORARY, Reason.REFUSED)


def test_a_workload_that_google_does_not_know(running: Emulator, put: Put) -> None:
    audience = AUDIENCE.replace("/ci/", "/other/")
    subject = put(running.control.create_subject_token("runner-1", audience), name="subject")
    running.control.delete_provider(audience)
    made = running.control.external_account(subject, audience=audience)
    path = put(made)
    problem = failure(Identity(name="wif", type="external_account", file=path))
    assert str(problem).startswith(
        f"the token exchange of {path} is refused (invalid_target); check the pool's"
    )
    assert problem.code == Exit.CONFIGURATION


def test_a_subject_token_that_is_missing(workload: Identity) -> None:
    info = json.loads(Path(workload.file or "").read_text())
    os.unlink(info["credential_source"]["file"])
    problem = failure(workload)
    named = info["credential_source"]["file"]
    assert str(problem).startswith(
        f"{named} holds no subject token that can be read; check credential_source"
    )
    assert (problem.code, problem.reason) == (Exit.CONFIGURATION, Reason.FILE)


CANARY = "canary-in-a-file"


@pytest.mark.parametrize(
    ("kind", "content", "found"),
    [
        ("service_account_key", "", "is not JSON"),
        ("service_account_key", CANARY, "is not JSON"),
        ("service_account_key", "[" * 60_000, "is not JSON"),
        ("service_account_key", "\x00", "is not JSON"),
        ("service_account_key", "null", "holds no credentials of Google"),
        ("service_account_key", [CANARY], "holds no credentials of Google"),
        ("service_account_key", {"type": CANARY}, "holds no credentials of Google"),
        ("service_account_key", {"type": [CANARY]}, "holds no credentials of Google"),
        ("service_account_key", {"type": "authorized_user"}, "is of type authorized_user"),
        ("service_account_key", {"type": "service_account"}, "is no usable service_account"),
        ("external_account", {"type": "service_account"}, "is of type service_account"),
        ("external_account", {"type": "external_account"}, "is no usable external_account"),
        (
            "external_account",
            {"type": "external_account", "credential_source": 3},
            "is no usable external_account",
        ),
        (
            "external_account",
            {"type": "external_account", "credential_source": {"executable": {"command": CANARY}}},
            "names a program, which is not run here",
        ),
        ("adc", {"type": "gdch_service_account"}, "holds no credentials of Google"),
        ("adc", {"type": "authorized_user", "refresh_token": CANARY}, "is no usable authorized_user"),
        (
            "adc",
            {"type": "external_account_authorized_user"},
            "is no usable external_account_authorized_user",
        ),
        ("adc", {"type": "impersonated_service_account"}, "is no usable impersonated_service_account"),
    ],
)
def test_a_file_that_holds_no_such_credentials_is_not_echoed(
    put: Put, internet: Proxy, kind: str, content: object, found: str
) -> None:
    path = put(content)
    problem = failure(Identity(name="ci", type=kind, file=path))
    assert str(problem).startswith(f"{path} {found}; ")
    assert CANARY not in str(problem)
    assert (problem.code, problem.reason) == (Exit.CONFIGURATION, Reason.BAD_KEY)
    assert internet.asked == []


@pytest.mark.parametrize(
    "spoilt", ["-----BEGIN PRIVATE KEY-----\nMIIcanary\n-----END PRIVATE KEY-----\n", "canary", "", 3]
)
def test_a_key_that_is_damaged_is_not_echoed(put: Put, key: dict[str, str], spoilt: object) -> None:
    path = put({**key, "private_key": spoilt})
    problem = failure(Identity(name="ci", type="service_account_key", file=path))
    assert str(problem).startswith(f"{path} is no usable service_account; make a new key: gcloud iam ")
    assert "canary" not in str(problem)
    assert problem.reason == Reason.BAD_KEY


def test_a_key_with_an_address_that_is_not_safe_sends_nothing(
    put: Put, key: dict[str, str], internet: Proxy
) -> None:
    path = put({**key, "token_uri": "http://oauth2.googleapis.com/token"})
    problem = failure(Identity(name="ci", type="service_account_key", file=path))
    assert "without https for 'oauth2.googleapis.com'" in str(problem)
    assert problem.code == Exit.CONFIGURATION
    assert internet.asked == []


NEAR = [
    "localhost",
    "127.0.0.1",
    "127.8.8.8",
    "[::1]",
    "169.254.169.254",
    "169.254.170.2",
    "[fe80::1]",
    "[fd00:ec2::254]",
]
FAR = [
    "www.example.com",
    "metadata",
    "10.0.0.1",
    "[fd00:ec2::255]",
    "0x7f000001",
    "127.0.0.1.example.com",
    "",
]


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
def test_plain_http_goes_to_the_machine_and_its_cloud_only(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def answered(_self: Transport, _url: str, host: str, *_arguments: object, **_options: object) -> Answer:
        return Answer(host, 200, {}, b"")

    monkeypatch.setattr(Transport, "_send", answered)
    for host in NEAR:
        assert Transport()(f"http://{host}/latest/api/token", method).status == 200
    urls = [f"http://{host}/x" for host in FAR] + ["http://127.0.0.1@example.com/x", "ftp://127.0.0.1/", "x"]
    for url in urls:
        with pytest.raises(Failure, match="without https") as caught:
            Transport()(url, method)
        assert (caught.value.code, caught.value.reason) == (Exit.CONFIGURATION, Reason.BAD_KEY)


class Amazon(http.server.BaseHTTPRequestHandler):
    """What a machine of Amazon's asks, version 2: a session first, by PUT."""

    asked: ClassVar[list[str]] = []

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        key = {"AccessKeyId": "a", "SecretAccessKey": "s", "Token": "t"}
        known = {
            "/session": "session",
            "/zone": "eu-west-1a",
            "/roles": "builder",
            "/roles/builder": json.dumps(key),
        }
        allowed = self.command == "PUT" or self.headers["X-aws-ec2-metadata-token"] == "session"
        self.send_response(200 if allowed else 401)
        self.end_headers()
        self.wfile.write(known[self.path].encode())

    do_GET = do_PUT = answer  # noqa: N815 - as the library calls them


def test_a_workload_at_amazon(running: Emulator, put: Put) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Amazon) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        made = {
            "type": "external_account",
            "audience": AUDIENCE,
            "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request",
            "token_url": "https://sts.googleapis.com/v1/token",
            "credential_source": {
                "environment_id": "aws1",
                "region_url": f"{url}/zone",
                "url": f"{url}/roles",
                "regional_cred_verification_url": "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity",
                "imdsv2_session_token_url": f"{url}/session",
            },
        }
        problem = failure(Identity(name="aws", type="external_account", file=put(made)))
        server.shutdown()
    assert set(Amazon.asked) == {"PUT /session", "GET /zone", "GET /roles", "GET /roles/builder"}
    assert "the token exchange of" in str(problem), "which the emulator does not do for Amazon"


HOST = "oauth2.googleapis.com"


def asked(running: Emulator, *, since: float) -> list[int]:
    return [seen.status for seen in running.control.requests(since=since, target="token")]


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_an_endpoint_in_trouble_is_asked_again(
    running: Emulator, robot: Identity, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    monkeypatch.setattr(transport, "TOTAL_SECONDS", 20.0)
    start = time.time()
    running.control.set_fault("token", f"status:{status}", count=2)
    assert whose(running, request(robot)) == ROBOT
    assert asked(running, since=start) == [status, status, 200]
    assert pauses == ([1.0, 1.0] if status in (429, 503) else [0.01, 0.02]), "Retry-After: 1 is obeyed"


def test_an_endpoint_that_stays_in_trouble_is_asked_three_times(running: Emulator, robot: Identity) -> None:
    start = time.time()
    running.control.set_fault("token", "status:500")
    problem = failure(robot)
    assert str(problem) == f"{HOST} answers 500 (3 tries); the next run tries again"
    assert (problem.code, problem.reason) == (Exit.TEMPORARY, Reason.UNREACHABLE)
    assert asked(running, since=start) == [500] * 3


@pytest.mark.parametrize("fault", ["hang", "slow"])
def test_an_endpoint_that_hangs_or_drips_keeps_us_only_so_long(
    running: Emulator, robot: Identity, fault: str
) -> None:
    running.control.set_fault("token", fault)
    start = time.monotonic()
    problem = failure(robot)
    assert time.monotonic() - start < 4
    assert "does not answer in time" in str(problem)
    assert problem.code == Exit.TEMPORARY


@pytest.mark.parametrize(
    ("fault", "message", "code"),
    [
        ("redirect", f"{HOST} redirects (302); check proxy and name resolution", Exit.CONFIGURATION),
        ("huge", f"{HOST} answers more than 64 KiB; check proxy and name resolution", Exit.CONFIGURATION),
        (
            "status:404",
            f"{HOST} answers 404 (LAB); check proxy and name resolution",
            Exit.TEMPORARY,
        ),
        ("html", f"the answer of {HOST} holds no usable token; check the proxy, or wait", Exit.TEMPORARY),
    ],
)
def test_an_endpoint_that_is_not_googles(
    running: Emulator, robot: Identity, fault: str, message: str, code: Exit
) -> None:
    start = time.time()
    running.control.set_fault("token", fault)
    problem = failure(robot)
    assert str(problem).startswith(message)
    assert problem.code == code
    assert len(asked(running, since=start)) == 1, "nor was a redirect followed"


TOKEN = "ya29.c.x"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "[]",
        '"ya29.c.x"',
        "{}",
        {"access_token": TOKEN},
        {"access_token": TOKEN, "expires_in": 0},
        {"access_token": TOKEN, "expires_in": -5},
        {"access_token": TOKEN, "expires_in": "soon"},
        {"access_token": TOKEN, "expires_in": None},
        {"access_token": TOKEN, "expires_in": [1]},
        '{"access_token": "ya29.c.x", "expires_in": NaN}',
        '{"access_token": "ya29.c.x", "expires_in": 1e400}',
        {"access_token": TOKEN, "expires_in": 10**30},
        {"access_token": 3, "expires_in": 3600},
        {"access_token": None, "expires_in": 3600},
        {"access_token": "", "expires_in": 3600},
        {"access_token": "a\nb", "expires_in": 3600},
        {"access_token": "a\x00b", "expires_in": 3600},
        {"access_token": "é", "expires_in": 3600},
        {"access_token": "x" * 16385, "expires_in": 3600},
        {"access_token": [TOKEN], "expires_in": 3600},
    ],
)
@pytest.mark.parametrize("kind", ["robot", "person"])
def test_a_reply_that_holds_no_usable_token_is_never_echoed(
    running: Emulator, request: pytest.FixtureRequest, kind: str, body: object
) -> None:
    identity: Identity = request.getfixturevalue(kind)
    text = body if isinstance(body, str) else json.dumps(body)
    running.control.set_fault("token", f"json:{text}")
    problem = failure(identity)
    assert str(problem).startswith(f"the answer of {HOST} holds no usable token")
    assert (problem.code, problem.reason) == (Exit.TEMPORARY, Reason.BAD_REPLY)


@pytest.mark.parametrize(("stated", "lifetime"), [(30, 30), (10**9, 43200), ("3599", 3599)])
def test_a_lifetime_is_taken_within_limits(
    running: Emulator, robot: Identity, stated: object, lifetime: int
) -> None:
    running.control.set_fault("token", "json:" + json.dumps({"access_token": TOKEN, "expires_in": stated}))
    reply = request(robot)
    assert lifetime - 1 <= reply.lifetime <= lifetime


def test_a_proxy_that_is_not_there(robot: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:hunter2@127.0.0.1:1")
    problem = failure(robot)
    expected = f"the proxy does not let us reach {HOST}; check https_proxy and no_proxy of this service"
    assert str(problem) == f"{expected} (3 tries); the next run tries again"
    assert problem.code == Exit.TEMPORARY


def test_a_proxy_that_refuses(robot: Identity, internet: Proxy) -> None:
    internet.cut = True
    assert "the proxy does not let us reach" in str(failure(robot))


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "http://[", "nonsense://x", "http://ho st"])
def test_a_proxy_that_is_none_is_one_line(
    robot: Identity, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    assert "proxy" in str(failure(robot)) or "cannot be reached" in str(failure(robot))


def test_without_a_proxy_a_name_that_cannot_be_resolved(
    put: Put, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HTTPS_PROXY")
    path = put({**key, "token_uri": "https://no-such-host.invalid/token"})
    problem = failure(Identity(name="ci", type="service_account_key", file=path))
    assert "no-such-host.invalid cannot be reached (its name cannot be resolved)" in str(problem)
    assert problem.code == Exit.TEMPORARY


def test_nobody_listens(put: Put, key: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HTTPS_PROXY")
    path = put({**key, "token_uri": "https://127.0.0.1:1/token"})
    problem = failure(Identity(name="ci", type="service_account_key", file=path))
    assert "127.0.0.1 cannot be reached (Connection refused)" in str(problem)


def test_a_certificate_of_nobody(robot: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    problem = failure(robot)
    assert str(problem).startswith(f"the certificate of {HOST} is not trusted (")
    assert problem.code == Exit.CONFIGURATION


@pytest.mark.parametrize("kind", ["expired", "wrong_name", "untrusted"])
def test_a_certificate_that_is_wrong(running: Emulator, robot: Identity, kind: str) -> None:
    running.control.set_certificate(kind)
    try:
        problem = failure(robot)
    finally:
        running.control.set_certificate("valid")
    assert str(problem).startswith(f"the certificate of {HOST} is not trusted (")
    assert "set REQUESTS_CA_BUNDLE" in str(problem)
    assert problem.code == Exit.CONFIGURATION


def test_an_authority_that_is_not_there(robot: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such.pem")
    problem = failure(robot)
    assert str(problem) == "REQUESTS_CA_BUNDLE is '/no/such.pem', which cannot be read; set it right"
    assert problem.code == Exit.CONFIGURATION


@pytest.mark.parametrize(
    ("name", "expected"), [("REQUESTS_CA_BUNDLE", "own"), ("SSL_CERT_FILE", "own"), ("", "system")]
)
def test_the_authorities_that_are_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, expected: str
) -> None:
    own, system = tmp_path / "own", tmp_path / "system"
    own.touch()
    for other in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setattr(transport, "SYSTEM_BUNDLES", (str(tmp_path / "missing"), str(system)))
    if name:
        monkeypatch.setenv(name, str(own))
    else:
        assert transport.ca_bundle() is True, "then requests' own"
        system.touch()
    assert transport.ca_bundle() == str(tmp_path / expected)


@pytest.mark.parametrize(("seconds", "way"), [(7200, "behind"), (-7200, "ahead")])
def test_a_clock_that_is_off_is_named(
    running: Emulator, put: Put, monkeypatch: pytest.MonkeyPatch, seconds: int, way: str
) -> None:
    late = "late@demo-project.iam.gserviceaccount.com"
    path = put(running.control.create_key(late))
    running.control.set_date_skew(seconds)
    running.control.disable_keys(late)  # Google refuses an assertion of another hour as well
    try:
        problem = failure(Identity(name="ci", type="service_account_key", file=path))
    finally:
        running.control.set_date_skew(0)
    expected = f"this machine's clock is 120 min {way}, so {HOST} refuses us; set it"
    assert str(problem).startswith(expected)
    assert problem.code == Exit.TEMPORARY


@pytest.mark.parametrize("ahead", [-7200, -1800, 0, 1800, 7200])
@pytest.mark.parametrize("dated", [True, False])
@pytest.mark.parametrize("itself", [True, False])
def test_an_end_by_the_clock_of_another_is_no_longer_than_asked_for(
    monkeypatch: pytest.MonkeyPatch, put: Put, ahead: int, dated: bool, itself: bool
) -> None:
    def answered(self: Transport, url: str, **_options: Any) -> Answer:
        end = datetime.now(UTC) + timedelta(seconds=3600 - ahead)
        data = {"accessToken": TOKEN, "expireTime": end.strftime("%Y-%m-%dT%H:%M:%SZ")}
        if "iamcredentials" not in url:  # by seconds, which no clock spoils
            data = {"access_token": "ya29.source", "expires_in": 3600, "token_type": "Bearer"}  # type: ignore[dict-item]
        self.last = Answer("iam", 200, {}, json.dumps(data).encode(), ahead if dated else 0)
        return self.last

    monkeypatch.setattr(Transport, "__call__", answered)
    if itself:
        login = {"type": "authorized_user", "client_id": "x", "client_secret": "x", "refresh_token": "x"}
        url = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken"
        made = {
            "type": "impersonated_service_account",
            "source_credentials": login,
            "service_account_impersonation_url": url,
        }
        minting = Identity(name="x", type="adc", file=put(made))
    else:
        token = put({"access_token": "ya29.source"}, name="token")
        minting = impersonating(Identity(name="x", type="token_file", file=token))
    if not dated and ahead >= 3600:
        assert failure(minting).code == Exit.TEMPORARY
        return
    lifetime = request(minting).lifetime
    expected = 3600 if dated else min(3600, 3600 - ahead)
    assert expected - 2 <= lifetime <= expected


def test_the_deadline_holds_where_nothing_else_does() -> None:
    let_go = threading.Event()
    start = time.monotonic()
    with pytest.raises(Failure, match="too late; the next run tries again") as caught:
        transport.within(0.2, let_go.wait, late="too late")
    let_go.set()
    assert time.monotonic() - start < 2
    assert caught.value.code == Exit.TEMPORARY
    assert transport.within(5, lambda: 3, late="") == 3


def test_a_netrc_file_is_not_read(
    running: Emulator, robot: Identity, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {HOST} login me password {CANARY}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert whose(running, request(robot)) == ROBOT


def test_nothing_is_printed(robot: Identity, running: Emulator, capfd: pytest.CaptureFixture[str]) -> None:
    request(robot)
    running.control.set_fault("token", "status:500")
    failure(robot)
    assert capfd.readouterr() == ("", "")
