#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: poetry_source
short_description: Manage the package sources of a Poetry project
version_added: 0.1.0
author: devbox.artifact_registry contributors (@devbox)
description:
  - Declares the C([[tool.poetry.source]]) tables in the C(pyproject.toml) of one project. Poetry has no list
    of sources for a whole machine.
  - Everything else stays byte for byte. A table goes and moves with the comment lines directly above it.
  - The file is read and written by a process with the privileges of the directory's owner only, so no
    O(ignore:become_user) is needed. Root is needed for other users' projects.
  - Warns when the project's C(poetry.lock) gets stale, and when a dependency still names a removed source.
requirements:
  - Python 3.11 or newer on the machine, or tomli for an older one. Poetry is not needed.
options:
  project_dir:
    description:
      - The project's directory, an absolute path. Its C(pyproject.toml) must be there.
      - Refused where others than root and its owner can write to it or, outside of the owner's home, replace
        it or put a symbolic link on the way to it.
    type: path
    required: true
  sources:
    description:
      - The sources, in the order in which Poetry is to ask those of the same priority.
      - Those that the project has already change places among each other only. A new one comes before the
        next listed one that is there, or else last. Sources that are not listed keep their places.
      - What an entry leaves out stays as the project has it.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - The name that Poetry uses, as a string. Names are equal without regard to case.
          - V(PyPI) stands for the public index. It takes a O(sources[].priority) only.
        type: raw
        required: true
      priority:
        description:
          - When Poetry asks this source. V(explicit) is the safest for a private repository.
          - With a V(primary) source in the list, Poetry asks PyPI only if PyPI is listed too.
          - A new source is V(supplemental) by default, and V(PyPI) is V(primary).
        type: str
        choices: [primary, supplemental, explicit]
      project:
        description: The project's ID. The index URL is derived from it, the location and the repository.
        type: raw
      location:
        description: The location, such as V(europe-west1).
        type: raw
      repository:
        description: The repository's ID. The default is the O(sources[].name).
        type: raw
      url:
        description: The whole publish or index URL; of another host the index URL, which is taken as it is.
        type: raw
      ca_cert:
        description: Not used by this module; accepted so that one list serves the whole collection.
        type: raw
      client_cert:
        description: Not used, as O(sources[].ca_cert).
        type: raw
      identity:
        description: Not used, as O(sources[].ca_cert).
        type: raw
  state:
    description: Whether the sources are there. To remove one, its name is enough.
    type: str
    choices: [present, absent]
    default: present
  purge:
    description: Remove all sources that are not listed. Needs O(state=present).
    type: bool
    default: false
  allow_root:
    description: Accept a project that belongs to root, as in container images.
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
      - Passwords in URLs are masked.
seealso:
  - name: Poetry's package sources
    description: What the priorities mean.
    link: https://python-poetry.org/docs/repositories/#package-sources
"""

EXAMPLES = r"""
- name: Take packages from PyPI, and from a private repository what PyPI does not have
  devbox.artifact_registry.poetry_source:
    project_dir: /home/dev/myproject
    sources:
      - name: PyPI
        priority: primary
      - name: private-repo
        project: my-project
        location: europe-west1
        repository: python
        priority: supplemental
  register: myproject

- name: Refresh the lock file (before Poetry 2, poetry lock --no-update)
  ansible.builtin.command: # noqa: no-handler
    cmd: poetry lock
    chdir: /home/dev/myproject
  become: true
  become_user: dev
  when: myproject.lock_stale

- name: Allow exactly one source, for those packages only that name it
  devbox.artifact_registry.poetry_source:
    project_dir: /home/dev/myproject
    sources:
      - name: private-repo
        url: https://europe-west1-python.pkg.dev/my-project/python/
        priority: explicit
    purge: true

- name: Remove a source
  devbox.artifact_registry.poetry_source:
    project_dir: /home/dev/myproject
    sources:
      - name: private-repo
    state: absent
"""

RETURN = r"""
pyproject_file:
  description: The file.
  returned: success
  type: str
  sample: /home/dev/myproject/pyproject.toml
sources:
  description: All sources that the file names, or would name in check mode, in their order.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name.
      type: str
    url:
      description: The index URL without a password; null for PyPI.
      type: str
    priority:
      description: The priority that Poetry gives it; V(default) or V(secondary) in files for Poetry 1.8 only.
      type: str
lock_stale:
  description: Whether the change makes the project's C(poetry.lock) stale.
  returned: success
  type: bool
"""

import functools
import os
import sys
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.respawn import has_respawned, probe_interpreters_for_module

from ansible_collections.devbox.artifact_registry.plugins.module_utils import _poetry_project, _validate
from ansible_collections.devbox.artifact_registry.plugins.module_utils._as_user import WorkFailed, run_as
from ansible_collections.devbox.artifact_registry.plugins.module_utils._poetry import go_on_under
from ansible_collections.devbox.artifact_registry.plugins.module_utils._poetry_sources import parse_sources
from ansible_collections.devbox.artifact_registry.plugins.module_utils._toml_read import HAS_TOML

SOURCE: dict[str, t.Any] = {
    "name": {"type": "raw", "required": True},
    "priority": {"type": "str", "choices": ["primary", "supplemental", "explicit"]},
    **{
        key: {"type": "raw"}
        for key in ("project", "location", "repository", "url", "ca_cert", "client_cert", "identity")
    },
}
ARGUMENTS: dict[str, t.Any] = {
    "project_dir": {"type": "path", "required": True},
    "sources": {"type": "list", "elements": "dict", "required": True, "options": SOURCE},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "purge": {"type": "bool", "default": False},
    "allow_root": {"type": "bool", "default": False},
    "allow_other_hosts": {"type": "bool", "default": False},
}
PYTHONS = [f"/usr/bin/python3.{minor}" for minor in range(15, 10, -1)]


def run(module: AnsibleModule) -> dict[str, t.Any]:
    """Check what is declared, then do it as the project's owner."""
    params, present = module.params, module.params["state"] == "present"
    if params["purge"] and not present:
        allowed = "purge with state: present; with absent the listed sources are removed"
        raise _validate.InvalidInput([_validate.Problem("purge", "purge with state: absent", allowed)])
    sources = parse_sources(params["sources"], present=present, allow_other_hosts=params["allow_other_hosts"])
    project_dir = os.path.normpath(params["project_dir"])
    account = _poetry_project.owner_of(project_dir, allow_root=params["allow_root"])
    work = functools.partial(
        _poetry_project.update,
        project_dir,
        home=account.pw_dir,
        sources=sources,
        present=present,
        purge=params["purge"],
        check=module.check_mode,
    )
    answer = run_as(account, work)
    if "failure" in answer:
        raise WorkFailed(answer["failure"])
    result = {
        "changed": answer["before"] != answer["after"],
        "pyproject_file": os.path.join(project_dir, _poetry_project.PYPROJECT),
        "sources": answer["sources"],
    }
    result["lock_stale"] = result["changed"] and answer["lock"]
    if result["lock_stale"]:
        module.warn(
            f"poetry.lock is stale with these sources; as {account.pw_name} run in {project_dir}:"
            " poetry lock (before Poetry 2: poetry lock --no-update)"
        )
    if answer["orphans"]:
        module.warn(f"these dependencies name a source that is removed: {', '.join(answer['orphans'])}")
    if result["changed"] and module._diff:
        before, after = (_validate.redact(answer[key]) for key in ("before", "after"))
        header = dict.fromkeys(("before_header", "after_header"), result["pyproject_file"])
        result["diff"] = {**header, "before": before, "after": after}
    return result


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if not HAS_TOML:
        interpreter = None if has_respawned() else probe_interpreters_for_module(PYTHONS, "tomllib")
        if interpreter:
            go_on_under(interpreter)
        module.fail_json(msg="needs Python 3.11 or newer on the machine, or tomli for " + sys.executable)
    try:
        result = run(module)
    except (_validate.InvalidInput, _poetry_project.FileProblem, WorkFailed) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
