# SPDX-License-Identifier: GPL-3.0-or-later
"""What a client meets: the real keyring with other backends, and the command as pip and uv call it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import keyring.backend
import keyring.backends.chainer
import keyring.errors
import pytest
from unit.gar_auth_keyring.conftest import TOOLS, URL, Place

from gar_auth_keyring import backend as backend_module
from gar_auth_keyring import command, lookup

FILES = Path(lookup.__file__).parent.parent
STRANGE = "https://example.com/simple/"


class Other(keyring.backend.KeyringBackend):
    """Another backend, that stores what it is given."""

    priority = 5

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.known.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.known[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.known[service, username]


@pytest.fixture
def chain(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Other]:
    """Ours and another one, in the order of their priorities, as keyring asks them."""
    other = Other()
    both = sorted([backend_module.ArtifactRegistry(), other], key=lambda one: -float(one.priority))
    monkeypatch.setattr(keyring.backends.chainer.ChainerBackend, "backends", both)
    before = keyring.get_keyring()
    keyring.set_keyring(keyring.backends.chainer.ChainerBackend())
    yield other
    keyring.set_keyring(before)


def test_it_is_asked_before_googles_and_hides_no_other() -> None:
    assert 9 < float(backend_module.ArtifactRegistry.priority) < 10
    assert backend_module.ArtifactRegistry.viable


def test_registered_repositories_are_ours(place: Place, chain: Other) -> None:
    place.put()
    place.put("tools")
    chain.set_password(URL, "oauth2accesstoken", "an old one")
    assert keyring.get_password(URL, "oauth2accesstoken") == "ya29.default"
    found = keyring.get_credential(f"{TOOLS}simple/", None)
    assert found is not None
    assert (found.username, found.password) == ("oauth2accesstoken", "ya29.tools")


def test_the_rest_is_the_others(place: Place, chain: Other) -> None:
    place.put()
    keyring.set_password(STRANGE, "me", "mine")
    assert chain.known == {(STRANGE, "me"): "mine"}
    assert keyring.get_password(STRANGE, "me") == "mine"
    assert keyring.get_password(URL, "me") is None
    keyring.delete_password(STRANGE, "me")
    assert chain.known == {}
    assert place.lines() == []


def test_alone_it_stores_nothing_and_says_so_in_keyrings_words(place: Place) -> None:
    alone = backend_module.ArtifactRegistry()
    with pytest.raises(keyring.errors.PasswordSetError):
        alone.set_password(URL, "oauth2accesstoken", "x")
    with pytest.raises(keyring.errors.PasswordDeleteError):
        alone.delete_password(URL, "oauth2accesstoken")
    assert alone.get_credential(STRANGE, None) is None


def test_without_a_token_the_client_gets_nothing_and_one_line(place: Place, chain: Other) -> None:
    assert keyring.get_credential(URL, None) is None
    assert place.lines() == ["gar-auth: nothing here; see: gar-auth doctor"]


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["get", URL, "oauth2accesstoken"], "ya29.default\n"),  # pip, uv
        (["get", URL], "ya29.default\n"),
        (["get", URL, ""], "ya29.default\n"),
        (["--mode", "creds", "get", URL], "oauth2accesstoken\nya29.default\n"),  # uv, without a user name
        (["--mode=creds", "get", URL, "oauth2accesstoken"], "oauth2accesstoken\nya29.default\n"),
        (
            ["--mode=creds", "--output=json", "get", URL],  # pip, where keyring knows it
            '{"username": "oauth2accesstoken", "password": "ya29.default"}\n',
        ),
        (["--output", "json", "get", URL, "oauth2accesstoken"], '{"password": "ya29.default"}\n'),
    ],
)
def test_the_command_prints_what_keyrings_would(
    place: Place, capsys: pytest.CaptureFixture[str], arguments: list[str], printed: str
) -> None:
    place.put()
    assert command.main(arguments) == 0
    assert capsys.readouterr() == (printed, "")


@pytest.mark.parametrize("arguments", [["get", STRANGE, "me"], ["get", URL, "me"], ["get", "service"]])
def test_the_command_has_nothing_for_others(
    place: Place, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    place.put()
    assert command.main(arguments) == 1
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        ["--list-backends"],
        ["get"],
        ["get", URL, "a", "b"],
        ["set", URL, "me"],
        ["del", URL, "me"],
        ["diagnose"],
        ["--mode"],
        ["--mode", "other", "get", URL],
        ["--output=yaml", "get", URL],
        ["-b", "get", URL],
    ],
)
def test_the_command_says_what_it_does_not_do(
    place: Place, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    place.put()
    assert command.main(arguments) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("gar-auth: this command only reads tokens; usage: keyring ")
    assert len(errors.splitlines()) == 1


OTHERS = """\
#!/bin/sh
echo "another keyring: $*"
"""


@pytest.mark.parametrize(
    ("arguments", "handed_on"),
    [
        (["get", STRANGE, "me"], True),
        (["set", STRANGE, "me"], True),
        (["--list-backends"], True),
        (["get", URL, "oauth2accesstoken"], False),
    ],
)
def test_what_is_not_ours_is_for_the_next_command_on_the_path(
    place: Place, arguments: list[str], handed_on: bool
) -> None:
    copies = {"first": "#!/bin/sh\n# gar_auth_keyring, a copy of this command\nexit 9\n", "second": OTHERS}
    for name, text in copies.items():
        (place.top / name).mkdir()
        (place.top / name / "keyring").write_text(text)
        (place.top / name / "keyring").chmod(0o755)
    place.put()
    script = (
        f"import sys; sys.path.insert(0, {str(FILES)!r})\n"
        "from gar_auth_keyring import command, lookup\n"
        f"lookup.PLACE = {lookup.PLACE!r}\n"
        "sys.exit(command.main(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": f"{place.top}/first:{place.top}/second:/usr/bin:/bin"},
    )
    assert done.stdout == (f"another keyring: {' '.join(arguments)}\n" if handed_on else "ya29.default\n")


def test_as_a_process_a_failure_is_one_line(place: Place) -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(FILES)!r})\n"
        "from gar_auth_keyring import command, lookup\n"
        f"lookup.PLACE = {lookup.PLACE!r}\n"
        "sys.exit(command.main(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, "get", URL, "oauth2accesstoken"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "gar-auth: nothing here; see: gar-auth doctor\n"


def test_credentials_are_never_in_the_programs_arguments_or_environment(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POETRY_HTTP_BASIC_A_PASSWORD", "hunter2")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    place.answer(f"env > '{place.top}/seen'; echo \"$@\" >> '{place.top}/seen'; echo ya29.new")
    assert lookup.token(URL.replace("https://", "https://oauth2accesstoken:hunter3@")) == "ya29.new"
    seen = (place.top / "seen").read_text()
    assert "hunter" not in seen
    assert "HTTPS_PROXY=http://proxy.example.com:3128" in seen
