# SPDX-License-Identifier: GPL-3.0-or-later
"""The clients' environments for the benchmark of keyring, and the private packages that they install."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import ssl
import urllib.error
import urllib.request
import zipfile
from collections.abc import Sequence
from pathlib import Path

import jinja2
from tokens.pythons import ROLE

from bench.gar_auth_program import IDENTITY, Bed, repositories
from bench.place import CHECKOUT, PLACE, POETRY_VERSION, PYTHON, BenchError, run
from gar_auth.store import Store
from lab.console import step

__all__ = [
    "GOOGLE",
    "KEYRING",
    "NAMES",
    "REPOSITORY",
    "VERSION",
    "add_ours",
    "demand_the_token",
    "environment",
    "make_wheels",
    "poetry_environment",
    "prepare",
    "token",
]

KEYRING = ("keyring==25.7.0",)
GOOGLE = ("keyrings.google-artifactregistry-auth==1.1.2", "google-auth==2.62.2")
"""Google's backend, and the newest release of what gets its tokens."""

REPOSITORY = repositories(1)[0]
NAMES = tuple(f"private-package-{number:02}" for number in range(20))
VERSION = "1.0"
_COMMAND = "keyring.j2"


def environment(name: str, python: str, *, packages: Sequence[str] = (), lock: Path | None = None) -> Path:
    """Return an environment of that interpreter with the packages of a lock, then these; makes it once."""
    place = PLACE / f"keyring-{name}"
    stamp = place / "bench.stamp"
    version = run([python, "-I", "-c", "import sys; print(sys.version)"]).strip()
    state = json.dumps([python, version, list(packages), lock.read_text(encoding="utf-8") if lock else None])
    state = hashlib.sha256(state.encode()).hexdigest()
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != state:
        with step(f"Install {', '.join(packages) or name} below {place}"):
            shutil.rmtree(place, ignore_errors=True)
            run([python, "-m", "venv", str(place)])
            pip = [str(place / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install"]
            pip += ["--no-input", "--only-binary=:all:"]
            if lock:
                run([*pip, "--require-hashes", "--no-deps", f"--requirement={lock}"])
            if packages:
                run([*pip, *packages])
            stamp.write_text(state, encoding="utf-8")
    return place


def poetry_environment(name: str, *packages: str) -> Path:
    """The same as the Poetry of the other benchmarks, in an environment of its own."""
    lock = CHECKOUT / "roles" / "poetry" / "files" / f"poetry-{POETRY_VERSION}.txt"
    return environment(f"poetry-{name}", PYTHON, packages=packages, lock=lock)


def prepare(made: Bed) -> None:
    """Let the machine be as with the provider keyring: a fresh token of the VM's account, and the command."""
    prefix = made.program.prefix
    package = prefix / "lib" / "gar_auth_keyring"
    shutil.copytree(ROLE / "files" / package.name, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "place.json").write_text(json.dumps({"config": str(made.program.config)}), encoding="utf-8")
    run([str(made.program.python), "-I", "-m", "compileall", "-q", str(package)])
    text = (ROLE / "templates" / _COMMAND).read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=False, keep_trailing_newline=True).from_string(text)  # noqa: S701
    command = prefix / "bin" / "keyring"
    command.write_text(template.render(gar_auth_prefix=prefix, ansible_managed="bench"), encoding="utf-8")
    command.chmod(0o755)
    made.configure(
        provider="keyring",
        identities={IDENTITY: {"type": "metadata"}},
        repositories=[REPOSITORY],
        program=str(made.program.command),
        keyring_environments=[],
        keyring_group=None,
        keyring_other_repositories=False,
    )
    made.emulator.control.create_repository("/".join(str(REPOSITORY["publish_url"]).split("/")[3:5]))
    made.use([made.ours("fetch", IDENTITY)])


def add_ours(made: Bed, *environments: Path) -> None:
    """Install our backend there, as the role does it."""
    made.use([made.ours("keyring", "install", str(place)) for place in environments])


def token(made: Bed) -> str:
    """The token that the machine has now."""
    found = Store(made.scratch / "run", shared=True).token(IDENTITY)
    if found is None:
        raise BenchError("gar-auth fetch left no token")
    return found.token


def make_wheels(directory: Path) -> list[Path]:
    """Make the packages: a module and its metadata each."""
    directory.mkdir()
    return [_wheel(directory, name) for name in NAMES]


def _wheel(directory: Path, name: str) -> Path:
    module = name.replace("-", "_")
    info = f"{module}-{VERSION}.dist-info"
    files = {
        f"{module}/__init__.py": f'"""Made by a benchmark."""\n\nNAME = "{name}"\n',
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {VERSION}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    path = directory / f"{module}-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return path


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def demand_the_token(made: Bed) -> None:
    """:raises BenchError: the index serves a package to whoever comes, or not even to us."""
    url = f"{REPOSITORY['index_url']}{NAMES[0]}/"
    basic = base64.b64encode(f"oauth2accesstoken:{token(made)}".encode()).decode()
    context = ssl.create_default_context(cafile=str(made.emulator.ca))
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({"https": made.environment["HTTPS_PROXY"]}),
        urllib.request.HTTPSHandler(context=context),
    )
    answers = []
    for headers in ({}, {"Authorization": f"Basic {basic}"}):
        try:
            with opener.open(urllib.request.Request(url, headers=headers), timeout=30) as response:  # noqa: S310
                answers.append(response.status)
        except urllib.error.HTTPError as error:
            answers.append(error.code)
    if answers != [401, 200]:
        raise BenchError(f"{url}: without and with the token the answers are {answers}, not 401 and 200")
