# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user can prepare against root, the service and other users: links, races, names, code in the way."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.conftest import FULL
from faults.files import outside_of, prepare, tree
from faults.machine import Machine, User
from faults.program.installed import TOKEN, Gar, assert_auth
from faults.test_foreign_code import planted, trap
from faults.test_links import SPOTS, TARGETS, managed, plant
from faults.test_racer import racing

COMMANDS = ("write", "write --remove")


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


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("spot", [spot for spot in SPOTS if not spot.endswith("config.toml")])
def test_a_planted_link_is_refused_and_its_target_stays(
    gar: Gar, machine: Machine, dev: User, eve: User, spot: str, target: str
) -> None:
    path = dev.home / spot
    name = ".config" if spot == ".config" and target == "another user's" else path.name
    plant(path, os.path.join(machine.top, TARGETS[target].format(name=name, self=path)))
    before = tree(machine.top / "homes") | tree(machine.outside)
    for command in COMMANDS:
        for done in (gar(*command.split(), user=dev), gar(*command.split(), "dev")):
            assert done.code == 77, done
            assert done.said.startswith(f"{path} is a symbolic link or not a directory: refused")
            assert "s own" not in done.stderr, "the content of a file behind the link"
            assert tree(machine.top / "homes") | tree(machine.outside) == before


@pytest.mark.parametrize("target", ["outside", "homes/eve"])
def test_a_home_that_is_a_link_to_somebody_elses_directory_is_refused(
    gar: Gar, machine: Machine, dev: User, eve: User, target: str
) -> None:
    real = dev.home.with_name("dev.before")
    dev.home.rename(real)
    dev.home.symlink_to(machine.top / target)
    before = tree(machine.top / "homes") | tree(machine.outside)
    try:
        for command in COMMANDS:
            done = gar(*command.split(), "dev")
            assert done.code == 77
            assert "belongs to uid" in done.said
            assert tree(machine.top / "homes") | tree(machine.outside) == before
    finally:
        dev.home.unlink()
        real.rename(dev.home)


@pytest.mark.parametrize("spot", [".config", ".config/pypoetry", ".config/pypoetry/auth.toml"])
def test_a_dotfile_managers_link_inside_the_home_is_refused_with_the_reason(
    gar: Gar, dev: User, spot: str
) -> None:
    real = managed(dev, spot, relative=True)
    before = tree(dev.home)
    done = gar("write", user=dev)
    assert done.code == 77
    assert done.said == (
        f"{dev.home / spot} is a symbolic link or not a directory: refused; replace it by the real one"
    )
    assert tree(dev.home) == before
    (dev.home / spot).unlink()
    real.rename(dev.home / spot)
    real.parent.rmdir()
    assert gar("write", user=dev).code == 0


@pytest.mark.parametrize("spot", [".config", ".config/pypoetry", ".config/pypoetry/auth.toml"])
def test_a_racer_gets_nothing_written_outside_the_home(
    gar: Gar, machine: Machine, dev: User, spot: str
) -> None:
    path = dev.home / spot
    trap_link = dev.home / "trap"
    before = outside_of(machine)
    trap_link.symlink_to(machine.shared / path.name)
    dev.own(trap_link)
    codes: list[int] = []
    with racing(machine, dev, path, trap_link) as counts:
        while len(codes) < (150 if FULL else 12) or not {0, 77} <= set(codes):
            assert len(codes) < 400, f"always the same side comes first: {set(codes)}"
            gar.put_token(f"{TOKEN}-{len(codes)}")
            started = time.monotonic()
            runs = [gar.start(*COMMANDS[len(codes) // 2 % 2].split(), "dev") for _side in range(2)]
            codes += [gar.end(run, started=started).code for run in runs]
    assert counts[0] > 100, "there was no race"
    assert set(codes) <= {0, 75, 77}
    for directory, names, files in os.walk(dev.home):
        for name in [*names, *files]:
            assert Path(directory, name).lstat().st_uid == dev.uid, "made by somebody else"
    if path.is_symlink():
        path.unlink()
        trap_link.rename(path)
    trap_link.unlink(missing_ok=True)
    assert outside_of(machine) == before
    gar.put_token()
    assert gar("write", "dev").code == 0
    assert_auth(dev)


def test_prepared_temporary_and_lock_names_are_neither_followed_nor_harmful(
    gar: Gar, machine: Machine, dev: User
) -> None:
    names = [f".auth.toml.devbox-{digit * 16}" for digit in "0123456789abcdef"]
    names += ["auth.toml.lock", ".lock", "auth.toml.tmp", ".auth.toml.swp"]
    for name in names:
        (dev.config_dir / name).symlink_to(machine.shared / "auth.toml")
        dev.own(dev.config_dir / name)
    assert gar("write", "dev").code == 0
    for name in names:
        assert (dev.config_dir / name).is_symlink()
        (dev.config_dir / name).unlink()
    assert_auth(dev)


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "file"])
def test_a_temporary_whose_name_was_guessed_is_not_used(
    gar: Gar, machine: Machine, dev: User, kind: str
) -> None:
    guessed = dev.config_dir / f".auth.toml.devbox-{'0' * 16}"
    if kind == "link":
        guessed.symlink_to(machine.shared / "auth.toml")
    elif kind == "fifo":
        os.mkfifo(guessed)
    elif kind == "directory":
        guessed.mkdir()
    else:
        guessed.write_text("# planted\n")
    dev.own(guessed)
    before = dev.auth.read_bytes()
    rule = "inject=getrandom:poke_exit=@arg1=0000000000000000:when=1+"
    done = gar.traced("write", user=dev, rule=rule)
    if kind == "file":  # it looks like one that a killed run left: swept, and then free
        assert done.code == 0
    else:
        assert (done.code, dev.auth.read_bytes()) == (77, before)
        assert "File exists; nothing was changed" in done.said, "the name was not guessed"
    if guessed.is_dir() and not guessed.is_symlink():
        guessed.rmdir()
    guessed.unlink(missing_ok=True)
    assert gar("write", user=dev).code == 0
    assert_auth(dev)


#: What the program and a starting Python may look for.
MODULES = """
    argparse collections contextlib dataclasses enum errno fcntl functools gar_auth google hashlib http
    importlib json os pathlib pwd random re requests secrets select shlex signal site sitecustomize ssl stat
    subprocess time tomli tomllib typing urllib usercustomize
"""


@pytest.fixture
def traces(machine: Machine) -> Iterator[Path]:
    """Where planted code leaves the uid that it ran with."""
    path = machine.top / "traces"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    path.chmod(0o1777)
    yield path
    shutil.rmtree(path)


def test_code_in_the_working_directory_the_environment_or_the_home_is_not_run(
    gar: Gar, machine: Machine, dev: User, eve: User, traces: Path
) -> None:
    place = machine.top / "project"
    place.mkdir(exist_ok=True)
    planted(dev, place, traces)
    for name in set(MODULES.split()) - {"json"}:
        shutil.copyfile(place / "json.py", place / f"{name}.py")
    for name in ("gar-auth", "python", "python3", "gcloud", "env", "sh", "systemctl"):
        trap(place / name, traces)
    user_site = dev.home / ".local" / "lib" / "python{}.{}".format(*sys.version_info) / "site-packages"
    shutil.copytree(place, user_site)
    env = {
        "PYTHONPATH": str(place),
        "PYTHONHOME": str(place),
        "PYTHONSTARTUP": str(place / "json.py"),
        "PYTHONUSERBASE": str(dev.home / ".local"),
        "PYTHONINSPECT": "1",
        "PYTHONBREAKPOINT": "json.x",
        "PYTHONPLATLIBDIR": str(place),
        "PATH": f"{place}:{os.environ['PATH']}",
        "HOME": str(dev.home),
    }
    (place / "venv").mkdir(exist_ok=True)
    (place / "pyvenv.cfg").write_text(f"home = {place}\n")
    for command in ("write dev", "write eve", "write --remove eve", "status", "status --json", "write dev"):
        done = gar(*command.split(), cwd=place, env=env)
        assert done.code in (0, 75), done
        assert [trace.name for trace in traces.iterdir()] == [], "code of the user was run with this uid"
    shutil.rmtree(dev.home / ".local")
    shutil.rmtree(place)
    assert_auth(dev)


def test_a_user_gets_no_token_of_another_by_naming_the_other(gar: Gar, dev: User, eve: User) -> None:
    prepare(eve)
    before = tree(eve.home)
    done = gar("write", "eve", user=dev)
    assert done.code in (75, 77)
    assert "only root can act for eve" in done.said
    assert tree(eve.home) == before


def test_a_user_outside_the_services_group_reads_no_token(gar: Gar, dev: User) -> None:
    before = tree(dev.home)
    done = gar("write", user=dev, extra_groups=[])
    assert done.code == 77
    assert done.said.startswith(f"{gar.run_dir}/default/token: Permission denied")
    assert tree(dev.home) == before


def test_a_configuration_of_the_users_own_gives_no_more_than_the_user_has(
    gar: Gar, machine: Machine, dev: User, eve: User
) -> None:
    own = dev.home / "own.json"
    settings = json.loads((gar.etc / "config.json").read_text())
    settings["config_dir"] = str(eve.config_dir)
    own.write_text(json.dumps(settings))
    dev.own(own)
    before = tree(machine.top / "homes")
    done = gar("--config", str(own), "write", user=dev)
    assert done.code == 77
    assert tree(machine.top / "homes") == before
