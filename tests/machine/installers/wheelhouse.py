# SPDX-License-Identifier: GPL-3.0-or-later
"""Make what poetry_wheelhouse names: the wheels of the role's locks for a machine's Python, and pip's own."""

from __future__ import annotations

import hashlib
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

from lab import cache
from lab.system import run

__all__ = ["locks", "make", "serve"]

FILES = Path(__file__).resolve().parents[3] / "roles"
#: What glibc of Debian 12 and newer runs.
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_28_x86_64", "manylinux_2_34_x86_64")


def locks(*versions: str) -> list[Path]:
    """The locks of those versions of Poetry with a plugin, and that of gar-auth."""
    chosen = [
        FILES / "poetry/files" / f"poetry-{one}{plugin}.txt"
        for one in versions
        for plugin in ("", "-poetry-plugin-export")
    ]
    return [*chosen, FILES / "gar_auth/files/requirements.txt"]


def make(directory: Path, *, python: str, files: Iterable[Path]) -> Path:
    """Return the archive for a machine's Python, such as C(3.11); what was downloaded once is kept."""
    texts = [path.read_text(encoding="utf-8") for path in files]
    name = hashlib.sha256("".join([python, *texts]).encode()).hexdigest()[:12]
    wheels = cache.directory("wheels") / name
    if not (wheels / "complete").exists():
        wheels.mkdir(parents=True, exist_ok=True)
        target = ["--python-version", python, "--implementation", "cp", "--only-binary=:all:"]
        for platform in PLATFORMS:
            target += ["--platform", platform]
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(wheels), "--no-deps"]
        for text in texts:
            lock = wheels / "lock.txt"
            lock.write_text(text, encoding="utf-8")
            run([*download, *target, "--require-hashes", "--requirement", str(lock)], timeout=600)
        run([*download, *target, "pip"], timeout=600)
        (wheels / "complete").touch()
    archive = directory / "wheels.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as stream:
        for wheel in sorted(wheels.glob("*.whl")):
            stream.add(wheel, arcname=wheel.name)
    return archive


def serve(archive: Path, directory: Path) -> None:
    """Put an index of an archive's wheels into a directory (PEP 503), as a mirror has it."""
    with tarfile.open(archive) as stream:
        stream.extractall(directory / "files", filter="data")
    projects: dict[str, list[str]] = {}
    for wheel in (directory / "files").iterdir():
        projects.setdefault(
            wheel.name.partition("-")[0].replace("_", "-").replace(".", "-").lower(), []
        ).append(wheel.name)
    for project, names in projects.items():
        page = directory / "simple" / project / "index.html"
        page.parent.mkdir(parents=True)
        page.write_text(
            "".join(f'<a href="../../files/{name}">{name}</a>\n' for name in names), encoding="ascii"
        )
