# SPDX-License-Identifier: GPL-3.0-or-later
"""Poetry is there for everybody, cannot be changed by anybody, and knows the repository."""

from __future__ import annotations

import pytest

from lab.machines import Machine
from machine.oracle import USERS


@pytest.mark.parametrize("user", USERS)
def test_poetry_has_the_declared_version(machine: Machine, user: str) -> None:
    assert machine.ssh(user, "poetry --version", check=True).stdout.strip() == "Poetry (version 2.5.1)"


@pytest.mark.parametrize("directory", ["/opt/poetry", "/opt/gar-auth", "/etc/gar-auth"])
def test_programs_belong_to_root_and_nobody_else_may_write(machine: Machine, directory: str) -> None:
    find = f"sudo find {directory} ! -user root -o ! -group root -o ! -type l -perm /022"
    assert machine.ssh("admin", f"test -d {directory} && {find}", check=True).stdout == ""


@pytest.mark.parametrize("user", USERS)
def test_poetry_knows_the_repository_and_its_certificate(machine: Machine, user: str) -> None:
    shown = machine.ssh(user, "poetry config repositories.private-repo", check=True).stdout
    assert "https://europe-west1-python.pkg.dev/demo-project/python/" in shown
    listed = machine.ssh(user, "poetry config --list", check=True).stdout.splitlines()
    assert 'certificates.private-repo.cert = "/usr/local/share/ca-certificates/lab-ca.crt"' in listed
    assert (
        'repositories.private-repo.url = "https://europe-west1-python.pkg.dev/demo-project/python/"' in listed
    )
