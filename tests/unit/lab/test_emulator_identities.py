# SPDX-License-Identifier: GPL-3.0-or-later
"""All kinds of credentials of the unmodified google-auth against the emulator, over TLS."""

from __future__ import annotations

import datetime
import json
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from requests.adapters import HTTPAdapter

from lab.emulator.client import ControlError
from lab.emulator.launch import Emulator, start
from lab.emulator.records import DEFAULT_ACCOUNT, principal

pytest.importorskip("google.auth")
from google.auth import compute_engine, exceptions, identity_pool, impersonated_credentials
from google.auth.compute_engine import _metadata
from google.auth.transport.requests import Request
from google.oauth2 import credentials as user_credentials
from google.oauth2 import service_account

POOL = "//iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/ci"
AUDIENCE = f"{POOL}/providers/runner"
ROBOT = "robot@demo-project.iam.gserviceaccount.com"
TARGET = "publisher@demo-project.iam.gserviceaccount.com"
MIDDLE = "broker@demo-project.iam.gserviceaccount.com"
PERSON = "dev@example.com"
SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
STS = "https://sts.googleapis.com/v1/token"
IAM = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken"


class ToEmulator(HTTPAdapter):
    """Leads all of Google's names to the emulator; the names stay in the handshake and in ``Host``."""

    def __init__(self, port: str) -> None:
        super().__init__()
        self._port = port

    def build_connection_pool_key_attributes(self, *arguments: Any, **options: Any) -> Any:
        pool: dict[str, Any]
        host, pool = super().build_connection_pool_key_attributes(*arguments, **options)  # type: ignore[assignment]
        if host["host"] not in ("localhost", "127.0.0.1"):
            pool |= {"server_hostname": host["host"], "assert_hostname": host["host"]}
            host |= {"host": "127.0.0.1", "port": int(self._port)}
        return host, pool

    def add_headers(self, request: requests.PreparedRequest, **_: Any) -> None:
        request.headers["Host"] = str(request.url).split("/")[2]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    state = tmp_path_factory.mktemp("emulator")
    with start(state, "--metadata", "127.0.0.1:0", "--https", "127.0.0.1:0") as emulator:
        yield emulator


@pytest.fixture
def emulator(running: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    control = running.control
    monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", running.metadata[0])  # read when it was imported
    control.revoke_all()
    yield running
    control.clear_faults()
    control.set_tokens(lifetime=3600, window=300)
    control.set_clock(0)
    control.reset_service_accounts()
    control.delete_provider(AUDIENCE)
    control.revoke_logins(PERSON)
    for email in (ROBOT, TARGET):
        control.delete_keys(email)
    for caller in (ROBOT, PERSON, MIDDLE, DEFAULT_ACCOUNT, principal(AUDIENCE, "runner")):
        for target in (TARGET, MIDDLE):
            control.revoke_grant(caller, target)


@pytest.fixture
def session(emulator: Emulator) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(emulator.ca)
        session.mount("https://", ToEmulator(emulator.https[0].rpartition(":")[2]))
        yield session


@pytest.fixture
def refresh(session: requests.Session) -> Callable[[Any], Any]:
    def refresh(credentials: Any) -> Any:
        credentials.refresh(Request(session))
        return credentials

    return refresh


def owner(emulator: Emulator, token: str) -> str:
    """Return whose token this is; it has to be valid."""
    (issued,) = [issued for issued in emulator.control.tokens() if issued.value == token]
    assert issued.valid
    return issued.identity


def key(emulator: Emulator, **options: str) -> Any:
    return service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
        emulator.control.create_key(ROBOT, **options), scopes=SCOPES
    )


def external(
    emulator: Emulator, path: Path, *, subject: str | None = None, local: bool = False, **options: Any
) -> Any:
    path.write_text(subject or emulator.control.create_subject_token("runner", AUDIENCE))
    host = f"localhost:{emulator.https[0].rpartition(':')[2]}" if local else None
    info = emulator.control.external_account(str(path), audience=AUDIENCE, host=host, **options)
    return identity_pool.Credentials.from_info(info, scopes=SCOPES)  # type: ignore[no-untyped-call]


def impersonated(source: Any, *, lifetime: int = 3600, delegates: list[str] | None = None) -> Any:
    return impersonated_credentials.Credentials(  # type: ignore[no-untyped-call]
        source, TARGET, SCOPES, delegates=delegates, lifetime=lifetime
    )


def login(emulator: Emulator) -> Any:
    return user_credentials.Credentials.from_authorized_user_info(  # type: ignore[no-untyped-call]
        emulator.control.authorized_user(PERSON)
    )


def seconds_left(credentials: Any) -> float:
    end = credentials.expiry.replace(tzinfo=datetime.UTC)
    return float((end - datetime.datetime.now(datetime.UTC)).total_seconds())


@pytest.mark.parametrize("local", [False, True])
def test_a_workload_identity(
    emulator: Emulator, refresh: Callable[[Any], Any], tmp_path: Path, local: bool
) -> None:
    credentials = refresh(external(emulator, tmp_path / "subject", local=local))
    assert owner(emulator, credentials.token) == principal(AUDIENCE, "runner")
    assert principal(AUDIENCE, "runner") == f"principal:{POOL}/subject/runner"
    assert 3590 < seconds_left(credentials) <= 3600


@pytest.mark.parametrize("local", [False, True])
def test_a_workload_identity_acts_as_a_service_account(
    emulator: Emulator, refresh: Callable[[Any], Any], tmp_path: Path, local: bool
) -> None:
    emulator.control.grant(principal(AUDIENCE, "runner"), TARGET)
    credentials = external(emulator, tmp_path / "subject", local=local, impersonate=TARGET, lifetime=1200)
    assert credentials.service_account_email == TARGET
    since = time.time()
    refresh(credentials)
    assert owner(emulator, credentials.token) == TARGET
    assert 1190 < seconds_left(credentials) <= 1200
    seen = emulator.control.requests(since=since)
    assert [(request.target, request.status) for request in seen] == [("sts", 200), ("iam", 200)]


def test_a_subject_token_is_read_anew_each_time(
    emulator: Emulator, refresh: Callable[[Any], Any], tmp_path: Path
) -> None:
    credentials = refresh(external(emulator, tmp_path / "subject"))
    (tmp_path / "subject").write_text(emulator.control.create_subject_token("other", AUDIENCE))
    assert owner(emulator, refresh(credentials).token) == principal(AUDIENCE, "other")


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        (
            {"iss": "https://evil.example.com"},
            "The issuer in ID Token https://evil.example.com does not match",
        ),
        ({"aud": "https://x.example"}, r"The audience in ID Token \[https://x.example\] does not match"),
        ({"exp": 1_000_000_000}, "is stale to sign-in"),
        ({"iat": 9_000_000_000}, "is stale to sign-in"),
        ({"sub": None}, "Invalid ID Token"),
    ],
)
def test_a_wrong_subject_token_is_refused(
    emulator: Emulator,
    refresh: Callable[[Any], Any],
    tmp_path: Path,
    claims: dict[str, Any],
    message: str,
) -> None:
    subject = emulator.control.create_subject_token("runner", AUDIENCE, **claims)
    with pytest.raises(exceptions.OAuthError, match=f"invalid_grant: .*{message}"):
        refresh(external(emulator, tmp_path / "subject", subject=subject))


def test_a_subject_token_of_an_expired_lifetime_is_refused(
    emulator: Emulator, refresh: Callable[[Any], Any], tmp_path: Path
) -> None:
    subject = emulator.control.create_subject_token("runner", AUDIENCE, lifetime=-1)
    with pytest.raises(exceptions.OAuthError, match="is stale to sign-in"):
        refresh(external(emulator, tmp_path / "subject", subject=subject))


@pytest.mark.parametrize("subject", ["no token", "a.b.c", "{}"])
def test_a_subject_token_that_is_none_is_refused(
    emulator: Emulator, refresh: Callable[[Any], Any], tmp_path: Path, subject: str
) -> None:
    emulator.control.create_subject_token("runner", AUDIENCE)
    with pytest.raises(exceptions.OAuthError, match="invalid_grant: Unable to parse the ID Token"):
        refresh(external(emulator, tmp_path / "subject", subject=subject))


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_a_provider_of_ones_own_is_believed(
    emulator: Emulator, refresh: Callable[[Any], Any], tmp_path: Path, kind: str
) -> None:
    own, other = (
        rsa.generate_private_key(public_exponent=65537, key_size=2048)
        if kind == "rsa"
        else ec.generate_private_key(ec.SECP256R1())
        for _ in range(2)
    )
    public = own.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    emulator.control.register_provider(
        AUDIENCE, public_key=public.decode(), issuer="https://me.example", allowed_audiences=["gar"]
    )
    now = int(time.time())
    claims = {"iss": "https://me.example", "sub": "runner", "aud": "gar", "iat": now, "exp": now + 60}
    algorithm = {"rsa": "RS256", "ec": "ES256"}[kind]
    credentials = external(
        emulator, tmp_path / "subject", subject=jwt.encode(claims, own, algorithm=algorithm)
    )
    assert owner(emulator, refresh(credentials).token) == principal(AUDIENCE, "runner")

    for forged in (
        jwt.encode(claims, other, algorithm=algorithm),
        jwt.encode(claims, "", algorithm="none"),
        jwt.encode({**claims, "aud": f"https:{AUDIENCE}"}, own, algorithm=algorithm),
    ):
        (tmp_path / "subject").write_text(forged)
        with pytest.raises(exceptions.OAuthError, match="invalid_grant"):
            refresh(credentials)

    emulator.control.delete_provider(AUDIENCE)
    with pytest.raises(exceptions.OAuthError, match="invalid_target: The target service"):
        refresh(credentials)


@pytest.mark.parametrize("audience", ["gar", f"https:{AUDIENCE}", f"{AUDIENCE}/x", f"{POOL}/providers/"])
def test_a_provider_of_another_name_is_refused(emulator: Emulator, audience: str) -> None:
    with pytest.raises(ControlError, match="found the provider"):
        emulator.control.create_subject_token("runner", audience)


def test_a_provider_wants_a_key(emulator: Emulator) -> None:
    with pytest.raises(ControlError, match="the emulator refused register_provider: 400"):
        emulator.control.register_provider(AUDIENCE, public_key="no key", issuer="https://me.example")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"audience": None}, "invalid_request"),
        ({"scope": None}, "invalid_request"),
        ({"subject_token": None}, "invalid_request"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:jwt"}, "invalid_request"),
        ({"subject_token_type": "urn:ietf:params:aws:token-type:aws4_request"}, "invalid_request"),
    ],
)
def test_an_exchange_wants_all_its_fields(
    emulator: Emulator, session: requests.Session, change: dict[str, str | None], error: str
) -> None:
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "audience": AUDIENCE,
        "scope": SCOPES[0],
        "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "subject_token": emulator.control.create_subject_token("runner", AUDIENCE),
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    }
    given = session.post(STS, data=form, timeout=5)
    assert given.status_code == 200
    assert set(given.json()) == {"access_token", "issued_token_type", "token_type", "expires_in"}
    refused = session.post(STS, data={**form, **change}, timeout=5)
    assert (refused.status_code, refused.json()["error"]) == (400, error)
    assert refused.json()["error_description"]


def test_introspection_says_whose_token_it_is(emulator: Emulator, session: requests.Session) -> None:
    token = emulator.control.issue(principal(AUDIENCE, "runner"))
    for sent, active in ((token, True), ("ya29.none", False)):
        url = "https://sts.googleapis.com/v1/introspect"
        answer = session.post(url, data={"token": sent}, timeout=5).json()
        assert answer["active"] is active
        assert answer.get("username") == (principal(AUDIENCE, "runner") if active else None)


SOURCES: dict[str, tuple[Callable[[Emulator], Any], str]] = {
    "key": (key, ROBOT),
    "login": (login, PERSON),
    "metadata": (lambda _: compute_engine.Credentials(), DEFAULT_ACCOUNT),  # type: ignore[no-untyped-call]
}


@pytest.mark.parametrize("source", SOURCES)
def test_impersonation_wants_a_grant(emulator: Emulator, refresh: Callable[[Any], Any], source: str) -> None:
    make, caller = SOURCES[source]
    credentials = impersonated(make(emulator))
    with pytest.raises(exceptions.RefreshError, match="PERMISSION_DENIED") as refused:
        refresh(credentials)
    error = json.loads(refused.value.args[1])["error"]
    assert (error["code"], error["status"]) == (403, "PERMISSION_DENIED")
    assert "'iam.serviceAccounts.getAccessToken' denied" in error["message"]
    assert error["details"][0]["metadata"] == {"permission": "iam.serviceAccounts.getAccessToken"}

    emulator.control.grant(caller, TARGET)
    assert owner(emulator, refresh(credentials).token) == TARGET
    emulator.control.revoke_grant(caller, TARGET)
    with pytest.raises(exceptions.RefreshError, match="PERMISSION_DENIED"):
        refresh(credentials)


def test_each_delegate_wants_a_grant(emulator: Emulator, refresh: Callable[[Any], Any]) -> None:
    credentials = impersonated(key(emulator), delegates=[f"projects/-/serviceAccounts/{MIDDLE}"])
    emulator.control.grant(ROBOT, MIDDLE)
    with pytest.raises(exceptions.RefreshError, match="PERMISSION_DENIED"):
        refresh(credentials)
    emulator.control.grant(MIDDLE, TARGET)
    assert owner(emulator, refresh(credentials).token) == TARGET


def test_a_long_lifetime_has_to_be_allowed(emulator: Emulator, refresh: Callable[[Any], Any]) -> None:
    other = "long@demo-project.iam.gserviceaccount.com"
    credentials = impersonated(key(emulator), lifetime=43200)
    emulator.control.grant(ROBOT, TARGET)
    emulator.control.allow_long_lifetime(other)
    with pytest.raises(exceptions.RefreshError, match="allowServiceAccountCredentialLifetimeExtension"):
        refresh(credentials)
    emulator.control.grant(ROBOT, other)
    credentials = impersonated_credentials.Credentials(  # type: ignore[no-untyped-call]
        key(emulator), other, SCOPES, lifetime=43200
    )
    assert 43190 < seconds_left(refresh(credentials)) <= 43200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"lifetime": "3601s"}, 400),
        ({"lifetime": "43201s"}, 400),
        ({"lifetime": "0s"}, 400),
        ({"lifetime": "3600"}, 400),
        ({"lifetime": 3600}, 400),
        ({"scope": []}, 400),
        ([], 400),
        ({"lifetime": "600s"}, 200),
        ({}, 200),
    ],
)
def test_generate_access_token_checks_its_body(
    emulator: Emulator, session: requests.Session, sent: Any, status: int
) -> None:
    emulator.control.grant(ROBOT, TARGET)
    headers = {"Authorization": f"Bearer {emulator.control.issue(ROBOT)}"}
    body = {"scope": SCOPES, **sent} if isinstance(sent, dict) else sent
    answer = session.post(IAM, json=body, headers=headers, timeout=5)
    assert answer.status_code == status
    if status == 200:
        assert set(answer.json()) == {"accessToken", "expireTime"}
    else:
        assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("authorization", ["", "Bearer ya29.none", "Basic TOKEN", "Bearer EXPIRED"])
def test_generate_access_token_wants_a_valid_token(
    emulator: Emulator, session: requests.Session, authorization: str
) -> None:
    emulator.control.grant(ROBOT, TARGET)
    expired = emulator.control.issue(ROBOT)
    emulator.control.expire_all()
    header = authorization.replace("EXPIRED", expired).replace("TOKEN", emulator.control.issue(ROBOT))
    answer = session.post(IAM, json={"scope": SCOPES}, headers={"Authorization": header}, timeout=5)
    assert (answer.status_code, answer.json()["error"]["status"]) == (401, "UNAUTHENTICATED")


def test_a_login(emulator: Emulator, refresh: Callable[[Any], Any]) -> None:
    credentials = refresh(login(emulator))
    assert credentials.account == PERSON
    assert owner(emulator, credentials.token) == PERSON
    assert emulator.control.revoke_logins(PERSON) == 1
    with pytest.raises(exceptions.RefreshError, match="Token has been expired or revoked") as refused:
        refresh(credentials)
    assert refused.value.args[1]["error"] == "invalid_grant"
    assert not refused.value.retryable


@pytest.mark.parametrize(
    ("end", "message"),
    [("disable_keys", "Invalid JWT Signature."), ("delete_keys", "Invalid grant: account not found")],
)
def test_a_key_that_ended(emulator: Emulator, refresh: Callable[[Any], Any], end: str, message: str) -> None:
    credentials = refresh(key(emulator))
    assert owner(emulator, credentials.token) == ROBOT
    getattr(emulator.control, end)(ROBOT)
    with pytest.raises(exceptions.RefreshError) as refused:
        refresh(credentials)
    assert refused.value.args[1] == {"error": "invalid_grant", "error_description": message}


@pytest.mark.parametrize("ahead", [-7200, 7200])
def test_an_assertion_of_a_wrong_clock_is_refused(
    emulator: Emulator, refresh: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    from google.auth import _helpers

    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(seconds=ahead)
    monkeypatch.setattr(_helpers, "utcnow", lambda: now)
    emulator.control.set_clock(ahead)
    with pytest.raises(exceptions.RefreshError, match="Invalid JWT: Token must be a short-lived token"):
        refresh(key(emulator))
    emulator.control.set_clock(ahead, assertions=True)
    refresh(key(emulator))


def test_the_virtual_machine_has_several_accounts(
    emulator: Emulator, refresh: Callable[[Any], Any], session: requests.Session
) -> None:
    narrow = "https://www.googleapis.com/auth/devstorage.read_only"
    emulator.control.add_service_account(TARGET, scopes=[narrow])
    default = refresh(compute_engine.Credentials())  # type: ignore[no-untyped-call]
    assert default.service_account_email == DEFAULT_ACCOUNT
    assert owner(emulator, default.token) == DEFAULT_ACCOUNT
    named = refresh(compute_engine.Credentials(service_account_email=TARGET))  # type: ignore[no-untyped-call]
    assert (named.service_account_email, named._scopes) == (TARGET, [narrow])

    base = f"http://{emulator.metadata[0]}/computeMetadata/v1/instance/service-accounts/"
    flavor = {"Metadata-Flavor": "Google"}
    assert session.get(base, headers=flavor, timeout=5).text == f"default/\n{DEFAULT_ACCOUNT}/\n{TARGET}/\n"
    assert session.get(f"{base}{TARGET}/email", headers=flavor, timeout=5).text == TARGET
    assert session.get(f"{base}{TARGET}/aliases", headers=flavor, timeout=5).text == ""
    token = session.get(f"{base}{TARGET}/token", headers=flavor, timeout=5).json()["access_token"]
    assert owner(emulator, token) == TARGET  # google-auth itself always asks for the default's

    emulator.control.remove_service_account(DEFAULT_ACCOUNT)
    default = refresh(compute_engine.Credentials())  # type: ignore[no-untyped-call]
    assert default.service_account_email == TARGET


def test_the_virtual_machine_has_no_account(
    emulator: Emulator, refresh: Callable[[Any], Any], session: requests.Session
) -> None:
    emulator.control.remove_service_account(DEFAULT_ACCOUNT)
    base = f"http://{emulator.metadata[0]}/computeMetadata/v1/instance/service-accounts/"
    flavor = {"Metadata-Flavor": "Google"}
    assert session.get(base, headers=flavor, timeout=5).text == ""
    for path in ("default/token", "default/email", f"{DEFAULT_ACCOUNT}/token", "default/?recursive=true"):
        assert session.get(base + path, headers=flavor, timeout=5).status_code == 404
    with pytest.raises(exceptions.RefreshError, match="404"):
        refresh(compute_engine.Credentials())  # type: ignore[no-untyped-call]


def test_the_clock_ages_tokens(emulator: Emulator, session: requests.Session) -> None:
    url = f"http://{emulator.metadata[0]}/computeMetadata/v1/instance/service-accounts/default/token"

    def ask() -> tuple[str, int]:
        answer = session.get(url, headers={"Metadata-Flavor": "Google"}, timeout=5).json()
        return answer["access_token"], answer["expires_in"]

    first, _ = ask()
    emulator.control.set_clock(1800)
    again, left = ask()
    assert again == first
    assert 1790 <= left <= 1800
    emulator.control.set_clock(3299)
    assert ask()[0] == first
    emulator.control.set_clock(3301)
    assert ask()[0] != first
    index = "https://europe-west1-python.pkg.dev/demo-project/python/simple/"
    assert session.get(index, auth=("oauth2accesstoken", first), timeout=5).status_code == 200
    emulator.control.set_clock(3600)
    assert session.get(index, auth=("oauth2accesstoken", first), timeout=5).status_code == 401
    (issued,) = [token for token in emulator.control.tokens() if token.value == first]
    assert (issued.valid, issued.expires_at < time.time() + 3600) == (False, True)


def test_the_clock_states_expiries(emulator: Emulator, refresh: Callable[[Any], Any], tmp_path: Path) -> None:
    emulator.control.set_clock(48 * 3600)
    emulator.control.grant(principal(AUDIENCE, "runner"), TARGET)
    credentials = refresh(external(emulator, tmp_path / "subject", impersonate=TARGET))
    assert 49 * 3600 - 10 < seconds_left(credentials) <= 49 * 3600


def test_the_clock_wants_an_offset(emulator: Emulator) -> None:
    with pytest.raises(ControlError, match="need seconds from the real time, not an epoch"):
        emulator.control.set_clock(time.time())


def test_impersonation_scales_with_the_lifetime_of_tokens(
    emulator: Emulator, refresh: Callable[[Any], Any]
) -> None:
    emulator.control.grant(ROBOT, TARGET)
    emulator.control.set_tokens(lifetime=60)
    assert 25 < seconds_left(refresh(impersonated(key(emulator), lifetime=1800))) <= 30


@pytest.mark.parametrize(
    ("target", "others"), [("sts", ["iam", "token"]), ("iam", ["sts", "token"]), ("token", ["sts", "iam"])]
)
def test_parts_have_faults_of_their_own(
    emulator: Emulator, session: requests.Session, target: str, others: list[str]
) -> None:
    urls = {"sts": STS, "iam": IAM, "token": "https://oauth2.googleapis.com/token"}
    emulator.control.set_fault(target, "status:503", count=1)
    for other in others:
        assert session.post(urls[other], timeout=5).status_code in (400, 401)
    since = time.time()
    assert session.post(urls[target], timeout=5).status_code == 503
    assert [seen.target for seen in emulator.control.requests(since=since)] == [target]


def test_no_warning_is_left(emulator: Emulator, refresh: Callable[[Any], Any], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refresh(external(emulator, tmp_path / "subject"))
