# SPDX-License-Identifier: GPL-3.0-or-later
"""Build container images as docs/examples does, run them beside a machine, and search images from outside.

The base of each is a company's own: Debian with the certificate authorities of the lab and of a proxy.
"""

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
from uses import people, plays

__all__ = ["EXAMPLES", "base", "build", "run", "traces", "walk"]

EXAMPLES = plays.CHECKOUT / "docs" / "examples" / "ci-image"
_TOKEN = re.compile(rb"ya29\.[A-Za-z0-9._-]{20}")
_PROOF = b'USERNAME = "oauth2accesstoken"'
"""A line of our own program, which has to be found in each image."""

_BASE = """\
FROM {image}
COPY *.crt /usr/local/share/ca-certificates/
RUN update-ca-certificates
{more}"""


def walk(package: str) -> str:
    """Return a script with which a user publishes a package, adds it to a project and prints its version."""
    shown = f"import importlib.metadata as m, {package}; print(m.version('{package}'))"
    return f"""{people.publishing(package)}
poetry new app_{package}
cd app_{package}
poetry source add --priority=primary PyPI
poetry source add --priority=supplemental {people.REPOSITORY} {people.INDEX_URL}
poetry add --source {people.REPOSITORY} {package}
poetry run python -c "{shown}"
"""


def base(place: Path, *, name: str, suite: str, more: str = "") -> str:
    """Build a base image and return its name in podman.

    :param place: a directory for what is built from; certificates in it (C(*.crt)) are trusted, too.
    :param more: further lines of its Containerfile.
    """
    for number, certificate in enumerate(["", *guest.extra_authorities()]):  # COPY wants one at least
        (place / f"host-{number}.crt").write_text(certificate, encoding="ascii")
    (place / "Base").write_text(_BASE.format(image=images.ensure(suite), more=more), encoding="ascii")
    image = f"{images.SAVED}:{name}-base"
    _build(place, image=image, file="Base", arguments=["--quiet"])
    return image


def build(
    machine: Machine,
    *,
    place: Path,
    variables: Mapping[str, Any],
    more: str = "",
    arguments: Iterable[str] = (),
) -> tuple[str, subprocess.CompletedProcess[str]]:
    """Build the example's Containerfile in the machine's network; return the image's name and how it went.

    :param place: a directory for what is built from, with what C(more) copies.
    :param more: further lines of the base image's Containerfile.
    :param arguments: further ones for podman.
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
    shutil.copy(machine.emulator_directory / "ca.pem", place / "lab-ca.crt")
    below = base(place, name=machine.name, suite=machine.suite, more=more)
    image = f"{images.SAVED}:{machine.name}-container"
    network = f"--network=ns:/proc/{machine.pid}/ns/net"
    options = ["--pull=never", network, f"--build-arg=BASE={below}", *arguments]
    done = _build(place, image=image, file="Containerfile", arguments=options, check=False)
    images.remove_saved(below)
    return image, done


def _build(
    place: Path, *, image: str, file: str, arguments: Iterable[str], check: bool = True
) -> subprocess.CompletedProcess[str]:
    return podman.podman(
        "build",
        f"--label={podman.LABEL}.saved-by={owners.identify(os.getpid())}",
        f"--tag={image}",
        f"--file={place / file}",
        *arguments,
        str(place),
        check=check,
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
