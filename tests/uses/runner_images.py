# SPDX-License-Identifier: GPL-3.0-or-later
"""Build container images as docs/examples does, run them beside a machine, and search images from outside."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lab import guest, images, owners, podman
from lab.machines import Machine
from lab.system import as_root
from uses import plays

__all__ = ["EXAMPLES", "build", "run", "traces", "walk"]

EXAMPLES = plays.CHECKOUT / "docs" / "examples" / "ci-image"
_INDEX = "https://europe-west1-python.pkg.dev/demo-project/python/simple/"
_TOKEN = re.compile(rb"ya29\.[A-Za-z0-9._-]{20}")
_PROOF = b'USERNAME = "oauth2accesstoken"'
"""A line of our own program, which has to be found in each image."""

# What stands for a company's own base image: Debian with its certificate authorities.
_BASE = """\
FROM {image}
COPY *.crt /usr/local/share/ca-certificates/
RUN update-ca-certificates
"""


def walk(package: str) -> str:
    """Return a script with which a user publishes a package, adds it to a project and prints its version."""
    shown = f"import importlib.metadata as m, {package}; print(m.version('{package}'))"
    return f"""set -eu
cd
poetry new {package}
(cd {package} && poetry publish --build --repository private-repo --no-interaction)
poetry new app_{package}
cd app_{package}
poetry source add --priority=primary PyPI
poetry source add --priority=supplemental private-repo {_INDEX}
poetry add --source private-repo {package}
poetry run python -c "{shown}"
"""


def build(
    machine: Machine, *, place: Path, variables: Mapping[str, Any]
) -> tuple[str, subprocess.CompletedProcess[str]]:
    """Build the example's Containerfile in the machine's network; return the image's name and how it went.

    :param place: an empty directory for what is built from.
    """
    galaxy = str(Path(sys.executable).parent / "ansible-galaxy")
    subprocess.run(
        [galaxy, "collection", "build", "--output-path", str(place)],
        cwd=plays.CHECKOUT,
        env=plays.environment(place),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    shutil.copy(EXAMPLES / "Containerfile", place)
    (place / "vars.yml").write_text(json.dumps(dict(variables)), encoding="utf-8")
    for number, certificate in enumerate(guest.extra_authorities()):
        (place / f"host-{number}.crt").write_text(certificate, encoding="ascii")
    shutil.copy(machine.emulator_directory / "ca.pem", place / "lab-ca.crt")
    (place / "Base").write_text(_BASE.format(image=images.ensure(machine.suite)), encoding="ascii")
    base, image = (f"{images.SAVED}:{machine.name}-{kind}" for kind in ("base", "container"))
    _build(machine, place, image=base, file="Base")
    done = _build(machine, place, image=image, file="Containerfile", arguments=[f"--build-arg=BASE={base}"])
    images.remove_saved(base)
    return image, done


def _build(
    machine: Machine, place: Path, *, image: str, file: str, arguments: Iterable[str] = ()
) -> subprocess.CompletedProcess[str]:
    return podman.podman(
        "build",
        "--quiet" if file == "Base" else "--pull=never",
        f"--network=ns:/proc/{machine.pid}/ns/net",
        f"--label={podman.LABEL}.saved-by={owners.identify(os.getpid())}",
        f"--tag={image}",
        f"--file={place / file}",
        *arguments,
        str(place),
        check=file == "Base",
        timeout=900,
    )


def run(image: str, script: str, *, beside: Machine) -> subprocess.CompletedProcess[str]:
    """Run a script in a new container that has the machine's network, and so its metadata server."""
    authority = beside.emulator_directory / "ca.pem"
    return podman.podman(
        "run",
        "--rm",
        "--interactive",
        *(flag for flag in podman.machine_flags() if flag.startswith("--ulimit")),
        f"--network=container:{beside.container}",
        f"--volume={authority}:/usr/local/share/ca-certificates/lab-ca.crt:ro",
        image,
        "bash",
        "-s",
        input=script,
        check=False,
    )


def traces(image: str, secrets: Iterable[bytes]) -> list[bytes]:
    """Return what an image holds of these secrets, and all that looks like an access token.

    All its layers are read as they are saved, so that nothing of it counts as gone.
    """
    wanted = {*secrets, _PROOF}
    found: set[bytes] = set()
    overlap = max(map(len, wanted))
    with subprocess.Popen(
        as_root(["podman", "save", "--format=docker-archive", image]), stdout=subprocess.PIPE
    ) as saving:
        assert saving.stdout
        kept = b""
        while chunk := saving.stdout.read(4 << 20):
            data = kept + chunk
            found |= {secret for secret in wanted if secret in data}
            found |= set(_TOKEN.findall(data))
            kept = data[-overlap:]
    assert saving.returncode == 0
    assert _PROOF in found, "what is saved cannot be searched"
    return sorted(found - {_PROOF})
