# SPDX-License-Identifier: GPL-3.0-or-later
"""Each release of Poetry in turn as the judge, the module's payload, and homes for both."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT / "tests") not in sys.path:
    sys.path.insert(0, str(ROOT / "tests"))

from oracle.home import Home, Judge, Payload, Poetry  # noqa: E402
from oracle.releases import RELEASES, NotHereError, Release  # noqa: E402
from oracle.samples import CANDIDATES  # noqa: E402


def pytest_configure() -> None:
    link = ROOT / ".ansible/collections/ansible_collections/devbox/artifact_registry"
    if not (link / "galaxy.yml").exists():
        raise pytest.UsageError(f"{link} is missing; run: make bootstrap")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--poetry",
        action="append",
        choices=[release.version for release in RELEASES],
        help="only this release of Poetry; may be given more than once",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "poetry" in metafunc.fixturenames:
        wanted = metafunc.config.getoption("poetry")
        chosen = [release for release in RELEASES if not wanted or release.version in wanted]
        ids = [f"poetry-{release.version}" for release in chosen]
        metafunc.parametrize("poetry", chosen, indirect=True, scope="session", ids=ids)


@pytest.fixture(scope="session")
def poetry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Poetry]:
    """A release of Poetry, installed."""
    release: Release = request.param
    try:
        environment = release.install()
    except NotHereError as reason:
        pytest.skip(str(reason))
    scratch = tmp_path_factory.mktemp("judge")
    judge = Judge(f"{environment}/bin/python", scratch=scratch)
    try:
        known = judge.ask(scratch, [("settings", CANDIDATES)])[0]
        yield Poetry(release=release, environment=environment, judge=judge, settings=known)
    finally:
        judge.close()


@pytest.fixture(scope="session")
def payload(tmp_path_factory: pytest.TempPathFactory) -> Payload:
    """The module as Ansible sends it."""
    return Payload(tmp_path_factory.mktemp("payload"))


@pytest.fixture
def new_home(tmp_path: Path, poetry: Poetry, payload: Payload) -> Callable[[str], Home]:
    """Makes homes for this Poetry, each by its name."""
    return lambda name: Home(tmp_path / name, poetry=poetry, payload=payload)


@pytest.fixture
def home(new_home: Callable[[str], Home]) -> Home:
    """A home without any file."""
    return new_home("home")
