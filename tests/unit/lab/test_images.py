# SPDX-License-Identifier: GPL-3.0-or-later
"""Recipes of the machines' images and their cache."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest

from lab import images
from lab.system import LabError

DUMP = """\
Acquire::http "";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::https::Proxy::deb.example "DIRECT";
Acquire::Check-Valid-Until "false";
APT::Update::Post-Invoke:: "something";
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "devbox-artifact-registry"


def test_only_proxies_are_taken_from_the_hosts_apt() -> None:
    assert images.proxy_options(DUMP) == [
        'Acquire::http::Proxy "http://proxy.example:3128";',
        'Acquire::https::Proxy::deb.example "DIRECT";',
    ]


def test_each_part_of_a_recipe_changes_its_version() -> None:
    recipe = images.recipe("debian12")
    others = [
        images.recipe("debian13"),
        dataclasses.replace(recipe, sources=("other",)),
        dataclasses.replace(recipe, packages=("other",)),
        dataclasses.replace(recipe, dpkg_options=("other",)),
        dataclasses.replace(recipe, apt_options=("other",)),
        dataclasses.replace(recipe, customize="other"),
    ]
    assert len({recipe.version, *(other.version for other in others)}) == 7
    assert recipe.version == images.recipe("debian12").version
    assert recipe.image == f"localhost/devbox-lab:debian12-{recipe.version}"


@pytest.mark.parametrize("package", ["python3-venv", "gnupg", "git", "acl", "curl"])
def test_images_lack_what_the_roles_must_install(package: str) -> None:
    assert package not in images.recipe("debian13").packages


def test_unknown_suite_names_the_known_ones() -> None:
    with pytest.raises(LabError, match="unknown suite sid; there is: debian12, debian13"):
        images.recipe("sid")


@pytest.mark.parametrize(("written", "intact"), [(b"whole", True), (b"who", False), (None, False)])
def test_only_a_file_with_the_digest_that_was_noted_is_used(written: bytes | None, intact: bool) -> None:
    tarball = images.recipe("debian12").tarball
    tarball.write_bytes(b"whole")
    tarball.with_suffix(".sha256").write_text(images._digest(tarball))
    tarball.unlink()
    if written is not None:
        tarball.write_bytes(written)
    assert images._intact(tarball) is intact


def test_images_that_vanish_while_they_are_listed_are_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two machines start at once, and both clear up before."""
    answers = iter(["Error: locating image with ID f0: image not known", "Error: no space left", "[]"])

    def podman(*_arguments: str, **_options: object) -> subprocess.CompletedProcess[str]:
        answer = next(answers)
        if answer.startswith("Error"):
            raise LabError(answer)
        return subprocess.CompletedProcess([], 0, answer, "")

    monkeypatch.setattr(images, "podman", podman)
    with pytest.raises(LabError, match="no space left"):
        images.forget_saved()
    images.forget_saved()
    assert next(answers, None) is None
