#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: credential_search
short_description: Fail where files hold tokens, keys or passwords, as the last step of building an image
version_added: 0.1.0
description:
  - Reads every regular file below O(paths), whatever its size, and looks for access tokens of Google's
    (also within Basic authentication), refresh tokens, keys of service accounts (also in base64), private
    keys in PEM, logins in gcloud's stores, and passwords and tokens of Poetry, pip, uv, twine and git, in
    files (also in copies such as C(auth.toml.bak)) and as assignments of environment variables.
  - Fails where it finds any, and names the file and the kind. No content of a file is ever shown or
    returned.
  - Follows no link, and leaves out what is no part of an image, such as C(/proc), C(/sys), C(/run) and
    other file systems in memory, and those of other machines (NFS, CIFS, 9p).
  - A file that dpkg's checksums show to be what a Debian package brought is no finding, nor are the keys
    of gcloud's own tests. SSH host keys (C(/etc/ssh/ssh_host_*_key)) are none either, because nobody
    could log in without them; remove them after the last login, so that each machine makes its own.
  - Does not look into what is compressed, encrypted or binary, such as archives and PKCS#12, and knows no
    secrets of other kinds, such as the hashes of passwords.
author: devbox.artifact_registry contributors (@devbox)
options:
  paths:
    description:
      - Absolute paths of directories or files.
    type: list
    elements: path
    default: [/]
  ignore:
    description:
      - Absolute paths of files, and of directories with all below, to leave out. Say beside each why.
    type: list
    elements: path
    default: []
attributes:
  check_mode:
    description: Only reads, so that check mode makes no difference.
    support: full
  diff_mode:
    description: Changes nothing, so that there is nothing to show.
    support: none
notes:
  - Run it as root. What it may not read is an error, not left out.
"""

EXAMPLES = r"""
- name: Search the whole image
  devbox.artifact_registry.credential_search:

- name: Search an image that is mounted below another directory
  devbox.artifact_registry.credential_search:
    paths: [/mnt/image]
    ignore:
      - /mnt/image/opt/product/tests/server.key  # a public example, part of the product
"""

RETURN = r"""
found:
  description: What was found, sorted by path; empty where the module succeeds.
  returned: always
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
      sample: /home/dev/.config/pypoetry/auth.toml
    kind:
      description:
        - One of V(access_token), V(refresh_token), V(service_account_key), V(private_key), V(pypi_token),
          V(gcloud_login), V(poetry_credentials), V(netrc_password), V(password_in_configuration),
          V(password_in_environment).
      type: str
      sample: access_token
files:
  description: How many files were read.
  returned: always
  type: int
bytes:
  description: How many bytes were read.
  returned: always
  type: int
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.devbox.artifact_registry.plugins.module_utils._credential_search import run

ARGUMENTS = {
    "paths": {"type": "list", "elements": "path", "default": ["/"]},
    "ignore": {"type": "list", "elements": "path", "default": []},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    message, result = run(paths=module.params["paths"], ignore=module.params["ignore"])
    if message:
        module.fail_json(msg=message, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
