# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection in an execution environment, as AWX has it: built by ansible-builder, run in a container."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import images, podman
from lab.machines import Machine
from lab.playbook import Collection
from uses import people, runner_images
from uses.plays import CHECKOUT

EXAMPLE = CHECKOUT / "docs" / "examples" / "execution-environment" / "execution-environment.yml"
BUILDER = "ansible-builder==3.2.0"
#: As written in the example.
DEBIAN = "name: docker.io/library/debian:13\n"
#: For each pip on the way: a proxy may inspect TLS.
PIP_CERT = "ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt\n"


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine.start(name="dv-ee", suite="debian12") as machine:
        yield machine


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install ansible-builder into a virtual environment of its own."""
    venv = tmp_path_factory.mktemp("builder")
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    subprocess.run([venv / "bin" / "pip", "install", "--quiet", BUILDER], check=True)
    return venv / "bin" / "ansible-builder"


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return Collection.install(tmp_path_factory.mktemp("collection"))


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(directory: Path, *, tag: str) -> None:
    file = directory / "Containerfile"
    done = podman.podman(
        "build", "--quiet", f"--tag={tag}", f"--file={file}", str(directory), check=False, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def image(builder: Path, collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Build the example, on the lab's Debian instead of one from a registry."""
    place = tmp_path_factory.mktemp("image")
    tag = f"localhost/devbox-lab-ee:{os.getpid()}"
    base = runner_images.base(place, name="dv-ee", suite="debian13", more=PIP_CERT)
    try:
        text = EXAMPLE.read_text(encoding="utf-8")
        assert DEBIAN in text
        definition = place / "execution-environment.yml"
        definition.write_text(text.replace(DEBIAN, f"name: {base}\n"), encoding="utf-8")
        (tarball,) = collection.place.glob("*.tar.gz")
        shutil.copy(tarball, place)
        run(builder, "create", "--output-filename=Containerfile", "--context=context", cwd=place)
        build(place / "context", tag=tag)
        yield tag
    finally:
        podman.podman("rmi", "--force", tag, check=False)
        images.remove_saved(base)


def test_the_builder_finds_what_the_collection_needs(builder: Path, collection: Collection) -> None:
    found = run(builder, "introspect", collection.place / "collections", cwd=collection.place)
    assert "python: []" in found
    assert "openssh-client [platform:dpkg]" in found
    assert "openssh-clients [platform:rpm]" in found


def test_a_rollout_from_the_image_sets_a_machine_up_and_reports(
    machine: Machine, image: str, tmp_path: Path
) -> None:
    reports = tmp_path / "reports"
    reports.mkdir()
    variables = {
        **json.loads(machine.variables.read_text(encoding="utf-8")),
        "artifact_registry_roles": ["poetry", "poetry_repositories", "gar_auth"],
        "rollout_report": "/runner/reports/rollout.json",
    }
    host = {
        "ansible_host": machine.address,
        "ansible_user": "admin",
        "ansible_ssh_private_key_file": "/runner/env/key",
        "ansible_ssh_common_args": "-o UserKnownHostsFile=/runner/env/known_hosts",
    }
    shutil.copy(machine.directory / "id_ed25519", tmp_path / "key")
    shutil.copy(machine.directory / "known_hosts", tmp_path / "known_hosts")
    (tmp_path / "variables.json").write_text(json.dumps(variables), encoding="utf-8")
    inventory = {"all": {"hosts": {machine.name: host}}}
    (tmp_path / "inventory.json").write_text(json.dumps(inventory), encoding="utf-8")
    command = ["ansible-playbook", "devbox.artifact_registry.fleet", "-i", "/runner/env/inventory.json"]
    arguments = ["--rm", "--user=0", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]
    arguments += [f"--volume={tmp_path}:/runner/env:ro", f"--volume={reports}:/runner/reports", image]
    done = podman.podman(
        "run", *arguments, *command, "-e", "@/runner/env/variables.json", check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (host,) = json.loads((reports / "rollout.json").read_text(encoding="utf-8"))["hosts"].items()
    assert (host[0], host[1]["state"]) == (machine.name, "done")
    people.publish(machine, "dev", "from_awx")
