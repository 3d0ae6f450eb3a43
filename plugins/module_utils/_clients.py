# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module python_clients does: check all, then bring the files into the declared state."""

from __future__ import annotations

import functools
import os
import typing as t

from ._as_user import WorkFailed, run_all
from ._clients_files import HOME_PATHS, PATHS, Wanted, update
from ._users import accounts
from ._validate import InvalidInput, Problem, parse_repositories

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

__all__ = ["run"]


def run(module: AnsibleModule) -> dict[str, t.Any]:
    """Check all that is declared, then change the files; the module's result.

    :raises InvalidInput: nothing was changed.
    """
    params = module.params
    present = params["state"] == "present"
    repositories = parse_repositories(
        params["repositories"],
        variable="repositories",
        allow_other_hosts=params["allow_other_hosts"],
        allow_empty=params["purge"],
    )
    wanted = Wanted(params["client"], repositories, present=present, purge=params["purge"])
    options: dict[str, t.Any] = {
        "wanted": wanted,
        "check": module.check_mode,
        "follow": params["symlink"] == "follow",
    }
    if params["users"] is None and params["client"] in PATHS:
        path = _system_path(params)
        answers = [("", path, update(path, home=None, **options))]
    else:
        path = _home_path(params)
        users = accounts(params["users"], allow_root=params["allow_root"])
        paths = [os.path.join(os.path.normpath(user.pw_dir), path) for user in users]
        done = run_all(
            (user, functools.partial(update, one, home=user.pw_dir, **options))
            for user, one in zip(users, paths)
        )
        answers = [(user.pw_name, one, answer) for user, one, answer in zip(users, paths, done)]
    return _result(module, wanted, answers)


def _result(
    module: AnsibleModule, wanted: Wanted, answers: t.Sequence[tuple[str, str, t.Any]]
) -> dict[str, t.Any]:
    files: list[dict[str, t.Any]] = []
    diff: list[dict[str, str]] = []
    for user, path, found in answers:
        failed = isinstance(found, WorkFailed)
        answer: dict[str, t.Any] = {"changed": False, "failure": str(found)} if failed else found
        told = {"path": path, "user": user or None, "changed": answer["changed"]}
        if "failure" in answer:
            told["failure"] = answer["failure"]
        elif answer["changed"]:
            header = dict.fromkeys(("before_header", "after_header"), path)
            diff.append({**header, "before": answer["before"], "after": answer["after"]})
        for warning in answer.get("warnings", ()):
            module.warn(f"{path}: {warning}")
        files.append(told)
    skipped = [one.name for one in wanted.repositories if one.index_url is None]
    if skipped and wanted.client in PATHS:
        module.warn(f"left out, because the index URLs of other hosts are not known: {', '.join(skipped)}")
    result: dict[str, t.Any] = {
        "changed": any(file["changed"] for file in files),
        "files": files,
        "repositories": [
            {"name": one.name, "publish_url": one.publish_url, "index_url": one.index_url}
            for one in wanted.repositories
        ],
    }
    if module._diff and diff:
        result["diff"] = diff
    return result


def _system_path(params: dict[str, t.Any]) -> str:
    """The file of the whole machine.

    :raises InvalidInput: it is no absolute path in a directory of its own.
    """
    path: str = params["path"] or PATHS[params["client"]]
    parts = path[1:].split("/")
    if not path.startswith("/") or len(parts) < 2 or {"", ".", ".."} & set(parts):
        allowed = "an absolute path without . and ..; below users' homes: with users"
        raise InvalidInput([Problem("path", repr(path), allowed, PATHS[params["client"]])])
    return path


def _home_path(params: dict[str, t.Any]) -> str:
    """The file below each home.

    :raises InvalidInput: it is no path below a home.
    """
    path: str = params["path"] or HOME_PATHS[params["client"]]
    if path[:1] in "/~$" or {"", ".", ".."} & set(path.split("/")):
        allowed = "a path below each user's home, without ~, $ and .."
        raise InvalidInput([Problem("path", repr(path), allowed, HOME_PATHS[params["client"]])])
    return path
