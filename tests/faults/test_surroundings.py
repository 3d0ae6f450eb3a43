# SPDX-License-Identifier: GPL-3.0-or-later
"""Umask, locale, odd paths, other configuration directories: the same result everywhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from faults.files import DECLARED, SECRET, assert_invariants, prepare, texts, tree
from faults.machine import Machine, User
from faults.subject import Subject


@pytest.mark.parametrize("umask", [0o000, 0o027, 0o077, 0o777])
@pytest.mark.parametrize("existing", [True, False], ids=["existing files", "no files"])
def test_the_umask_makes_no_difference(
    subject: Subject, machine: Machine, umask: int, existing: bool
) -> None:
    dev = machine.dev
    if existing:
        prepare(dev)
    done = subject.module(DECLARED, umask=umask)
    assert done.changed
    assert_invariants(subject, dev, done)
    directories = [dev.config_dir, dev.config_dir.parent]
    mode = 0o755 if existing else 0o700
    assert [path.stat().st_mode & 0o7777 for path in directories] == [mode, mode]
    assert {path.stat().st_uid for path in directories} == {dev.uid}


@pytest.mark.parametrize("existing", [True, False], ids=["existing files", "no files"])
@pytest.mark.parametrize(
    "locale", [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}]
)
def test_a_home_with_spaces_and_umlauts_works_in_any_locale(
    subject: Subject, machine: Machine, locale: dict[str, str], existing: bool
) -> None:
    odd = machine.users["odd"]
    if existing:
        prepare(odd)
    password, prompt = "\u00fc ' \" \\ #", "\u00fc \U0001f600"
    credentials = [{"name": "ours", "username": "ours", "password": password}]
    options = {**DECLARED, "credentials": credentials, "settings": {"virtualenvs.prompt": prompt}}
    request = subject.request(options, user="odd")
    done = subject.cold(request, **locale)
    assert done.changed, done
    assert not done.failed
    found = assert_invariants(subject, odd, done)
    assert found["http-basic"]["ours"]["password"] == password
    assert found["virtualenvs"]["prompt"] == prompt
    named = done.data["users"]["odd"]["config_file"]
    assert named.encode("utf-8", "surrogateescape") == os.fsencode(odd.config)
    assert not subject.cold(request, **locale).changed
    with subject.cold_poetry("config", "repositories.ours.url", user=odd) as poetry:
        assert b"europe-west1-python.pkg.dev" in poetry.communicate()[0]


def test_an_own_directory_for_users_who_set_xdg_config_home(subject: Subject, dev: User) -> None:
    (dev.home / "Konfiguration ä").mkdir()
    dev.own(dev.home / "Konfiguration ä")
    before = texts(dev)
    for place in ("Konfiguration ä/pypoetry", str(dev.home / "Konfiguration ä" / "pypoetry")):
        done = subject.module({**DECLARED, "config_dir": place})
        assert not done.failed
        auth = Path(done.data["users"]["dev"]["auth_file"])
        assert auth == dev.home / "Konfiguration ä" / "pypoetry" / "auth.toml"
        assert SECRET in auth.read_text()
        assert (auth.stat().st_uid, auth.stat().st_mode & 0o7777) == (dev.uid, 0o600)
    with subject.cold_poetry(
        "config", "repositories.ours.url", XDG_CONFIG_HOME=str(auth.parents[1])
    ) as poetry:
        assert b"europe-west1-python.pkg.dev" in poetry.communicate()[0]
    assert texts(dev) == before
    assert subject.module({**DECLARED, "config_dir": place, "state": "absent"}).changed
    (dev.home / "Konfiguration ä").rmdir()


def test_variables_of_whoever_runs_the_task_lead_nowhere_else(
    subject: Subject, machine: Machine, dev: User
) -> None:
    names = ("HOME", "XDG_CONFIG_HOME", "POETRY_CONFIG_DIR", "TMPDIR")
    done = subject.cold(subject.request(DECLARED), **dict.fromkeys(names, str(machine.outside / "shared")))
    assert done.changed
    assert_invariants(subject, dev, done)


@pytest.mark.parametrize(
    "place", ["../eve/.config/pypoetry", "{top}/outside/pypoetry", "{top}/outside", "/", "."]
)
@pytest.mark.parametrize("symlink", ["refuse", "follow"])
def test_a_directory_of_somebody_else_is_refused(
    subject: Subject, machine: Machine, dev: User, eve: User, place: str, symlink: str
) -> None:
    options: dict[str, Any] = {**DECLARED, "symlink": symlink, "config_dir": place.format(top=machine.top)}
    before = tree(machine.top / "homes") | tree(machine.outside)
    done = subject.module(options)
    if place.startswith("{top}"):
        assert done.failure()
        assert "\n" not in done.failure()
    else:  # no directory of its own, or written as only a shell would understand it
        assert f"config_dir: found {place!r}" in done.stdout.replace("\\'", "'")
    assert tree(machine.top / "homes") | tree(machine.outside) == before


@pytest.mark.parametrize("symlink", ["refuse", "follow"])
def test_a_directory_of_the_user_outside_the_home_works_where_it_is_named(
    subject: Subject, machine: Machine, dev: User, eve: User, symlink: str
) -> None:
    place = machine.shared / "pypoetry"
    before = tree(machine.outside)
    options = {**DECLARED, "config_dir": str(place), "symlink": symlink}
    assert subject.module(options).changed
    assert SECRET in (place / "auth.toml").read_text()
    assert subject.module({**options, "state": "absent"}).changed
    assert tree(machine.outside) == before


def test_no_descriptor_of_root_reaches_the_process_of_the_user(
    subject: Subject, machine: Machine, dev: User, scratch: Path
) -> None:
    from faults.injection import hold

    process = subject.start(subject.request(DECLARED, stop=True))
    child = hold(process, scratch=scratch)
    status = Path(f"/proc/{child}/status").read_text()
    opened = {os.readlink(path) for path in Path(f"/proc/{child}/fd").iterdir()}
    process.kill()
    os.kill(child, 9)
    assert process.outcome().code == -9
    assert f"Uid:\t{dev.uid}\t{dev.uid}\t{dev.uid}\t{dev.uid}\n" in status
    assert f"Gid:\t{dev.uid}\t{dev.uid}\t{dev.uid}\t{dev.uid}\n" in status
    assert f"Groups:\t{dev.uid} \n" in status
    for capabilities in ("CapPrm", "CapEff", "CapAmb"):
        assert f"{capabilities}:\t0000000000000000\n" in status
    files = {
        path for path in opened if path.startswith("/") and not path.startswith(("/memfd:", "/dev/null"))
    }
    assert files <= {str(machine.top)}, f"open: {files}"
