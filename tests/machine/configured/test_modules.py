# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules on a real machine: every option in four steps, for two users at once."""

from __future__ import annotations

from pathlib import Path

from machine import plays

PLAYBOOK = Path(__file__).resolve().parents[1] / "files" / "modules.yml"


def test_every_option_in_four_steps_without_a_secret_in_the_output() -> None:
    play = plays.run("-vvv", "--diff", playbook=str(PLAYBOOK))
    assert play.code == 0, play.output[-8000:]
    assert "http-basic.partner.password = ***" in play.output
    assert [secret for secret in ("canary-password", "canary-token") if secret in play.output] == []
