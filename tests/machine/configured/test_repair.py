# SPDX-License-Identifier: GPL-3.0-or-later
"""A damaged installation is repaired by running the playbook again; nothing that it prints holds a secret."""

from __future__ import annotations

from pathlib import Path

from lab.machines import Machine
from machine import canary, plays

ROOT = Path(__file__).resolve().parents[3]
MODULES = len(list((ROOT / "roles/gar_auth/files/gar_auth").glob("*.py")))
OWN_PASSWORD = "own-password-of-ops"  # as in files/auth.toml

# Takes away what the roles made last, so that the next run does it all again while a new token is on its way.
DAMAGE = """\
set -eu
systemctl stop gar-auth-fetch@default.timer
rm -rf /run/gar-auth/default /etc/gar-auth /etc/systemd/system/gar-auth-*
cd /opt/gar-auth/lib/gar_auth
rm status.py
echo torn > user.py
touch of_an_earlier_release.py
"""


def test_a_run_with_vvvv_and_diff_repairs_and_shows_no_token(machine: Machine) -> None:
    machine.ssh("admin", "sudo sh -s", input=DAMAGE, check=True)
    machine.ssh("dev", "poetry config --unset repositories.private-repo", check=True)
    machine.control.revoke_all()
    known = canary.tokens(machine)
    play = plays.run("-vvvv", "--diff")
    assert play.code == 0, play.output[-8000:]
    assert play.changed > 0
    assert (
        machine.ssh("admin", "gar-auth status >/dev/null; ls /opt/gar-auth/lib/gar_auth").stdout.count(".py")
        == MODULES
    )
    assert "+++" in play.output  # there were differences to be shown
    assert len(canary.tokens(machine)) > len(known)  # and a new token was fetched meanwhile
    assert canary.in_text(play.output, canary.tokens(machine)) == []
    assert OWN_PASSWORD not in play.output


def test_check_mode_then_announces_no_change(machine: Machine) -> None:
    play = plays.run("--check", "--diff")
    assert play.code == 0, play.output
    assert play.changed == 0, play.output
