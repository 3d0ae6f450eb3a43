# SPDX-License-Identifier: GPL-3.0-or-later
"""The signed repository that stands in for Google's, and the rebuilt package in it."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from lab import aptrepo, deb
from lab.system import LabError

STATUS = """\
Package: google-cloud-cli
Status: install ok installed
Conffiles:
 /etc/one 0123
 /etc/two 4567
Architecture: amd64
Version: 1:528.0.0-0
Description: first line
 second line
"""


def test_control_file_is_the_status_without_what_dpkg_added() -> None:
    package = deb.parse_status(STATUS)
    assert (package.name, package.version, package.architecture) == (
        "google-cloud-cli",
        "1:528.0.0-0",
        "amd64",
    )
    assert package.filename == "google-cloud-cli_1%3a528.0.0-0_amd64.deb"
    assert package.control == (
        "Package: google-cloud-cli\nArchitecture: amd64\nVersion: 1:528.0.0-0\n"
        "Description: first line\n second line\n"
    )


def test_control_archive_holds_scripts_as_executables_and_no_list(tmp_path: Path) -> None:
    for kind in ("list", "postinst", "triggers"):
        (tmp_path / f"tool.{kind}").write_text(kind)
    (tmp_path / "tool-extra.postinst").write_text("another package's")
    packed = deb.control_archive("Package: tool\n", info=tmp_path, name="tool")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        modes = {member.name: member.mode for member in archive}
    assert modes == {"./control": 0o644, "./postinst": 0o755, "./triggers": 0o644}


def test_ar_headers_are_sixty_bytes_after_the_magic() -> None:
    first, second = deb.ar_archive([("debian-binary", 4), ("data.tar.zst", 123456789)])
    assert (first[:8], len(first)) == (b"!<arch>\n", 8 + 60)
    assert (second[-2:], len(second)) == (b"`\n", 60)
    assert b"123456789" in second


def test_packages_paragraph_states_place_size_and_digest(tmp_path: Path) -> None:
    path = tmp_path / "x.deb"
    path.write_bytes(b"abc")
    text = aptrepo.packages_paragraph("Package: x\n", filename="pool/main/x.deb", path=path)
    digest = hashlib.sha256(b"abc").hexdigest()
    assert text == f"Package: x\nFilename: pool/main/x.deb\nSize: 3\nSHA256: {digest}\n\n"


def test_release_lists_each_index_with_digest_and_size() -> None:
    text = aptrepo.release_text(
        {"main/binary-amd64/Packages": b"abc"},
        suite="cloud-sdk",
        architecture="amd64",
        date="Sun, 22 Nov 2026",
    )
    digest = hashlib.sha256(b"abc").hexdigest()
    assert {"Suite: cloud-sdk", "Components: main"} <= set(text.splitlines())
    assert text.endswith(f"SHA256:\n {digest} 3 main/binary-amd64/Packages\n")


def test_no_repository_is_made_where_google_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aptrepo, "google_answers", lambda: True)
    assert aptrepo.ensure() == aptrepo.AptRepository(directory=None, fingerprints=None)


def test_neither_google_nor_a_package_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aptrepo, "google_answers", lambda: False)
    monkeypatch.setattr(deb, "find", lambda _name: None)
    with pytest.raises(LabError, match="google-cloud-cli is not installed on this host") as caught:
        aptrepo.ensure()
    assert "\n" not in str(caught.value)
