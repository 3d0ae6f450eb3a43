# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for any file that the clients accept: ours is added, once, and taken out to the same bytes."""

from __future__ import annotations

import re
import tomllib

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from unit.plugins.client_texts import BOTH, INDEX, OTHER, PRIVATE, SECOND, edited, ini_texts, uv_texts

from ansible_collections.devbox.artifact_registry.plugins.module_utils import _clients_ini as ini
from ansible_collections.devbox.artifact_registry.plugins.module_utils._home_file import FileProblem

THOROUGH = settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
Values = dict[str, dict[str, str]]


def there_and_back(client: str, text: str) -> str:
    """The text with ours in it, after all ways to take it out again were tried."""
    after = edited(client, text)
    assert edited(client, after) == after, "once"
    assert edited(client, text, [PRIVATE]) == edited(client, after, [SECOND], present=False)
    one = edited(client, after, [PRIVATE], present=False)
    ways = {
        "together": edited(client, after, BOTH, present=False),
        "one by one": edited(client, one, [SECOND], present=False),
        "without names": edited(client, after, [], present=False, purge=True),
        "by a list without them": edited(client, after, [], purge=True),
    }
    for way, found in ways.items():
        assert found == text, way
    assert edited(client, text, present=False) == text
    return after


def unless_shared_options_are_refused(client: str, text: str) -> str | None:
    if ini.values(text).get("DEFAULT"):
        try:
            edited(client, text)
        except FileProblem:
            return None
    return there_and_back(client, text)


def pips(values: Values) -> Values:
    """What pip makes of it: one spelling of each option, and no [DEFAULT]."""
    default = values.get("DEFAULT", {})
    return {
        name: {key.replace("_", "-"): value for key, value in {**default, **options}.items()}
        for name, options in values.items()
        if name != "DEFAULT"
    }


@THOROUGH
@given(text=ini_texts())
def test_the_lines_of_an_ini_file_are_found_where_configparser_sees_them(text: str) -> None:
    found = {name: list(section.options) for name, section in ini.scan(text).items()}
    assert found == {name: list(options) for name, options in ini.values(text).items()}


@THOROUGH
@given(text=ini_texts())
def test_pip_gets_our_indexes_beside_the_users_and_gives_them_back(text: str) -> None:
    if (after := unless_shared_options_are_refused("pip", text)) is None:
        return
    before, changed = pips(ini.values(text)), pips(ini.values(after))
    mine = before.pop("global", {})
    ours = changed.pop("global")
    assert changed == before
    assert ours.pop("keyring-provider") == "subprocess"
    assert ours.pop("extra-index-url").split() == [*mine.get("extra-index-url", "").split(), INDEX, OTHER]
    assert ours == {key: mine[key] for key in mine if key not in ("keyring-provider", "extra-index-url")}


@THOROUGH
@given(text=ini_texts())
def test_twine_gets_our_servers_beside_the_users_and_gives_them_back(text: str) -> None:
    if (after := unless_shared_options_are_refused("twine", text)) is None:
        return
    before, changed = ini.values(text), ini.values(after)
    for one in BOTH:
        assert changed.pop(one.name) == {"repository": one.publish_url, "username": "oauth2accesstoken"}
    mine, ours = before.pop("distutils", {}), changed.pop("distutils")
    assert changed == before
    servers = mine.pop("index-servers", "pypi testpypi").split()
    assert ours.pop("index-servers").split() == [*servers, "private-repo", "other"]
    assert ours == mine


@THOROUGH
@given(text=uv_texts())
def test_uv_gets_our_indexes_behind_the_users_and_gives_them_back(text: str) -> None:
    before = tomllib.loads(text)
    changed = tomllib.loads(there_and_back("uv", text))
    ours = [{"name": "private-repo", "url": INDEX}, {"name": "other", "url": OTHER}]
    assert changed == {
        **before,
        "keyring-provider": "subprocess",
        "index": [*before.get("index", []), *({**one, "authenticate": "always"} for one in ours)],
    }


@THOROUGH
@given(text=uv_texts() | ini_texts(), client=st.sampled_from(["pip", "uv", "twine"]))
def test_every_line_of_the_user_stays_in_its_order(text: str, client: str) -> None:
    try:
        after = edited(client, text)
    except FileProblem:
        return
    assume("index = [" not in text)
    position = 0
    lines = [line.removeprefix(ini.REPLACED) for line in re.split(r"\r\n|\n|\r", after)]
    for line in re.split(r"\r\n|\n|\r", text):
        assert line in lines[position:], line
        position = lines.index(line, position) + 1


@pytest.mark.parametrize("client", ["pip", "uv", "twine"])
@given(text=st.text(max_size=40) | st.text(alphabet="[]=:#\n \ta'\"{},", max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_is_edited_or_refused_in_one_line_that_quotes_nothing(client: str, text: str) -> None:
    problem = ""
    after = None
    try:
        after = edited(client, text)
    except FileProblem as found:
        problem = str(found)
    assert problem.count("\n") == 0
    assert after is None or edited(client, after, present=False) == text
