# SPDX-License-Identifier: GPL-3.0-or-later
"""How Ansible reaches a machine."""

from __future__ import annotations

from pathlib import Path

from lab import connection, machines

UNIX_SOCKET = 107
"""The longest path of a Unix socket, in characters: sun_path of unix(7) less its final zero."""

RANDOM = 17
"""What ssh appends to the name while it makes the socket: a dot and 16 characters."""


def test_the_multiplexing_socket_fits_below_the_longest_directory_that_is_accepted() -> None:
    directory = Path("/" + "d" * (machines._LONGEST_DIRECTORY - 1))
    host = connection.inventory(name="m", address="10.88.0.200", directory=directory)["all"]["hosts"]["m"]
    assert len(host["ansible_control_path"]) + RANDOM <= UNIX_SOCKET
