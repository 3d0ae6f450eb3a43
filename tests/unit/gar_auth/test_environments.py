# SPDX-License-Identifier: GPL-3.0-or-later
"""C(gar-auth keyring): a real environment with the real keyring finds the backend, and loses it again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.gar_auth.program import Program

INSTALLED = "gar_auth_keyring"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the keyring that the tests themselves have."""
    import keyring

    place = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    (packages,) = place.glob("lib/python3*/site-packages")
    known = Path(keyring.__file__).parent.parent
    for path in known.glob("keyring*"):
        shutil.copytree(path, packages / path.name)
    (packages / "what-keyring-needs.pth").write_text(f"{known}\n")
    return place


@pytest.fixture
def environment(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "venv", symlinks=True))


def listed(environment: Path) -> str:
    """What keyring says there is."""
    command = [os.fspath(environment / "bin" / "python"), "-m", "keyring", "--list-backends"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def everything(environment: Path) -> dict[str, bytes]:
    return {
        os.fspath(path.relative_to(environment)): path.read_bytes()
        for path in environment.rglob("*")
        if path.is_file() and not path.is_symlink() and "__pycache__" not in path.parts
    }


def test_keyring_finds_it_and_finds_it_no_more(program: Program, environment: Path) -> None:
    before = everything(environment)
    code, output, errors = program("keyring", "install", str(environment))
    assert (code, errors) == (0, "")
    assert output == f"the keyring backend installed: {environment}\n"
    assert "gar_auth_keyring.backend.ArtifactRegistry (priority: 9.5)" in listed(environment)
    assert program("keyring", "install", str(environment)) == (0, "", "")  # nothing to do
    assert program("keyring", "remove", str(environment))[0] == 0
    assert "gar_auth" not in listed(environment)
    assert everything(environment) == before
    assert program("keyring", "remove", str(environment)) == (0, "", "")


def test_a_program_names_its_environment(program: Program, environment: Path, tmp_path: Path) -> None:
    (environment / "bin" / "poetry").write_text("")
    (tmp_path / "poetry").symlink_to(environment / "bin" / "poetry")
    assert "installed" in program("keyring", "install", str(tmp_path / "poetry"))[1]
    assert "gar_auth_keyring" in listed(environment)


def test_check_only_says_what_would_be_done(program: Program, environment: Path) -> None:
    before = everything(environment)
    assert "would be installed" in program("keyring", "install", "--check", str(environment))[1]
    assert everything(environment) == before
    program("keyring", "install", str(environment))
    assert "would be removed" in program("keyring", "remove", "--check", str(environment))[1]
    assert "gar_auth_keyring" in listed(environment)


def damage_a_file(packages: Path) -> None:
    (packages / INSTALLED / "lookup.py").write_text("broken")


def lose_the_entry_point(packages: Path) -> None:
    shutil.rmtree(next(packages.glob(f"{INSTALLED}-*.dist-info")))


def leave_an_older_release(packages: Path) -> None:
    (packages / INSTALLED / "dropped.py").write_text("")
    old = packages / f"{INSTALLED}-0.0.1.dist-info"
    old.mkdir()
    (old / "METADATA").write_text("Name: gar-auth-keyring\nVersion: 0.0.1\n")


@pytest.mark.parametrize("change", [damage_a_file, lose_the_entry_point, leave_an_older_release])
def test_what_is_not_as_it_should_be_is_mended(
    program: Program, environment: Path, change: Callable[[Path], None]
) -> None:
    program("keyring", "install", str(environment))
    as_it_should_be = everything(environment)
    (packages,) = environment.glob("lib/python3*/site-packages")
    change(packages)
    assert "installed" in program("keyring", "install", str(environment))[1]
    assert everything(environment) == as_it_should_be


def test_the_record_names_every_file_with_its_hash(program: Program, environment: Path) -> None:
    program("keyring", "install", str(environment))
    check = (
        "from importlib.metadata import files\n"
        "import base64, hashlib\n"
        "for one in files('gar-auth-keyring'):\n"
        "    content = one.locate().read_bytes()\n"
        "    value = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=').decode()\n"
        "    if one.hash.value != value if one.hash else one.name != 'RECORD':\n"
        "        raise SystemExit(one)\n"
    )
    subprocess.run([environment / "bin" / "python", "-c", check], check=True)


def test_an_environment_without_keyring_is_refused(program: Program, environment: Path) -> None:
    (packages,) = environment.glob("lib/python3*/site-packages")
    shutil.rmtree(packages / "keyring")
    code, _output, errors = program("keyring", "install", str(environment))
    assert code == 78
    assert "has no keyring" in errors


@pytest.mark.parametrize("place", ["/", "/nowhere", "/usr/bin/env"])
def test_what_is_no_environment_is_refused(program: Program, place: str) -> None:
    code, _output, errors = program("keyring", "install", place)
    assert code == 78
    assert "no virtual environment" in errors
    assert program("keyring", "remove", place) == (0, "", "")  # nothing of ours can be there


def test_where_everybody_may_write_nothing_is_installed(program: Program, environment: Path) -> None:
    before = everything(environment)
    (environment / "lib").chmod(0o777)
    code, _output, errors = program("keyring", "install", str(environment))
    assert code == 77
    assert "nothing was changed" in errors
    assert everything(environment) == before


def test_a_link_in_its_place_is_not_followed(program: Program, environment: Path, tmp_path: Path) -> None:
    (packages,) = environment.glob("lib/python3*/site-packages")
    (tmp_path / "elsewhere").mkdir()
    (packages / INSTALLED).symlink_to(tmp_path / "elsewhere")
    code, _output, errors = program("keyring", "install", str(environment))
    assert code == 77
    assert "symbolic link" in errors
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_where_a_group_of_others_may_write_nothing_is_installed(program: Program, environment: Path) -> None:
    (packages,) = environment.glob("lib/python3*/site-packages")
    foreign = next(gid for gid in (12345, *os.getgroups()) if gid not in (0, os.getegid()))
    try:
        os.chown(packages, -1, foreign)
    except PermissionError:
        pytest.skip("this user is in one group only")
    packages.chmod(0o2775)
    code, _output, errors = program("keyring", "install", str(environment))
    assert code == 77
    assert f"{packages} belongs to somebody else, or others may write there" in errors


def test_nothing_in_the_environment_is_run(program: Program, environment: Path, tmp_path: Path) -> None:
    (packages,) = environment.glob("lib/python3*/site-packages")
    (packages / "x.pth").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n")
    assert program("keyring", "install", str(environment))[0] == 0
    assert list((packages / INSTALLED / "__pycache__").iterdir()) != []
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a link away")
def test_a_link_of_somebody_elses_leads_nowhere(program: Program, environment: Path, tmp_path: Path) -> None:
    program("keyring", "install", str(environment))
    link = tmp_path / "poetry"
    link.symlink_to(environment)
    os.lchown(link, 12345, 12345)
    for action in ("install", "remove"):
        (environment / "lib").chmod(0o755)
        code, output, errors = program("keyring", action, str(link))
        assert (code, output) == (77, "")
        assert str(link) in errors
    assert "gar_auth_keyring" in listed(environment)


def test_one_that_cannot_be_used_keeps_nobody_from_the_next(
    program: Program, environment: Path, tmp_path: Path
) -> None:
    code, output, errors = program("keyring", "install", "/nowhere", str(environment))
    assert code == 78
    assert "/nowhere is no virtual environment" in errors
    assert output == f"the keyring backend installed: {environment}\n"


def test_it_works_before_there_is_a_configuration(program: Program, environment: Path) -> None:
    program.path.unlink()
    assert program("keyring", "install", "--check", str(environment))[0] == 0
