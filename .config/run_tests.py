# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the named parts of the tests (such as lint, unit, molecule); list how each ended and its time.

A part is a list of steps, each one command in the checkout; all steps run, also after one has failed. A
part that this machine cannot run is listed as not run, with the reason. Ends with what the failed steps said
of their failures, the table, and a line that counts the parts, such as `3 passed, 1 failed`. The environment
(PATH, PYTHONPATH, Ansible's paths) is set by the Makefile.

Exit code: 0 when no part failed, else 1.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINKED = ".ansible/collections/ansible_collections/devbox/artifact_registry"
PYTHON = sys.executable


class NotHereError(Exception):
    """This machine cannot run the part; the message is the reason."""


@dataclass(frozen=True)
class Step:
    """One command of a part."""

    title: str
    command: list[str]


@dataclass(frozen=True)
class Result:
    """How a part ended: passed, failed or not run, with its seconds and what there is to say.

    :ivar failed: by the title of a step that failed, its words on that.
    """

    part: str
    state: str
    seconds: float
    remark: str
    failed: dict[str, list[str]] = field(default_factory=dict)


def lint() -> list[Step]:
    """Style, types and documentation; the narrowest tools first."""
    program = [f"roles/gar_auth/files/{name}" for name in ("gar_auth", "gar_auth_keyring")]
    python = [f"{LINKED}/plugins", *program, "tests", ".config"]
    docs = [
        "antsibull-docs",
        "--config-file",
        ".config/antsibull.cfg",
        "lint-collection-docs",
        "--plugin-docs",
    ]
    return [
        Step("ruff check", ["ruff", "check", "."]),
        Step("ruff format", ["ruff", "format", "--check", "."]),
        Step("mypy", ["mypy", *[path for path in python if (ROOT / path).exists()]]),
        Step("yamllint", ["yamllint", "--strict", "."]),
        Step("ansible-lint", ["ansible-lint", "--offline", "--nocolor"]),
        Step("antsibull-changelog", ["antsibull-changelog", "lint"]),
        Step("antsibull-docs", [*docs, "."]),
    ]


def sanity() -> list[Step]:
    """ansible-test sanity, on a copy: see run_sanity.py."""
    return [Step("ansible-test", [PYTHON, ".config/run_sanity.py"])]


def unit() -> list[Step]:
    """Fast tests that need neither root nor network."""
    return [Step("pytest", [PYTHON, "-m", "pytest"])]


def oracle() -> list[Step]:
    """The modules' work, judged by four releases of Poetry itself."""
    return [Step("pytest, once for each Poetry", [PYTHON, "-m", "oracle"])]


def tokens() -> list[Step]:
    """48 hours of every identity in scaled time, and the program on the oldest and newest Python found."""
    return [Step("pytest, once for each source and Python", [PYTHON, "-m", "tokens"])]


def faults() -> list[Step]:
    """Faults, attacks and races, injected into the real module and program; without root they are skipped."""
    run = [PYTHON, "-m", "pytest", "tests/faults"]
    return [
        Step("poetry_config", [*run, "--ignore=tests/faults/program"]),
        Step("gar-auth", [*run[:-1], "tests/faults/program"]),
    ]


def sandbox() -> list[Step]:
    """The demo without a machine: the playbook on localhost below one scratch directory."""
    return [Step("demo", ["env", "LAB=sandbox", "KEEP=", PYTHON, "-m", "lab.demo"])]


def molecule() -> list[Step]:
    """The scenarios below molecule/, on throwaway machines; only where the lab can boot one."""
    scenarios = sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))
    if os.environ.get("FAULTS") != "full":
        scenarios = [name for name in scenarios if name not in SLOW]
    if crashed := ask_for_machines():
        return [crashed]
    if not scenarios:
        return [Step("molecule/*/molecule.yml", ["false"])]
    # The machine belongs to molecule's process: once that is gone, `lab gc` removes it.
    run = 'MACHINE_OWNER=$$ exec molecule test --no-command-borders --scenario-name "$0"'
    return [Step(name, ["sh", "-c", run, name]) for name in scenarios]


def uses() -> list[Step]:
    """Developer VMs, runner images and fleets on machines, from the playbook to a package."""
    if crashed := ask_for_machines():
        return [crashed]
    files = sorted(path.relative_to(ROOT) for path in ROOT.glob("tests/uses/test_*.py"))
    if os.environ.get("FAULTS") != "full":
        files = [path for path in files if path.stem not in SLOW]
    return [Step(path.stem, [PYTHON, "-m", "pytest", str(path)]) for path in files]


def ask_for_machines() -> Step | None:
    """See whether machines can be booted here; a step to run instead where the question itself fails.

    :raises NotHereError: they cannot.
    """
    question = [PYTHON, "-m", "lab", "support"]
    support = subprocess.run(question, cwd=ROOT, check=False, stdout=subprocess.PIPE, text=True)
    reason = support.stdout.strip().splitlines()
    if support.returncode and reason:
        raise NotHereError(reason[-1])
    return Step("lab support", question) if support.returncode else None  # a crash is no reason


PARTS: dict[str, Callable[[], list[Step]]] = {
    "lint": lint,
    "sanity": sanity,
    "unit": unit,
    "oracle": oracle,
    "tokens": tokens,
    "faults": faults,
    "sandbox": sandbox,
    "molecule": molecule,
    "uses": uses,
}


#: What pytest, ansible-playbook and the tools say where something failed; shown again at the end.
FAILURE = re.compile(r"(FAILED|ERROR|E  ) |fatal: |\S+:\d+:\d+: |.*: error: ")
SHOWN = 12
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")

SLOW = {
    *("installers12", "installers13"),
    *("test_ci_image", "test_devbox", "test_execution_environment", "test_interruptions", "test_pull"),
}
"""Scenarios, and files of tests/uses, that only `make test-all` runs: together they take an hour."""

SIDE_BY_SIDE = {"faults", "molecule", "uses"}
"""Parts whose steps have nothing in common and take long: as many at a time as there are processors."""


def run_step(
    part: str, step: Step, *, running: list[subprocess.Popen[str]], titled: bool = False
) -> list[str] | None:
    """Run one command with its output as it comes; None where it succeeded, else its words on what failed."""
    piped = titled or not sys.stdout.isatty()
    words: deque[str] = deque(maxlen=SHOWN)
    print(f"\n=== {part}: {step.title}: {shlex.join(step.command)}", flush=True)
    start = time.monotonic()
    with subprocess.Popen(
        step.command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if piped else None,
        stderr=subprocess.STDOUT if piped else None,
        text=True,
        errors="replace",
    ) as process:
        running.append(process)
        for line in process.stdout or ():
            print(f"{step.title} | {line}" if titled else line, end="", flush=True)
            plain = ESCAPES.sub("", line).rstrip()
            if FAILURE.match(plain):
                words.append(plain[:500])
        code = process.wait()
    verdict = "passed" if code == 0 else f"failed with exit code {code}"
    print(f"=== {part}: {step.title} {verdict} after {time.monotonic() - start:.1f} s", flush=True)
    return None if code == 0 else list(words)


def run_steps(part: str, steps: list[Step]) -> list[list[str] | None]:
    """Run all steps; an interruption ends those that run, and waits for them."""
    lanes = min(len(steps), os.cpu_count() or 1) if part in SIDE_BY_SIDE else 1
    running: list[subprocess.Popen[str]] = []
    run = partial(run_step, part, running=running, titled=lanes > 1)
    with ThreadPoolExecutor(max_workers=max(lanes, 1)) as pool:
        try:
            return list(pool.map(run, steps))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in running:
                process.terminate()
            raise


def run_part(name: str) -> Result:
    """Run all steps of a part."""
    start = time.monotonic()
    try:
        steps = PARTS[name]()
        words = run_steps(name, steps)
    except NotHereError as reason:
        return Result(name, "not run", time.monotonic() - start, str(reason))
    failed = {step.title: said for step, said in zip(steps, words, strict=True) if said is not None}
    state = "failed" if failed else "passed"
    return Result(name, state, time.monotonic() - start, ", ".join(failed), failed)


def report(results: list[Result]) -> None:
    """Print what failed, the table and the closing line."""
    for result in results:
        for title, words in result.failed.items():
            print(f"\n--- {result.part}: {title} failed" + (":" if words else ""))
            print(*words, sep="\n", end="\n" if words else "")
    print(f"\n{'part':<10}{'result':<10}{'time':>8}")
    for result in results:
        print(f"{result.part:<10}{result.state:<10}{result.seconds:>6.1f} s  {result.remark}".rstrip())
    counts = Counter(result.state for result in results)
    skipped = f", {counts['not run']} skipped" if counts["not run"] else ""
    print(f"\n{counts['passed']} passed, {counts['failed']} failed{skipped}", flush=True)


def main() -> int:
    """Run the parts named on the command line."""
    parts = sys.argv[1:]
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        print(f"usage: run_tests.py PART...; the parts are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        results = [run_part(part) for part in parts]
    except KeyboardInterrupt:
        if {"molecule", "uses"} & set(parts):
            subprocess.run([PYTHON, "-m", "lab", "gc"], cwd=ROOT, check=False)
        print("\ninterrupted", file=sys.stderr)
        return 130
    report(results)
    return 1 if any(result.state == "failed" for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
