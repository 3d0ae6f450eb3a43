# SPDX-License-Identifier: GPL-3.0-or-later
"""Each kind of credential is found, what only looks like one is not, and no content is ever told."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sqlite3
import textwrap
import time
from pathlib import Path

import pytest

from ansible_collections.devbox.artifact_registry.plugins.module_utils import _credential_kinds as kinds
from ansible_collections.devbox.artifact_registry.plugins.module_utils import _credential_search as core

BODY = base64.b64encode(bytes(range(256)) * 4).decode()
PEM = f"-----BEGIN PRIVATE KEY-----\n{textwrap.fill(BODY, 64)}\n-----END PRIVATE KEY-----\n"
TOKEN = "ya29.c.b0AXv0zTPmEXAMPLE-of_a.token" + "x" * 40
REFRESH = "1//0gEXAMPLE-of_a_refresh_token_" + "x" * 40
KEY_FILE = json.dumps({"type": "service_account", "private_key_id": "0a1b", "private_key": PEM}, indent=2)
PUBLISHING = "pypi-AgEIcHlwaS5vcmc" + "xX0" * 40
USER_FILE = json.dumps({"type": "authorized_user", "client_secret": "s", "refresh_token": "R" * 60})
FEDERATION = json.dumps({"type": "external_account", "audience": "//iam.googleapis.com/x", "token_url": "u"})


def encoded(text: str, *, wrap: int = 0) -> str:
    flat = base64.b64encode(text.encode()).decode()
    return "\n".join(textwrap.wrap(flat, wrap)) if wrap else flat


IN_BYTES = {
    "a token alone": (TOKEN, {"access_token"}),
    "a token in JSON": (json.dumps({"access_token": TOKEN}), {"access_token"}),
    "a token behind bytes that are no text": ("\udc80\x00" + TOKEN, {"access_token"}),
    "a token in a header": (
        f"Authorization: Basic {encoded('oauth2accesstoken:' + TOKEN)}",
        {"access_token"},
    ),
    "a key in a header": (f'"auth": "{encoded("_json_key:" + KEY_FILE)}"', {"service_account_key"}),
    "a key in base64 in a header": (
        f'"auth": "{encoded("_json_key_base64:" + encoded(KEY_FILE))}"',
        {"service_account_key"},
    ),
    "a refresh token": (f"gs_oauth2_refresh_token = {REFRESH}", {"refresh_token"}),
    "a login's file": (USER_FILE, {"refresh_token"}),
    "a key file": (KEY_FILE, {"service_account_key"}),
    "a key file on one line": (json.dumps(json.loads(KEY_FILE)), {"service_account_key"}),
    "a key file in base64": (f"KEY={encoded(KEY_FILE)}", {"service_account_key"}),
    "a key file in base64, one byte later": (
        f'password = "{encoded(" " + KEY_FILE)}"',
        {"service_account_key"},
    ),
    "a key file in base64, two bytes later": (encoded("  " + KEY_FILE), {"service_account_key"}),
    "a key file in base64 with line breaks": (encoded(KEY_FILE, wrap=76), {"service_account_key"}),
    "a key file in URL-safe base64": (
        base64.urlsafe_b64encode(KEY_FILE.encode()).decode(),
        {"service_account_key"},
    ),
    "a private key": (PEM, {"private_key"}),
    "a private key of RSA's own format": (PEM.replace("PRIVATE", "RSA PRIVATE"), {"private_key"}),
    "an OpenSSH private key": (PEM.replace("PRIVATE", "OPENSSH PRIVATE"), {"private_key"}),
    "an encrypted private key": (PEM.replace("PRIVATE", "ENCRYPTED PRIVATE"), {"private_key"}),
    "an old encrypted private key": (
        PEM.replace("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,0A1B\n\n", 1),
        {"private_key"},
    ),
    "an OpenPGP private key": (
        f"-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\n\n{BODY}\n",
        {"private_key"},
    ),
    "a private key in YAML": ("key: |\n" + textwrap.indent(PEM, "  "), {"private_key"}),
    "a private key of 32 bytes": (
        f"-----BEGIN PRIVATE KEY-----\n{BODY[:64]}\n-----END PRIVATE KEY-----\n",
        {"private_key"},
    ),
    "Poetry's variable": (
        "export POETRY_HTTP_BASIC_PRIVATE_REPO_PASSWORD=abcdefgh1",
        {"password_in_environment"},
    ),
    "Poetry's variable, quoted": ("POETRY_PYPI_TOKEN_X='pypi-AgEIcHl'", {"password_in_environment"}),
    "Poetry's variable in a workflow": (
        "  POETRY_HTTP_BASIC_X_PASSWORD: abcdefgh1",
        {"password_in_environment"},
    ),
    "gcloud's variable": ('CLOUDSDK_AUTH_ACCESS_TOKEN="abcdefgh1"', {"password_in_environment"}),
    "a key file in a string of JSON": (json.dumps({"key": KEY_FILE}), {"service_account_key"}),
    "a key file in a string of a string": (
        json.dumps({"state": json.dumps({"key": KEY_FILE})}),
        {"service_account_key"},
    ),
    "a key file in base64 in a string of JSON": (
        json.dumps(json.dumps({"key": encoded(KEY_FILE, wrap=76)})),
        {"service_account_key"},
    ),
    "a key file in base64 in YAML": (
        "key: |\n" + textwrap.indent(encoded(KEY_FILE, wrap=76), "    "),
        {"service_account_key"},
    ),
    "a token in base64, as Kubernetes has it": (f"  token: {encoded(TOKEN)}\n", {"access_token"}),
    "a token in base64, one byte later": (encoded("=" + TOKEN), {"access_token"}),
    "a token in base64, two bytes later": (encoded("t=" + TOKEN), {"access_token"}),
    "a token in keyring_pass.cfg": (
        "[europe_2Dwest1_2Dpython]\noauth2accesstoken = \n\t"
        + encoded(TOKEN * 3, wrap=76).replace("\n", "\n\t"),
        {"access_token"},
    ),
    "a refresh token without a space": (f"refresh_token:{REFRESH}", {"refresh_token"}),
    "a token to publish": (f"twine upload -p {PUBLISHING}", {"pypi_token"}),
    "a password of all characters": (
        "export POETRY_HTTP_BASIC_X_PASSWORD='P@ss!w0rd#2026'",
        {"password_in_environment"},
    ),
    "a password in a string of JSON": (
        json.dumps({"env": json.dumps({"POETRY_HTTP_BASIC_X_PASSWORD": "P@ss!w0rd#2026"})}),
        {"password_in_environment"},
    ),
    "twine's variable": ("TWINE_PASSWORD=P@ss!w0rd", {"password_in_environment"}),
    "uv's variable": ("UV_INDEX_PRIVATE_REPO_PASSWORD=abcdefgh1", {"password_in_environment"}),
    "pip's URL in a history": (
        ": 1764300000:0;PIP_INDEX_URL=https://u:p@h/simple pip install x",
        {"password_in_environment"},
    ),
    "pip's second URL": (
        'PIP_EXTRA_INDEX_URL="https://pypi.org/simple https://u:p@h/simple"',
        {"password_in_environment"},
    ),
    "uv's URL": ("UV_INDEX_URL=https://u:p@h/simple", {"password_in_environment"}),
    "uv's URL with a name": ("UV_INDEX=private=https://u:p@h/simple", {"password_in_environment"}),
    "uv's own URL": ("UV_DEFAULT_INDEX=https://u:p@h/simple", {"password_in_environment"}),
    # near misses
    "the beginning of a token in a program": ('if token.startswith("ya29."):', set()),
    "an example's short token": ("ya29.EXAMPLE", set()),
    "a user name without a token": ("oauth2accesstoken@europe-west1-python.pkg.dev", set()),
    "the user name in base64 alone": (encoded("oauth2accesstoken:"), set()),
    "an address with two slashes": ("http://127.0.0.1//0abcdefghijklmnopqrstuvwxyzabcdefghij", set()),
    "a pattern for refresh tokens": (r're.compile("1//0[A-Za-z0-9_-]{30}")', set()),
    "RFC 6749's example": ('"refresh_token":"tGzv3JOkF0XG5Qx2TlKWIA"', set()),
    "a program that asks for a refresh token": ('body = {"refresh_token": self._refresh_token}', set()),
    "the head of a key in a program": ('HEAD = "-----BEGIN PRIVATE KEY-----"', set()),
    "a key without a body": ("-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----", set()),
    "a public key": (PEM.replace("PRIVATE", "PUBLIC"), set()),
    "a certificate": (PEM.replace("PRIVATE KEY", "CERTIFICATE"), set()),
    "the words in base64": (encoded("the PRIVATE KEY of a service account") * 3, set()),
    "a key's identifier alone": ('{"private_key_id": "0a1b2c", "type": "service_account"}', set()),
    "the article's command": (
        "export POETRY_HTTP_BASIC_X_PASSWORD=$(gcloud auth print-access-token)",
        set(),
    ),
    "a variable from a variable": ('POETRY_HTTP_BASIC_X_PASSWORD="${TOKEN}"', set()),
    "a variable from a variable in a string": (
        json.dumps('export POETRY_HTTP_BASIC_X_PASSWORD="$TOKEN_OF_THE_USER"'),
        set(),
    ),
    "a variable from a command": ("TWINE_PASSWORD=`/usr/bin/gcloud auth print-access-token`", set()),
    "a place for a password": ("POETRY_HTTP_BASIC_X_PASSWORD=<password>", set()),
    "an empty variable": ('{"TWINE_PASSWORD": "", "TWINE_USERNAME": "oauth2accesstoken"}', set()),
    "an empty variable before another": ("TWINE_PASSWORD=\nTWINE_USERNAME=oauth2accesstoken", set()),
    "pip's URL with a variable": ("PIP_INDEX_URL=https://u:${TOKEN}@h/simple", set()),
    "pip's URL without a password": ("PIP_INDEX_URL=https://oauth2accesstoken@h:8443/simple", set()),
    "the beginning of a token to publish": ('if token.startswith("pypi-AgEIcHlwaS5vcmc"):', set()),
    "the beginning of a token in base64": (encoded('token.startswith("ya29.")') * 3, set()),
    "base64 that only looks so": ("eWEyOS" * 40 + "lhMjku" * 40 + "5YTI5L" * 40, set()),
    "an address with the port 1": ("[::1//0abcdefghijklmnopqrstuvwxyzabcdefghij]", set()),
    "a user name in the environment": ("POETRY_HTTP_BASIC_X_USERNAME=oauth2accesstoken", set()),
    "a file with the token": ("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE=/run/gar-auth/default/token", set()),
    "a federation's configuration": (FEDERATION, set()),
    "nothing": ("", set()),
}


@pytest.mark.parametrize(("text", "expected"), IN_BYTES.values(), ids=IN_BYTES)
def test_credentials_are_found_in_any_file_and_near_misses_are_not(text: str, expected: set[str]) -> None:
    assert kinds.in_bytes(text.encode("utf-8", "surrogateescape")) == expected


@pytest.mark.parametrize("separator", ["", " ", "\n", "\\n", "\\"])
@pytest.mark.parametrize(
    "word",
    [
        *(anchor.decode() for _kind, anchors, _pattern in kinds._ENCODED for anchor in anchors),
        "POETRY_HTTP_BASIC_",
        "UV_INDEX_X_PASSWORD",
        "UV_INDEX=https://u:",
    ],
)
def test_a_file_full_of_what_is_looked_for_takes_no_time(word: str, separator: str) -> None:
    data = (word + separator).encode() * 20_000
    start = time.process_time()
    assert kinds.in_bytes(data) == set()
    assert time.process_time() - start < 5


def test_keys_one_after_another_in_base64_are_found_behind_one_that_is_none() -> None:
    for between in range(0, 9000, 500):
        text = encoded(" PRIVATE KEY" + "." * between + KEY_FILE)
        assert kinds.in_bytes(text.encode()) == {"service_account_key"}, between


NAMED = {
    "Poetry's password": (
        "auth.toml",
        '[http-basic.a]\nusername = "u"\npassword = "p"\n',
        {"poetry_credentials"},
    ),
    "Poetry's password, inline": (
        "auth.toml",
        'http-basic = {a = {username = "u", password = "p"}}',
        {"poetry_credentials"},
    ),
    "Poetry's password, dotted": ("auth.toml", "http-basic.a.password = 'p'", {"poetry_credentials"}),
    "Poetry's password, commented out": (
        "auth.toml",
        '[http-basic.a]\n# password = "p"\n',
        {"poetry_credentials"},
    ),
    "Poetry's token": ("auth.toml", '[pypi-token]\npypi = "pypi-x"\n', {"poetry_credentials"}),
    "Poetry's token, dotted": ("config.toml", 'pypi-token.pypi = "pypi-x"\n', {"poetry_credentials"}),
    "a netrc file": (
        ".netrc",
        "machine europe-west1-python.pkg.dev login a password b\n",
        {"netrc_password"},
    ),
    "a netrc file of several lines": ("netrc", "machine a\n  login b\n  password c\n", {"netrc_password"}),
    "pip's URL": ("pip.conf", "extra-index-url = https://u:p@h/simple/", {"password_in_configuration"}),
    "uv's URL": ("uv.toml", 'url = "https://:secret@h/"', {"password_in_configuration"}),
    "git's store": (".git-credentials", "https://u:p@github.com\n", {"password_in_configuration"}),
    "Poetry's URL": (
        "config.toml",
        '[repositories.a]\nurl = "https://u:p@h/"\n',
        {"password_in_configuration"},
    ),
    "twine's password": (".pypirc", "[a]\nusername: u\npassword: p\n", {"password_in_configuration"}),
    "default credentials": ("application_default_credentials.json", USER_FILE, {"gcloud_login"}),
    "default credentials, unreadable": ("application_default_credentials.json", "?", {"gcloud_login"}),
    "Poetry's password, kept by a person": (
        "auth.toml.bak",
        '[http-basic.a]\npassword = "p"\n',
        {"poetry_credentials"},
    ),
    "Poetry's password, kept by an editor": (
        "auth.toml~",
        '[http-basic.a]\npassword = "p"\n',
        {"poetry_credentials"},
    ),
    "Poetry's password, moved away": ("auth.toml.old", "http-basic.a.password = 'p'", {"poetry_credentials"}),
    "a netrc file, kept by Ansible": (
        ".netrc.4711.2026-11-28@12:00:00~",
        "machine h login a password b\n",
        {"netrc_password"},
    ),
    # near misses
    "Poetry's user name alone": ("auth.toml", '[http-basic.a]\nusername = "oauth2accesstoken"\n', set()),
    "an empty password": ("auth.toml", '[http-basic.a]\npassword = ""\n', set()),
    "certificates": ("auth.toml", '[certificates.a]\ncert = "/etc/ssl/ca.pem"\n', set()),
    "another program's configuration": ("config.toml", '[server]\npassword = "none of ours"\n', set()),
    "an empty auth.toml": ("auth.toml", "", set()),
    "a netrc file without a password": (".netrc", "machine h login anonymous\n", set()),
    "a netrc file with a comment": (".netrc", "# password: ask the team\n", set()),
    "a URL with a user": ("pip.conf", "index-url = https://oauth2accesstoken@h/simple/", set()),
    "a URL with a variable": ("pip.conf", "index-url = https://u:${PASSWORD}@h/simple/", set()),
    "a URL with a port": ("pip.conf", "index-url = https://h:8443/simple/", set()),
    "twine without a password": (".pypirc", "[a]\nusername: oauth2accesstoken\n", set()),
    "twine with an empty password": (".pypirc", "[a]\npassword:\n", set()),
    "a federation": ("application_default_credentials.json", FEDERATION, set()),
}


@pytest.mark.parametrize(("name", "text", "expected"), NAMED.values(), ids=NAMED)
def test_configurations_and_stores_are_known_by_their_names(name: str, text: str, expected: set[str]) -> None:
    assert kinds.is_named(name)
    assert kinds.in_named_file(name, text.encode()) == expected


def found(path: Path, *, ignore: tuple[str, ...] = (), skip: tuple[str, ...] = ()) -> dict[str, str]:
    result = core.search([str(path)], ignore=ignore, skip=skip)
    assert result.unread == {}
    return {finding.path[len(str(path)) :].lstrip("/"): finding.kind for finding in result.found}


def test_a_token_is_found_across_the_border_of_two_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "CHUNK_BYTES", 64 * 1024)
    for number, before in enumerate((64 * 1024 - 10, 128 * 1024 - 1, 200 * 1024)):
        (tmp_path / str(number)).write_bytes(b"\0" * before + TOKEN.encode() + b"\0" * 70000)
    assert found(tmp_path) == {"0": "access_token", "1": "access_token", "2": "access_token"}


def test_links_and_what_is_no_file_are_left_alone(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    inside = tmp_path / "inside"
    for path in (outside, inside):
        path.mkdir()
    (outside / "token").write_text(TOKEN)
    (inside / "directory").symlink_to(outside)
    (inside / "file").symlink_to(outside / "token")
    os.mkfifo(inside / "pipe")
    assert found(inside) == {}


def test_a_link_to_a_file_is_judged_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/copy").write_text("machine h login a password b\n")
    for name in (".netrc", "z"):
        os.link(tmp_path / "a/copy", tmp_path / name)
    assert found(tmp_path) == {".netrc": "netrc_password"}


def test_a_file_is_read_once_where_its_links_have_the_same_name(tmp_path: Path) -> None:
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
    (tmp_path / "a/token").write_text(TOKEN)
    os.link(tmp_path / "a/token", tmp_path / "b/token")
    assert found(tmp_path) == {"a/token": "access_token"}


def test_mounts_that_are_no_part_of_an_image_are_left_out_unless_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "token").write_text(TOKEN)
    assert found(tmp_path, skip=(str(tmp_path / "run"),)) == {}
    assert found(tmp_path / "run", skip=(str(tmp_path / "run"),)) == {"token": "access_token"}


def test_what_is_ignored_is_a_file_or_a_directory_and_nothing_beside_it(tmp_path: Path) -> None:
    for name in ("a", "a-b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(TOKEN)
    left = found(tmp_path, ignore=(str(tmp_path / "a"), str(tmp_path / "c" / "token")))
    assert left == {"a-b/token": "access_token"}


def test_only_the_machines_own_ssh_host_keys_are_no_finding(tmp_path: Path) -> None:
    for place in ("etc/ssh", "home/dev"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "ssh_host_ed25519_key").write_text(PEM.replace("PRIVATE", "OPENSSH PRIVATE"))
    (tmp_path / "etc/ssh/id_ed25519").write_text(PEM)
    (tmp_path / "etc/ssh/ssh_host_rsa_key").write_text(TOKEN)
    assert found(tmp_path) == {
        "etc/ssh/id_ed25519": "private_key",
        "etc/ssh/ssh_host_rsa_key": "access_token",
        "home/dev/ssh_host_ed25519_key": "private_key",
    }


def test_keys_of_gclouds_own_tests_are_no_finding_but_tokens_there_are(tmp_path: Path) -> None:
    tests = tmp_path / "opt/gcloud/platform/gsutil/third_party/urllib3/dummyserver/certs"
    tests.mkdir(parents=True)
    (tests / "server.key").write_text(PEM)
    (tests / "token").write_text(TOKEN)
    (tests.parents[1] / "server.key").write_text(PEM)
    assert {Path(path).name: kind for path, kind in found(tmp_path).items()} == {
        "token": "access_token",
        "server.key": "private_key",
    }


def test_what_a_package_brought_is_public_until_it_is_changed(tmp_path: Path) -> None:
    info = tmp_path / "var/lib/dpkg/info"
    compiled = tmp_path / "usr/lib/p/__pycache__"
    for path in (info, compiled):
        path.mkdir(parents=True)
    (tmp_path / "usr/lib/p/test.py").write_text(PEM)
    (compiled / "test.cpython-311.pyc").write_text("code" + PEM)
    (tmp_path / "usr/lib/p/changed").write_text(PEM + "#")
    (tmp_path / "usr/lib/p/own").write_text(PEM)
    digest = hashlib.md5(PEM.encode()).hexdigest()  # noqa: S324
    (info / "p.md5sums").write_text(f"{digest}  lib/p/test.py\n{digest}  usr/lib/p/changed\n")
    assert found(tmp_path) == {"usr/lib/p/changed": "private_key", "usr/lib/p/own": "private_key"}
    assert found(tmp_path / "usr/lib/p") == {"changed": "private_key", "own": "private_key"}


@pytest.mark.parametrize(("rows", "expected"), [(0, {}), (1, {"credentials.db": "gcloud_login"})])
def test_gclouds_store_is_a_finding_only_with_a_login_in_it(
    rows: int, expected: dict[str, str], tmp_path: Path
) -> None:
    with sqlite3.connect(tmp_path / "credentials.db") as database:
        database.execute("CREATE TABLE credentials (account_id TEXT PRIMARY KEY, value BLOB)")
        database.executemany("INSERT INTO credentials VALUES (?, 'x')", [(n,) for n in range(rows)])
    database.close()
    (tmp_path / "access_tokens.db").write_text("no store of gcloud's")
    assert found(tmp_path) == expected


def test_every_file_of_gclouds_older_store_is_a_finding(tmp_path: Path) -> None:
    store = tmp_path / ".config/gcloud/legacy_credentials/dev@example.com"
    store.mkdir(parents=True)
    (store / "adc.json").write_text("{}")
    (store / ".boto").write_text("")
    assert list(found(tmp_path).values()) == ["gcloud_login"]


def test_the_message_names_files_and_kinds_and_never_the_content(tmp_path: Path) -> None:
    (tmp_path / "auth.toml").write_text(f'[http-basic.a]\npassword = "{TOKEN}"\n')
    os.mkdir(os.fsencode(tmp_path) + b"/\xff")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff/key")).write_text(PEM)
    message, result = core.run(paths=[str(tmp_path)], ignore=[])
    assert message == (
        f"credentials in 2 files: {tmp_path}/auth.toml (access_token, poetry_credentials), "
        f"{tmp_path}/\\xff/key (private_key); remove them and build again"
    )
    assert [found["kind"] for found in result["found"]] == [
        "access_token",
        "poetry_credentials",
        "private_key",
    ]
    assert result["files"] == 2
    assert "EXAMPLE" not in message + json.dumps(result)


def test_a_clean_place_is_no_failure_and_a_missing_or_relative_one_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("nothing")
    assert core.run(paths=[str(tmp_path)], ignore=[]) == ("", {"found": [], "files": 1, "bytes": 7})
    assert "No such file" in core.run(paths=[str(tmp_path / "none")], ignore=[])[0]
    assert core.run(paths=["etc"], ignore=[])[0].startswith("paths: found etc; allowed: absolute paths")


def test_what_cannot_be_read_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("nothing")

    def refuse(*_arguments: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "readv", refuse)
    message, _result = core.run(paths=[str(tmp_path)], ignore=[])
    assert (
        message
        == f"could not read {tmp_path}/file (Permission denied); search as root, or name them in ignore"
    )


def test_mount_points_are_read_with_the_later_mount_on_top() -> None:
    mountinfo = (
        "21 1 0:20 / / rw - overlay overlay rw\n"
        "22 21 0:21 / /proc rw - proc proc rw\n"
        "23 21 0:22 / /with\\040space rw shared:1 - tmpfs tmpfs rw\n"
        "24 21 8:1 / /srv rw - ext4 /dev/sda1 rw\n"
        "25 21 0:23 / /mnt rw - tmpfs tmpfs rw\n"
        "26 25 8:2 / /mnt rw - ext4 /dev/sda2 rw\n"
        "27 21 0:24 / /host rw master:1 - virtiofs share rw\n"
    )
    assert core.skipped_mounts(mountinfo) == {"/proc", "/with space", "/host"}


def test_our_own_sources_are_no_finding() -> None:
    top = Path(core.__file__).resolve().parents[2]
    for part in ("plugins", "roles", "playbooks", "docs"):
        assert found(top / part) == {}
