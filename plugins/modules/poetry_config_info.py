#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: poetry_config_info
short_description: Show users' effective Poetry configuration
version_added: 0.1.0
author: devbox.artifact_registry contributors (@devbox)
description:
  - Shows which settings, repositories and credentials count for any number of users, where each comes from,
    and what shadows what. It never returns a password or a token.
  - Each user's files are read by a process with that user's privileges only, so no O(ignore:become_user) is
    needed. Root is needed for other users' files.
  - The task does not fail because of a user whose files cannot be used. RV(users) then says why.
extends_documentation_fragment:
  - devbox.artifact_registry.users
requirements:
  - Python 3.11 or newer, or Poetry, under whose interpreter the module then runs.
notes:
  - The environment that counts is the task's, and what C(/etc/environment) sets for every login. What a
    user's own shell sets is not seen. C(environment) or C(become_user) shows another environment.
  - Of C(~/.netrc), or the file that E(NETRC) names, hosts and user names are read.
  - The keyring is never asked. It may prompt, or wait for a desktop that is not there.
  - A project's own C(poetry.toml) and C(pyproject.toml) are not read.
attributes:
  check_mode:
    description: Runs in check mode, in which it does the same.
    support: full
  diff_mode:
    description: Returns what has changed when in diff mode.
    support: none
    details:
      - It changes nothing.
seealso:
  - module: devbox.artifact_registry.poetry_config
  - name: Poetry's configuration
    description: What the settings mean, and how credentials are given.
    link: https://python-poetry.org/docs/configuration/
"""

EXAMPLES = r"""
- name: Look at two users' Poetry configuration
  devbox.artifact_registry.poetry_config_info:
    users: [dev, ops]
  register: poetry

- name: Show what leads Poetry astray
  ansible.builtin.debug:
    msg: "{{ poetry.users | dict2items | map(attribute='value.warnings', default=[]) | flatten }}"

- name: Make sure that dev can publish to private-repo
  ansible.builtin.assert:
    that: private_repo.publish.present is not false
  vars:
    private_repo: "{{ poetry.users.dev.credentials | selectattr('name', 'eq', 'private-repo') | first }}"
"""

RETURN = r"""
poetry_version:
  description: Version of the installed Poetry, whose rules count. Null where there is none.
  returned: always
  type: str
  sample: 2.5.1
users:
  description: The configuration of each user, by name.
  returned: always
  type: dict
  contains:
    failure:
      description: Why this user's files cannot be used and what to do. Then only the two paths are beside it.
      type: str
    config_file:
      description: Path of C(config.toml).
      type: str
    auth_file:
      description: Path of C(auth.toml).
      type: str
    settings:
      description:
        - Every setting that the installed Poetry knows, by its dotted name.
        - Each has C(value), the one that counts, and C(source), which is V(default), V(config.toml),
          V(auth.toml) or V(environment).
      type: dict
      sample: {virtualenvs.in-project: {value: true, source: config.toml}}
    repositories:
      description: The repositories that Poetry can publish to.
      type: list
      elements: dict
      contains:
        name:
          description: The name.
          type: str
        publish_url:
          description: Where packages are uploaded to, without user and password. Null where it is missing.
          type: str
        index_url:
          description: Where packages are installed from. Null outside Artifact Registry.
          type: str
        source:
          description: Where the URL comes from, as for settings.
          type: str
        hidden:
          description: Whether Poetry does not see it because of a variable C(POETRY_REPOSITORIES_*_URL).
          type: bool
        ca_cert:
          description: Path of the certificate authority's PEM file, or null.
          type: str
        client_cert:
          description: Path of the client's PEM file, or null.
          type: str
        verify:
          description: Whether the server's certificate is checked.
          type: bool
    credentials:
      description: Each name that is a repository's, or that has a credential.
      type: list
      elements: dict
      contains:
        name:
          description: The name.
          type: str
        registered:
          description: Whether Poetry sees a repository of that name.
          type: bool
        install:
          description:
            - What Poetry sends when it installs from a project's source of that name, on the same host.
            - The keys are those of RV(users.credentials[].publish).
          type: dict
        publish:
          description: What Poetry sends when it publishes to the repository.
          type: dict
          contains:
            present:
              description: Whether there is one. Null where only the keyring, never asked, could have one.
              type: bool
            source:
              description:
                - One of V(environment), V(auth.toml), V(config.toml), V(netrc), V(keyring), V(url).
                - V(keyring) with another one in C(shadowed) means that the keyring is asked first.
              type: str
            kind:
              description: V(http-basic) for a user name and a password, wherever they are, or V(pypi-token).
              type: str
            username:
              description: The user name where it is surely no secret, else null.
              type: str
            shadowed:
              description: The others that have one but lose, each with C(source) and C(kind).
              type: list
              elements: dict
    keyring:
      description: The keyring of Poetry's environment.
      type: dict
      contains:
        enabled:
          description: The setting C(keyring.enabled).
          type: bool
        backends:
          description: The installed backends by module. Those below C(keyring.backends) need a desktop.
          type: list
          elements: str
        forced:
          description: The backend that E(PYTHON_KEYRING_BACKEND) names, or null.
          type: str
    warnings:
      description: What leads Poetry astray, each with cause and cure.
      type: list
      elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.devbox.artifact_registry.plugins.module_utils._poetry import PoetryProblem
from ansible_collections.devbox.artifact_registry.plugins.module_utils._poetry_inspect import run
from ansible_collections.devbox.artifact_registry.plugins.module_utils._users import ARGUMENTS
from ansible_collections.devbox.artifact_registry.plugins.module_utils._validate import InvalidInput


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result = run(module)
    except (InvalidInput, PoetryProblem) as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
