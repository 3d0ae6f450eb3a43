# SPDX-License-Identifier: GPL-3.0-or-later
"""Say how this machine is: one JSON object on standard output; changes nothing, and shows no token.

The role sends this file to the interpreter's standard input. What gar-auth says is handed on as it is, up to
a size and within a deadline; the controller judges it.

Arguments: directories in which programs are looked for before the usual ones.
"""

import contextlib
import glob
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time

#: Seconds. status looks at files only; doctor asks Google and each repository, with deadlines of its own.
DEADLINES = {"status": 20, "doctor": 60}
LONGEST = 4 * 1024 * 1024
"""Bytes of an answer: thousands of users with a hundred repositories."""
PLACES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/snap/bin")


def main(*directories):
    """All that the report has of this machine."""
    program = which("gar-auth", directories)
    found = {
        "system": system(),
        "python": "{}.{}.{}".format(*sys.version_info[:3]),
        "versions": {
            "gar_auth": own_version(program),
            "poetry": poetry_version(which("poetry", directories)),
            "gcloud": gcloud_version(which("gcloud", directories)),
        },
    }
    if program is not None:
        found["status"] = ask([program, "status", "--json"], DEADLINES["status"])
        if found["status"]["code"]:  # neither where all is fine, nor where it hangs
            found["doctor"] = ask([program, "doctor", "--json"], DEADLINES["doctor"])
    return found


def system():
    """The system as it calls itself."""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        for line in read(path).splitlines():
            name, _equals, value = line.partition("=")
            if name == "PRETTY_NAME":
                return value.strip().strip("\"'")
    return None


def which(name, directories):
    """The real path of a program for all users; None where there is none."""
    for directory in (*directories, *PLACES):
        path = os.path.join(directory, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return os.path.realpath(path)
    return None


def own_version(program):
    """The version of gar-auth, from its files."""
    if program is None:
        return None
    text = read(os.path.join(os.path.dirname(program), "../lib/gar_auth/__init__.py"))
    found = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    return found.group(1) if found else None


def poetry_version(program):
    """The version of Poetry, from the directory that pip made beside it; a start of Poetry takes longer."""
    if program is None:
        return None
    base = os.path.dirname(os.path.dirname(program))
    for path in glob.glob(glob.escape(base) + "/lib/python3*/*-packages/poetry-[0-9]*.dist-info"):
        return os.path.basename(path)[len("poetry-") : -len(".dist-info")]
    return None


def gcloud_version(program):
    """The version of the Google Cloud CLI, from the file that comes with it; a start takes half a second."""
    if program is None:
        return None
    return read(os.path.join(os.path.dirname(program), "../VERSION")).strip() or None


def read(path):
    """What a file says; nothing where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read(65536)
    except OSError:
        return ""


def ask(command, seconds):
    """How a command ended: its exit code, what it printed as JSON, and the last line of its errors.

    The code is None where it did not end in time or printed too much, and was killed; the report is None
    where what it printed is no JSON.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
        )
    except OSError as error:
        return {"code": None, "report": None, "error": error.strerror}
    with process:
        printed, problem = collect(process, time.monotonic() + seconds)
        if problem:  # also what it has started and left behind
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    lines = printed[process.stderr].decode("utf-8", "replace").strip().splitlines()
    try:
        report = json.loads(printed[process.stdout])
    except (ValueError, RecursionError):
        report = None
    return {
        "code": None if problem else process.returncode,
        "report": None if problem else report,
        "error": problem or (lines[-1][:500] if lines else None),
    }


def collect(process, deadline):
    """What a process prints on both its outputs, and why not all of it was read."""
    printed = {process.stdout: b"", process.stderr: b""}
    with selectors.DefaultSelector() as selector:
        for stream in printed:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0, deadline - time.monotonic()))
            if not ready:
                return printed, "did not end in time"
            for key, _events in ready:
                piece = os.read(key.fd, 65536)
                printed[key.fileobj] += piece
                if not piece:
                    selector.unregister(key.fileobj)
                elif len(printed[key.fileobj]) > LONGEST:
                    return printed, "printed too much"
    try:
        process.wait(max(0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return printed, "did not end in time"
    return printed, None


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
