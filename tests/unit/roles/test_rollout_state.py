# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rollout keeps of a machine, and that all of it comes back, wherever the release stopped."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.roles.test_look import ROLES

SCRIPT = ROLES / "rollout/files/state.py"


def url(name: str) -> str:
    return f"https://europe-west1-python.pkg.dev/demo-project/{name}/"


def repository(name: str, **more: Any) -> dict[str, Any]:
    """One as the role writes it, and as the filter of the same name returns it."""
    return {"name": name, "publish_url": url(name), "index_url": f"{url(name)}simple/", **more}


def declared(**changes: Any) -> dict[str, Any]:
    """What a release declares."""
    roles = ["gcloud", "poetry", "poetry_repositories", "gar_auth"]
    nothing: dict[str, Any] = {
        "users": [],
        "repositories": [],
        "registered": {},
        "config_dir": ".config/pypoetry",
        "poetry": "/usr/local/bin/poetry",
        "clients": [],
        "client_users": [],
        "client_repositories": [],
        "keyring_only": False,
    }
    return {"roles": roles, **nothing, **changes}


class Machine:
    """A machine's places below a directory of the test; no systemd runs there."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.said = top / "said"
        self.places: dict[str, Any] = {
            "state": str(top / "var/rollout"),
            "prefix": str(top / "opt/gar-auth"),
            "program": str(top / "opt/gar-auth/bin/gar-auth"),
            "etc": str(top / "etc/gar-auth"),
            "poetry": str(top / "opt/poetry"),
            "gcloud": str(top / "opt/gcloud"),
            "systemd": str(top / "run/systemd"),
            "declared": declared(),
            "files": [
                f"{top}/units/gar-auth-*",
                f"{top}/units/*.wants/gar-auth-*",
                f"{top}/etc/gar-auth/config.json",
            ],
        }
        for version in ("2.4.3-aaaaaaaa", "2.3.4-bbbbbbbb"):
            (top / "opt/poetry" / version).mkdir(parents=True)
        (top / "opt/poetry/current").symlink_to("2.4.3-aaaaaaaa")
        (top / "opt/poetry/previous").symlink_to("2.3.4-bbbbbbbb")
        self.write("opt/gar-auth/lib/gar_auth/__init__.py", '__version__ = "1.0"\n')
        self.write("opt/gar-auth/bin/gar-auth", f'#!/bin/sh\necho "$@" >> {self.said}\n').chmod(0o755)
        self.write("opt/gar-auth/venv-1/bin/python", "old\n")
        self.write("units/gar-auth-fetch@.service", "old\n")
        self.write("units/timers.target.wants/other.timer", "not ours\n")
        (top / "units/timers.target.wants/gar-auth-fetch@default.timer").symlink_to(
            "../gar-auth-fetch@.timer"
        )
        self.configure(repositories=["private-repo"], users=["dev"])

    def write(self, path: str, text: str) -> Path:
        """Replace a file in one step, as Ansible does."""
        target = self.top / path
        target.parent.mkdir(parents=True, exist_ok=True)
        new = target.with_name(".new")
        new.write_text(text)
        return new.replace(target)

    def configure(self, *, repositories: list[str], users: list[str], **more: Any) -> None:
        content = {"repositories": [repository(name) for name in repositories], "users": users, **more}
        self.write("etc/gar-auth/config.json", json.dumps({"provider": "token_timer", **content}))

    def __call__(self, action: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-I", "-c", SCRIPT.read_text(encoding="utf-8"), action],
            input=json.dumps(self.places),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def tree(self) -> dict[str, str]:
        """All that counts: by path, the content or the target, with mode."""
        found = {}
        for place in ("opt", "units", "etc"):
            for path in sorted((self.top / place).rglob("*")):
                if ".before" in path.parts:
                    continue
                info = path.lstat()
                text = os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else ""
                found[str(path.relative_to(self.top))] = f"{info.st_mode:o} {text}"
        return found

    def release(self) -> None:
        """Do all that a release does: other versions, files, configuration; nothing in place."""
        self.write("opt/gar-auth/lib/gar_auth/__init__.py", '__version__ = "2.0"\n')
        self.write("opt/gar-auth/lib/gar_auth/more.py", "new\n")
        self.write("opt/gar-auth/venv-2/bin/python", "new\n")
        shutil.rmtree(self.top / "opt/gar-auth/venv-1")
        (self.top / "opt/poetry/2.5.1-cccccccc").mkdir()
        for link, version in (("current", "2.5.1-cccccccc"), ("previous", "2.4.3-aaaaaaaa")):
            (self.top / "opt/poetry" / link).unlink()
            (self.top / "opt/poetry" / link).symlink_to(version)
        self.write("units/gar-auth-fetch@.service", "new\n")
        self.write("units/gar-auth-user@.service", "new\n")
        (self.top / "units/timers.target.wants/gar-auth-user@dev.timer").symlink_to("../gar-auth-user@.timer")
        self.configure(repositories=["private-repo", "tools"], users=["dev", "bob"])


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def without_new_version(tree: dict[str, str]) -> dict[str, str]:
    """The version that the next run of the role removes lies there unused."""
    return {path: text for path, text in tree.items() if "2.5.1" not in path}


def test_all_that_a_release_changed_is_put_back(machine: Machine) -> None:
    before = machine.tree()
    machine("keep")
    machine.release()
    assert machine("restore")["said"] == []
    assert without_new_version(machine.tree()) == before


def test_what_is_not_ours_stays_as_the_release_left_it(machine: Machine) -> None:
    machine("keep")
    machine.write("units/timers.target.wants/other.timer", "changed since by somebody else\n")
    machine("restore")
    assert (
        machine.top / "units/timers.target.wants/other.timer"
    ).read_text() == "changed since by somebody else\n"


def test_putting_back_twice_is_fine(machine: Machine) -> None:
    machine("keep")
    machine.release()
    machine("restore")
    once = machine.tree()
    machine("restore")
    assert machine.tree() == once


def test_a_release_that_only_began_can_be_put_back(machine: Machine) -> None:
    before = machine.tree()
    machine("keep")
    machine.write("opt/gar-auth/lib/gar_auth/__init__.py", '__version__ = "2.0"\n')
    machine("restore")
    assert machine.tree() == before


def test_what_an_interrupted_rollout_kept_is_not_overwritten_by_the_next_one(machine: Machine) -> None:
    before = machine.tree()
    assert machine("look")["interrupted"] is False
    machine("keep")
    machine.release()
    assert machine("look")["interrupted"] is True
    machine("restore")
    assert without_new_version(machine.tree()) == before


def test_what_is_left_of_an_end_that_was_cut_off_is_not_taken_for_the_next_release(machine: Machine) -> None:
    machine("keep")
    machine.configure(repositories=["private-repo", "first"], users=["dev"])
    machine("restore")
    (Path(machine.places["state"]) / "before.json").unlink()  # and then it was killed
    machine("keep")
    machine.configure(repositories=["private-repo", "second"], users=["dev"])
    machine.said.unlink()
    machine("restore")
    assert machine.said.read_text().splitlines() == ["write --remove --only second dev", "refresh"]


def test_after_the_end_nothing_is_left_and_nothing_is_put_back(machine: Machine) -> None:
    machine("keep")
    machine.release()
    machine("end")
    after = machine.tree()
    assert not Path(machine.places["state"]).exists()
    assert not (machine.top / "opt/gar-auth/.before").exists()
    assert machine("restore")["kept"] is False
    assert machine.tree() == after


def test_what_is_kept_is_for_root_only(machine: Machine) -> None:
    machine("keep")
    state = Path(machine.places["state"])
    assert state.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in state.iterdir())


def test_a_machine_without_anything_of_ours_has_nothing_to_put_back(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    for name in ("opt", "etc", "units"):
        shutil.rmtree(tmp_path / name)
    found = machine("look")
    assert found["before"] == {
        "config": None,
        "gar_auth": None,
        "gcloud": {},
        "gcloud_package": found["now"]["gcloud_package"],  # of the machine that the test runs on
        "poetry": {},
    }
    machine("keep")
    assert machine("restore")["kept"] is True


def test_looking_keeps_nothing(machine: Machine) -> None:
    before = machine.tree()
    machine("look")
    assert machine("restore")["kept"] is False
    assert machine.tree() == before


def test_keys_and_other_files_beside_the_configuration_are_nobodys_business(machine: Machine) -> None:
    key = machine.write("etc/gar-auth/key.json", "the old key\n")
    machine("keep")
    machine.release()
    key.write_text("rotated\n")
    other = machine.write("etc/gar-auth/other.json", "came since\n")
    machine("restore")
    assert (key.read_text(), other.read_text()) == ("rotated\n", "came since\n")
    for path in Path(machine.places["state"]).iterdir():
        assert b"the old key" not in path.read_bytes()


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ({"repositories": ["private-repo"], "users": ["dev"]}, []),
        (
            {"repositories": ["private-repo", "a", "b"], "users": ["dev"]},
            ["write --remove --only a --only b dev"],
        ),
        ({"repositories": ["private-repo"], "users": ["dev", "bob"]}, ["write --remove bob"]),
        ({"repositories": ["private-repo", "a"], "users": ["dev"], "provider": "keyring"}, []),
        (
            {"repositories": ["private-repo"], "users": ["dev"], "keyring_environments": ["/opt/x"]},
            ["keyring remove /opt/x"],
        ),
    ],
)
def test_entries_that_only_the_release_has_are_taken_out_by_its_own_program(
    machine: Machine, after: dict[str, Any], expected: list[str]
) -> None:
    machine("keep")
    machine.configure(**after)
    machine("restore")
    said = machine.said.read_text().splitlines() if machine.said.exists() else []
    assert [line for line in said if line != "refresh"] == expected
    assert "refresh" in said  # and everybody has a token at once


def test_a_program_that_does_not_run_keeps_nobody_from_going_back(machine: Machine) -> None:
    before = machine.tree()
    machine("keep")
    machine.write("opt/gar-auth/bin/gar-auth", "#!/bin/sh\necho broken >&2\nexit 1\n").chmod(0o755)
    machine.configure(repositories=["private-repo"], users=["dev", "bob"])
    assert machine("restore")["said"] == []
    assert machine.tree() == before
    # the program of before has done what the new one could not
    after = f"{machine.places['state']}/after.json"
    assert machine.said.read_text().splitlines() == [f"--config {after} write --remove bob", "refresh"]
    assert "bob" in Path(after).read_text()


def test_a_version_that_is_there_no_more_leaves_the_link_that_works(machine: Machine) -> None:
    machine("keep")
    machine.release()
    shutil.rmtree(machine.top / "opt/poetry/2.4.3-aaaaaaaa")
    (lost,) = machine("restore")["lost"]
    assert lost.endswith("opt/poetry/current: 2.4.3-aaaaaaaa is there no more")
    assert (machine.top / "opt/poetry/current").is_dir()


def test_backends_in_other_environments_come_back_too(machine: Machine) -> None:
    environments = {"provider": "keyring", "keyring_environments": ["/opt/poetry/current"]}
    machine.configure(repositories=["private-repo"], users=["dev"], **environments)
    machine("keep")
    machine.configure(repositories=["private-repo"], users=["dev"])
    machine("restore")
    said = machine.said.read_text().splitlines()
    assert said == ["write --remove dev", "keyring install /opt/poetry/current", "refresh"]


@pytest.mark.parametrize(
    ("old", "release", "expected"),
    [
        pytest.param(
            {"repositories": ["a"], "users": ["root", "deleted-since"]},
            {"users": ["root"], "repositories": [repository("a")]},
            [({"root"}, "present", {"a": url("a")})],
            id="nothing-new",
        ),
        pytest.param(
            {"repositories": ["a", "only-of-gar-auth"], "users": ["root", "daemon"]},
            {"users": ["root"], "repositories": [repository("a")]},
            [({"root"}, "present", {"a": url("a")})],
            id="what-the-release-leaves-alone",
        ),
        pytest.param(
            {"repositories": ["a"], "users": ["root"]},
            {
                "users": ["root", "daemon"],
                "repositories": [repository("a"), repository("b")],
                "registered": {"root": [], "daemon": []},
            },
            [
                ({"root"}, "present", {"a": url("a")}),
                ({"root"}, "absent", {"b": None}),
                ({"daemon"}, "absent", {"a": None, "b": None}),
            ],
            id="a-repository-and-a-user-more",
        ),
        pytest.param(
            {"repositories": ["a"], "users": ["root"]},
            {
                "users": ["root"],
                "repositories": [repository("a"), repository("b"), repository("c")],
                "registered": {
                    "root": [
                        {**repository("a"), "publish_url": url("a")},
                        {**repository("b"), "publish_url": "https://own.example/b/"},
                        {**repository("c"), "publish_url": "http://own.example/c/"},
                    ]
                },
            },
            [
                ({"root"}, "present", {"a": url("a")}),
                ({"root"}, "present", {"b": "https://own.example/b/"}),
                ({"root"}, "present", {"c": "http://own.example/c/"}),
            ],
            id="a-users-own-under-the-name",
        ),
        pytest.param(
            None,
            {"repositories": [repository("a")], "registered": {"root": [repository("a")], "daemon": []}},
            [({"root"}, "present", {"a": url("a")}), ({"daemon"}, "absent", {"a": None})],
            id="registered-before-there-was-gar-auth",
        ),
        pytest.param(
            None,
            {"repositories": [repository("a")], "users": ["root"]},
            [],
            id="nobody-knows",
        ),
        pytest.param(
            {"repositories": ["a"], "users": ["root"]},
            {"roles": ["gar_auth"], "repositories": [repository("b")], "registered": {"root": []}},
            [],
            id="without-the-role",
        ),
    ],
)
def test_what_each_user_has_registered_is_as_before_whatever_the_next_release_declares(
    machine: Machine, old: dict[str, Any] | None, release: dict[str, Any], expected: list[Any]
) -> None:
    if old is None:
        (machine.top / "etc/gar-auth/config.json").unlink()
    else:
        machine.configure(**old)
    machine.places["declared"] = declared(**release)
    machine("keep")
    machine.places["declared"] = None
    found = [
        (set(one["users"]), one["state"], {each["name"]: each.get("url") for each in one["repositories"]})
        for one in machine("restore")["registrations"]
    ]
    assert found == expected


def test_other_clients_and_the_environment_are_as_before_by_the_lines_that_are_ours(machine: Machine) -> None:
    keyring: dict[str, Any] = {"provider": "keyring", "clients": ["pip"], "keyring_only": True}
    machine.configure(repositories=["a"], users=["root"], **keyring)
    machine.places["declared"] = declared(
        client_users=["root", "daemon"],
        client_repositories=[repository("a"), repository("b")],
        clients=["pip", "twine"],
    )
    machine("keep")
    found = machine("restore")
    a, b = ({"name": name, "url": url(name)} for name in "ab")
    assert found["clients"] == [
        {"client": "pip", "state": "absent", "repositories": [b]},
        {"client": "twine", "state": "absent", "repositories": [a, b], "users": ["root"]},
        {"client": "twine", "state": "absent", "repositories": [a, b], "users": ["daemon"]},
        {"client": "pip", "state": "present", "repositories": [a]},
    ]
    assert found["keyring_only"] == "present"


def test_a_repository_that_has_another_name_in_the_release_has_its_own_again(machine: Machine) -> None:
    """uv and twine know it by the name."""
    machine.configure(repositories=["a"], users=["root"], provider="keyring", clients=["uv"])
    renamed = {**repository("a"), "name": "renamed"}
    machine.places["declared"] = declared(client_repositories=[renamed], clients=["uv"])
    machine("keep")
    found = machine("restore")["clients"]
    assert [(one["state"], one["repositories"][0]["name"]) for one in found] == [
        ("absent", "renamed"),
        ("present", "a"),
    ]


@pytest.mark.parametrize(("release", "expected"), [({}, None), ({"keyring_only": True}, "absent")])
def test_the_environment_is_left_alone_where_neither_has_it(
    machine: Machine, release: dict[str, Any], expected: str | None
) -> None:
    machine.places["declared"] = declared(**release)
    machine("keep")
    assert machine("restore")["keyring_only"] == expected


def test_a_program_that_starts_meanwhile_finds_all_that_it_needs(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = functions()
    names["keep"](machine.places)
    machine.release()
    program = machine.top / "opt/gar-auth/bin/gar-auth"
    machine.write("opt/gar-auth/bin/gar-auth", "needs venv-2\n")
    seen = []
    rename, unlink, rmtree = os.rename, os.unlink, shutil.rmtree

    def looking(act: Callable[..., None]) -> Callable[..., None]:
        def acted(*arguments: Any, **options: Any) -> None:
            act(*arguments, **options)
            needed = "venv-2" if "venv-2" in program.read_text() else "venv-1"
            seen.append((machine.top / "opt/gar-auth" / needed / "bin/python").exists())

        return acted

    for place, name, act in ((os, "rename", rename), (os, "unlink", unlink), (shutil, "rmtree", rmtree)):
        monkeypatch.setattr(place, name, looking(act))
    names["mirror"](f"{machine.places['prefix']}/.before", machine.places["prefix"])
    assert len(seen) > 3
    assert all(seen)


def functions() -> dict[str, Any]:
    """The names that the file defines."""
    names: dict[str, Any] = {"__name__": "state"}
    exec(compile(SCRIPT.read_text(encoding="utf-8"), SCRIPT, "exec"), names)  # noqa: S102 - the role's own file
    return names


def test_a_full_disk_is_named_and_nothing_counts_as_kept(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var/rollout").symlink_to("/dev/full/x")
    done = subprocess.run(
        [sys.executable, "-I", "-c", SCRIPT.read_text(encoding="utf-8"), "keep"],
        input=json.dumps(machine.places),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1
    assert "rollout" in done.stderr


def test_links_change_in_one_step(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who starts Poetry while it is put back always finds one."""
    names = functions()
    current = machine.top / "opt/poetry/current"
    seen = []
    rename: Callable[[str, str], None] = os.rename

    def watched(source: str, target: str) -> None:
        seen.append(current.exists())
        rename(source, target)
        seen.append(current.exists())

    monkeypatch.setattr(os, "rename", watched)
    names["point"](str(current), "2.3.4-bbbbbbbb", [])
    assert seen == [True, True]
    assert os.readlink(current) == "2.3.4-bbbbbbbb"
