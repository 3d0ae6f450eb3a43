# SPDX-License-Identifier: GPL-3.0-or-later
"""gar_auth with the provider keyring: which units there are, who may read, and what a switch takes back."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from unit.roles.rendering import IDENTITIES, getent, machine, refusals, settings, template, variable

KEYRING = {"gar_auth_provider": "keyring"}
POETRY = "/usr/local/bin/poetry"


def before(*configs: dict[str, Any] | None) -> dict[str, Any]:
    """What is known of the run before, from retiring.json and config.json; None: no file."""
    known = {"users": ["dev", "ops"], "run_dir": "/run/gar-auth", "identities": {}, "repositories": []}
    texts = [None if one is None else json.dumps({**known, **one}) for one in configs]
    return {
        "__gar_auth_previous_files": {
            "results": [
                {
                    "item": name,
                    **({} if text is None else {"content": base64.b64encode(text.encode()).decode()}),
                }
                for name, text in zip(("retiring.json", "config.json"), texts, strict=True)
            ]
        },
        "__gar_auth_previous_getent": getent(dev="/home/dev", ops="/home/ops"),
        "gar_auth_repositories": [],
    }


def repository(name: str, *, host: str = "us-python.pkg.dev") -> dict[str, Any]:
    url = f"https://{host}/p/{name}/"
    known = host.endswith("pkg.dev")
    return {"name": name, "publish_url": url, "index_url": f"{url}simple/" if known else None}


OURS = {
    "provider": "keyring",
    "keyring_environments": [POETRY, "/opt/old"],
    "keyring_group": "gar-auth-users",
    "clients": ["pip", "twine"],
    "repositories": [repository("a"), repository("b", host="example.com")],
}


def test_nothing_is_written_and_the_group_reads() -> None:
    assert variable("__gar_auth_paths", **KEYRING) == []
    assert [unit for unit in variable("__gar_auth_units", **KEYRING) if "write" in unit] == []
    assert variable("__gar_auth_home_drop_ins", **KEYRING) == []
    fetcher = settings(template("gar-auth-fetch@.service", **KEYRING))
    assert fetcher["User"] == ["gar-auth"]
    assert fetcher["Group"] == ["gar-auth-users"]
    assert fetcher["SupplementaryGroups"] == ["gar-auth"]  # key files that it reads itself are for this group
    config = json.loads(template("config.json", **KEYRING))
    assert (config["provider"], config["keyring_group"]) == ("keyring", "gar-auth-users")
    assert config["keyring_environments"] == [POETRY]


def test_a_users_own_login_is_still_fetched_by_the_users_unit() -> None:
    timers = variable("__gar_auth_user_timers", **KEYRING, gar_auth_identities={"own": IDENTITIES["own"]})
    assert timers == ["gar-auth-user@dev.timer", "gar-auth-user@ops.timer"]


@pytest.mark.parametrize(
    "changes",
    [
        {"gar_auth_provider": "token_timer"},
        {**KEYRING, "gar_auth_service_manager": "none"},
        {**KEYRING, "gar_auth_identities": {"own": IDENTITIES["own"]}},
        {**KEYRING, "gar_auth_state": "absent"},
    ],
)
def test_without_a_token_of_the_machines_for_them_there_is_no_group(changes: dict[str, Any]) -> None:
    assert variable("__gar_auth_readers", **changes) == ""


def test_root_needs_no_group() -> None:
    assert variable("__gar_auth_members_wanted", **KEYRING, gar_auth_users=["root", "dev"]) == ["dev"]


def test_a_switch_takes_all_entries_out_after_the_keyring_works() -> None:
    known = {**KEYRING, **before(None, {})}
    assert variable("__gar_auth_to_keyring", **known) is True
    assert variable("__gar_auth_finishes", **known) is True
    assert variable("__gar_auth_gone_entries", **known) == [{"users": ["dev", "ops"], "options": []}]


def test_a_second_run_takes_nothing_back() -> None:
    same = {"provider": "keyring", "keyring_environments": [POETRY], "keyring_group": "gar-auth-users"}
    repositories = [{"name": "a", "url": "https://us-python.pkg.dev/p/a/"}]
    known = {**KEYRING, **before(None, {**same, "repositories": [repository("a")]})}
    known["gar_auth_repositories"] = repositories
    known["gar_auth_identities"] = {"default": {"type": "metadata"}}
    assert variable("__gar_auth_gone_entries", **known) == []
    assert variable("__gar_auth_finishes", **known) is False


@pytest.mark.parametrize("changes", [{}, {"gar_auth_state": "absent"}])
def test_a_switch_back_takes_the_keyring_out(changes: dict[str, Any]) -> None:
    known = {**changes, **before(None, OURS)}
    assert variable("__gar_auth_finishes", **known) is True
    assert variable("__gar_auth_gone_entries", **known) == [{"users": ["dev", "ops"], "options": []}]
    assert variable("__gar_auth_gone_environments", **known) == ["/opt/old", POETRY]
    assert variable("__gar_auth_previous_clients", **known) == ["pip", "twine"]
    assert variable("__gar_auth_previous_command", **known) is True
    assert variable("__gar_auth_previous_readers", **known) == "gar-auth-users"
    a, b = (
        {"name": "a", "url": "https://us-python.pkg.dev/p/a/"},
        {"name": "b", "url": "https://example.com/p/b/"},
    )
    assert variable("__gar_auth_gone_clients", **known) == [
        {"client": "pip", "repositories": [a]},  # the other one's index is not known
        {"client": "twine", "users": ["dev", "ops"], "repositories": [a, b]},
    ]


def test_an_environment_that_is_declared_no_more_loses_the_backend() -> None:
    known = {**KEYRING, **before(None, OURS)}
    assert variable("__gar_auth_gone_environments", **known) == ["/opt/old"]
    assert variable("__gar_auth_finishes", **known) is True


def test_a_switch_that_was_interrupted_is_known_with_both_providers() -> None:
    known = {**KEYRING, **before({}, OURS)}
    assert variable("__gar_auth_to_keyring", **known) is True
    assert variable("__gar_auth_had_keyring", **known) is True
    back = before({}, OURS)
    assert variable("__gar_auth_gone_environments", **back) == ["/opt/old", POETRY]
    assert variable("__gar_auth_finishes", **back) is True


def test_only_the_keyring_serves_other_clients() -> None:
    task = "Check that other clients are asked for with the provider that serves them"
    (said,) = refusals("preflight_options.yml", task, gar_auth_clients=["pip", "uv"])
    assert "found token_timer, with pip, uv" in said
    (said,) = refusals("preflight_options.yml", task, gar_auth_keyring_only=True)
    assert "gar_auth_keyring_only" in said
    assert refusals("preflight_options.yml", task, **KEYRING, gar_auth_clients=["pip", "uv"]) == []


@pytest.mark.parametrize(
    ("found", "refused"),
    [
        ({"exists": False}, False),
        ({"exists": True, "lnk_source": "/opt/gar-auth/bin/keyring"}, False),
        ({"exists": True, "lnk_source": ""}, True),
        ({"exists": True, "lnk_source": "/opt/pipx/bin/keyring"}, True),
    ],
)
def test_somebody_elses_keyring_command_is_not_replaced(found: dict[str, Any], refused: bool) -> None:
    task = "Check that the keyring command on the PATH is ours"
    seen = {**machine(), "files": {"/usr/local/bin/keyring": found}}
    known: dict[str, Any] = {**KEYRING, "__gar_auth_machine": seen}
    said = refusals("preflight_options.yml", task, **known, gar_auth_clients=["pip"])
    assert bool(said) is refused
    assert refusals("preflight_options.yml", task, **known, gar_auth_clients=["twine"]) == []


def test_a_repository_that_has_moved_leaves_its_old_place_in_other_clients() -> None:
    known = {**KEYRING, **before(None, {**OURS, "repositories": [repository("a")]})}
    known["gar_auth_repositories"] = [{"name": "a", "url": "https://us-python.pkg.dev/p/new/"}]
    known["gar_auth_identities"] = {"default": {"type": "metadata"}}
    known["gar_auth_clients"] = ["pip", "twine"]
    known["gar_auth_users"] = ["dev"]
    old = {"name": "a", "url": "https://us-python.pkg.dev/p/a/"}
    assert variable("__gar_auth_gone_clients", **known) == [
        {"client": "pip", "repositories": [old]},
        {"client": "twine", "users": ["dev"], "repositories": [old]},
        {"client": "twine", "users": ["ops"], "repositories": [old]},
    ]
    assert variable("__gar_auth_finishes", **known) is True
