# SPDX-License-Identifier: GPL-3.0-or-later
"""No token is among what Ansible gathers, nor in the journal or any file but those that are there for it."""

from __future__ import annotations

import os
import subprocess

from lab.machines import Machine
from machine import canary, plays


def test_facts_hold_no_token(machine: Machine) -> None:
    argv = ["ansible", "all", "-i", str(plays.inventory()), "--become", "-m", "ansible.builtin.setup"]
    facts = subprocess.run(argv, env=os.environ, capture_output=True, text=True, check=True).stdout
    assert "ansible_distribution" in facts
    assert canary.in_text(facts, canary.tokens(machine)) == []


def test_only_the_users_files_and_the_token_file_ever_hold_a_token(machine: Machine) -> None:
    assert canary.holders(machine, canary.tokens(machine)) == [
        "/home/dev/.config/pypoetry/auth.toml",
        "/home/ops/.config/pypoetry/auth.toml",
        "/run/gar-auth/default/token",
    ]
