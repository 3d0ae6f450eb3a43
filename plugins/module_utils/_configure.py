# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module poetry_config does: check all, then bring all users' files into the declared state."""

from __future__ import annotations

import dataclasses
import functools
import typing as t

from . import _poetry
from ._as_user import WorkFailed, run_all
from ._poetry_files import update
from ._poetry_plan import AUTH, CONFIG, Wanted
from ._toml_read import HAS_TOML
from ._users import accounts, directory_of
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
    follow = params["symlink"] == "follow"
    work = functools.partial(update, wanted=wanted, check=module.check_mode, follow=follow)
    directories = [directory_of(account, params["config_dir"]) for account in users]
    answers = run_all(
        (account, functools.partial(work, directory, home=account.pw_dir))
        for account, directory in zip(users, directories)
    )
    result: dict[str, t.Any] = {
        "changed": False,
        "users": {},
        "repositories": [
            {"name": one.name, "publish_url": one.publish_url, "index_url": one.index_url}
            for one in wanted.repositories
            if one.publish_url != _ANYWHERE
        ],
    }
    diffs: list[dict[str, str]] = []
    for account, directory, answer in zip(users, directories, answers):
        files = {"config_file": f"{directory}/{CONFIG}", "auth_file": f"{directory}/{AUTH}"}
        if isinstance(answer, WorkFailed) or "failure" in answer:
            failure = str(answer) if isinstance(answer, WorkFailed) else answer["failure"]
            changed = not isinstance(answer, WorkFailed) and answer["changed"]
            result["changed"] = result["changed"] or changed
            result["users"][account.pw_name] = {**files, "changed": changed, "failure": failure}
            continue
        result["changed"] = result["changed"] or answer["changed"]
        kept = {key: answer[key] for key in ("changed", "changes", "repositories")}
        result["users"][account.pw_name] = {**files, **kept}
        diffs += [
            {
                "before_header": f"{directory}/{name}",
                "after_header": f"{directory}/{name}",
                "before": answer["before"][name],
                "after": answer["after"][name],
            }
            for name in (CONFIG, AUTH)
            if answer["before"][name] != answer["after"][name]
        ]
    return {**result, "diff": diffs} if module._diff else result


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
        names = [
            repository.name for repository in repositories if "-python.pkg.dev/" in repository.publish_url
        ]
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
    settings = dict(_poetry.flattened(declared))
    names = [one.name for one in wanted.repositories] + [one.name for one in wanted.credentials]
    judge = wanted.present and bool(settings or any("." in name for name in names))
    if judge or not HAS_TOML:
        found = _poetry.find(module.params["poetry"])
        if found is None:
            missing = (
                f"there is no {module.params['poetry']}; run the role poetry first, or set option poetry"
            )
            if not module.check_mode:
                raise _poetry.PoetryProblem(missing)
            if not HAS_TOML:
                module.warn(f"{missing}; nothing was compared")
                module.exit_json(changed=wanted.adds, users={}, repositories=[])
            module.warn(f"{missing}; the settings were not checked")
        else:
            _poetry.use(found, module.params, have_toml=HAS_TOML)
            _poetry.check_names(names, found.version or _poetry.version())
            if judge:
                return dataclasses.replace(wanted, settings=_poetry.typed_settings(declared))
    _poetry.check_sections(settings)
    return dataclasses.replace(wanted, settings=settings)
