# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever comes from outside: a token, or one Failure; a changed file as wanted, or the file as it was."""

from __future__ import annotations

import functools
import json
import pwd
import tempfile
import time
import tomllib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gar_auth import _home_file, gcloud, metadata, minted, token_file, transport
from gar_auth import write as write_module
from gar_auth.config import Config, Identity, Repository
from gar_auth.errors import Exit, Failure
from gar_auth.idle import is_due
from gar_auth.material import Material
from gar_auth.source import MAX_LIFETIME, MAX_TOKEN, Reply
from gar_auth.store import Status, Store, Token
from gar_auth.transport import Answer, Transport

FUZZ = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
_Result = TypeVar("_Result")
CANARY = "canary-of-a-reply"
TOKEN = "ya29.c.x-_~+/="

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        [TOKEN, CANARY, "a\nb", "2030-01-01T00:00:00Z", "0001-01-01T00:00:00Z", 10**400, "9" * 400]
    ),
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
names = st.sampled_from(
    [
        "access_token",
        "accessToken",
        "expires_in",
        "expireTime",
        "expiry",
        "token",
        "token_expiry",
        "token_type",
        "error",
        "error_description",
        "scope",
        "id_token",
        "credential",
        "configuration",
        "type",
        "code",
        "status",
        "message",
    ]
)
replies = st.one_of(
    st.binary(max_size=200),
    trees.map(lambda tree: json.dumps(tree).encode()),
    st.dictionaries(names, trees | st.dictionaries(names, scalars), max_size=5).map(
        lambda reply: json.dumps(reply).encode()
    ),
    st.builds(
        lambda text, count: (text * count).encode(), st.sampled_from('[{"x\x00'), st.integers(1, 70_000)
    ),
)


def outcome(work: Callable[[], _Result]) -> _Result | Failure:
    """What the work returns, or the Failure that it ends with; nothing else may come out."""
    try:
        return work()
    except Failure as problem:
        return problem


def check(work: Callable[[], Reply], *, allowed: set[Exit]) -> None:
    """Only a usable token, or one line."""
    reply = outcome(work)
    if isinstance(reply, Failure):
        assert "\n" not in str(reply)
        assert CANARY not in str(reply)
        assert reply.code in allowed
    else:
        assert 0 < len(reply.token) <= MAX_TOKEN
        assert reply.token.isascii()
        assert reply.token.isprintable()
        assert " " not in reply.token
        assert '"' not in reply.token
        assert 0 < reply.lifetime <= MAX_LIFETIME
        assert reply.account != reply.token
        assert len(reply.token) < 10 or reply.token not in repr(reply)


@FUZZ
@given(replies)
@example(json.dumps({"access_token": TOKEN, "expires_in": 3599}).encode())
def test_the_metadata_servers_answer(body: bytes) -> None:
    def work() -> Reply:
        try:
            return metadata.parse_reply(body)
        except metadata._Retry as problem:
            raise Failure(str(problem), code=Exit.TEMPORARY) from None

    check(work, allowed={Exit.TEMPORARY})


@FUZZ
@given(replies)
@example(TOKEN.encode())
@example(json.dumps({"token": TOKEN, "expiry": "2099-01-01T00:00:00Z"}).encode())
def test_a_token_file(content: bytes) -> None:
    for written in (None, 0.0, 1e11):
        check(
            lambda written=written: token_file.parse(content, path="/token", written=written),  # type: ignore[misc]
            allowed={Exit.TEMPORARY, Exit.CONFIGURATION},
        )


CREDENTIALS = st.fixed_dictionaries({"access_token": scalars, "token_expiry": scalars})
ACCOUNTS = st.fixed_dictionaries({"core": st.fixed_dictionaries({"account": scalars})})


@FUZZ
@given(
    replies
    | st.builds(
        lambda credential, properties: json.dumps(
            {"credential": credential, "configuration": {"properties": properties}}
        ).encode(),
        CREDENTIALS | trees,
        ACCOUNTS | trees,
    )
)
def test_gclouds_answer(output: bytes) -> None:
    check(lambda: gcloud._parse(output), allowed={Exit.TEMPORARY})


@functools.cache
def key() -> dict[str, Any]:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "client_email": "robot@p.iam.gserviceaccount.com",
        "private_key": pem.decode(),
        "token_uri": "https://oauth2.googleapis.com/token",
    }


LOGIN = {"type": "authorized_user", "client_id": "x", "client_secret": "y", "refresh_token": "z"}
WORKLOAD = {
    "type": "external_account",
    "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/a/providers/b",
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    "token_url": "https://sts.googleapis.com/v1/token",
    "credential_source": {"file": "/subject"},
}


def of(kind: str) -> tuple[Identity, Material]:
    content = {"service_account_key": key(), "adc": LOGIN, "external_account": WORKLOAD}[kind]
    identity = Identity(name="x", type=kind, file="/file")
    return identity, Material(path="/file", source=json.dumps(content).encode(), subject=b"subject")


def impersonate() -> Reply:
    identity = Identity(name="x", impersonate_service_account="to@p.iam.gserviceaccount.com")
    return minted.impersonate(identity, Reply(token=TOKEN, lifetime=100))


WAYS: dict[str, Callable[[], Reply]] = {
    "key": lambda: minted.mint(*of("service_account_key")),
    "login": lambda: minted.mint(*of("adc")),
    "workload": lambda: minted.mint(*of("external_account")),
    "impersonation": impersonate,
}


@pytest.mark.parametrize("way", WAYS)
@settings(FUZZ, max_examples=60)  # a key takes a while to load
@given(data=replies, status=st.sampled_from([200, 201, 204, 400, 401, 403, 404, 418]))
@example(data=json.dumps({"access_token": TOKEN, "expires_in": 3599}).encode(), status=200)
@example(data=json.dumps({"accessToken": TOKEN, "expireTime": "2099-01-01T00:00:00Z"}).encode(), status=200)
@example(data=json.dumps({"error": CANARY, "error_description": CANARY}).encode(), status=400)
@example(data=json.dumps({"error": {"status": CANARY, "message": CANARY}}).encode(), status=403)
def test_an_endpoints_answer(monkeypatch: pytest.MonkeyPatch, way: str, data: bytes, status: int) -> None:
    def send(_self: Transport, url: str, host: str, *_more: object, **_options: object) -> Answer:
        return transport._checked(Answer(host, status, {}, data))

    monkeypatch.setattr(Transport, "_send", send)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    check(WAYS[way], allowed={Exit.TEMPORARY, Exit.CONFIGURATION})


@pytest.mark.parametrize("kind", sorted(minted.KINDS))
@FUZZ
@given(
    content=replies
    | st.builds(
        lambda base, name, value: json.dumps({**base, name: value}).encode(),
        st.sampled_from([LOGIN, WORKLOAD]),
        st.sampled_from(["type", "audience", "credential_source", "token_url", "client_id", "refresh_token"]),
        trees,
    ),
    subject=st.none() | st.binary(max_size=20),
)
def test_a_file_of_credentials(
    monkeypatch: pytest.MonkeyPatch, kind: str, content: bytes, subject: bytes | None
) -> None:
    def send(*_more: object, **_options: object) -> Answer:
        raise Failure("this would have been sent", code=Exit.TEMPORARY)

    monkeypatch.setattr(Transport, "_send", send)
    identity = Identity(name="x", type=kind, file="/file")
    material = Material(path="/file", source=content, subject=subject)
    check(lambda: minted.mint(identity, material), allowed={Exit.TEMPORARY, Exit.CONFIGURATION})


@FUZZ
@given(name=st.sampled_from(["token", "status.json"]), content=replies)
def test_a_file_of_the_store(tmp_path: Path, name: str, content: bytes) -> None:
    store = Store(tmp_path, shared=True)
    now = int(time.time())
    store.write("x", Token(token=TOKEN, expiry=now + 3600, source="s"))
    store.write("x", Status(identity="x", source="s", expiry=now + 3600, obtained=now))
    (tmp_path / "x" / name).write_bytes(content)
    assert is_due(str(tmp_path / "x"), identity="x", source="s", on_demand=True, interval=30) in (True, False)
    read: Callable[[str], object] = store.token if name == "token" else store.status
    result = outcome(lambda: read("x"))
    if isinstance(result, Failure):
        assert result.code == Exit.UNUSABLE
        assert CANARY not in str(result)


@FUZZ
@given(replies)
def test_a_configuration(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(Failure) as caught:
        Config.load(path)
    assert caught.value.code == Exit.CONFIGURATION


keys = st.sampled_from(
    ["http-basic", "private-repo", "other", '"quoted key"', "'http-basic'", "username", "password", "a.b", ""]
)
toml_values = st.sampled_from(
    [
        '"x"',
        "'y'",
        "3",
        "nan",
        "true",
        "1979-05-27",
        "[1, [2]]",
        '{ username = "u" }',
        '"""\nlong"""',
        "{}",
        "[",
        "",
    ]
)
lines = st.one_of(
    st.builds("{} = {}".format, keys, toml_values),
    st.builds("[{}]".format, keys),
    st.builds("[{}.{}]".format, keys, keys),
    st.builds("[[{}]]".format, keys),
    st.builds("{}.{}.{} = {}".format, keys, keys, keys, toml_values),
    st.builds("# {}".format, st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=10)),
    st.just(""),
    st.text(max_size=10),
)
texts = st.builds(
    lambda parts, end, last: end.join(parts) + last,
    st.lists(lines, max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", "\n", "\r\n"]),
)


@FUZZ
@given(before=texts | st.text(max_size=40) | st.binary(max_size=40))
@example(before=f'[http-basic.private-repo]\nusername = "oauth2accesstoken"\npassword = "{CANARY}"\n')
def test_a_users_auth_toml(monkeypatch: pytest.MonkeyPatch, before: str | bytes) -> None:
    monkeypatch.setattr(write_module, "_READ_BACK_SECONDS", 0.0)
    monkeypatch.setattr(_home_file, "SETTLE_SECONDS", 0.0)
    content = before if isinstance(before, bytes) else before.encode("utf-8", "surrogatepass")
    with tempfile.TemporaryDirectory() as top:
        home = Path(top)
        home.chmod(0o700)
        path = home / "auth.toml"
        path.write_bytes(content)
        path.chmod(0o600)
        config = Config(
            identities={"x": Identity(name="x")},
            repositories=(Repository(name="private-repo", publish_url="https://h/p/r/", identity="x"),),
            users=("dev",),
            config_dir=str(home),
            shared_run_dir=None,
        )
        own = pwd.getpwuid(path.stat().st_uid)
        account = pwd.struct_passwd(("dev", "x", own.pw_uid, own.pw_gid, "", str(home), ""))
        token = Token(token=TOKEN, expiry=int(time.time()) + 600, source="s")
        result = outcome(lambda: write_module.write(config, {"x": token}, account))
        if isinstance(result, Failure):
            assert result.code == Exit.UNUSABLE
            assert "\n" not in str(result)
            assert CANARY not in str(result)
            assert path.read_bytes() == content
        else:
            after = tomllib.loads(path.read_bytes().decode())
            entry = after["http-basic"].pop("private-repo")
            assert (entry["username"], entry["password"]) == ("oauth2accesstoken", TOKEN)
            known = tomllib.loads(content.decode())
            table = known.setdefault("http-basic", {})
            table.pop("private-repo", None)
            assert repr(after) == repr(known) or after == known
            assert write_module.write(config, {"x": token}, account) is False
        assert [entry.name for entry in home.iterdir()] == ["auth.toml"]


@pytest.fixture(autouse=True)
def no_warnings() -> Any:
    """Nothing that google-auth says reaches the terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
