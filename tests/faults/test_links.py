# SPDX-License-Identifier: GPL-3.0-or-later
"""Links that a user plants: nothing outside the home is read or written, whatever they lead to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from faults.files import DECLARED, SECRET, URL, assert_invariants, texts, tree
from faults.machine import Machine, User
from faults.subject import Subject

#: Where a user can plant a link, below the home.
SPOTS = (".config", ".config/pypoetry", ".config/pypoetry/config.toml", ".config/pypoetry/auth.toml")
#: Where it may lead to, by what is there.
TARGETS = {
    "root's": "outside/{name}",
    "missing in root's directory": "outside/planted",
    "dev's outside the home": "outside/shared/dev/{name}",
    "missing outside the home": "outside/shared/dev/planted",
    "another user's": "homes/eve/{name}",
    "missing in another user's home": "homes/eve/planted",
    "itself": "{self}",
}
ABSENT = {**DECLARED, "state": "absent"}
PURGE: dict[str, Any] = {"purge": ["settings", "repositories", "certificates", "credentials"]}


@pytest.fixture
def eve(eve: User) -> User:
    """Another user, who has such files also in the home itself."""
    (eve.home / "pypoetry").mkdir()
    for directory in (eve.home, eve.home / "pypoetry"):
        for name in ("config.toml", "auth.toml"):
            (directory / name).write_text("# eve's own\n")
            (directory / name).chmod(0o644)
            eve.own(directory / name)
    eve.own(eve.home / "pypoetry")
    return eve


def plant(path: Path, target: str) -> None:
    """Put a link in a path's place, and keep what was there beside it."""
    path.rename(path.with_name(f"{path.name}.before"))
    path.symlink_to(target)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("spot", SPOTS)
def test_a_planted_link_is_refused_and_its_target_stays(
    subject: Subject, machine: Machine, dev: User, eve: User, spot: str, target: str
) -> None:
    path = dev.home / spot
    name = ".config" if spot == ".config" and target == "another user's" else path.name
    leads_to = TARGETS[target].format(name=name, self=path)
    plant(path, os.path.join(machine.top, leads_to))
    before = tree(machine.top / "homes") | tree(machine.outside)
    for options in (DECLARED, ABSENT, PURGE):
        for symlink, check in (("refuse", False), ("follow", False), ("follow", True)):
            done = subject.module({**options, "symlink": symlink}, check=check)
            assert done.failure(), (options, symlink)
            assert str(path) in done.failure() or str(path.parent) in done.failure()
            assert not done.changed
            assert "s own" not in done.stdout, "the content of a file behind the link"
            assert tree(machine.top / "homes") | tree(machine.outside) == before


@pytest.mark.parametrize("target", ["outside", "homes/eve"])
def test_a_home_that_is_a_link_to_somebody_elses_directory_is_refused(
    subject: Subject, machine: Machine, dev: User, eve: User, target: str
) -> None:
    real = dev.home.with_name("dev.before")
    dev.home.rename(real)
    dev.home.symlink_to(machine.top / target)
    before = tree(machine.top / "homes") | tree(machine.outside)
    try:
        for symlink in ("refuse", "follow"):
            done = subject.module({**DECLARED, "symlink": symlink})
            assert "belongs to uid" in done.failure()
            assert tree(machine.top / "homes") | tree(machine.outside) == before
    finally:
        dev.home.unlink()
        real.rename(dev.home)


@pytest.mark.parametrize("owner", ["root", "eve", "dev"])
@pytest.mark.parametrize("file", ["config.toml", "auth.toml"])
def test_a_hard_link_to_another_file_is_refused(
    subject: Subject, machine: Machine, dev: User, eve: User, file: str, owner: str
) -> None:
    path = dev.config_dir / file
    other = {"root": machine.outside / file, "eve": eve.home / file, "dev": dev.home / "diary"}[owner]
    if owner == "dev":
        path.rename(other)
    else:
        path.unlink()
    os.link(other, path)
    before = tree(machine.top / "homes") | tree(machine.outside)
    for options in (DECLARED, ABSENT, PURGE):
        done = subject.module({**options, "symlink": "follow"})
        assert str(path) in done.failure()
        assert tree(machine.top / "homes") | tree(machine.outside) == before
    path.unlink()
    if owner == "dev":
        other.unlink()


def managed(dev: User, spot: str, *, relative: bool) -> Path:
    """Move a path into the user's dotfiles and link it from its place, as dotfile managers do."""
    place = dev.home / spot
    store = dev.home / "dot files"
    store.mkdir()
    real = store / place.name
    place.rename(real)
    place.symlink_to(os.path.relpath(real, place.parent) if relative else real)
    dev.own(store, place)
    return real


@pytest.mark.parametrize("relative", [True, False], ids=["relative", "absolute"])
@pytest.mark.parametrize("spot", SPOTS)
def test_a_dotfile_managers_link_is_refused_unless_it_is_to_be_followed(
    subject: Subject, machine: Machine, dev: User, spot: str, relative: bool
) -> None:
    real = managed(dev, spot, relative=relative)
    link = os.readlink(dev.home / spot)
    before = tree(dev.home)
    refused = subject.module(DECLARED)
    assert f"{dev.home / spot} is a symbolic link" in refused.failure()
    assert tree(dev.home) == before
    done = subject.module({**DECLARED, "symlink": "follow"})
    assert not done.failed
    assert done.changed
    assert (dev.home / spot).is_symlink()
    assert os.readlink(dev.home / spot) == link
    assert not real.is_symlink()
    found = {name: content or b"" for name, content in texts(dev).items()}
    assert URL.encode() in found["config.toml"]
    assert SECRET.encode() in found["auth.toml"]
    judged = subject.start_poetry("config", "repositories.ours").outcome()
    assert URL in judged.stdout
    assert not subject.module({**DECLARED, "symlink": "follow"}).changed
    for path in (dev.config, dev.auth):
        assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (dev.uid, 0o600)
    (dev.home / spot).unlink()
    real.rename(dev.home / spot)
    real.parent.rmdir()
    assert_invariants(subject, dev, done)
