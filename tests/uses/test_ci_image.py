# SPDX-License-Identifier: GPL-3.0-or-later
"""A CI runner's images: built on one machine, without any secret in them, and started as two new machines."""

from __future__ import annotations

import base64
import json
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import connection, images
from lab.emulator.records import DEFAULT_ACCOUNT
from lab.machines import Machine
from lab.system import LabError, Need, find_program, install, run
from uses import plays, runner_images

FIRST_TOKEN_SECONDS = 60.0
ACCOUNTS = [
    "runners-one@demo-project.iam.gserviceaccount.com",
    "runners-two@demo-project.iam.gserviceaccount.com",
]
KEY_IN_BASE = "/srv/deploy/key.json"
UNITS = (
    "gar-auth-fetch@default.timer gar-auth-write@dev.path gar-auth-write@ops.path gar-auth-write@runner.path"
)


@dataclass(frozen=True, kw_only=True)
class Built:
    """Both images, how the runs that made them ended, and what must be in neither.

    :ivar canaries: by path, what somebody left on the machine before the first run, and its kind.
    :ivar container_refused: the build of a container image whose base holds a key.
    :ivar idle: what systemctl said of the units when the image was ready.
    :ivar packer: Packer's output; None where apt has none.
    """

    refused: plays.Play
    built: plays.Play
    canaries: dict[str, tuple[str, str]]
    idle: str
    packer: str | None
    container_refused: subprocess.CompletedProcess[str]
    container_build: subprocess.CompletedProcess[str]
    images: dict[str, str]
    secrets: set[bytes]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """Run the playbook where credentials lie about, remove them, and make both images on that machine."""
    place = tmp_path_factory.mktemp("ci-image")
    made: dict[str, str] = {}
    try:
        with Machine.start(name="ci-image") as machine:
            variables = json.loads(machine.variables.read_text(encoding="utf-8"))
            variables["artifact_registry_users"] = ["dev", "ops", "runner"]
            machine.ssh("admin", "sudo useradd --create-home --shell /bin/bash runner", check=True)
            canaries = plant(machine)
            refused = build(machine, place, variables)
            start_units(machine)
            machine.ssh("admin", f"sudo rm -rf {shlex.join(canaries)}", check=True)
            done = build(machine, place, variables)
            idle = machine.ssh("admin", f"systemctl is-active {UNITS}; systemctl is-enabled {UNITS}").stdout
            key, container_refused = build_on_a_key(machine, tmp_path_factory.mktemp("refused"))
            context = tmp_path_factory.mktemp("container")
            alone = {**variables, "artifact_registry_users": ["runner"]}
            made["container"], container_build = runner_images.build(machine, place=context, variables=alone)
            packer = build_with_packer(machine, place, variables)
            secrets = {token.value.encode() for token in machine.control.tokens()}
            secrets |= {line for _kind, text in canaries.values() for line in secret_lines(text)}
            secrets |= set(secret_lines(key))
            secrets |= set(secret_lines((machine.directory / "host_ed25519").read_text(encoding="ascii")))
            made["vm"] = machine.save("ci-image-vm")
        yield Built(
            refused=refused,
            built=done,
            canaries=canaries,
            idle=idle,
            packer=packer,
            container_refused=container_refused,
            container_build=container_build,
            images=made,
            secrets=secrets,
        )
    finally:
        for image in made.values():
            images.remove_saved(image)


def build(machine: Machine, place: Path, variables: dict[str, object]) -> plays.Play:
    return plays.run("ci_image", inventory=machine.inventory, place=place, variables=variables)


def plant(machine: Machine) -> dict[str, tuple[str, str]]:
    """Leave a credential of each sort on the machine; return kind and content by path."""
    control = machine.control
    key = json.dumps(control.create_key("robot@demo-project.iam.gserviceaccount.com"), indent=2)
    login = json.dumps(control.authorized_user("dev@example.com"))
    token = control.issue(DEFAULT_ACCOUNT)
    login_token = control.issue(DEFAULT_ACCOUNT)
    other = machine.directory / "canary_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    export = f"export CLOUDSDK_AUTH_ACCESS_TOKEN={token}\n"
    netrc = f"machine europe-west1-python.pkg.dev login oauth2accesstoken password {token}\n"
    entry = f'[http-basic.other]\nusername = "someone"\npassword = "{login_token}"\n'
    header = base64.b64encode(f"oauth2accesstoken:{token}".encode()).decode()
    planted = {
        "/srv/deploy/key.json": ("service_account_key", key),
        "/opt/deploy.env": ("service_account_key", f"KEY={base64.b64encode(key.encode()).decode()}\n"),
        "/root/.config/gcloud/application_default_credentials.json": ("gcloud_login", login),
        "/root/.docker/config.json": ("access_token", json.dumps({"auths": {"h": {"auth": header}}})),
        "/home/ops/.netrc": ("netrc_password", netrc),
        "/home/dev/.config/pypoetry/auth.toml": ("poetry_credentials", entry),
        "/home/dev/.ssh/id_ed25519": ("private_key", other.read_text(encoding="ascii")),
        "/etc/profile.d/token.sh": ("password_in_environment", export),
    }
    for path, (_kind, content) in planted.items():
        # In homes as their owners: the roles refuse what root has left there.
        user = path.split("/")[2] if path.startswith("/home/") else "admin"
        shell = "sudo sh" if user == "admin" else "sh"
        command = f"umask 077; mkdir -p {path.rpartition('/')[0]} && cat > {path}"
        machine.ssh(user, f"{shell} -c {shlex.quote(command)}", input=content, check=True)
    return planted


def secret_lines(text: str) -> list[bytes]:
    """Return what of a file nobody may see again: its long words."""
    return [word.encode() for word in re.findall(r"[A-Za-z0-9._~/+=-]{40,}", text)]


def start_units(machine: Machine) -> None:
    """Let the machine get its tokens, as one on which somebody has worked."""
    machine.ssh("admin", f"sudo systemctl start {UNITS} && gar-auth status --wait 30", check=True)
    assert machine.control.stats().valid


def build_on_a_key(machine: Machine, context: Path) -> tuple[str, subprocess.CompletedProcess[str]]:
    """Build a container image, without any role, from a base that holds a key; return the key as well."""
    key = json.dumps(machine.control.create_key("robot@demo-project.iam.gserviceaccount.com"))
    (context / "key.json").write_text(key, encoding="ascii")
    _image, done = runner_images.build(
        machine,
        place=context,
        variables={},
        more=f"COPY key.json {KEY_IN_BASE}\n",
        arguments=["--build-arg=ROLES=[]", "--layers=false"],  # a build that fails leaves no images
    )
    return key, done


def build_with_packer(machine: Machine, place: Path, variables: dict[str, object]) -> str | None:
    """Run the example's template on this machine; None where apt knows no Packer."""
    try:
        install([Need(what="packer", packages=("packer",))], purpose="building an image with Packer")
    except LabError:
        if find_program("apt-cache") and run(["apt-cache", "show", "packer"], check=False).returncode == 0:
            raise
        return None
    connection.write(place / "vars.yml", variables)
    template = str(runner_images.EXAMPLES / "runner.pkr.hcl")
    options = ["-only=null.runner", f"-var=machine={machine.address}", "-var=user=admin"]
    options += [f"-var=key={machine.directory / 'id_ed25519'}", f"-var=variables={place / 'vars.yml'}"]
    environment = {**plays.environment(place), "CHECKPOINT_DISABLE": "1"}
    output = ""
    for command in (["validate", template], ["build", "-color=false", *options, template]):
        done = subprocess.run(
            ["packer", *command],
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        output += done.stdout
        assert done.returncode == 0, output
    return output


def test_a_build_fails_where_a_credential_lies_about_and_names_the_file_alone(built: Built) -> None:
    assert built.refused.code != 0
    for path, (kind, _content) in built.canaries.items():
        assert re.search(rf"{re.escape(path)} \([a-z_, ]*\b{kind}\b", built.refused.output), path
    assert f"credentials in {len(built.canaries)} files: " in built.refused.output
    told = built.refused.output.encode()
    assert [secret for secret in built.secrets if secret in told] == []


def test_the_build_ends_with_all_units_enabled_and_none_running(built: Built) -> None:
    assert built.built.code == 0, built.built.output[-3000:]
    assert built.idle.split() == ["inactive"] * 4 + ["enabled"] * 4


def test_packer_builds_with_the_example_and_changes_nothing_a_second_time(built: Built) -> None:
    if built.packer is None:
        pytest.skip("apt has no Packer here")
    (recap,) = re.findall(r"default +: ok=\d+ +changed=(\d+) +unreachable=0 +failed=0", built.packer)
    assert recap == "0"


def test_podman_builds_no_container_image_where_the_base_holds_a_key_and_names_the_file_alone(
    built: Built,
) -> None:
    assert built.container_refused.returncode != 0
    told = built.container_refused.stdout + built.container_refused.stderr
    assert f"credentials in 1 file: {KEY_IN_BASE} (" in told
    assert [secret for secret in built.secrets if secret in told.encode()] == []


def test_podman_builds_a_container_image_with_the_example(built: Built) -> None:
    assert built.container_build.returncode == 0, built.container_build.stdout[-3000:]
    assert "Search the whole image for credentials" in built.container_build.stdout


@pytest.mark.parametrize("kind", ["vm", "container"])
def test_no_layer_of_an_image_holds_a_token_or_key(built: Built, kind: str) -> None:
    assert len(built.secrets) > 10
    assert runner_images.traces(built.images[kind], built.secrets) == []


@pytest.mark.parametrize("account", ACCOUNTS)
def test_a_new_machine_has_its_token_at_first_boot_and_a_container_on_demand(
    built: Built, account: str
) -> None:
    begin = time.monotonic()
    options = [f"--service-account={account}"]
    with Machine.start(name="ci-runner", image=built.images["vm"], emulator_options=options) as machine:
        left = FIRST_TOKEN_SECONDS - (time.monotonic() - begin)
        waited = machine.ssh("dev", f"gar-auth status --wait {left:.0f}")
        assert waited.returncode == 0, waited.stdout
        entry = machine.ssh("ops", "cat .config/pypoetry/auth.toml", check=True).stdout
        assert [token.identity for token in machine.control.tokens() if token.value in entry] == [account]

        on_machine = machine.ssh("dev", "bash -s", input=runner_images.walk("vm_package"))
        in_container = runner_images.run(
            built.images["container"], runner_images.walk("container_package"), beside=machine
        )
        for done in (on_machine, in_container):
            assert done.stdout.splitlines()[-1:] == ["0.1.0"], done.stdout + done.stderr
        answered = [seen for seen in machine.control.requests(target="index") if seen.status == 200]
        uploads = [request.identity for request in answered if request.method == "POST"]
        assert uploads == [account] * 4, "a wheel and an archive each"
        for package in ("vm-package", "container-package"):
            fetched = [one for one in answered if one.method == "GET" and package in one.path]
            assert {request.identity for request in fetched} == {account}
