#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: python_clients
short_description: Configure pip, uv and twine for private repositories
version_added: 0.1.0
author: devbox.artifact_registry contributors (@devbox)
description:
  - Lets pip, uv and twine use repositories in Artifact Registry with tokens that the C(keyring) command hands
    out. No token is written.
  - Everything else in the files stays byte for byte. O(state=absent) takes out what O(state=present) put in,
    and brings back what had to make room. A file with nothing left in it is removed.
  - Without O(users) the file of the whole machine is changed. Users' files are read and written by a process
    with that user's privileges only, so no O(ignore:become_user) is needed.
  - Where a user's file cannot be used, the others are done all the same; then the task fails and names each.
requirements:
  - For O(client=uv) Python 3.11 or newer on the machine, or tomli for an older one.
  - The clients themselves are not needed for the task. What they need later is a C(keyring) command on the
    PATH, as the role C(gar_auth) installs it; twine asks the keyring of its own Python environment.
notes:
  - pip compares the versions of all indexes and takes the highest. uv takes a package from the first index
    that has it, and asks the repositories before PyPI.
options:
  client:
    description:
      - The client. V(pip) gets C(keyring-provider) and C(extra-index-url) in C([global]), V(uv)
        C(keyring-provider) and an C([[index]]) table for each repository.
      - V(twine) gets a section for each repository, for C(twine upload -r NAME), and its name among the
        C(index-servers).
    type: str
    choices: [pip, uv, twine]
    required: true
  repositories:
    description:
      - The repositories. Those of other hosts are for V(twine) only, because their index URLs are not known.
      - Needs one or more, unless there is O(purge=true).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - The name for uv and twine. pip has no names; there a repository is known by its URL.
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
        description: Not used by this module; accepted so that one list serves the whole collection.
        type: raw
      client_cert:
        description: Not used, as O(repositories[].ca_cert).
        type: raw
      identity:
        description: Not used, as O(repositories[].ca_cert).
        type: raw
  users:
    description:
      - Users whose own file is changed, all of whom must exist.
      - For V(twine), which has no file for the whole machine, the default is the user that the task runs as.
    type: list
    elements: str
  path:
    description:
      - The file; with O(users) or for V(twine) below each user's home.
      - The default is V(/etc/pip.conf) or V(/etc/uv/uv.toml), and below a home V(.config/pip/pip.conf),
        V(.config/uv/uv.toml) or V(.pypirc).
      - A file of the whole machine, and every directory on the way to it, must belong to root or to the user
        that the task runs as. Only its last directory is made.
    type: str
  state:
    description: Whether the clients know the repositories.
    type: str
    choices: [present, absent]
    default: present
  purge:
    description:
      - Also take out repositories in Artifact Registry that are not listed, where they have the user
        C(oauth2accesstoken) and no password. Other indexes and sections stay.
    type: bool
    default: false
  symlink:
    description:
      - Whether a symbolic link on the way to a user's file, or in its place, is followed, as with a dotfile
        manager.
      - It is resolved with the user's privileges and must lead to a place inside the user's home.
    type: str
    choices: [refuse, follow]
    default: refuse
  allow_root:
    description: Accept root among the users, as in container images.
    type: bool
    default: false
  allow_other_hosts:
    description: Accept URLs of other hosts than C(LOCATION-python.pkg.dev).
    type: bool
    default: false
attributes:
  check_mode:
    description: Runs in check mode and predicts exactly what would change.
    support: full
  diff_mode:
    description: Returns what has changed, or would change in check mode, when in diff mode.
    support: full
    details:
      - Passwords, tokens, and what URLs have before the host are masked.
seealso:
  - module: devbox.artifact_registry.poetry_config
  - name: pip's configuration
    description: Where pip reads its files, and in which order.
    link: https://pip.pypa.io/en/stable/topics/configuration/
  - name: uv's indexes
    description: In which order uv asks them.
    link: https://docs.astral.sh/uv/concepts/indexes/
  - name: The .pypirc file
    description: What twine reads.
    link: https://packaging.python.org/en/latest/specifications/pypirc/
"""

EXAMPLES = r"""
- name: Let pip on this machine install from a private repository
  devbox.artifact_registry.python_clients:
    client: pip
    repositories:
      - name: private-repo
        project: my-project
        location: europe-west1
        repository: python

- name: Let uv use this repository and no other one of Artifact Registry
  devbox.artifact_registry.python_clients:
    client: uv
    repositories:
      - name: private-repo
        url: https://europe-west1-python.pkg.dev/my-project/python/
    purge: true

- name: Let two users upload with twine upload -r private-repo
  devbox.artifact_registry.python_clients:
    client: twine
    users: [dev, ops]
    repositories:
      - name: private-repo
        url: https://europe-west1-python.pkg.dev/my-project/python/

- name: Take all repositories of Artifact Registry out of pip's configuration
  devbox.artifact_registry.python_clients:
    client: pip
    purge: true
    state: absent
"""

RETURN = r"""
files:
  description: What was done with each file.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
      sample: /etc/pip.conf
    user:
      description: Whose file it is; null for that of the whole machine.
      type: str
    changed:
      description: Whether the file was (or would be) changed.
      type: bool
    failure:
      description: Why the file was left alone and what to do; only then.
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
      description: Where packages are installed from; null for other hosts.
      type: str
"""

import sys
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.respawn import has_respawned, probe_interpreters_for_module

from ansible_collections.devbox.artifact_registry.plugins.module_utils._clients import run
from ansible_collections.devbox.artifact_registry.plugins.module_utils._poetry import go_on_under
from ansible_collections.devbox.artifact_registry.plugins.module_utils._toml_read import HAS_TOML
from ansible_collections.devbox.artifact_registry.plugins.module_utils._validate import InvalidInput

REPOSITORY_KEYS = ("project", "location", "repository", "url", "ca_cert", "client_cert", "identity")
REPOSITORY: dict[str, t.Any] = {
    "name": {"type": "raw", "required": True},
    **{key: {"type": "raw"} for key in REPOSITORY_KEYS},
}
ARGUMENTS: dict[str, t.Any] = {
    "client": {"type": "str", "choices": ["pip", "uv", "twine"], "required": True},
    "repositories": {"type": "list", "elements": "dict", "default": [], "options": REPOSITORY},
    "users": {"type": "list", "elements": "str"},
    "path": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "purge": {"type": "bool", "default": False},
    "symlink": {"type": "str", "choices": ["refuse", "follow"], "default": "refuse"},
    "allow_root": {"type": "bool", "default": False},
    "allow_other_hosts": {"type": "bool", "default": False},
}
PYTHONS = [f"/usr/bin/python3.{minor}" for minor in range(15, 10, -1)]


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if module.params["client"] == "uv" and not HAS_TOML:
        interpreter = None if has_respawned() else probe_interpreters_for_module(PYTHONS, "tomllib")
        if interpreter:
            go_on_under(interpreter)
        module.fail_json(msg="needs Python 3.11 or newer on the machine, or tomli for " + sys.executable)
    try:
        result = run(module)
    except InvalidInput as error:
        module.fail_json(msg=str(error))
    failures = [
        f"user {file['user']}: {file['failure']}" if file["user"] else file["failure"]
        for file in result["files"]
        if "failure" in file
    ]
    if failures:
        module.fail_json(msg="\n".join(failures), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
