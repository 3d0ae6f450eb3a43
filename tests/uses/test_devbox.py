# SPDX-License-Identifier: GPL-3.0-or-later
"""A developer VM: each developer with the own login, or with the VM's account; who comes, and who goes."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.emulator.records import DEFAULT_ACCOUNT
from lab.machines import Machine
from machine import leftovers, listing, oracle
from uses import people, plays

DEVELOPERS = ("dev", "ops")
NEW = "carol"
MAIL = {user: f"{user}@example.com" for user in (*DEVELOPERS, NEW)}
OWN_LOGINS = {"default": {"type": "gcloud", "per_user": True}}
CHECKOUTS = [
    {"path": "/home/dev/app", "repositories": ["private-repo"], "priority": "explicit"},
    {"path": "/home/ops/app"},
]
#: What ops configured before anybody else did, with comments and credentials of another repository.
FILES = Path(__file__).parents[1] / "machine" / "files"
POETRY = "~/.config/pypoetry"
#: What developers make themselves, stays.
OF_USERS = [
    r"/home/\w+(/(\.cache|\.local|\.config|\.config/gcloud|app|from_ops|mine|also_mine|still)(/.*)?)?"
]
#: All of them change where somebody leaves; who else is in them, ACCOUNTS says.
OF_ACCOUNTS = [r"/etc/(passwd|group|shadow|gshadow|(subuid|subgid)-?)"]
ACCOUNTS = f"for each in passwd group shadow gshadow; do sudo getent $each; done | grep -v '^{NEW}:'"
#: Each file below a directory, with what tells whether somebody has touched it.
TOUCHED = "find ~/.config/pypoetry /home/{user}/app -printf '%p %i %m %u %T@ %s\\n' 2>/dev/null | sort"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("controller")


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """Two developers with projects; one has settings, another repository and its credentials."""
    with Machine.start(name="dv-devbox", suite="debian13") as machine:
        people.create(machine, NEW)
        machine.ssh("ops", f"umask 077; mkdir -p {POETRY}", check=True)
        for name in ("config.toml", "auth.toml"):
            text = (FILES / name).read_text(encoding="utf-8")
            machine.ssh("ops", f"umask 077; cat > {POETRY}/{name}", input=text, check=True)
        for user in DEVELOPERS:
            machine.ssh(user, "mkdir ~/app && cat > ~/app/pyproject.toml", input=PROJECT, check=True)
        yield machine


PROJECT = """\
[project]
name = "app"
version = "0"  # never released
requires-python = ">=3.13"

[tool.poetry]
package-mode = false
"""


@pytest.fixture(scope="module")
def before(machine: Machine) -> listing.Listing:
    return listing.take(machine)


@pytest.fixture(scope="module")
def accounts(machine: Machine) -> str:
    return machine.ssh("admin", ACCOUNTS, check=True).stdout


def variables(machine: Machine, **changes: Any) -> dict[str, Any]:
    """What a team declares: the lab's, with own logins and checkouts."""
    given = json.loads(machine.variables.read_text(encoding="utf-8"))
    return {
        **given,
        "artifact_registry_users": list(DEVELOPERS),
        "artifact_registry_identities": OWN_LOGINS,
        "artifact_registry_checkouts": CHECKOUTS,
        **changes,
    }


def play(
    machine: Machine, place: Path, playbook: str = "devbox", *arguments: str, **changes: Any
) -> plays.Play:
    return plays.run(
        playbook,
        *arguments,
        inventory=machine.inventory,
        place=place,
        variables=variables(machine, **changes),
    )


@pytest.fixture(scope="module")
def first(machine: Machine, before: listing.Listing, accounts: str, place: Path) -> plays.Play:
    """The first run, before anybody has logged in."""
    done = play(machine, place)
    assert done.code == 0, done.output
    return done


@pytest.fixture(scope="module")
def logged_in(machine: Machine, first: plays.Play, place: Path) -> plays.Play:
    """Both log in, and the play runs again."""
    for user in DEVELOPERS:
        people.log_in(machine, user, email=MAIL[user])
    oracle.eventually(lambda: all(people.token_of(machine, user) for user in DEVELOPERS), seconds=60)
    done = play(machine, place)
    assert done.code == 0, done.output
    return done


def sources(machine: Machine, user: str) -> list[dict[str, Any]]:
    text = machine.ssh(user, "cat ~/app/pyproject.toml", check=True).stdout
    assert "# never released" in text
    found: list[dict[str, Any]] = tomllib.loads(text)["tool"]["poetry"].get("source", [])
    return found


def touched(machine: Machine, user: str) -> str:
    return machine.ssh(user, TOUCHED.format(user=user), check=True).stdout


def test_a_checkout_that_is_not_there_stops_the_play_before_the_first_change(
    machine: Machine, before: listing.Listing, place: Path
) -> None:
    done = play(machine, place, artifact_registry_checkouts=[*CHECKOUTS, {"path": "/home/dev/gone"}])
    assert done.code != 0
    assert "artifact_registry_checkouts: found on dv-devbox" in done.output
    assert "/home/dev/gone: No such file or directory" in done.output
    assert done.changed == 0, done.output
    assert listing.differences(before, listing.take(machine), apart_from=leftovers.EXPECTED) == []


def test_who_has_not_logged_in_yet_is_told_how(machine: Machine, first: plays.Play) -> None:
    assert "gcloud auth login" in first.output
    for user in DEVELOPERS:
        assert people.token_of(machine, user) is None


def test_each_developer_has_a_token_of_the_own_login(machine: Machine, logged_in: plays.Play) -> None:
    for user in DEVELOPERS:
        assert people.owner(machine, people.token_of(machine, user)) == MAIL[user]


def test_a_further_run_changes_nothing(machine: Machine, logged_in: plays.Play, place: Path) -> None:
    again = play(machine, place)
    assert again.code == 0, again.output
    assert again.changed == 0, again.output


def test_settings_and_credentials_of_before_are_still_there(machine: Machine, logged_in: plays.Play) -> None:
    for name in ("config.toml", "auth.toml"):
        old = (FILES / name).read_text(encoding="utf-8")
        now = machine.ssh("ops", f"cat {POETRY}/{name}", check=True).stdout
        assert now.startswith(old.rstrip()), now
        assert "private-repo" in now


def test_checkouts_have_their_source_and_add_a_package_of_a_colleague(
    machine: Machine, logged_in: plays.Play
) -> None:
    assert sources(machine, "dev") == [
        {"name": "private-repo", "url": people.INDEX_URL, "priority": "explicit"}
    ]
    assert [one["priority"] for one in sources(machine, "ops")] == ["supplemental"]
    people.publish(machine, "ops", "from_ops")
    people.add(machine, "dev", "app", "from_ops", seconds=60)
    seen = {one.identity for one in machine.control.requests(target="index") if one.status == 200}
    assert seen == {MAIL[user] for user in DEVELOPERS}


def test_the_play_fails_where_the_index_does_not_answer_somebody(
    machine: Machine, logged_in: plays.Play, place: Path
) -> None:
    machine.control.deny(MAIL["ops"], permission="download")
    try:
        done = play(machine, place)
    finally:
        machine.control.allow_all()
    assert done.code != 0
    assert "something does not work on dv-devbox" in done.output
    assert "ops" in done.output


def test_a_new_developer_needs_one_line_and_touches_nobody_else(
    machine: Machine, logged_in: plays.Play, place: Path
) -> None:
    people.log_in(machine, NEW, email=MAIL[NEW])
    old = {user: touched(machine, user) for user in DEVELOPERS}
    done = play(machine, place, artifact_registry_users=[*DEVELOPERS, NEW])
    assert done.code == 0, done.output
    assert {user: touched(machine, user) for user in DEVELOPERS} == old
    assert people.owner(machine, people.token_of(machine, NEW)) == MAIL[NEW]
    people.start_project(machine, NEW, "mine", source=True)
    people.add(machine, NEW, "mine", "from_ops", seconds=60)


def test_an_identity_that_the_index_refuses_takes_nothing_from_anybody(
    machine: Machine, logged_in: plays.Play, place: Path
) -> None:
    """The VM's account instead of own logins, before it may read the repository."""
    machine.control.deny(DEFAULT_ACCOUNT, permission="download")
    try:
        done = play(machine, place, artifact_registry_identities={"default": {"type": "metadata"}})
    finally:
        machine.control.allow_all()
    assert (done.code != 0, done.changed) == (True, 0), done.output
    assert "users go on with what was declared before" in done.output
    assert "permission: the account of this identity may not read the repository" in done.output
    for user in DEVELOPERS:
        assert people.owner(machine, people.token_of(machine, user)) == MAIL[user]


def test_the_vms_account_serves_everybody_as_well(
    machine: Machine, logged_in: plays.Play, place: Path
) -> None:
    """Another declaration, on the same machine: from here on nobody needs a login."""
    everybody = [*DEVELOPERS, NEW]
    metadata = {"default": {"type": "metadata"}}
    done = play(machine, place, artifact_registry_users=everybody, artifact_registry_identities=metadata)
    assert done.code == 0, done.output
    for user in everybody:
        owner = people.owner(machine, people.token_of(machine, user)) or ""
        assert owner.startswith("dev-vm@"), (user, owner)
    people.start_project(machine, NEW, "also_mine", source=True)
    people.add(machine, NEW, "also_mine", "from_ops", seconds=60)


TEARDOWN = {
    "artifact_registry_users": [*DEVELOPERS, NEW],
    "artifact_registry_identities": {"default": {"type": "metadata"}},
    "artifact_registry_teardown_users": ["ops"],
}


@pytest.fixture(scope="module")
def one_gone(machine: Machine, place: Path) -> plays.Play:
    """One of three is taken back; check mode has told so before."""
    told = play(machine, place, "teardown", "--check", **TEARDOWN)
    assert told.code == 0, told.output
    done = play(machine, place, "teardown", **TEARDOWN)
    assert done.code == 0, done.output
    assert told.changed == done.changed, told.output + done.output
    return done


def test_taking_one_developer_back_leaves_nothing_of_that_one(machine: Machine, one_gone: plays.Play) -> None:
    for name in ("config.toml", "auth.toml"):
        now = machine.ssh("ops", f"cat {POETRY}/{name}", check=True).stdout
        assert now == (FILES / name).read_text(encoding="utf-8")
    assert machine.ssh("ops", "cat ~/app/pyproject.toml").stdout == PROJECT
    units = machine.ssh("admin", "systemctl list-units --all --plain --no-legend 'gar-auth-*'").stdout
    assert "@ops" not in units
    assert "@dev" in units


def test_taking_one_developer_back_leaves_the_others_working(machine: Machine, one_gone: plays.Play) -> None:
    assert sources(machine, "dev")
    people.start_project(machine, "dev", "still", source=True)
    people.add(machine, "dev", "still", "from_ops", seconds=60)
    machine.ssh("admin", "sudo gar-auth check", check=True)


def test_taking_one_developer_back_twice_is_fine_and_says_what_to_change(
    machine: Machine, one_gone: plays.Play, place: Path
) -> None:
    assert "Take ops out of artifact_registry_users" in one_gone.output
    again = play(machine, place, "teardown", **TEARDOWN)
    assert again.code == 0, again.output
    assert again.changed == 0, again.output


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"artifact_registry_teardown_user": "ops"}, "without it everything is taken back"),
        ({"artifact_registry_teardown_users": []}, "artifact_registry_teardown_users: found []"),
        ({**TEARDOWN, "artifact_registry_users": []}, "artifact_registry_users: found nobody"),
        ({"artifact_registry_users": []}, "what their Poetry knows of the repositories would stay"),
    ],
)
def test_a_slip_of_the_pen_does_not_take_everything_back(
    machine: Machine, one_gone: plays.Play, place: Path, changes: dict[str, Any], said: str
) -> None:
    done = play(machine, place, "teardown", **changes)
    assert done.code != 0
    assert said in done.output
    assert done.changed == 0


def test_at_the_end_the_machine_is_as_it_was(
    machine: Machine, before: listing.Listing, accounts: str, one_gone: plays.Play, place: Path
) -> None:
    machine.ssh("admin", f"sudo userdel {NEW}", check=True)  # somebody left in between
    everybody = {key: value for key, value in TEARDOWN.items() if "teardown" not in key}
    told = play(machine, place, "teardown", "--check", **everybody)
    assert told.code == 0, told.output
    assert told.changed > 0, told.output
    machine.ssh("dev", "gar-auth check", check=True)  # so far it was words only
    done = play(machine, place, "teardown", **everybody)
    assert done.code == 0, done.output
    assert leftovers.find(machine, before, apart_from=[*OF_USERS, *OF_ACCOUNTS]) == []
    assert machine.ssh("admin", ACCOUNTS, check=True).stdout == accounts
    again = play(machine, place, "teardown", **everybody)
    assert (again.code, again.changed) == (0, 0), again.output
