# SPDX-License-Identifier: GPL-3.0-or-later
"""The provider keyring: real clients get each repository's token when they ask; no home holds one."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
import tomllib
from collections.abc import Iterator

import pytest

from lab.machines import Machine
from machine import plays
from machine.oracle import NAME, USERS, answer, eventually

HOST = "https://europe-west1-python.pkg.dev"
URL = f"{HOST}/demo-project/python/"
TOOLS = f"{HOST}/demo-project/tools/"
KEY = "tools@demo-project.iam.gserviceaccount.com"
FILES = "/etc/lab-keyring"
PLACE = "/opt/lab-clients"
#: Google's own backend, in some environments beside ours.
GOOGLES = "keyrings.google-artifactregistry-auth"
#: By name of its environment, what is installed there; Poetry 2.5.1 is the role's own.
ENVIRONMENTS = {
    "poetry-1.8.5": ["poetry==1.8.5"],
    "poetry-2.0.1": ["poetry==2.0.1"],
    "poetry-2.3.2": ["poetry==2.3.2", GOOGLES],
    "twine": ["twine"],
    "google": ["twine", GOOGLES],
    "pip": ["pip"],
}
POETRIES = {
    "2.5.1": "/usr/local/bin/poetry",
    **{name.partition("-")[2]: f"{PLACE}/{name}/bin/poetry" for name in ENVIRONMENTS if "poetry" in name},
}
UV = f"{PLACE}/uv/bin/uv pip install --python /usr/bin/python3"
TWINE = "bin/twine upload --non-interactive"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
TIMERS = "gar-auth-fetch@default.timer gar-auth-fetch@tools.timer"
SETTINGS = (
    f"unset PYTHON_KEYRING_BACKEND; export REQUESTS_CA_BUNDLE={CERTIFICATES} SSL_CERT_FILE={CERTIFICATES}"
    " POETRY_VIRTUALENVS_IN_PROJECT=true PIP_DISABLE_PIP_VERSION_CHECK=1; "
)
VARIABLES = {
    "artifact_registry_roles": ["poetry_repositories", "gar_auth"],
    "artifact_registry_identities": {
        "default": {"type": "metadata"},
        "tools": {"type": "service_account_key", "file": f"{FILES}/key.json"},
    },
    "artifact_registry_repositories": [
        {"name": NAME, "url": URL, "ca_cert": "/usr/local/share/ca-certificates/lab-ca.crt"},
        {"name": "tools", "url": TOOLS, "identity": "tools"},
    ],
    "gar_auth_provider": "keyring",
    "gar_auth_keyring_environments": ["/usr/local/bin/poetry"]
    + [f"{PLACE}/{name}" for name in ENVIRONMENTS if name != "pip"],
    "gar_auth_keyring_only": True,
    "gar_auth_clients": ["pip", "uv", "twine"],
    "gar_auth_interval": 5,
}
BACK = {"artifact_registry_roles": ["gar_auth"]}
#: No release of a run before: a machine that is kept has these already.
VERSION = f"0.1.{int(time.time())}"
PROJECT = """\
[tool.poetry]
name = "{name}"
version = "{version}"
description = "made by a test"
authors = ["Dev <dev@example.com>"]
packages = [{{include = "{module}"}}]

[tool.poetry.dependencies]
python = ">=3.10,<4"

[build-system]
requires = ["poetry-core"]
build-backend = "poetry.core.masonry.api"
"""
SOURCE = """
[[tool.poetry.source]]
name = "{name}"
url = "{url}simple/"
priority = "primary"
"""


def type_as(machine: Machine, user: str, command: str) -> subprocess.CompletedProcess[str]:
    """What a user types, in a new session."""
    return machine.ssh(user, SETTINGS + command)


def works(machine: Machine, user: str, command: str) -> str:
    """What it prints, where it succeeds."""
    done = type_as(machine, user, command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def make_project(machine: Machine, directory: str, *, name: str, source: str = "") -> None:
    """A project of dev's, as Poetry has it."""
    module = name.replace("-", "_")
    text = PROJECT.format(name=name, module=module, version=VERSION) + source
    command = (
        f"rm -rf {directory}; mkdir -p {directory}/{module}; cd {directory}; echo > {module}/__init__.py"
    )
    machine.ssh("dev", f"{command}; cat > pyproject.toml", input=text, check=True)


def owner(machine: Machine, token: str) -> str | None:
    """Whose token that is, None where it is not valid now."""
    return {one.value: one.identity for one in machine.control.tokens() if one.valid}.get(token)


@pytest.fixture(scope="module")
def clients(machine: Machine) -> Iterator[None]:
    """The clients of the days, each in an environment of root's; the caller's own files of pip and uv."""
    make = [
        f"export SSL_CERT_FILE={CERTIFICATES} UV_NO_CACHE=1 PIP_NO_CACHE_DIR=1",
        f"python3 -m venv {PLACE}/uv && {PLACE}/uv/bin/pip --quiet install uv",
        f"uv={PLACE}/uv/bin/uv",
        *(
            f"$uv --quiet venv --python /usr/bin/python3 {PLACE}/{name} &&"
            f" $uv --quiet pip install --python {PLACE}/{name}/bin/python {shlex.join(packages)}"
            for name, packages in ENVIRONMENTS.items()
        ),
        "printf '[global]\\n# kept\\ntimeout = 30\\n' > /etc/pip.conf",
        "printf '[distutils]\\nindex-servers = other\\n\\n[other]\\nusername = x\\n' > /home/ops/.pypirc",
        "chown ops:ops /home/ops/.pypirc",
    ]
    done = machine.ssh("admin", "sudo sh -e -s", input="\n".join(make))
    assert done.returncode == 0, done.stdout + done.stderr
    yield
    machine.ssh("admin", f"sudo rm -rf {PLACE} /etc/pip.conf /home/ops/.pypirc", check=True)


@pytest.fixture(scope="module")
def keyring(machine: Machine, clients: None) -> Iterator[plays.Play]:
    """The machine is switched to the provider keyring; at the end back again."""
    control = machine.control
    control.create_repository("demo-project/tools")
    key = json.dumps(control.create_key(KEY))
    command = f"sudo sh -c 'umask 077; mkdir -p -m 0755 {FILES}; cat > {FILES}/key.json'"
    machine.ssh("admin", command, input=key, check=True)
    play = plays.run(variables=VARIABLES)
    assert play.code == 0, play.output[-5000:]
    yield play
    control.clear_faults()
    control.set_tokens(lifetime=3600)
    machine.ssh("admin", f"sudo rm -rf {FILES}", check=True)
    machine.ssh("dev", "rm -rf ~/keyring-*", check=True)
    plays.run(
        variables={
            "artifact_registry_roles": ["poetry_repositories"],
            "poetry_repositories_state": "absent",
            "artifact_registry_repositories": [{"name": "tools", "url": TOOLS}],
        }
    )


def test_a_second_run_changes_nothing(machine: Machine, keyring: plays.Play) -> None:
    again = plays.run(variables=VARIABLES)
    assert again.code == 0, again.output
    assert again.changed == 0, again.output


@pytest.mark.parametrize("user", USERS)
def test_no_token_is_left_in_a_home(machine: Machine, keyring: plays.Play, user: str) -> None:
    text = machine.ssh(user, "cat ~/.config/pypoetry/auth.toml || true").stdout
    assert NAME not in tomllib.loads(text).get("http-basic", {})
    found = machine.ssh("admin", f"sudo grep -r -l -F ya29. /home/{user}").stdout
    assert found == ""


def test_no_unit_of_token_timer_is_left(machine: Machine, keyring: plays.Play) -> None:
    assert machine.ssh("admin", "systemctl list-units --all --no-legend 'gar-auth-write@*'").stdout == ""
    assert machine.ssh("admin", "ls -d /etc/systemd/system/gar-auth-write*").stdout == ""
    assert machine.ssh("admin", "systemctl --failed --no-legend --plain", check=True).stdout == ""


def test_each_url_has_the_token_of_its_own_identity(machine: Machine, keyring: plays.Play) -> None:
    default = works(machine, "dev", f"keyring get {URL}simple/ oauth2accesstoken").strip()
    tools = works(machine, "dev", f"gar-auth get {TOOLS}").strip()
    assert (owner(machine, default) or "").startswith("dev-vm@")
    assert owner(machine, tools) == KEY
    assert works(machine, "dev", "gar-auth get --identity tools").strip() == tools


def test_only_its_users_may_read_the_tokens(machine: Machine, keyring: plays.Play) -> None:
    machine.ssh("dev", "test -r /run/gar-auth/tools/token", check=True)
    assert "Permission denied" in machine.ssh("admin", "cat /run/gar-auth/tools/token").stderr
    refused = machine.ssh("admin", "gar-auth get --identity tools")
    assert (refused.returncode, refused.stdout) == (77, "")
    assert "artifact_registry_users" in refused.stderr


def test_no_other_backend_is_asked_on_a_headless_machine(machine: Machine, keyring: plays.Play) -> None:
    command = "import keyring; print(keyring.get_keyring(), keyring.get_password(URL, None) is not None)"
    python = f"{PLACE}/google/bin/python -c {shlex.quote(command.replace('URL', repr(URL)))}"
    said = machine.ssh("dev", python, check=True).stdout  # a session with what /etc/environment says
    assert "gar_auth_keyring.backend.ArtifactRegistry" in said
    assert said.split()[-1] == "True"


@pytest.mark.parametrize("version", POETRIES)
def test_poetry_publishes_and_installs(machine: Machine, keyring: plays.Play, version: str) -> None:
    poetry, name = POETRIES[version], f"keyring-poetry-{version.replace('.', '-')}"
    make_project(machine, f"~/keyring-{version}", name=name)
    works(machine, "dev", f"cd ~/keyring-{version} && {poetry} publish --build -r {NAME} --no-interaction")
    make_project(
        machine, f"~/keyring-{version}-app", name="app", source=SOURCE.format(name="by-another-name", url=URL)
    )
    works(machine, "dev", f"cd ~/keyring-{version}-app && {poetry} add --no-interaction {name}")
    # the other repository on the same host, with the other identity
    works(machine, "dev", f"cd ~/keyring-{version} && {poetry} publish -r tools --no-interaction")
    assert machine.control.requests(target="index")[-1].status == 200


def test_pip_installs(machine: Machine, keyring: plays.Play, published: str) -> None:
    pip = f"{PLACE}/pip/bin/python -m pip"
    works(machine, "dev", f"{pip} install --quiet --no-input --target ~/keyring-pip {published}")
    assert "timeout = 30" in machine.ssh("dev", "cat /etc/pip.conf").stdout


def test_uv_installs(machine: Machine, keyring: plays.Play, published: str) -> None:
    works(machine, "dev", f"{UV} --target ~/keyring-uv {published}")


@pytest.mark.parametrize("environment", ["twine", "google"])
def test_twine_uploads(machine: Machine, keyring: plays.Play, environment: str) -> None:
    name = f"keyring-by-{environment}"
    make_project(machine, f"~/{name}", name=name)
    works(machine, "dev", f"cd ~/{name} && poetry build && {PLACE}/{environment}/{TWINE} -r {NAME} dist/*")
    assert "[other]" in machine.ssh("ops", "cat ~/.pypirc", check=True).stdout


@pytest.fixture(scope="module")
def published(machine: Machine, keyring: plays.Play) -> str:
    """The name of a package that lies in the repository."""
    name = "keyring-published"
    make_project(machine, "~/keyring-published", name=name)
    works(machine, "dev", f"cd ~/keyring-published && poetry publish --build -r {NAME} --no-interaction")
    return name


def test_ours_is_asked_first_and_googles_for_the_rest(machine: Machine, keyring: plays.Play) -> None:
    python = f"{PLACE}/google/bin/python -m keyring"
    assert "ArtifactRegistry" in works(machine, "dev", f"{python} --list-backends")
    assert owner(machine, works(machine, "dev", f"{python} get {TOOLS} oauth2accesstoken").strip()) == KEY
    other = "https://us-python.pkg.dev/other-project/other/simple/"
    theirs = works(machine, "dev", f"{python} get {other} oauth2accesstoken").strip()
    assert (owner(machine, theirs) or "").startswith("dev-vm@")
    assert type_as(machine, "dev", f"keyring get {other} oauth2accesstoken").returncode == 1


def install(name: str) -> str:
    """Install that package anew, by pip."""
    pip = f"{PLACE}/pip/bin/python -m pip install --quiet --no-input --no-cache-dir --target"
    return f"rm -rf ~/keyring-again; {pip} ~/keyring-again {name}"


def test_a_token_that_was_revoked_is_replaced_and_doctor_says_why(
    machine: Machine, keyring: plays.Play, published: str
) -> None:
    machine.ssh("admin", f"sudo systemctl stop {TIMERS}", check=True)
    machine.control.revoke_all()
    said = type_as(machine, "dev", "gar-auth doctor")
    assert said.returncode != 0
    assert "401" in said.stdout
    machine.ssh("admin", f"sudo systemctl start {TIMERS}", check=True)
    eventually(
        lambda: answer(machine, works(machine, "dev", f"gar-auth get {URL}").strip()) == 200, seconds=60
    )
    works(machine, "dev", install(published))


def test_google_may_be_away_while_there_is_a_token(
    machine: Machine, keyring: plays.Play, published: str
) -> None:
    machine.control.set_fault("metadata", "status:503")
    try:
        works(machine, "dev", install(published))
    finally:
        machine.control.clear_faults()


def test_a_token_that_has_expired_is_fetched_by_the_client(
    machine: Machine, keyring: plays.Play, published: str
) -> None:
    machine.ssh("admin", f"sudo systemctl stop {TIMERS}", check=True)
    machine.ssh("admin", "sudo sh -c 'rm /run/gar-auth/*/token'", check=True)  # as after a boot
    machine.control.revoke_all()
    works(machine, "dev", install(published))
    assert machine.ssh("admin", "ls /run/gar-auth/default", check=True).stdout.split() == ["status.json"]


def test_with_neither_the_client_says_so_itself(
    machine: Machine, keyring: plays.Play, published: str
) -> None:
    machine.ssh("dev", "rm -rf $XDG_RUNTIME_DIR/gar-auth", check=True)
    machine.control.revoke_all()
    machine.control.set_fault("metadata", "status:503")
    try:
        for command in (
            install(published),
            f"cd ~/keyring-published && poetry publish --build -r {NAME} --no-interaction",
            f"{PLACE}/poetry-2.3.2/bin/poetry -C ~/keyring-published publish -r {NAME} --no-interaction",
            f"cd ~/keyring-published && {PLACE}/twine/{TWINE} -r {NAME} dist/*",
            f"rm -rf ~/keyring-again; {UV} --no-cache --target ~/keyring-again {published}",
        ):
            done = type_as(machine, "dev", command)
            assert done.returncode != 0, done.stdout
            assert "Traceback" not in done.stdout + done.stderr
    finally:
        machine.control.clear_faults()
        machine.ssh("admin", f"sudo systemctl start {TIMERS}; sudo gar-auth refresh", check=True)


def test_no_token_is_in_a_log_or_a_file(machine: Machine, keyring: plays.Play) -> None:
    tokens = "\n".join(one.value for one in machine.control.tokens())
    search = "sudo grep -r -l -s -F -f - /home /etc /var/log /tmp /opt/gar-auth"
    assert machine.ssh("admin", search, input=tokens).stdout == ""
    journal = "sudo sh -c 'journalctl --no-pager --output=cat > /run/journal'"
    machine.ssh("admin", journal, check=True)
    found = machine.ssh("admin", "sudo grep -c -F -f - /run/journal; sudo rm /run/journal", input=tokens)
    assert found.stdout.strip() == "0"


def test_back_to_token_timer_leaves_nothing_of_it(machine: Machine, keyring: plays.Play) -> None:
    play = plays.run(variables=BACK)
    assert play.code == 0, play.output
    left = (
        f"ls -d /usr/local/bin/keyring /opt/gar-auth/bin/keyring /etc/uv"
        f" {PLACE}/*/lib/python3*/site-packages/gar_auth*"
        " /opt/poetry/*/lib/python3*/site-packages/gar_auth*"
    )
    assert machine.ssh("admin", left).stdout == ""
    assert machine.ssh("admin", "cat /etc/pip.conf").stdout == "[global]\n# kept\ntimeout = 30\n"
    assert "tools" not in machine.ssh("ops", "cat ~/.pypirc", check=True).stdout
    assert machine.ssh("dev", "cat ~/.pypirc").returncode == 1
    assert machine.ssh("admin", "getent group gar-auth-users").stdout == ""
    assert machine.ssh("admin", "grep KEYRING /etc/environment").stdout == ""
    for user in USERS:
        text = machine.ssh(user, "cat ~/.config/pypoetry/auth.toml", check=True).stdout
        assert answer(machine, tomllib.loads(text)["http-basic"][NAME]["password"]) == 200
    assert plays.run(variables=BACK).changed == 0
