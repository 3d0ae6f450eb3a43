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

# Opens to others what only root may change; the content stays as it is.
OPENED = """\
set -eu
chown dev /opt/gar-auth
chmod 0777 /opt/gar-auth/bin
chgrp dev /opt/gar-auth/lib
chmod 0775 /opt/gar-auth/lib/gar_auth
chown ops:ops /opt/gar-auth/lib/gar_auth_keyring
chown dev /opt/gar-auth/lib/gar_auth/user.py
chmod 0666 /opt/gar-auth/lib/gar_auth/status.py
chown dev /opt/gar-auth/bin/gar-auth
chown dev:dev /etc/gar-auth /etc/gar-auth/config.json
cd /etc/systemd/system
chown ops gar-auth-fetch@default.service.d gar-auth-fetch@default.service.d/identity.conf
chmod 0777 gar-auth-fetch@default.timer.d
chown dev gar-auth-write@.service
"""
OWNERS_AND_MODES = """\
sudo find /opt/gar-auth /etc/gar-auth /etc/systemd/system/gar-auth-* \
  -path '*/venv-*/*' -o -printf '%p %u:%g %m\n' | sort
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


def test_owners_and_modes_are_roots_again_after_one_run(machine: Machine) -> None:
    before = machine.ssh("admin", OWNERS_AND_MODES, check=True).stdout
    machine.ssh("admin", "sudo sh -s", input=OPENED, check=True)
    assert machine.ssh("admin", OWNERS_AND_MODES, check=True).stdout != before
    only = {"artifact_registry_roles": ["gar_auth"]}
    play = plays.run("--diff", variables=only)
    assert play.code == 0, play.output
    assert machine.ssh("admin", OWNERS_AND_MODES, check=True).stdout == before
    again = plays.run(variables=only)
    assert (again.code, again.changed) == (0, 0), again.output
