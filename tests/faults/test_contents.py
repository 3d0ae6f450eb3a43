# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user's files may hold: unusable ones are never overwritten, usable ones keep every byte."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from faults.files import (
    AUTH,
    CONFIG,
    DECLARED,
    SECRET,
    URL,
    assert_invariants,
    assert_kept,
    prepare,
    texts,
    tree,
)
from faults.machine import Machine, User
from faults.subject import Subject

FOREIGN_URL = "https://pypi.example.com/legacy/"
UNUSABLE = {
    "no TOML": (b"[virtualenvs]\ncreate = \n", "line 2, column 10"),
    "two equal tables": (b"[a]\nx = 1\n[b]\n[a]\n", "line 4, column 3"),
    "two equal keys": (b"a = 1\na = 2\n", "line 2"),
    "byte order mark": (b"\xef\xbb\xbfa = 1\n", "line 1, column 1"),
    "latin-1": (b"a = '\xe9'\n", "not UTF-8 at byte 5"),
    "utf-16": ("a = 1\n".encode("utf-16"), "not UTF-8 at byte 0"),
    "zero bytes": (b"a = '\0'\n", "line 1, column 6"),
    "conflict markers": (b"<<<<<<< HEAD\na = 1\n", "line 1, column 1"),
    "too large": (b"#" * (1024 * 1024 + 1), "larger than 1 MiB"),
    "nested too deeply": (b"a = " + b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_an_unusable_file_stays_and_the_message_says_where(
    subject: Subject, machine: Machine, dev: User, eve: User, case: str
) -> None:
    content, place = UNUSABLE[case]
    prepare(dev, config=content)
    prepare(eve, auth=content)
    before = tree(machine.top / "homes")
    done = subject.module({**DECLARED, "users": ["dev", "eve"]}, check=case == "no TOML")
    for user, path in ((dev, dev.config), (eve, eve.auth)):
        failure = done.failure(user.name)
        assert failure.startswith(str(path))
        assert place in failure
        assert "\n" not in failure
    assert not done.changed
    assert tree(machine.top / "homes") == before, "the other file stays too"


CONFLICTS = {
    "config.toml": (
        b"repositories = 3\n",
        b"repositories = []\n",
        b"[repositories]\nours = 3\n",
        b"virtualenvs = ''\n",
    ),
    "auth.toml": (
        b"http-basic = 3\n",
        b"[[http-basic]]\n",
        b"[http-basic]\nours = 'x'\n",
        b"certificates = 3\n",
    ),
}


@pytest.mark.parametrize(
    ("file", "content"), [(file, text) for file, all in CONFLICTS.items() for text in all]
)
def test_a_value_where_a_table_belongs_is_not_overwritten(
    subject: Subject, dev: User, file: str, content: bytes
) -> None:
    prepare(dev, **{file.partition(".")[0]: content})
    before = texts(dev)
    done = subject.module(DECLARED)
    assert str(dev.config_dir / file) in done.failure()
    assert "table" in done.failure()
    assert texts(dev) == before


USABLE = {
    "CRLF": CONFIG.replace(b"\n", b"\r\n"),
    "mixed line ends": CONFIG.replace(b"\n", b"\r\n", 2),
    "no line end at the end": CONFIG.rstrip(b"\n"),
    "dotted keys": f"repositories.theirs.url = '{FOREIGN_URL}'\n".encode(),
    "inline table": f"repositories = {{ theirs = {{ url = '{FOREIGN_URL}' }} }}  # one line\n".encode(),
    "inline tables below": f"[repositories]\ntheirs = {{ url = '{FOREIGN_URL}' }}\n".encode(),
    "quoted keys": f"[repositories.'theirs']\n\"url\" = '{FOREIGN_URL}'\n".encode(),
    "long strings": (
        f"[repositories.theirs]\nurl = '''{FOREIGN_URL}'''\n[x]\ny = \"\"\"\n[repositories.ours]\n\"\"\"\n"
    ).encode(),
    "arrays": (
        f"[installer]\nno-binary = [\n  'a',  # why\n  'b',\n]\n[repositories.theirs]\nurl='{FOREIGN_URL}'"
    ).encode(),
    "tabs and emoji": f"\t[repositories.theirs]\t# \U0001f600\n\turl\t=\t'{FOREIGN_URL}'\n".encode(),
    "nearly 1 MiB": CONFIG + b"#" * (1024 * 1024 - 2000) + b"\n",
}


@pytest.mark.parametrize("case", USABLE)
def test_a_usable_file_keeps_its_bytes_and_works_in_poetry(subject: Subject, dev: User, case: str) -> None:
    content = USABLE[case]
    prepare(dev, config=content)
    done = subject.module(DECLARED)
    assert done.changed
    assert not done.failed
    after = texts(dev)
    if "inline" in case and content.startswith(b"repositories"):
        assert after["config.toml"] is not None
        assert after["config.toml"].endswith(b"  # one line\n") or b"# one line\n" in after["config.toml"]
    else:
        whole = content if content.endswith(b"\n") else content + b"\n"
        assert_kept(whole, after["config.toml"])
    assert_kept(AUTH, after["auth.toml"])
    found = assert_invariants(subject, dev, done)
    assert found["repositories"]["theirs"] == {"url": FOREIGN_URL}
    assert found["repositories"]["ours"] == {"url": URL}
    assert found["http-basic"]["ours"]["password"] == SECRET
    again = subject.module(DECLARED)
    assert not again.changed
    assert texts(dev) == after
    assert not subject.module({**DECLARED, "state": "absent"}).failed
    assert_kept(AUTH, texts(dev)["auth.toml"])
    assert assert_invariants(subject, dev)["repositories"] == {"theirs": {"url": FOREIGN_URL}}


def write_later(path: Path, content: bytes, *, seconds: float) -> threading.Thread:
    """Write into an existing file after a while, as Poetry does after it has truncated it."""

    def write() -> None:
        time.sleep(seconds)
        with path.open("r+b") as stream:
            stream.write(content)

    thread = threading.Thread(target=write)
    thread.start()
    return thread


@pytest.mark.parametrize("torn", [b"", CONFIG[: len(CONFIG) - 20]], ids=["truncated", "half written"])
def test_a_file_that_poetry_is_just_writing_is_waited_for(subject: Subject, dev: User, torn: bytes) -> None:
    prepare(dev, config=torn)
    writer = write_later(dev.config, CONFIG, seconds=0.7)
    done = subject.module(DECLARED)
    writer.join()
    assert not done.failed
    assert_kept(CONFIG, texts(dev)["config.toml"])
    assert assert_invariants(subject, dev, done)["repositories"].keys() == {"theirs", "ours"}


def test_a_file_that_stays_empty_is_used_after_a_bounded_wait(subject: Subject, dev: User) -> None:
    prepare(dev, config=b"")
    done = subject.module(DECLARED)
    assert done.seconds < 4
    assert assert_invariants(subject, dev, done)["repositories"].keys() == {"ours"}
