# SPDX-License-Identifier: GPL-3.0-or-later
"""Rebuild a Debian package from its installed files, without touching them and without a copy of the tree."""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.system import LabError, run

__all__ = ["Installed", "ar_archive", "build", "control_archive", "find", "rebuild", "renumber"]

_INFO = Path("/var/lib/dpkg/info")
_SCRIPTS = ("preinst", "postinst", "prerm", "postrm", "config")
_NOT_OURS = ("Status:", "Conffiles:", "Config-Version:")


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A package that is installed on this host."""

    name: str
    version: str
    architecture: str
    control: str

    @property
    def filename(self) -> str:
        """Return the usual name of the package's file."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"


def find(name: str) -> Installed | None:
    """Return the package of that name if it is installed completely."""
    try:
        done = run(["dpkg-query", "--status", name], check=False)
    except LabError:
        return None
    if done.returncode != 0 or "\nStatus: install ok installed\n" not in done.stdout:
        return None
    return parse_status(done.stdout)


def parse_status(text: str) -> Installed:
    """Turn dpkg's status paragraph into the control file that the package came with."""
    lines, dropped = [], False
    for line in text.strip().splitlines():
        if not line.startswith((" ", "\t")):
            dropped = line.startswith(_NOT_OURS)
        if not dropped:
            lines.append(line)
    fields = dict(line.split(": ", 1) for line in lines if ": " in line and not line.startswith(" "))
    return Installed(
        name=fields["Package"],
        version=fields["Version"],
        architecture=fields["Architecture"],
        control="\n".join(lines) + "\n",
    )


def control_archive(control: str, *, info: Path, name: str) -> bytes:
    """Return control.tar.gz: the control file, maintainer scripts, triggers, checksums."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):

        def add(member_name: str, data: bytes, mode: int) -> None:
            member = tarfile.TarInfo(f"./{member_name}")
            member.size, member.mode, member.uname, member.gname = len(data), mode, "root", "root"
            archive.addfile(member, io.BytesIO(data))

        add("control", control.encode(), 0o644)
        for path in sorted(info.glob(f"{name}.*")):
            kind = path.name.removeprefix(f"{name}.")
            if kind != "list":
                add(kind, path.read_bytes(), 0o755 if kind in _SCRIPTS else 0o644)
    return buffer.getvalue()


def ar_archive(members: Sequence[tuple[str, int]]) -> list[bytes]:
    """Return the headers of an `ar` archive's members, given by name and size; the first after the magic."""
    headers = [f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{size:<10}`\n".encode() for name, size in members]
    return [b"!<arch>\n" + headers[0], *headers[1:]]


def rebuild(package: Installed, target: Path) -> None:
    """Write the package's file; what was generated after the installation is left out.

    Light compression: 1.5 s to pack, no slower to unpack than none, and 2.5 s less to fetch and check.
    """
    listed = (_INFO / f"{package.name}.list").read_text(encoding="utf-8").splitlines()
    paths = [path for path in listed if path != "/." and os.path.lexists(path)]
    data = target.with_suffix(".data.tar.zst")
    command = ["tar", "--create", f"--file={data}", "--no-recursion", "--owner=root:0", "--group=root:0"]
    command += ["--format=gnu", "--absolute-names", "--transform=s,^/,./,S", "--null", "--files-from=-"]
    command.append("--use-compress-program=zstd -1 -T0 -q")
    try:
        run(command, input="\0".join(paths), timeout=900)
        control = control_archive(package.control, info=_INFO, name=package.name)
        size = data.stat().st_size
        first, second, third = ar_archive(
            [("debian-binary", 4), ("control.tar.gz", len(control)), ("data.tar.zst", size)]
        )
        with target.open("wb") as output:
            output.write(first + b"2.0\n" + second + control + b"\n" * (len(control) % 2) + third)
            with data.open("rb") as source:
                shutil.copyfileobj(source, output, 1 << 20)
            output.write(b"\n" * (size % 2))
    finally:
        data.unlink(missing_ok=True)


def renumber(package: Installed, source: Path, target: Path, *, version: str) -> None:
    """Write a package's file that C(rebuild) made once more, as another version with the same content."""
    control = re.sub(r"(?m)^Version: .*$", f"Version: {version}", package.control)
    archive = control_archive(control, info=_INFO, name=package.name)
    with source.open("rb") as stream:
        stream.seek(8)
        while not (header := stream.read(60)).startswith(b"data.tar.zst"):
            size = int(header[48:58])
            stream.seek(size + size % 2, os.SEEK_CUR)
        size = int(header[48:58])
        first, second, third = ar_archive(
            [("debian-binary", 4), ("control.tar.gz", len(archive)), ("data.tar.zst", size)]
        )
        with target.open("wb") as output:
            output.write(first + b"2.0\n" + second + archive + b"\n" * (len(archive) % 2) + third)
            shutil.copyfileobj(stream, output, 1 << 20)


def build(target: Path, *, control: Mapping[str, str], files: Mapping[str, str]) -> str:
    """Write a small package of one's own, and return its control file.

    :param files: by absolute path, the text of each; all are executable.
    """
    text = "".join(f"{name}: {value}\n" for name, value in control.items())
    with tempfile.TemporaryDirectory(prefix="lab-deb-") as scratch:
        tree = Path(scratch)
        tree.chmod(0o755)
        for path, content in {"/DEBIAN/control": text, **files}.items():
            place = tree / path.lstrip("/")
            place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            place.write_text(content, encoding="utf-8")
            place.chmod(0o644 if path.startswith("/DEBIAN/") else 0o755)
        run(["dpkg-deb", "--root-owner-group", "--build", str(tree), str(target)])
    return text
