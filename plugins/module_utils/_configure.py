# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module poetry_config does: check all, then bring all users' files into the declared state."""

from __future__ import annotations

import dataclasses
import functools
import typing as t

from . import _poetry
from ._poetry_files import update
from ._poetry_plan import AUTH, CONFIG, Wanted
from ._poetry_settings import check_names, check_sections, flattened, typed_settings
from ._toml_read import HAS_TOML
from ._users import accounts, for_each
from ._validate import InvalidInput, Problem, parse_credentials, parse_repositories

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

__all__ = ["PROBLEMS", "run"]

_ANYWHERE = "https://us-python.pkg.dev/any-project/any/"

#: What ends the module with a message and before any change.
PROBLEMS = (InvalidInput, _poetry.PoetryProblem)


def run(module: AnsibleModule) -> dict[str, t.Any]:
    """Check all that is declared, then do it for all users; the module's result.

    :raises InvalidInput, PoetryProblem: nothing was changed.
    """
    params = module.params
    wanted = _declared(params)
    users = accounts(params["users"], allow_root=params["allow_root"])
    wanted = _with_settings(module, wanted)
    answers = for_each(users, params, functools.partial(update, wanted=wanted, check=module.check_mode))
    told = {name: _told(answer) for name, answer in answers.items()}
    result = {
        "changed": any(user["changed"] for user in told.values()),
        "users": told,
        "repositories": [
            {"name": one.name, "publish_url": one.publish_url, "index_url": one.index_url}
            for one in wanted.repositories
            if one.publish_url != _ANYWHERE
        ],
    }
    if module._diff:
        result["diff"] = [entry for answer in answers.values() for entry in _diff(answer)]
    return result


def _told(answer: dict[str, t.Any]) -> dict[str, t.Any]:
    """What the module returns for a user."""
    told = {key: value for key, value in answer.items() if key not in ("before", "after")}
    return {"changed": False, **told}


def _diff(answer: dict[str, t.Any]) -> t.Iterator[dict[str, str]]:
    """What a user's files list before and after, where that differs."""
    if "failure" in answer:
        return
    for key, name in (("config_file", CONFIG), ("auth_file", AUTH)):
        before, after = answer["before"][name], answer["after"][name]
        if before != after:
            header = dict.fromkeys(("before_header", "after_header"), answer[key])
            yield {**header, "before": before, "after": after}


def _declared(params: dict[str, t.Any]) -> Wanted:
    """Everything but the settings, checked."""
    present = params["state"] == "present"
    problems: list[Problem] = []
    repositories: list[t.Any] = []
    credentials: list[t.Any] = []
    try:
        repositories = parse_repositories(
            [one if present else _by_name(one) for one in params["repositories"]],
            variable="repositories",
            allow_other_hosts=params["allow_other_hosts"],
            allow_empty=True,
        )
    except InvalidInput as error:
        problems += error.problems
    try:
        names = [repository.name for repository in repositories if repository.index_url is not None]
        credentials = parse_credentials(params["credentials"], names_only=not present, repositories=names)
    except InvalidInput as error:
        problems += error.problems
    if params["purge"] and not present:
        found = f"{', '.join(params['purge'])} together with state: absent"
        problems.append(Problem("purge", found, "state: present; to remove all of them: empty lists"))
    if problems:
        raise InvalidInput(problems)
    return Wanted(
        repositories=repositories, credentials=credentials, present=present, purge=frozenset(params["purge"])
    )


def _by_name(declared: dict[str, t.Any]) -> dict[str, t.Any]:
    """A repository that is to be removed: without a place of its own it gets one, which does not matter."""
    if any(declared.get(key) is not None for key in ("project", "location", "repository", "url")):
        return declared
    return {**declared, "url": _ANYWHERE}


def _with_settings(module: AnsibleModule, wanted: Wanted) -> Wanted:
    """Check settings and names with the installed Poetry; may go on under its interpreter and not return."""
    declared = module.params["settings"]
    settings = dict(flattened(declared))
    names = [one.name for one in wanted.repositories] + [one.name for one in wanted.credentials]
    judge = wanted.present and bool(settings or any("." in name for name in names))
    if judge or not HAS_TOML:
        try:
            found = _poetry.find(module.params["poetry"])
        except _poetry.PoetryMissing as missing:
            if not module.check_mode:
                raise
            if not HAS_TOML:
                module.warn(f"{missing}; nothing was compared")
                module.exit_json(changed=wanted.adds, users={}, repositories=[])
            module.warn(f"{missing}; the settings were not checked")
        else:
            _poetry.use(found, module.params, have_toml=HAS_TOML)
            check_names(names, found.version or _poetry.version())
            if judge:
                return dataclasses.replace(wanted, settings=typed_settings(declared))
    check_sections(settings)
    return dataclasses.replace(wanted, settings=settings)
