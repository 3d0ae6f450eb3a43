# SPDX-License-Identifier: GPL-3.0-or-later
"""People on a machine: accounts, logins, projects; what they own, and what they do with a private package."""

from __future__ import annotations

import time
import tomllib
from typing import Any

from lab.machines import Machine

__all__ = [
    "INDEX_URL",
    "REPOSITORY",
    "add",
    "create",
    "entries",
    "log_in",
    "owner",
    "publish",
    "publishing",
    "start_project",
    "status",
    "token_of",
]

REPOSITORY = "private-repo"
INDEX_URL = "https://europe-west1-python.pkg.dev/demo-project/python/simple/"

_CREATE = """\
set -eu
useradd --create-home --shell /bin/bash --user-group "$USER_NAME"
install -d -m 0700 -o "$USER_NAME" -g "$USER_NAME" "/home/$USER_NAME/.ssh"
cp /home/admin/.ssh/authorized_keys "/home/$USER_NAME/.ssh/"
chown "$USER_NAME:$USER_NAME" "/home/$USER_NAME/.ssh/authorized_keys"
"""
_LOG_IN = """\
set -eu
gcloud --quiet config set core/custom_ca_certs_file /etc/ssl/certs/ca-certificates.crt
read -r refresh_token
CLOUDSDK_AUTH_CLIENT_ID={client_id} CLOUDSDK_AUTH_CLIENT_SECRET={client_secret} \\
  gcloud --quiet auth activate-refresh-token {email} "$refresh_token"
"""


def create(machine: Machine, user: str) -> None:
    """Create an account into which the lab can log in."""
    machine.ssh("admin", f"sudo env USER_NAME={user} sh -s", input=_CREATE, check=True)


def log_in(machine: Machine, user: str, *, email: str) -> None:
    """Leave what `gcloud auth login` in a browser leaves, by the real gcloud."""
    login = machine.control.authorized_user(email)
    script = _LOG_IN.format(**login, email=email)
    quoted = script.replace("'", "'\\''")
    machine.ssh(user, f"sh -c '{quoted}'", input=login["refresh_token"] + "\n", check=True)


def entries(machine: Machine, user: str, name: str) -> dict[str, Any]:
    """Return what stands in a file of the user's Poetry configuration; nothing where it is not there."""
    place = f"~/.config/pypoetry/{name}"
    text = machine.ssh(user, f"cat {place} || test ! -e {place}", check=True).stdout
    return tomllib.loads(text)


def token_of(machine: Machine, user: str, *, repository: str = REPOSITORY) -> str | None:
    """Return the token in the user's auth.toml."""
    found = entries(machine, user, "auth.toml").get("http-basic", {}).get(repository)
    return None if found is None else str(found["password"])


def owner(machine: Machine, token: str | None) -> str | None:
    """Return whose token that is; None where the index does not take it now."""
    return {one.value: one.identity for one in machine.control.tokens() if one.valid}.get(token or "")


def start_project(machine: Machine, user: str, name: str, *, source: bool = False) -> None:
    """Make an empty project in the user's home.

    :param source: also declare the repository in it, as a user does whose checkouts are not declared.
    """
    machine.ssh(user, f"cd ~ && poetry new --no-interaction {name}", check=True)
    if source:
        declare = f"poetry source add --priority=explicit {REPOSITORY} {INDEX_URL}"
        machine.ssh(user, f"cd ~/{name} && {declare}", check=True)


def publish(machine: Machine, user: str, package: str) -> None:
    """Make a package and publish it with what the machine has set up."""
    done = machine.ssh(user, "sh -s", input=publishing(package))
    assert done.returncode == 0, done.stdout + done.stderr


def publishing(package: str) -> str:
    """Return a shell script that makes a package, version 0.1.0, in the user's home and publishes it."""
    return f"""set -eu
cd
poetry new --no-interaction {package}
(cd {package} && poetry publish --build --repository {REPOSITORY} --no-interaction)
"""


def add(
    machine: Machine, user: str, project: str, package: str, *, seconds: float, since: float | None = None
) -> float:
    """Add a package to a project, again and again until that works; return how many seconds it took.

    :param seconds: what it may take.
    :param since: when they began, by :func:`time.monotonic`; by default now.
    """
    begin = time.monotonic() if since is None else since
    command = f"cd ~/{project} && poetry add --no-interaction --source {REPOSITORY} {package}"
    while (done := machine.ssh(user, command)).returncode != 0:
        taken = time.monotonic() - begin
        assert taken < seconds, f"not within {taken:.0f} s: {done.stdout}{done.stderr}{status(machine)}"
        time.sleep(0.5)
    taken = time.monotonic() - begin
    assert taken < seconds, f"only after {taken:.0f} s"
    machine.ssh(user, f"cd ~/{project} && poetry run python -c 'import {package}'", check=True)
    return taken


def status(machine: Machine) -> str:
    """Return what `gar-auth status` says of everybody."""
    return machine.ssh("admin", "sudo gar-auth status").stdout
