# SPDX-License-Identifier: GPL-3.0-or-later
"""write() and remove(): our entries only, no expired token, and what others write meanwhile survives."""

from __future__ import annotations

import os
import pwd
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from gar_auth import write as write_module
from gar_auth._home_file import ConfigDirectory
from gar_auth.config import Config
from gar_auth.errors import Exit, Failure
from gar_auth.store import Store, Token
from gar_auth.write import passwords, remove, tokens, write

CANARY = "ya29.c.canary"
FOREIGN = '# mine\n[http-basic.other]  # keep\nusername = "me"\npassword = "secret"\n'
OURS = f'[http-basic.private-repo]\nusername = "oauth2accesstoken"\npassword = "{CANARY}"\n'


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_module, "_READ_BACK_SECONDS", 0.02)


def keep(store: Store, token: str = CANARY, *, identity: str = "default", left: int = 600) -> None:
    store.write(identity, Token(token=token, expiry=int(time.time()) + left, source="metadata:default"))


@pytest.fixture
def auth(poetry_dir: Path) -> Path:
    """The user's auth.toml with an entry of the user's own."""
    path = poetry_dir / "auth.toml"
    path.write_text(FOREIGN)
    path.chmod(0o600)
    return path


def test_our_entry_is_added_and_the_rest_stays(
    config: Config, store: Store, dev: pwd.struct_passwd, auth: Path
) -> None:
    keep(store)
    assert write(config, tokens(config, store, []), dev) is True
    assert auth.read_text() == f"{FOREIGN}\n{OURS}"
    assert (oct(auth.stat().st_mode & 0o7777), auth.stat().st_uid) == ("0o600", os.geteuid())
    info = auth.stat()
    assert write(config, tokens(config, store, []), dev) is False
    assert (auth.stat().st_mtime_ns, auth.stat().st_ino) == (info.st_mtime_ns, info.st_ino)
    keep(store, "ya29.c.next")
    assert write(config, tokens(config, store, []), dev) is True
    assert auth.read_text() == f"{FOREIGN}\n{OURS}".replace(CANARY, "ya29.c.next")
    assert os.listdir(auth.parent) == ["auth.toml"]


def test_a_user_without_any_configuration_gets_a_private_file(
    config: Config, store: Store, dev: pwd.struct_passwd, home: Path
) -> None:
    keep(store)
    write(config, tokens(config, store, []), dev)
    path = home / ".config" / "pypoetry" / "auth.toml"
    assert (path.read_text(), oct(path.stat().st_mode & 0o7777)) == (OURS, "0o600")


@pytest.mark.parametrize("left", [0, -1, -3600])
def test_an_expired_token_is_not_written(
    config: Config, store: Store, dev: pwd.struct_passwd, auth: Path, left: int
) -> None:
    keep(store, left=left)
    before = auth.stat()
    with pytest.raises(Failure) as caught:
        write(config, tokens(config, store, []), dev)
    assert str(caught.value) == "no valid token for default; see: gar-auth status"
    assert caught.value.code == Exit.TEMPORARY
    assert (auth.read_text(), auth.stat().st_mtime_ns) == (FOREIGN, before.st_mtime_ns)


def test_an_identity_without_a_token_does_not_hold_the_others_up(
    configure: Callable[..., Path], store: Store, dev: pwd.struct_passwd, auth: Path
) -> None:
    repositories = [
        {"name": name, "publish_url": "https://h/p/r/", "identity": identity}
        for name, identity in (("private-repo", "default"), ("ci-repo", "ci"))
    ]
    identities = {name: {"account": "default"} for name in ("default", "ci")}
    config = Config.load(configure(repositories=repositories, identities=identities))
    keep(store)
    with pytest.raises(Failure, match=r"^no valid token for ci; see: gar-auth status$"):
        write(config, tokens(config, store, []), dev)
    assert passwords(config, dev) == {"private-repo": CANARY}
    keep(store, "ya29.c.ci", identity="ci")
    assert write(config, tokens(config, store, []), dev) is True
    assert passwords(config, dev) == {"private-repo": CANARY, "ci-repo": "ya29.c.ci"}


@pytest.fixture
def two(configure: Callable[..., Path]) -> Config:
    """Two repositories with the machine's token, and one with the user's own login."""
    repositories = [
        {"name": name, "publish_url": f"https://h/p/{name}/", "identity": identity}
        for name, identity in (("private-repo", "default"), ("second", "default"), ("mine", "login"))
    ]
    identities = {"default": {"type": "metadata"}, "login": {"type": "gcloud", "per_user": True}}
    return Config.load(configure(repositories=repositories, identities=identities))


def test_only_the_repositories_that_are_named_are_written(
    two: Config, store: Store, dev: pwd.struct_passwd, auth: Path
) -> None:
    keep(store)
    only = {"second"}
    assert tokens(two, store, [], only={"mine"}) == {}
    assert write(two, tokens(two, store, [], only=only), dev, only=only) is True
    assert passwords(two, dev) == {"second": CANARY}
    assert write(two, tokens(two, store, []), dev) is True
    assert passwords(two, dev) == {"second": CANARY, "private-repo": CANARY}, "not the user's own"


def test_a_users_own_login_is_another_set_of_tokens(
    two: Config, store: Store, dev: pwd.struct_passwd, auth: Path
) -> None:
    keep(store)
    keep(store, "ya29.mine", identity="login")
    assert tokens(two, store, []).keys() == {"default"}
    assert write(two, tokens(two, store, [], per_user=True), dev) is True
    assert passwords(two, dev) == {"mine": "ya29.mine"}


def test_only_the_repositories_that_are_named_are_removed(
    two: Config, store: Store, dev: pwd.struct_passwd, auth: Path
) -> None:
    keep(store)
    write(two, tokens(two, store, []), dev)
    auth.write_text(auth.read_text() + '[http-basic.gone]\nusername = "oauth2accesstoken"\npassword = "x"\n')
    assert remove(two, dev, only={"second", "gone", "other"}) is True, "also one that is no longer declared"
    assert passwords(two, dev) == {"private-repo": CANARY}
    assert FOREIGN in auth.read_text()
    assert remove(two, dev, only={"other"}) is False, "another user name is the user's own"


def test_what_poetry_overwrites_meanwhile_is_written_again(
    config: Config, store: Store, dev: pwd.struct_passwd, auth: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(store)
    theirs = f'{FOREIGN}\n[http-basic.new]\nusername = "x"\n'
    pauses = []

    def overwrite(_seconds: float) -> None:
        pauses.append(auth.read_text())
        if len(pauses) == 1:
            auth.write_text(theirs)  # what Poetry had read before us, and one key more

    monkeypatch.setattr("time.sleep", overwrite)
    assert write(config, tokens(config, store, []), dev) is True
    assert pauses == [f"{FOREIGN}\n{OURS}", f"{theirs}\n{OURS}"]
    assert auth.read_text() == f"{theirs}\n{OURS}"


def test_a_file_that_others_write_all_the_time_is_a_temporary_failure(
    config: Config, store: Store, dev: pwd.struct_passwd, auth: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(store)
    monkeypatch.setattr("time.sleep", lambda _seconds: auth.write_text(FOREIGN))
    with pytest.raises(Failure, match="is written by somebody else all the time") as caught:
        write(config, tokens(config, store, []), dev)
    assert caught.value.code == Exit.TEMPORARY
    assert auth.read_text() == FOREIGN


def test_a_change_between_reading_and_replacing_is_merged(
    config: Config, store: Store, dev: pwd.struct_passwd, auth: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(store)
    replace = ConfigDirectory.replace
    calls = []

    def late(self: ConfigDirectory, *arguments: object, **options: object) -> bool:
        calls.append(1)
        if len(calls) == 1:
            auth.write_text(f"{FOREIGN}# one more\n")
        return replace(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ConfigDirectory, "replace", late)
    assert write(config, tokens(config, store, []), dev) is True
    assert auth.read_text() == f"{FOREIGN}# one more\n\n{OURS}"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[torn", "invalid TOML: Expected ']' at the end of a table declaration (at end of document)"),
        ("http-basic = 3\n", "http-basic is not a table; remove it or make it one"),
        ('a = "hunter2"\na = 1\n', "invalid TOML: Cannot overwrite a value (at line 2, column 6)"),
    ],
)
def test_a_file_that_cannot_be_used_stays_as_it_is(
    config: Config,
    store: Store,
    dev: pwd.struct_passwd,
    auth: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: str,
    problem: str,
) -> None:
    monkeypatch.setattr("gar_auth._home_file.SETTLE_SECONDS", 0.05)
    keep(store)
    auth.write_text(content)
    with pytest.raises(Failure) as caught:
        write(config, tokens(config, store, []), dev)
    assert str(caught.value) == f"{auth}: {problem}; repair it or move it away: mv {auth} {auth}.old"
    assert caught.value.code == Exit.UNUSABLE
    assert auth.read_text() == content


def test_an_error_when_it_is_read_back_does_not_say_that_nothing_was_changed(
    config: Config, store: Store, dev: pwd.struct_passwd, auth: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(store)

    def fail(self: ConfigDirectory, name: str, **_options: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("time.sleep", lambda _seconds: monkeypatch.setattr(ConfigDirectory, "read", fail))
    with pytest.raises(Failure) as caught:
        write(config, tokens(config, store, []), dev)
    written = "the tokens are in it, but it was not read again"
    expected = f"{auth}: Input/output error; {written}; the disk may be failing, see: dmesg"
    assert (str(caught.value), caught.value.code) == (expected, Exit.REFUSED)
    assert CANARY in auth.read_text()


def test_a_path_with_a_space_is_quoted_in_the_cure(
    configure: Callable[..., Path], store: Store, dev: pwd.struct_passwd, home: Path
) -> None:
    config = Config.load(configure(config_dir="my config"))
    (home / "my config").mkdir(mode=0o755)
    path = home / "my config" / "auth.toml"
    path.write_text("[")
    path.chmod(0o600)
    keep(store)
    with pytest.raises(Failure) as caught:
        write(config, tokens(config, store, []), dev)
    assert str(caught.value).endswith(f": mv '{path}' '{path}.old'")


@pytest.mark.parametrize("act", ["write", "remove"])
def test_a_planted_link_is_refused_and_its_target_stays(
    config: Config, store: Store, dev: pwd.struct_passwd, auth: Path, tmp_path: Path, act: str
) -> None:
    keep(store)
    target = tmp_path / "target"
    auth.rename(target)
    auth.symlink_to(target)
    with pytest.raises(Failure, match="is a symbolic link") as caught:
        write(config, tokens(config, store, []), dev) if act == "write" else remove(config, dev)
    assert caught.value.code == Exit.REFUSED
    assert target.read_text() == FOREIGN


def test_removal_takes_our_entries_only(
    config: Config, store: Store, dev: pwd.struct_passwd, auth: Path
) -> None:
    keep(store)
    write(config, tokens(config, store, []), dev)
    own = '\n# mine too\n[http-basic.unmanaged]\nusername = "oauth2accesstoken"\npassword = "x"\n'
    auth.write_text(auth.read_text() + own)
    assert remove(config, dev) is True
    assert auth.read_text().replace("\n\n", "\n") == (FOREIGN + own).replace("\n\n", "\n")
    assert remove(config, dev) is False


def test_removal_leaves_an_entry_with_another_user_name(
    config: Config, dev: pwd.struct_passwd, auth: Path
) -> None:
    auth.write_text(FOREIGN.replace("other", "private-repo"))
    assert remove(config, dev) is False
    assert "private-repo" in auth.read_text()
    assert passwords(config, dev) == {}


def test_removal_of_everything_removes_the_file_and_makes_nothing(
    config: Config, store: Store, dev: pwd.struct_passwd, home: Path
) -> None:
    assert remove(config, dev) is False
    assert os.listdir(home) == []
    keep(store)
    write(config, tokens(config, store, []), dev)
    assert remove(config, dev) is True
    assert os.listdir(home / ".config" / "pypoetry") == []


def test_an_odd_token_is_quoted(config: Config, store: Store, dev: pwd.struct_passwd, auth: Path) -> None:
    keep(store, 'a"b\\c\n]')
    write(config, tokens(config, store, []), dev)
    assert tomllib.loads(auth.read_text())["http-basic"]["private-repo"]["password"] == 'a"b\\c\n]'
