# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed program and its users, for the fault tests of gar-auth."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from faults.machine import Machine, User
from faults.program.fetching import ROBOT
from faults.program.google import Google
from faults.program.installed import Gar, more_users
from faults.subject import Subject

LANES = 10


@pytest.fixture(scope="session")
def installed(subject: Subject) -> Gar:
    """The program, installed once."""
    place = subject.machine.top / "gar"
    place.mkdir(mode=0o755)
    return Gar(subject.machine, place)


@pytest.fixture
def gar(installed: Gar) -> Gar:
    """The program with a valid token, and nothing of the tests before."""
    installed.new_state()
    installed.put_token()
    return installed


@pytest.fixture(scope="session")
def served(subject: Subject, installed: Gar) -> Iterator[Google]:
    """The emulated Google, started once."""
    with Google.serving(subject.machine, state=subject.scratch / "google", place=installed.place) as google:
        yield google


@pytest.fixture
def google(served: Google) -> Google:
    """The emulated Google without faults, and all its tokens expired."""
    served.reset()
    return served


@pytest.fixture
def keyed(gar: Gar, google: Google) -> Gar:
    """The program with a service account's key that works, and a token from before."""
    gar.identity(type="service_account_key", file=str(gar.put_key(google.control.create_key(ROBOT))))
    return gar


@pytest.fixture
def lanes(machine: Machine, gar: Gar) -> Iterator[list[User]]:
    """Users for cases that are tried at the same time."""
    with more_users(machine, LANES) as users:
        yield users
