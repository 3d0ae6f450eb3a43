# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options by which modules find users' Poetry configuration."""

from __future__ import annotations


class ModuleDocFragment:
    """Options that C(_users.ARGUMENTS) defines."""

    DOCUMENTATION = r"""
options:
  users:
    description:
      - The users, all of whom must exist. By default the user that the task runs as.
      - Root is accepted only with O(allow_root), also as the default.
    type: list
    elements: str
  config_dir:
    description:
      - Poetry's configuration directory, absolute or below each user's home.
      - Needed only for users who set E(POETRY_CONFIG_DIR) or E(XDG_CONFIG_HOME).
    type: str
    default: .config/pypoetry
  symlink:
    description:
      - Whether a symbolic link on the way to a file, or in its place, is followed, as with a dotfile manager.
      - It is resolved with the user's privileges and must lead to a place inside the user's home.
    type: str
    choices: [refuse, follow]
    default: refuse
  poetry:
    description:
      - Poetry's executable, a path or a name on the PATH.
      - Must be Poetry's own Python script, which only root or the user that the task runs as can change.
    type: str
    default: poetry
  allow_root:
    description: Accept root among the users, as in container images.
    type: bool
    default: false
"""
