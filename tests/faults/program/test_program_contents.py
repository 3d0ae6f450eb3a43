# SPDX-License-Identifier: GPL-3.0-or-later
"""What auth.toml may hold, and what surrounds the program: umask, locale, odd paths, other directories."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from faults.conftest import FULL
from faults.files import AUTH, assert_kept, prepare, texts, tree
from faults.machine import Machine, User
from faults.program.installed import TOKEN, Gar, assert_auth
from faults.program.watching import seen_while
from faults.program.writing import on_all
from faults.subject import Subject
from faults.test_contents import UNUSABLE

CONFLICTS = {
    "a number": b"http-basic = 3\n",
    "an array of tables": b"[[http-basic]]\n",
    "a string of ours": b"[http-basic]\nours = 'x'\n",
    "a dotted key of ours": b"http-basic.ours = 3\n",
}


@pytest.mark.parametrize("command", ["write", "write --remove"])
def test_an_unusable_file_stays_and_the_line_says_where(gar: Gar, lanes: list[User], command: str) -> None:
    def refuse(user: User, case: str) -> None:
        content, place = UNUSABLE[case]
        prepare(user, auth=content)
        before = tree(user.home)
        done = gar(*command.split(), user=user)
        assert (done.code, done.stdout) == (65, ""), done
        assert done.said.startswith(str(user.auth)), done
        assert place in done.said, done
        assert tree(user.home) == before

    on_all(lanes, UNUSABLE, refuse)


def test_the_command_that_moves_an_unusable_file_away_works(gar: Gar, machine: Machine) -> None:
    odd = machine.users["odd"]
    prepare(odd, auth=b"[torn")
    done = gar("write", user=odd)
    repair = done.said.partition("move it away: ")[2]
    assert repair.startswith("mv ")
    subprocess.run(repair, shell=True, check=True)  # noqa: S602  # as a person would type it
    assert gar("write", user=odd).code == 0
    assert odd.auth.with_name("auth.toml.old").read_bytes() == b"[torn"
    odd.auth.with_name("auth.toml.old").unlink()
    assert_auth(odd)


def test_a_value_where_a_table_belongs_is_not_overwritten(gar: Gar, lanes: list[User]) -> None:
    def refuse(user: User, case: str) -> None:
        prepare(user, auth=CONFLICTS[case])
        before = tree(user.home)
        done = gar("write", user=user)
        assert (done.code, done.stdout) == (65, ""), done
        assert "table" in done.said
        assert gar("write", "--remove", user=user).code == 0, "there is nothing of ours"
        assert tree(user.home) == before

    on_all(lanes, CONFLICTS, refuse)


USABLE = {
    "CRLF": AUTH.replace(b"\n", b"\r\n"),
    "mixed line ends": AUTH.replace(b"\n", b"\r\n", 2),
    "no line end at the end": AUTH.rstrip(b"\n"),
    "dotted keys": b"http-basic.theirs.username = 'dev'\nhttp-basic.theirs.password = 'x'\n",
    "an inline table": b"[http-basic]\ntheirs = { username = 'dev', password = 'x' }  # one line\n",
    "quoted keys": b"[http-basic.'theirs']\n\"username\" = 'dev'\n\"password\" = 'x'\n",
    "our own, quoted": b"['http-basic'.\"ours\"]\n'username' = 'me' # mine\npassword = '''x'''\n",
    "a tricky string": b"[x]\ny = '''\n[http-basic.ours]\npassword = 1\n'''\n",
    "tabs and emoji": "\t[http-basic.theirs]\t# \U0001f600\n\tusername\t=\t'd\u00e9v'\n".encode(),
    "nearly 1 MiB": AUTH + b"#" * (1024 * 1024 - 2000) + b"\n",
}


def test_a_usable_file_keeps_its_bytes_and_is_left_alone_afterwards(
    gar: Gar, subject: Subject, machine: Machine, lanes: list[User]
) -> None:
    def keep(user: User, case: str) -> None:
        content = USABLE[case] if USABLE[case].endswith(b"\n") else USABLE[case] + b"\n"
        prepare(user, auth=USABLE[case])
        assert gar("write", user=user).code == 0
        if "our own" in case:
            assert b"# mine" in user.auth.read_bytes()
        else:
            assert_kept(content, texts(user)["auth.toml"])
        assert assert_auth(user)["http-basic"].keys() <= {"theirs", "ours"}
        info = user.auth.stat()
        again = gar("write", user=user)
        assert (again.code, again.stdout) == (0, "")
        assert (user.auth.stat().st_mtime_ns, user.auth.stat().st_ino) == (info.st_mtime_ns, info.st_ino)
        written.append(user.auth.read_bytes())
        assert gar("write", "--remove", user=user).code == 0
        if "our own" not in case:
            assert_kept(content, texts(user)["auth.toml"])

    written: list[bytes] = []
    on_all(lanes, USABLE, keep)
    for content in written:
        prepare(machine.dev, auth=content)
        assert subject.start_poetry("config", "--list").outcome().code == 0, content


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
@pytest.mark.parametrize("existing", [True, False], ids=["existing", "new"])
@pytest.mark.parametrize("root", [True, False], ids=["root", "user"])
def test_the_umask_makes_no_difference(
    gar: Gar, machine: Machine, umask: int, existing: bool, root: bool
) -> None:
    dev = machine.dev
    if existing:
        prepare(dev)
    done = gar("write", "dev", umask=umask) if root else gar("write", user=dev, umask=umask)
    assert done.code == 0
    assert_auth(dev)
    mode = 0o755 if existing else 0o700
    for path in (dev.config_dir, dev.config_dir.parent):
        assert (path.stat().st_mode & 0o7777, path.stat().st_uid) == (mode, dev.uid)


LOCALES: list[dict[str, str]] = [
    {"LC_ALL": "C"},
    {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "no_SUCH.locale", "LANG": "de_DE.ISO-8859-1"},
]


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("root", [True, False], ids=["root", "user"])
def test_a_home_with_spaces_and_umlauts_works_in_any_locale(
    gar: Gar, machine: Machine, locale: dict[str, str], root: bool
) -> None:
    odd = machine.users["odd"]
    prepare(odd, auth=AUTH)

    def run() -> tuple[int, str]:
        done = gar("write", "odd", env=locale) if root else gar("write", user=odd, env=locale)
        return done.code, done.said

    assert run() == (0, "")
    assert_auth(odd)
    assert_kept(AUTH, texts(odd)["auth.toml"])
    odd.auth.chmod(0o644)
    code, said = run()
    assert (code, said.partition(";")[0]) == (77, f"{odd.auth} has mode 0644, others may use it"), "readable"
    subprocess.run(said.partition("with: ")[2], shell=True, check=True)  # noqa: S602
    assert run() == (0, "")


@pytest.mark.parametrize("name", ["POETRY_CONFIG_DIR", "XDG_CONFIG_HOME", "HOME", "TMPDIR"])
@pytest.mark.parametrize("root", [True, False], ids=["root", "user"])
def test_variables_of_the_caller_lead_nowhere_else(
    gar: Gar, machine: Machine, dev: User, name: str, root: bool
) -> None:
    env = {name: str(machine.shared)}
    done = gar("write", "dev", env=env) if root else gar("write", user=dev, env=env)
    assert done.code == 0
    assert_auth(dev)


@pytest.mark.parametrize("place", ["Konfiguration \u00e4/pypoetry", "{home}/.xdg/pypoetry"])
def test_the_option_serves_a_directory_of_another_name(
    gar: Gar, subject: Subject, dev: User, place: str
) -> None:
    place = place.format(home=dev.home)
    gar.configure(config_dir=place)
    before = texts(dev)
    assert gar("write", user=dev).code == 0
    path = dev.home / place / "auth.toml"
    assert (path.stat().st_uid, path.stat().st_mode & 0o7777) == (dev.uid, 0o600)
    with subject.cold_poetry("config", "--list", POETRY_CONFIG_DIR=str(path.parent)) as poetry:
        poetry.communicate()
    assert poetry.returncode == 0
    assert TOKEN in path.read_text()
    assert texts(dev) == before
    assert gar("write", "--remove", user=dev).code == 0
    assert not path.exists()
    shutil.rmtree(path.parent.parent)


@pytest.mark.parametrize("place", ["../eve/.config/pypoetry", "/", "/root/pypoetry", "{outside}"])
def test_a_directory_of_somebody_else_is_refused(
    gar: Gar, machine: Machine, dev: User, eve: User, place: str
) -> None:
    gar.configure(config_dir=place.format(outside=machine.outside))
    before = tree(machine.top / "homes") | tree(machine.outside)
    for done in (gar("write", user=dev), gar("write", "dev")):
        assert done.code == 77
    assert tree(machine.top / "homes") | tree(machine.outside) == before


def test_the_token_is_in_no_argument_or_environment_of_any_process(
    gar: Gar, machine: Machine, dev: User
) -> None:
    runs = 20 if FULL else 4

    def work() -> None:
        for number in range(runs):
            gar.put_token(f"{TOKEN}-{number}")
            assert gar("write", "dev").code == 0
            assert gar("write", user=dev).code == 0

    assert seen_while(work, secret=TOKEN, program=str(gar.program)) == []
    assert_auth(dev, token=f"{TOKEN}-{runs - 1}")
    with_token = [
        path
        for top, _names, files in os.walk(machine.top / "homes")
        for path in (Path(top, name) for name in files)
        if path.is_file() and TOKEN.encode() in path.read_bytes()
    ]
    assert with_token == [dev.auth]
