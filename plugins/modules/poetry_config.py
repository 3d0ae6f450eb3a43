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
  - Declares repositories, certificates, settings and credentials of any number of users, in one task.
  - Comments, order and everything that is not declared stay as they are, byte for byte.
  - Each user's files are read and written by a process with that user's privileges only, so no
    O(ignore:become_user) is needed. Root is needed for other users' files.
  - Where a user's files cannot be used, the others are done all the same; then the task fails and names each.
extends_documentation_fragment:
  - devbox.artifact_registry.users
requirements:
  - Python 3.11 or newer, or Poetry, under whose interpreter the module then runs.
  - Poetry 1.8 or newer for O(settings).
options:
  repositories:
    description:
      - Python repositories in Artifact Registry. The publish URL is registered; the index URL is returned.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - The name that Poetry uses. No two may differ in case or C(-) and C(_) only; dots need Poetry 2.4.
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
          - Path on the machine of the certificate authority's PEM file, where it is not a public one.
          - Without it, an entry of an earlier run is removed.
        type: raw
      client_cert:
        description:
          - Path on the machine of a PEM file with a client's certificate and key.
          - Without it, an entry of an earlier run is removed.
        type: raw
      identity:
        description: Not used by this module; accepted so that one list serves the whole collection.
        type: raw
  settings:
    description:
      - Settings of Poetry, nested or with dotted names, such as C(virtualenvs.in-project).
      - Names, values and types are those of the installed Poetry; lists may be given as lists.
      - For O(state=absent) the values do not matter.
    type: dict
    default: {}
  credentials:
    description:
      - What Poetry sends for a repository, in plain text in C(auth.toml), which only the user may read.
      - This is for other hosts. For Artifact Registry the role C(gar_auth) keeps a fresh token there.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The repository's name.
        type: raw
        required: true
      username:
        description: The user name, together with O(credentials[].password).
        type: raw
      password:
        description: The password.
        type: raw
      token:
        description: An API token as pypi.org wants it, instead of user name and password; only to publish.
        type: raw
  state:
    description:
      - Whether what is declared is there. Other entries stay. To remove an entry, its name is enough.
    type: str
    choices: [present, absent]
    default: present
  purge:
    description:
      - Sections that lose what is not declared, also what users added themselves; C(credentials) also what
        the role C(gar_auth) wrote, C(settings) also what this Poetry does not know.
    type: list
    elements: str
    choices: [settings, repositories, certificates, credentials]
    default: []
  allow_other_hosts:
    description: Accept URLs of other hosts than C(LOCATION-python.pkg.dev).
    type: bool
    default: false
attributes:
  check_mode:
    description: Runs in check mode and predicts what would change.
    support: full
    details:
      - Where Poetry is not installed yet, settings are compared as they are declared.
  diff_mode:
    description: Returns what has changed, or would change in check mode, when in diff mode.
    support: full
    details:
      - Keys and values of both files, one per line. Passwords and tokens are masked.
seealso:
  - module: devbox.artifact_registry.poetry_config_info
  - module: devbox.artifact_registry.poetry_source
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
      installer.max-workers: 4

- name: Have no other repositories than these
  devbox.artifact_registry.poetry_config:
    users: [dev, ops]
    repositories:
      - name: private-repo
        url: https://europe-west1-python.pkg.dev/my-project/python/
        ca_cert: /etc/ssl/certs/proxy.pem
    purge: [repositories, certificates]

- name: Give Poetry a password for another index
  devbox.artifact_registry.poetry_config:
    users: [dev]
    credentials:
      - name: partner
        username: dev
        password: "{{ partner_password }}"

- name: Remove a repository and a setting again
  devbox.artifact_registry.poetry_config:
    users: [dev, ops]
    repositories:
      - name: private-repo
        url: https://europe-west1-python.pkg.dev/my-project/python/
    settings:
      installer.max-workers:
    state: absent
"""

RETURN = r"""
users:
  description: What was done for each user, by name.
  returned: always
  type: dict
  contains:
    changed:
      description: Whether the user's files were (or would be) changed.
      type: bool
    changes:
      description: The dotted keys that are new, gone, or have another value.
      type: list
      elements: str
      sample: [repositories.private-repo.url]
    config_file:
      description: Path of C(config.toml).
      type: str
    auth_file:
      description: Path of C(auth.toml).
      type: str
    repositories:
      description: What this user can publish to, each with C(name), C(publish_url) and C(index_url).
      type: list
      elements: dict
    failure:
      description: Why this user's files were left alone and what to do; only then.
      type: str
repositories:
  description: The declared repositories with the URLs derived for them.
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

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.devbox.artifact_registry.plugins.module_utils._configure import PROBLEMS, run
from ansible_collections.devbox.artifact_registry.plugins.module_utils._poetry_plan import PURGEABLE
from ansible_collections.devbox.artifact_registry.plugins.module_utils._users import ARGUMENTS as USERS

# Of type raw: the validator says what YAML made of a value.
NAME = {"type": "raw", "required": True}
REPOSITORY_KEYS = ("project", "location", "repository", "url", "ca_cert", "client_cert", "identity")
REPOSITORY: dict[str, t.Any] = {"name": NAME, **{key: {"type": "raw"} for key in REPOSITORY_KEYS}}
CREDENTIAL = {
    "name": NAME,
    "username": {"type": "raw"},
    "password": {"type": "raw", "no_log": True},
    "token": {"type": "raw", "no_log": True},
}
ARGUMENTS: dict[str, t.Any] = {
    **USERS,
    "repositories": {"type": "list", "elements": "dict", "default": [], "options": REPOSITORY},
    "settings": {"type": "dict", "default": {}},
    "credentials": {"type": "list", "elements": "dict", "default": [], "options": CREDENTIAL},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "purge": {"type": "list", "elements": "str", "choices": list(PURGEABLE), "default": []},
    "allow_other_hosts": {"type": "bool", "default": False},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result = run(module)
    except PROBLEMS as problem:
        module.fail_json(msg=str(problem))
    failures = [
        f"user {name}: {user['failure']}" for name, user in result["users"].items() if "failure" in user
    ]
    if failures:
        module.fail_json(msg="\n".join(failures), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
