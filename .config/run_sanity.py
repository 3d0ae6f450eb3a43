# SPDX-License-Identifier: GPL-3.0-or-later
"""Run ansible-test sanity on a copy of the collection, and list each test with its time.

ansible-test wants the collection at .../ansible_collections/devbox/artifact_registry, follows no link, and
skips what git ignores (then it says "All targets skipped" and succeeds). So the files that are shipped,
tracked or new, are copied to a place of that name below .build/, with a git repository of its own.
ansible-test's environments and downloads live in a home of its own there too. That home has a stand-in for
get-pip, because ansible-test fetches that from a host that may be out of reach, and the caller's pip settings
as a file, because ansible-test drops the variables.

Extra arguments go to ansible-test, such as `--test validate-modules`. Exit code: that of ansible-test, or 1
when nothing was tested.
"""

from __future__ import annotations

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".build" / "sanity"
COPY = HOME / "ansible_collections" / "devbox" / "artifact_registry"
GET_PIP = '''"""Stands in for get-pip: gives a new environment the pip of {source}."""
import pathlib
import shutil
import sysconfig

for found in pathlib.Path("{source}").glob("pip*"):
    shutil.copytree(found, pathlib.Path(sysconfig.get_path("purelib")) / found.name)
'''
# What is not shipped is no matter of ansible-test: ruff and mypy check the tests and the tools.
SHIPPED = (".", ":!.*", ":!molecule", ":!tests")
# pip settings about where packages come from; any other could contradict what ansible-test asks for.
PIP_SETTINGS = {
    "cert",
    "client-cert",
    "extra-index-url",
    "find-links",
    "index-url",
    "no-index",
    "proxy",
    "trusted-host",
}
RUNNING = re.compile(r'^Running sanity test "([^"]+)"')
NOISE = re.compile(r"^(Installing requirements for|Using cached pip|WARNING: (Using locale|Reviewing)) ")
NEEDED = {"ansible-doc", "compile", "import", "pep8", "pylint", "validate-modules", "yamllint"}


def output(*command: str, cwd: Path) -> str:
    """Run a command that must succeed; its output."""
    return subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout


def copy_collection() -> None:
    """Make the copy anew, with what git does not ignore in the checkout."""
    git = ("git", "-c", f"safe.directory={ROOT}")
    options = ("-z", "--cached", "--others", "--exclude-standard")
    listed = output(*git, "ls-files", *options, "--", *SHIPPED, cwd=ROOT)
    shutil.rmtree(COPY, ignore_errors=True)
    COPY.mkdir(parents=True)
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, COPY / name
        if source.exists():  # git also lists what was deleted just now
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    if not any(COPY.glob("plugins/modules/*.py")):
        raise SystemExit(f"sanity: {COPY} has no module: does git ignore plugins/ in the checkout?")
    output("git", "init", "--quiet", cwd=COPY)
    output("git", "add", "--all", "--force", cwd=COPY)


def seed_home() -> None:
    """Put get-pip where this ansible-test looks for it, and the caller's package sources where pip does."""
    packages = Path(sysconfig.get_path("purelib"))
    requirements = packages / "ansible_test" / "_internal" / "python_requirements.py"
    found = re.search(r"\bpip='([\d.]+)'", requirements.read_text(encoding="utf-8"))
    if not found:
        raise SystemExit(f"sanity: {requirements} no longer names pip's version: adapt {__file__}")
    stub = HOME / ".ansible" / "test" / "cache" / f"get_pip_{found[1].replace('.', '_')}.py"
    stub.parent.mkdir(parents=True, exist_ok=True)
    stub.write_text(GET_PIP.format(source=packages), encoding="utf-8")

    pip = (sys.executable, "-m", "pip")
    settings = {"quiet": "2"}
    cache = subprocess.run([*pip, "cache", "dir"], check=False, capture_output=True, text=True)
    if cache.returncode == 0:  # else it is disabled
        settings["cache-dir"] = cache.stdout.strip()
    if bundle := os.environ.get("REQUESTS_CA_BUNDLE"):
        settings["cert"] = bundle
    if proxy := os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy"):
        settings["proxy"] = proxy
    for line in reversed(output(*pip, "config", "list", cwd=ROOT).splitlines()):
        key, value = line.split("=", maxsplit=1)
        name = key.rpartition(".")[2]
        if name in PIP_SETTINGS:  # the environment's lines come first: reversed, they win
            settings[name] = ast.literal_eval(value)
    parser = configparser.RawConfigParser()
    parser["global"] = settings
    pip_conf = HOME / ".config" / "pip" / "pip.conf"
    pip_conf.parent.mkdir(parents=True, exist_ok=True)
    pip_conf.touch(mode=0o600)  # an index may have a password
    with pip_conf.open("w", encoding="utf-8") as handle:
        parser.write(handle)


def run_tests(arguments: list[str]) -> tuple[int, set[str], str]:
    """Run ansible-test and list its tests as they end: exit code, the tests that ran, all that was said."""
    # The real interpreter comes first: ansible-test cannot make environments with pyenv's shims.
    path = f"{sys.base_prefix}/bin:{sys.prefix}/bin:{os.environ.get('PATH', os.defpath)}"
    environment = {"HOME": str(HOME), "PATH": path, "LC_ALL": "C.UTF-8"}
    options = ["--local", "--python", "{}.{}".format(*sys.version_info), "--color", "no"]
    command = [f"{sys.prefix}/bin/ansible-test", "sanity", *options, *arguments]
    process = subprocess.Popen(
        command, cwd=COPY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    tests: set[str] = set()
    said: list[str] = []
    current, start = "", time.monotonic()

    def end_test() -> None:
        if current:
            print(f"  {current:<24} {time.monotonic() - start:>5.1f} s", flush=True)

    for line in process.stdout or ():
        said.append(line)
        if running := RUNNING.match(line):
            end_test()
            current, start = running[1], time.monotonic()
            tests.add(current)
        elif not NOISE.match(line):
            print(line, end="", flush=True)
    code = process.wait()
    end_test()
    return code, tests, "".join(said)


def main() -> int:
    """Copy, test, and see that something was tested."""
    arguments = sys.argv[1:]
    copy_collection()
    seed_home()
    code, tests, said = run_tests(arguments)
    missing = set() if arguments else NEEDED - tests
    if "All targets skipped" in said or not tests or missing:
        print(f"sanity: {', '.join(sorted(missing)) or 'any test'} did not run; see above", file=sys.stderr)
        return code or 1
    print(f"  {len(tests)} sanity tests ran, {'with the failures above' if code else 'none failed'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
