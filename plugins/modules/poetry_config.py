#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: poetry_config
short_description: Manage users' global Poetry configuration
version_added: 0.1.0
author: devbox.artifact_registry contributors (@devbox)
description:
  - Declares repositories and settings in C(config.toml) of any number of users, in one task.
  - Comments, order and everything that is not declared stay as they are.
  - Each file is read and written by a process with its user's privileges only, so no O(ignore:become_user) is
    needed. Root is needed for other users' files.
requirements:
  - Poetry 1.8 or newer on the machine. The module runs under Poetry's own interpreter.
options:
  users:
    description:
      - The users whose configuration is managed. The default is the user that the task runs as.
    type: list
    elements: str
    default: []
  repositories:
    description:
      - Python repositories in Artifact Registry. The publish URL is registered; the index URL is returned.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name that Poetry uses. A string; no two may differ in case or C(-) and C(_) only.
        type: raw
        required: true
      project:
        description: The project's ID.
        type: raw
      location:
        description: The location, such as V(europe-west1).
        type: raw
      repository:
        description: The repository's ID. The default is the O(repositories[].name).
        type: raw
      url:
        description: The whole publish URL, instead of project, location and repository.
        type: raw
      ca_cert:
        description:
          - Path on the machine of the certificate authority's PEM file for this repository, where it is not a
            public one.
        type: raw
      identity:
        description: Not used by this module; accepted so that one list serves the whole collection.
        type: raw
  settings:
    description:
      - Settings of Poetry, nested or with dotted names, such as C(virtualenvs.in-project).
      - Names, values and types are those of the installed Poetry.
    type: dict
    default: {}
  state:
    description:
      - Whether the repositories (with their certificates) and the settings are there. Other entries stay.
    type: str
    choices: [present, absent]
    default: present
  config_dir:
    description: Poetry's configuration directory, absolute or below each user's home.
    type: str
    default: .config/pypoetry
  poetry:
    description: Poetry's executable, a path or a name on the PATH.
    type: str
    default: poetry
  allow_root:
    description: Accept root in O(users), as in container images.
    type: bool
    default: false
  allow_other_hosts:
    description: Accept URLs of other hosts than C(LOCATION-python.pkg.dev).
    type: bool
    default: false
attributes:
  check_mode:
    description: Runs in check mode and predicts what would change.
    support: full
    details:
      - Exact where Poetry is installed. Before that, every user counts as changed.
  diff_mode:
    description: Returns what has changed, or would change in check mode, when in diff mode.
    support: full
    details:
      - Passwords in URLs are masked.
seealso:
  - name: Poetry's configuration
    description: What the settings mean.
    link: https://python-poetry.org/docs/configuration/
"""

EXAMPLES = r"""
- name: Register a private repository for two users
  devbox.artifact_registry.poetry_config:
    users: [dev, ops]
    repositories:
      - name: private-repo
        project: my-project
        location: europe-west1
        repository: python
    settings:
      virtualenvs:
        in-project: true

- name: Remove it again
  devbox.artifact_registry.poetry_config:
    users: [dev, ops]
    repositories:
      - name: private-repo
        project: my-project
        location: europe-west1
        repository: python
    state: absent
"""

RETURN = r"""
users:
  description: What was done for each user.
  returned: always
  type: dict
  contains:
    changed:
      description: Whether the user's file was (or would be) changed.
      type: bool
    path:
      description: The file.
      type: str
repositories:
  description: The repositories with the URLs derived for them.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The name.
      type: str
    publish_url:
      description: Where packages are uploaded to.
      type: str
    index_url:
      description: Where packages are installed from.
      type: str
"""

import functools
import os
import pwd
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.respawn import has_respawned, respawn_module

from ansible_collections.devbox.artifact_registry.plugins.module_utils import _poetry, _validate
from ansible_collections.devbox.artifact_registry.plugins.module_utils._as_user import WorkFailed, run_as
from ansible_collections.devbox.artifact_registry.plugins.module_utils._poetry_files import update_config

ARGUMENTS: dict[str, t.Any] = {
    "users": {"type": "list", "elements": "str", "default": []},
    "repositories": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "raw", "required": True},
            "project": {"type": "raw"},
            "location": {"type": "raw"},
            "repository": {"type": "raw"},
            "url": {"type": "raw"},
            "ca_cert": {"type": "raw"},
            "identity": {"type": "raw"},
        },
    },
    "settings": {"type": "dict", "default": {}},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "config_dir": {"type": "str", "default": ".config/pypoetry"},
    "poetry": {"type": "str", "default": "poetry"},
    "allow_root": {"type": "bool", "default": False},
    "allow_other_hosts": {"type": "bool", "default": False},
}


def accounts(module: AnsibleModule) -> list[pwd.struct_passwd]:
    """The declared users' entries in the passwd database."""
    if not module.params["users"]:
        return [pwd.getpwuid(os.geteuid())]
    names = _validate.parse_users(
        module.params["users"], variable="users", allow_root=module.params["allow_root"]
    )
    found, problems = [], []
    for number, name in enumerate(names):
        try:
            found.append(pwd.getpwnam(name))
        except KeyError:
            problems.append(
                _validate.Problem(f"users[{number}]", f"{name!r}, unknown on this machine", "existing users")
            )
    if problems:
        raise _validate.InvalidInput(problems)
    return found


def run(module: AnsibleModule) -> dict[str, t.Any]:
    """Check everything, then do it user by user."""
    repositories = [
        repository.as_dict()
        for repository in _validate.parse_repositories(
            module.params["repositories"],
            variable="repositories",
            allow_other_hosts=module.params["allow_other_hosts"],
            allow_empty=True,
        )
    ]
    result: dict[str, t.Any] = {"changed": False, "users": {}, "diff": [], "repositories": repositories}
    users = accounts(module)
    interpreter = _poetry.find_interpreter(module.params["poetry"])
    if interpreter is None:
        if not module.check_mode:
            raise _poetry.PoetryProblem(f"there is no {module.params['poetry']}; run the role poetry first")
        module.warn("Poetry is not installed yet: the files were not compared")
        return {**result, "changed": True}
    if not has_respawned():
        respawn_module(interpreter)  # does not return
    present = module.params["state"] == "present"
    settings = _poetry.typed_settings(module.params["settings"])
    for account in users:
        path = os.path.join(account.pw_dir, module.params["config_dir"])
        work = functools.partial(
            update_config,
            path,
            home=account.pw_dir,
            changes=_poetry.plan(repositories, settings, present=present),
            check=module.check_mode,
        )
        answer = run_as(account, work)
        if "failure" in answer:
            raise WorkFailed(f"user {account.pw_name}: {answer['failure']}")
        changed = answer["before"] != answer["after"]
        result["users"][account.pw_name] = {"changed": changed, "path": f"{path}/config.toml"}
        if changed:
            result["changed"] = True
            header = f"{path}/config.toml"
            before, after = (_validate.redact(answer[key]) for key in ("before", "after"))
            result["diff"].append(
                {"before_header": header, "after_header": header, "before": before, "after": after}
            )
    return result


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result = run(module)
    except (_validate.InvalidInput, _poetry.PoetryProblem, WorkFailed) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
