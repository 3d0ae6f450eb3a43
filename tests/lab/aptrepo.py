# SPDX-License-Identifier: GPL-3.0-or-later
"""Where machines get gcloud from: Google's apt repository, or a signed one made from this host's package."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from functools import cache as remember
from pathlib import Path

from lab import cache, deb
from lab.console import step
from lab.signing import NEEDS, GnuPG
from lab.system import LabError, Need, install

__all__ = ["AptRepository", "ensure", "packages_paragraph", "release_text", "stand_in"]

URL = "https://packages.cloud.google.com/apt"
SUITE = "cloud-sdk"
PACKAGE = "google-cloud-cli"

_LAYOUT = 2
"""Part of the cache's key: count up when the repository is built in another way."""


_NEEDS = (*NEEDS, Need(what="zstd", packages=("zstd",)))


@dataclass(frozen=True, kw_only=True)
class AptRepository:
    """A repository to serve in Google's place and the keys that sign it; neither where Google answers."""

    directory: Path | None
    fingerprints: list[str] | None


@remember
def google_answers(*, timeout: float = 5.0) -> bool:
    """Whether Google's apt repository can be reached from this host. The timeout is in seconds."""
    try:
        with urllib.request.urlopen(f"{URL}/dists/{SUITE}/InRelease", timeout=timeout) as answer:  # noqa: S310 - https
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def ensure() -> AptRepository:
    """Return the repository for machines, rebuilding the package where that is needed and possible."""
    if google_answers():
        return AptRepository(directory=None, fingerprints=None)
    return stand_in()


def stand_in() -> AptRepository:
    """Return a repository with this host's package, whether Google answers or not."""
    package = deb.find(PACKAGE)
    if package is None:
        raise LabError(
            f"{PACKAGE} is not installed on this host to stand in for {URL}: "
            f"allow access to that address, or install {PACKAGE} on this host"
        )
    key = hashlib.sha256(f"{_LAYOUT}\n{package.control}".encode()).hexdigest()[:12]
    final = cache.directory("apt") / f"{package.version}-{key}"
    with cache.locked("apt"):
        repository = _load(final)
        if repository is None:
            _sweep()
            with step(f"Rebuild {PACKAGE} {package.version} from this host's files (cached afterwards)"):
                _build(package, final)
            repository = _load(final)
    if repository is None:
        raise LabError(f"{final} was just built and is incomplete: remove it and try again")
    return repository


def forget_stale() -> None:
    """Remove all but the newest repository from the cache. No machine may be using one."""
    with cache.locked("apt"):
        _sweep()
        found = sorted(cache.directory("apt").iterdir(), key=lambda path: path.stat().st_mtime)
        for path in found[:-1]:
            shutil.rmtree(path)


def _sweep() -> None:
    """Remove what interrupted builds left; the caller holds the lock, so nobody else is building."""
    for left in cache.directory("apt").glob("partial-*"):
        shutil.rmtree(left)


def _load(final: Path) -> AptRepository | None:
    """Return a cached repository, unless it is missing or its package is not what was written."""
    try:
        facts = json.loads((final / "lab.json").read_text(encoding="utf-8"))
        if (final / "repository" / facts["package"]).stat().st_size != facts["size"]:
            return None
    except (OSError, ValueError, KeyError):
        return None
    return AptRepository(directory=final / "repository", fingerprints=[facts["fingerprint"]])


def _build(package: deb.Installed, final: Path) -> None:
    install(_NEEDS, purpose="making an apt repository")
    shutil.rmtree(final, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix="partial-", dir=final.parent))
    try:
        scratch.chmod(0o755)
        top = scratch / "repository"
        relative = f"pool/main/{package.filename}"
        (top / "pool/main").mkdir(parents=True)
        deb.rebuild(package, top / relative)
        binary = f"main/binary-{package.architecture}"
        suite = top / "dists" / SUITE
        (suite / binary).mkdir(parents=True)
        paragraph = packages_paragraph(package.control, filename=relative, path=top / relative).encode()
        indexes = {
            f"{binary}/Packages": paragraph,
            f"{binary}/Packages.gz": gzip.compress(paragraph, mtime=0),
        }
        for name, data in indexes.items():
            (suite / name).write_bytes(data)
        release = release_text(
            indexes, suite=SUITE, architecture=package.architecture, date=formatdate(usegmt=True)
        )
        (suite / "Release").write_text(release, encoding="ascii")
        (top / "doc").mkdir()
        with GnuPG() as gpg:
            fingerprint = gpg.generate("Lab test key (not Google's)")
            gpg.sign_release(suite, fingerprint)
            (top / "doc/apt-key.gpg").write_text(gpg.export(fingerprint), encoding="ascii")
        facts = {"fingerprint": fingerprint, "package": relative, "size": (top / relative).stat().st_size}
        (scratch / "lab.json").write_text(json.dumps(facts), encoding="utf-8")
        scratch.replace(final)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def packages_paragraph(control: str, *, filename: str, path: Path) -> str:
    """Return the entry of a `Packages` index for one package file."""
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return f"{control.rstrip()}\nFilename: {filename}\nSize: {path.stat().st_size}\nSHA256: {digest}\n\n"


def release_text(indexes: Mapping[str, bytes], *, suite: str, architecture: str, date: str) -> str:
    """Return a suite's `Release` file over its indexes, given by path below the suite."""
    head = {
        "Origin": suite,
        "Label": suite,
        "Suite": suite,
        "Codename": suite,
        "Date": date,
        "Architectures": architecture,
        "Components": "main",
        "Description": "stand-in for Google's repository, made by the lab",
    }
    lines = [f"{name}: {value}" for name, value in head.items()] + ["SHA256:"]
    lines += [
        f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}" for name, data in sorted(indexes.items())
    ]
    return "\n".join(lines) + "\n"
