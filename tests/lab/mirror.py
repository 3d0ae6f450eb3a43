# SPDX-License-Identifier: GPL-3.0-or-later
"""What a test serves in the place of Google's or of a mirror: repositories of apt and dnf, and archives.

Everything lies in the directory of a machine's emulator and is served below https://packages.cloud.google.com/mirrors/.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from lab import aptrepo, cache, deb
from lab.machines import Machine
from lab.signing import GnuPG
from lab.system import LabError, Need, install, run

__all__ = ["Package", "archive", "debian_packages", "place", "publish", "rpm_packages"]

URL = "https://packages.cloud.google.com/mirrors"
SUITE = "cloud-sdk"
PREFIX = "/usr/lib/google-cloud-sdk"
#: Below the prefix.
NUMBER = "lib/googlecloudsdk/core/config.json"


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package's file, and the control file in it."""

    path: Path
    control: str


def place(machine: Machine, name: str) -> tuple[Path, str]:
    """Return an empty directory to serve, and its URL."""
    directory = machine.emulator_directory / "mirrors" / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory, f"{URL}/{name}"


def debian_packages(directory: Path, versions: Iterable[str]) -> dict[str, Package]:
    """Return the real CLI in several versions, which differ by their numbers, and small packages beside it.

    :param versions: such as C(527.0.0).
    """
    installed = deb.find(aptrepo.PACKAGE)
    base = aptrepo.stand_in().directory
    if installed is None or base is None:
        raise LabError(f"{aptrepo.PACKAGE} is not installed on this host")
    source = base / "pool/main" / installed.filename
    found = {}
    for version in versions:
        target = directory / f"{aptrepo.PACKAGE}_{version}-0.deb"
        deb.renumber(installed, source, target, version=f"{version}-0")
        control = re.sub(r"(?m)^Version: .*$", f"Version: {version}-0", installed.control)
        found[version] = Package(path=target, control=control)
        name = "google-cloud-cli-gke-gcloud-auth-plugin"
        found[f"plugin-{version}"] = small(
            directory,
            {"Package": name, "Version": f"{version}-0", "Depends": f"google-cloud-cli (= {version}-0)"},
            {"/usr/lib/google-cloud-sdk/bin/gke-gcloud-auth-plugin": f"#!/bin/sh\necho {version}\n"},
        )
    return found


def small(directory: Path, control: Mapping[str, str], files: Mapping[str, str]) -> Package:
    """Return a package that a test makes up."""
    fields = {
        "Architecture": "all",
        "Maintainer": "The lab <lab@example.com>",
        "Description": "made by a test",
    }
    target = directory / f"{control['Package']}_{control['Version']}.deb"
    text = deb.build(target, control={**control, **fields}, files=files)
    return Package(path=target, control=text)


def publish(
    machine: Machine,
    name: str,
    packages: Iterable[Package],
    *,
    gpg: GnuPG,
    key: str,
    offered: Iterable[str],
    when: str = "",
) -> str:
    """Serve a repository for apt and return its URL.

    :param key: the fingerprint of the key that signs it.
    :param offered: the fingerprints of those that its file of keys has.
    :param when: the time that the signature states; by default now.
    """
    top, url = place(machine, name)
    suite = top / "dists" / SUITE
    (top / "pool").mkdir()
    paragraphs = []
    for package in packages:
        relative = f"pool/{package.path.name}"
        (top / relative).symlink_to(package.path)
        paragraphs.append(
            aptrepo.packages_paragraph(package.control, filename=relative, path=package.path).encode()
        )
    index = "main/binary-amd64"
    (suite / index).mkdir(parents=True)
    data = b"".join(paragraphs)
    indexes = {f"{index}/Packages": data, f"{index}/Packages.gz": gzip.compress(data, mtime=0)}
    for path, content in indexes.items():
        (suite / path).write_bytes(content)
    release = aptrepo.release_text(indexes, suite=SUITE, architecture="amd64", date=formatdate(usegmt=True))
    (suite / "Release").write_text(release, encoding="ascii")
    gpg.sign_release(suite, key, when=when)
    (top / "doc").mkdir()
    (top / "doc/apt-key.gpg").write_text(gpg.export(*offered), encoding="ascii")
    return url


def archive(target: Path, *, version: str) -> Path:
    """Write Google's archive of the CLI from this host's files, with another number in it.

    :param version: such as C(527.0.0).
    """
    listed = run(["dpkg-query", "--listfiles", aptrepo.PACKAGE]).stdout.splitlines()
    kept = [path for path in listed if path.startswith(f"{PREFIX}/") and path != f"{PREFIX}/{NUMBER}"]
    own = target.parent / "config.json"
    own.write_text(numbered(version), encoding="utf-8")
    command = ["tar", "--create", f"--file={target}", "--no-recursion", "--absolute-names", "--owner=root:0"]
    command += ["--group=root:0", "--use-compress-program=gzip -1"]
    command += [
        f"--transform=s,^{PREFIX},google-cloud-sdk,S",
        f"--transform=s,^{own},google-cloud-sdk/{NUMBER},",
    ]
    run([*command, "--null", "--files-from=-"], input="\0".join([*kept, str(own)]), timeout=900)
    return target


def numbered(version: str) -> str:
    """The file by which the CLI knows its version, with another one."""
    found = json.loads(Path(PREFIX, NUMBER).read_text(encoding="utf-8"))
    return json.dumps({**found, "version": version})


def rpm_packages(directory: Path, versions: Iterable[str], *, gpg: GnuPG, key: str) -> None:
    """Write the real CLI as signed packages for dnf, and the repository's index."""
    install(
        (Need(what="rpmbuild", packages=("rpm",)), Need(what="createrepo_c", packages=("createrepo-c",))),
        purpose="making a repository for dnf",
    )
    listed = run(["dpkg-query", "--listfiles", aptrepo.PACKAGE]).stdout.splitlines()
    with tempfile.TemporaryDirectory(prefix="lab-rpm-", dir=cache.directory("rpm")) as scratch:
        root = Path(scratch) / "tree"
        target = root / "usr/lib64/google-cloud-sdk"
        for path in listed:
            if path.startswith(f"{PREFIX}/") and not Path(path).is_dir():
                copy = target / path.removeprefix(f"{PREFIX}/")
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, copy, follow_symlinks=False)
        (root / "usr/bin").mkdir()
        (root / "usr/bin/gcloud").symlink_to("../lib64/google-cloud-sdk/bin/gcloud")
        for version in versions:
            (target / NUMBER).write_text(numbered(version), encoding="utf-8")
            spec = Path(scratch) / "cli.spec"
            spec.write_text(_SPEC.format(version=version), encoding="ascii")
            build = [
                "rpmbuild",
                "-bb",
                "--quiet",
                "--buildroot",
                f"{scratch}/root",
                "--define",
                f"_topdir {scratch}/top",
            ]
            run(
                [*build, "--define", f"_rpmdir {directory}", "--define", f"tree {root}", str(spec)],
                timeout=900,
            )
    packages = sorted(str(path) for path in directory.rglob("*.rpm"))
    run(
        [
            "rpmsign",
            "--define",
            f"_gpg_name {key}",
            "--define",
            f"_gpg_path {gpg.home}",
            "--define",
            "__gpg /usr/bin/gpg",
            "--addsign",
            *packages,
        ]
    )
    run(["createrepo_c", "--quiet", str(directory)])


_SPEC = """\
Name: google-cloud-cli
Version: {version}
Release: 1
Summary: Utilities for the Google Cloud Platform
License: Apache-2.0
AutoReqProv: no
%global __os_install_post %{{nil}}
%global _build_id_links none
%define _binary_payload w1.gzdio
%description
The lab's package of the real CLI.
%install
mkdir -p %{{buildroot}}
cp -a %{{tree}}/. %{{buildroot}}/
%files
/usr/bin/gcloud
/usr/lib64/google-cloud-sdk
"""
