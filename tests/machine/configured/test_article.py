# SPDX-License-Identifier: GPL-3.0-or-later
"""An ordinary user publishes and installs as in the article, while every process is watched for tokens."""

from __future__ import annotations

from lab.article import Article
from lab.machines import Machine
from machine.canary import watch_processes
from machine.oracle import INDEX_URL


def test_publish_and_install_across_a_rollover_with_no_token_in_any_process(machine: Machine) -> None:
    article = Article(
        execute=lambda command: machine.ssh("dev", command),
        control=machine.control,
        index_url=INDEX_URL,
        patience=60,  # a source with a cache of its own is looked at every 6 intervals
    )
    with watch_processes(machine) as watch:
        article.walk()
        article.roll_over()
    assert watch.samples > 100
    assert {"fetch default", "write --if-any dev", "write --if-any ops"} <= set(watch.ours), (
        watch.ours
    )  # it saw the ones that matter
    assert watch.found == []
