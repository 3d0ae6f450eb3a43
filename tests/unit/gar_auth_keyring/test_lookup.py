# SPDX-License-Identifier: GPL-3.0-or-later
"""Which token belongs to a URL; and that whatever is wrong costs a line in the log and no exception."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.gar_auth_keyring.conftest import HOST, OWN, TOOLS, URL, Place

from gar_auth_keyring import lookup

FILES = Path(lookup.__file__).parent.parent


@pytest.mark.parametrize(
    ("url", "identity"),
    [
        (URL, "default"),
        (URL.rstrip("/"), "default"),
        (f"{URL}simple/", "default"),
        (f"{URL}simple", "default"),
        (f"{URL}simple/my-package/", "default"),
        (f"{URL}my-package/my_package-1.0%2Blocal-py3-none-any.whl", "default"),
        (f"{URL}simple/?page=2", "default"),
        (URL.replace("europe", "EUROPE"), "default"),
        (URL.replace(".dev", ".dev:443"), "default"),
        (URL.replace("https://", "https://oauth2accesstoken@"), "default"),
        (URL.replace("https://", "https://@"), "default"),
        (TOOLS, "tools"),
        (f"{TOOLS}simple/", "tools"),
        (OWN, "own"),
        (f"{OWN}any/", "own"),
    ],
)
def test_a_url_of_a_repository_has_its_identity(place: Place, url: str, identity: str) -> None:
    found = lookup.settings()
    assert found is not None
    assert lookup.identity_of(url, found) == identity


STRANGERS = [
    "",
    "poetry-repository-private-repo",
    "europe-west1-python.pkg.dev",
    HOST,
    f"{HOST}/",
    f"{HOST}/my-project/",
    f"{HOST}/my-project/pytho",
    f"{HOST}/my-project/python2/",
    f"{HOST}/my-project/Python/",
    f"{HOST}/other/python/",
    URL.replace("https", "http"),
    URL.replace("https", "HTTPS"),
    URL.replace("https", "ftp"),
    URL.replace("europe", "evil-europe"),
    URL.replace(".dev", ".dev.evil.example"),
    URL.replace(".dev", ".dev:8443"),
    URL.replace(".dev", ".dev:0443443"),
    URL.replace("https://", "https://me@"),
    URL.replace("https://", "https://me:secret@"),
    URL.replace("https://", "https://evil.example/@"),
    URL.replace("https://", "https://evil.example#@"),
    URL.replace("https://", "https://evil.example\\@"),
    f"{URL}../python-tools/",
    f"{URL}..;/python-tools/",
    URL.replace(".dev", ".dev."),
    f"{URL}..",
    f"{URL}./simple/",
    f"{URL}%2e%2e/python-tools/",
    f"{URL}%2E./python-tools/",
    f"{URL}a%2fb",
    f"{URL}a%5cb",
    f"{URL}a%00b",
    f"{URL}a%252e",
    f"{URL}/simple/",
    f"{HOST}//my-project/python/",
    f"{URL}#fragment",
    f" {URL}",
    f"{URL}\n",
    f"{URL}a b",
    URL + "a" * 3000,
    OWN.replace(":8443", ""),
    OWN.replace("https", "http"),
]


@pytest.mark.parametrize("url", STRANGERS)
def test_another_url_has_none(place: Place, url: str) -> None:
    place.put()
    place.put("tools")
    assert lookup.token(url) is None
    assert place.lines() == []
    assert not (place.top / "asked").exists()


@pytest.mark.parametrize("url", [None, 5, b"https://x/", ["x"]])
def test_what_is_no_text_has_none(place: Place, url: object) -> None:
    assert lookup.token(url) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("username", "served"),
    [(None, True), ("", True), ("oauth2accesstoken", True), ("me", False), ("__token__", False)],
)
def test_another_user_name_is_somebody_elses(place: Place, username: str | None, served: bool) -> None:
    place.put()
    assert lookup.token(URL, username) == ("ya29.default" if served else None)


def test_a_repository_that_is_named_simple_is_no_other_ones_root(place: Place) -> None:
    place.configure(repositories=[{"publish_url": f"{HOST}/p/simple/", "identity": "default"}])
    found = lookup.settings()
    assert found is not None
    assert lookup.identity_of(f"{HOST}/p/simple/simple/x/", found) == "default"
    assert lookup.identity_of(f"{HOST}/p/other/", found) is None


def test_the_longest_root_wins(place: Place) -> None:
    repositories = [
        {"publish_url": f"{HOST}/p/", "identity": "default"},
        {"publish_url": f"{HOST}/p/inner/", "identity": "tools"},
    ]
    place.configure(repositories=repositories)
    found = lookup.settings()
    assert found is not None
    assert lookup.identity_of(f"{HOST}/p/inner/x", found) == "tools"
    assert lookup.identity_of(f"{HOST}/p/innermost/x", found) == "default"


@pytest.mark.parametrize(
    ("url", "served"),
    [
        ("https://us-python.pkg.dev/other/other/simple/", True),
        ("https://us-python.pkg.dev/", True),
        ("https://us-python.pkg.dev:8443/other/other/", False),
        ("https://us-docker.pkg.dev/other/other/", False),
        ("https://us.evil-python.pkg.dev/other/", False),
        ("https://us-python.pkg.dev.example/other/", False),
        ("http://us-python.pkg.dev/other/other/", False),
    ],
)
def test_other_repositories_of_google_only_where_that_is_allowed(
    place: Place, url: str, served: bool
) -> None:
    place.put()
    assert lookup.token(url) is None
    place.configure(keyring_other_repositories=True)
    assert lookup.token(url) == ("ya29.default" if served else None)


@given(
    url=st.one_of(
        st.text(max_size=80),
        st.from_regex(r"https?://[a-z@:.#?\\/-]{0,20}europe-west1-python\.pkg\.dev[\x00-\x7f]{0,40}"),
        st.builds(lambda tail: URL + tail, st.text(alphabet="./%25eEfF2\\#?@:ab", max_size=12)),
    )
)
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_only_what_lies_below_a_root_is_served_whatever_the_url(place: Place, url: str) -> None:
    found = lookup.settings()
    assert found is not None
    identity = lookup.identity_of(url, found)
    if identity is not None:
        import urllib.parse

        parts = urllib.parse.urlsplit(url)
        (repository,) = [one for one in found.repositories if one.identity == identity]
        assert (parts.scheme, parts.hostname) == ("https", repository.host)
        assert parts.username in (None, "", "oauth2accesstoken")
        assert (parts.port or 443) == repository.port
        path = os.path.normpath(urllib.parse.unquote(parts.path))
        assert f"{path}/".startswith(repository.root)


def test_a_fresh_token_is_read_without_the_program_or_the_network(place: Place) -> None:
    place.put()
    script = (
        "import json, sys\n"
        f"sys.path.insert(0, {str(FILES)!r})\n"
        "from gar_auth_keyring import lookup\n"
        f"lookup.PLACE = {lookup.PLACE!r}\n"
        f"print(lookup.token({URL!r}), sorted(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], check=True, stdout=subprocess.PIPE, text=True
    )
    token, _space, modules = done.stdout.partition(" ")
    assert token == "ya29.default"
    for name in ("subprocess", "socket", "ssl", "logging", "urllib", "google", "requests", "typing"):
        assert f"'{name}'" not in modules


def test_a_new_token_is_seen_at_once(place: Place) -> None:
    for number in range(20):
        place.put(token=f"ya29.number-{number:02}")
        assert lookup.token(URL) == f"ya29.number-{number:02}"
        path = place.top / "run" / "default" / "token"
        replacement = path.with_name("new")
        replacement.write_bytes(path.read_bytes().replace(b"number", b"numbre"))
        info = path.stat()
        os.utime(replacement, ns=(info.st_atime_ns, info.st_mtime_ns))
        replacement.rename(path)
        assert lookup.token(URL) == f"ya29.numbre-{number:02}"


def test_a_users_own_login_lies_in_the_users_own_directory(place: Place) -> None:
    import pwd

    user = pwd.getpwuid(os.geteuid()).pw_name
    place.put("own", at=place.top / "run-user" / user)
    place.put("own", token="ya29.not-this-one")
    assert lookup.token(OWN) == "ya29.own"


@pytest.mark.parametrize("run_dir", [None, "/nowhere"])
@pytest.mark.parametrize("variable", ["XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "HOME"])
def test_what_a_user_fetched_lies_in_the_users_own_store(
    place: Place, monkeypatch: pytest.MonkeyPatch, variable: str, run_dir: str | None
) -> None:
    place.configure(run_dir=run_dir, user_run_dir=None)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv(variable, str(place.top / "mine"))
    below = place.top / "mine" / (".cache/gar-auth" if variable == "HOME" else "gar-auth")
    place.put(at=below)
    assert lookup.token(URL) == "ya29.default"


def damage(content: bytes) -> Callable[[Place], None]:
    return lambda place: void(place.put().write_bytes(content))


def void(_value: object) -> None:
    """For effects only."""


def link(place: Place) -> None:
    path = place.put()
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def fifo(place: Place) -> None:
    path = place.put()
    path.unlink()
    os.mkfifo(path)


def directory(place: Place) -> None:
    path = place.put()
    path.unlink()
    path.mkdir()


def for_everybody(place: Place) -> None:
    place.put().chmod(0o666)


EXPIRED = [
    lambda place: void(place.put(left=-5)),
    lambda place: void(place.put(left=30)),
    lambda place: void(place.put(left=10**7)),
]
DAMAGED = [
    damage(b""),
    damage(b"{"),
    damage(b"[]"),
    damage(b"null"),
    damage(b'"text"'),
    damage(b"\xff\xfe"),
    damage(b'{"token": "a"}'),
    damage(b'{"token": "a", "expiry": "soon"}'),
    damage(b'{"token": 5, "expiry": 99999999999}'),
    damage(json.dumps({"token": "a\nb", "expiry": int(time.time()) + 999}).encode()),
    damage(b'{"token": "' + b"a" * 2_000_000 + b'"}'),
    damage(b"[" * 100_000),
    link,
    fifo,
    directory,
    for_everybody,
]


@pytest.mark.parametrize("broken", [*EXPIRED, *DAMAGED, lambda place: None])
def test_without_a_fresh_token_the_program_is_asked(place: Place, broken: Callable[[Place], None]) -> None:
    place.answer(f"echo \"$@\" > '{place.top}/asked'; echo ya29.from-the-program")
    broken(place)
    assert lookup.token(URL) == "ya29.from-the-program"
    assert (place.top / "asked").read_text() == "get --identity default\n"


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo 'gar-auth: not logged in; run: gcloud auth login' >&2; exit 75", "gar-auth: not logged in"),
        ("exit 3", "gar-auth: it ended with code 3"),
        ("kill -9 $$", "gar-auth: it ended with code -9"),
        ("echo 'not a token'", "gar-auth: no token for default"),
        ("echo", "gar-auth: no token for default"),
        ("printf 'a\\033[31mb' >&2; exit 1", "a?[31mb"),
        ("head -c 1000000 /dev/zero", "gar-auth: no answer within 0.5 s"),
        ("sleep 60", "gar-auth: no answer within 0.5 s"),
        ("sleep 60 & exit 0", "gar-auth: no answer within 0.5 s"),
        ("trap '' TERM INT; while :; do sleep 1; done", "gar-auth: no answer within 0.5 s"),
    ],
)
def test_a_program_that_has_none_costs_one_line(
    place: Place, monkeypatch: pytest.MonkeyPatch, script: str, says: str
) -> None:
    monkeypatch.setattr(lookup, "GET_SECONDS", 0.5)
    place.answer(script)
    began = time.monotonic()
    assert lookup.token(URL) is None
    assert time.monotonic() - began < 5
    (line,) = place.lines()
    assert line.startswith(says)
    assert "\n" not in line


def test_who_has_failed_a_moment_ago_is_not_asked_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.answer(f"echo x >> '{place.top}/asked'; exit 75")
    for _time in range(5):
        assert lookup.token(URL) is None
    assert (place.top / "asked").read_text() == "x\n"
    assert len(place.lines()) == 1
    place.put()
    assert lookup.token(URL) == "ya29.default"  # a file is looked at each time


def test_a_program_that_is_gone_costs_one_line(place: Place) -> None:
    (place.top / "gar-auth").unlink()
    assert lookup.token(URL) is None
    (line,) = place.lines()
    assert line.endswith("No such file or directory; run the playbook again")


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"{}", b'{"identities": 5}', b"\xff", b"null"])
def test_a_configuration_that_is_gone_or_damaged_is_nothing(place: Place, content: bytes | None) -> None:
    place.put()
    if content is None:
        place.config.unlink()
    else:
        place.config.write_bytes(content)
    assert lookup.token(URL) is None
    assert len(place.lines()) == (0 if content is None else 1)


def test_no_line_ever_holds_the_token(place: Place) -> None:
    place.answer("echo 'ya29.secret with a tail'; exit 1")
    place.put(token="ya29.secret", left=-5)
    assert lookup.token(URL) is None
    assert "secret" not in "".join(place.lines())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_a_token_that_somebody_else_has_put_there_is_not_taken(place: Place) -> None:
    path = place.put()
    os.chown(path, 12345, 12345)
    os.chown(path.parent, 12345, 12345)  # as root gives a directory to the fetcher
    os.chown(path.parent.parent, 12345, 12345)  # and this one nobody gave
    assert lookup.token(URL) is None
    assert "is not what the role made" in place.lines()[0]
    os.chown(path.parent.parent, 0, 0)
    assert lookup.token(URL) == "ya29.default"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")
@pytest.mark.parametrize("variable", ["XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "HOME"])
def test_a_variable_that_leads_to_somebody_elses_directory_is_not_this_users(
    place: Place, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    theirs = place.top / "theirs"
    place.configure(run_dir=None)
    place.put(token="ya29.planted", at=theirs / (".cache/gar-auth" if variable == "HOME" else "gar-auth"))
    os.chown(theirs, 12345, 12345)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setenv(variable, str(theirs))
    assert lookup.own_directory("/home/me") == "/home/me/.cache/gar-auth"
    assert lookup.token(URL) is None
