# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of every kind: Poetry reads what the module wrote, and the module what Poetry wrote."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from oracle.home import Home, meaning
from oracle.samples import Sample, first_samples, nested, refused_values, second_samples

Homes = Callable[[str], Home]


def keys(samples: list[Sample]) -> list[str]:
    return [sample.key for sample in samples]


def dotted(samples: list[Sample]) -> dict[str, Any]:
    return {sample.key: sample.given for sample in samples}


def commands(samples: list[Sample]) -> list[list[str]]:
    """What a user types to set the same."""
    return [[sample.key, sample.text] for sample in samples]


def select(listed: dict[str, Any], names: list[str]) -> dict[str, Any]:
    assert set(names) <= set(listed)
    return {name: listed[name] for name in names}


def test_every_setting_is_written_as_poetry_itself_writes_it(new_home: Homes) -> None:
    theirs, ours = new_home("theirs"), new_home("ours")
    samples = first_samples(ours.poetry.settings)
    assert len(samples) > 15
    expected = theirs.listed(*commands(samples))
    assert ours.changes(settings=dotted(samples)) == keys(samples)
    assert select(ours.listed(), keys(samples)) == select(expected, keys(samples))
    assert meaning(ours.config) == meaning(theirs.config)
    assert theirs.changes(settings=dotted(samples)) == [], "what Poetry wrote is what is asked for"
    assert ours.changes(settings=nested(samples)) == [], "nested names say the same as dotted ones"
    as_text = {sample.key: sample.text for sample in samples}
    assert ours.changes(settings=as_text) == [], "text as on Poetry's command line says the same"


def test_every_setting_that_poetry_unset_or_set_otherwise_comes_back(home: Home) -> None:
    samples, others = first_samples(home.poetry.settings), second_samples(home.poetry.settings)
    wanted = dotted(samples)
    home.changes(settings=wanted)
    before = home.listed()
    home.config_commands(*([key, "--unset"] for key in keys(samples)))
    assert meaning(home.config) == {}
    assert home.changes(settings=wanted, check=True) == keys(samples)
    assert home.changes(settings=wanted) == keys(samples)
    assert home.listed() == before
    home.config_commands(*commands(others))
    assert home.changes(settings=wanted) == keys(samples)
    assert home.listed() == before
    assert home.changes(settings=wanted) == []


def test_poetry_shows_its_defaults_again_once_every_setting_is_absent(home: Home) -> None:
    samples = first_samples(home.poetry.settings)
    defaults = home.listed()
    home.changes(settings=dotted(samples))
    assert home.changes(settings=dict.fromkeys(keys(samples)), state="absent") == keys(samples)
    assert home.listed() == defaults
    assert home.changes(settings=dotted(samples), state="absent") == []


def test_the_order_of_a_list_is_no_change(home: Home) -> None:
    names = ["numpy", "pandas", "scipy", "lxml", "cffi"]
    assert home.changes(settings={"installer.no-binary": names}) == ["installer.no-binary"]
    assert home.listed()["installer.no-binary"] == sorted(names)
    home.config_commands(["installer.no-binary", ",".join(reversed(names))])
    again = [names, list(reversed(names)), ",".join(names)]
    assert [home.changes(settings={"installer": {"no-binary": value}}) for value in again] == [[], [], []]


SPELLINGS: list[dict[str, tuple[Any, Any]]] = [  # per round: key -> what is given, what is listed
    {
        "installer.no-binary": (":all:", [":all:"]),
        "virtualenvs.prompt": ("{project_name} on {python_version}", "{project_name} on {python_version}"),
        "installer.max-workers": ("4", 4),
        "virtualenvs.in-project": ("false", False),
        "virtualenvs.create": (1, True),
        "virtualenvs.path": ("{cache-dir}/elsewhere/", "{cache-dir}/elsewhere"),
        "cache-dir": ("/srv/poetry cache", "/srv/poetry cache"),
    },
    {
        "installer.no-binary": ([":all:"], [":all:"]),
        "virtualenvs.prompt": ('a "quoted" \\ path\'s [name] # no comment',) * 2,
        "virtualenvs.in-project": ("1", True),
    },
    {"installer.no-binary": (True, [":all:"]), "virtualenvs.prompt": ("héllo ✓",) * 2},
    {"installer.no-binary": (False, [":none:"]), "virtualenvs.prompt": ("x",) * 2},
    {"installer.no-binary": ("Zope_Interface,lxml", ["lxml", "zope-interface"])},
]


@pytest.mark.parametrize("spelled", SPELLINGS, ids=lambda spelled: str(spelled["installer.no-binary"][0]))
def test_values_of_all_kinds_are_listed_as_they_were_meant(
    home: Home, spelled: dict[str, tuple[Any, Any]]
) -> None:
    settings = {key: given for key, (given, _listed) in spelled.items()}
    assert home.changes(settings=settings) == sorted(spelled)
    assert select(home.listed(), list(spelled)) == {key: listed for key, (_given, listed) in spelled.items()}
    assert home.changes(settings=settings) == []


def test_build_settings_of_a_package_are_those_that_poetry_would_write(new_home: Homes) -> None:
    ours, theirs = new_home("ours"), new_home("theirs")
    key = "installer.build-config-settings.my-package"
    value = {"CC": "gcc", "--global-option": ["--some", "--flags"]}
    if ours.poetry.release.number < (2, 1):
        result = ours.run(settings={key: value})
        assert result["failed"]
        assert key in result["msg"] or "installer.build-config-settings" in result["msg"]
        assert ours.files() == {}
        return
    theirs.config_commands([key, '{"CC": "gcc", "--global-option": ["--some", "--flags"]}'])
    assert ours.changes(settings={"installer.build-config-settings.My_Package": value}) != []
    assert meaning(ours.config) == meaning(theirs.config)
    listed = ours.listed()
    assert (listed[f"{key}.CC"], listed[f"{key}.--global-option"]) == ("gcc", ["--flags", "--some"])
    tree = {"installer": {"build-config-settings": {"my-package": value}}}
    assert ours.changes(settings=tree) == theirs.changes(settings=tree) == []
    assert ours.listed([key, "--unset"]).get(f"{key}.CC") is None
    assert ours.changes(settings=tree) != []
    assert meaning(ours.config) == meaning(theirs.config)
    assert ours.changes(settings=tree, state="absent") != []
    assert meaning(ours.config) == {}


UNKNOWN = {
    "virtualenvs.in-projekt": "virtualenvs.in-project",
    "virtualenv.create": "virtualenvs.create",
    "installer.max_workers": "installer.max-workers",
    "cache_dir": "cache-dir",
    "keyring.enable": "keyring.enabled",
}


def test_unknown_settings_fail_with_the_nearest_ones_and_change_nothing(home: Home) -> None:
    home.config_commands(["virtualenvs.create", "false"])
    before = home.files()
    result = home.run(settings={**dict.fromkeys(UNKNOWN, True), "virtualenvs.create": True})
    assert result["failed"]
    for wrong, right in UNKNOWN.items():
        about = result["msg"].partition(wrong)[2].split("settings.")[0]
        assert right in about, f"{wrong} is answered by: {about!r}"
    assert home.files() == before


def test_settings_of_another_release_are_unknown_to_this_one(home: Home) -> None:
    known = home.poetry.settings
    others = {"experimental.system-git-client", "requests.max-retries", "solver.min-release-age"} - set(known)
    assert others
    for key in others:
        result = home.run(settings={key: 1})
        assert result["failed"]
        assert key in result["msg"]
    assert home.files() == {}


def test_values_that_poetry_refuses_fail_all_at_once_and_change_nothing(home: Home) -> None:
    home.config_commands(["virtualenvs.create", "false"])
    before = home.files()
    wrong = refused_values(home.poetry.settings)
    assert len(wrong) > 15
    result = home.run(settings=wrong)
    assert result["failed"]
    assert [key for key in wrong if key not in result["msg"]] == []
    assert home.files() == before


OF_WRONG_TYPE: dict[str, Any] = {
    "installer.max-workers": True,
    "virtualenvs.create": 3,
    "virtualenvs.in-project": [],
    "virtualenvs.options.no-pip": {"a": 1},
    "virtualenvs.path": None,
    "cache-dir": ["/srv"],
    "installer.no-binary": [":all:", "numpy"],
    "keyring.enabled": 1.5,
    "installer": True,
}


def test_values_of_the_wrong_type_fail_without_a_traceback(home: Home) -> None:
    result = home.run(settings=OF_WRONG_TYPE)
    assert result.get("failed"), f"accepted: {home.files()}"
    assert [key for key in OF_WRONG_TYPE if f"settings.{key}" not in result["msg"]] == []
    assert "Traceback" not in str(result)
    assert home.files() == {}
