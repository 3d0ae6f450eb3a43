# SPDX-License-Identifier: GPL-3.0-or-later
"""Look for access tokens where none may be: in processes, in the journal, in any file of the machine."""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lab.machines import Machine

__all__ = ["Watch", "holders", "in_text", "tokens", "watch_processes"]

# How every token begins, in clear and within the header of Basic authentication. Put together at run time, so
# that the watcher's own arguments do not hold it.
_MARKS = '["ya" + "29.c.", base64.b64encode(b"oauth2accesstoken:").decode()]'

_WATCH = f"""\
import base64, json, os, select, sys
marks = [mark.encode() for mark in {_MARKS}]
samples, ours, found = 0, set(), set()
while not select.select([sys.stdin], [], [], 0)[0]:
    samples += 1
    for number in filter(str.isdecimal, os.listdir("/proc")):
        for name in ("cmdline", "environ"):
            try:
                with open(f"/proc/{{number}}/{{name}}", "rb") as stream:
                    data = stream.read()
            except OSError:
                continue  # it has ended
            words = data.replace(b"\\0", b" ").decode(errors="replace")
            if name == "cmdline" and "bin/gar-auth" in words:
                ours.add(words.partition("bin/gar-auth")[2].strip())
            if any(mark in data for mark in marks):
                found.add(f"{{name}}: {{words[:200]}}")
print(json.dumps({{"samples": samples, "ours": sorted(ours), "found": sorted(found)}}))
"""

_HOLDERS = """\
import base64, json, mmap, os, stat, subprocess, sys
tokens = [token.encode() for token in TOKENS]
needles = tokens + [base64.b64encode(b"oauth2accesstoken:" + token) for token in tokens]
marks = (b"ya29.c.", base64.b64encode(b"oauth2accesstoken:"))
def holds(data):
    return any(data.find(mark) >= 0 for mark in marks) and any(data.find(needle) >= 0 for needle in needles)
found, size = [], 0
for top, directories, files in os.walk("/"):
    if top == "/":
        directories[:] = [name for name in directories if name not in ("proc", "sys", "dev")]
    for name in files:
        path = os.path.join(top, name)
        try:
            if not stat.S_ISREG(os.lstat(path).st_mode):
                continue
            with open(path, "rb") as stream:
                length = os.fstat(stream.fileno()).st_size
                if length:
                    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                        size += length
                        if holds(data):
                            found.append(path)
        except FileNotFoundError:
            pass  # gone between the two looks
export = ["journalctl", "--output=export", "--no-pager"]
journal = subprocess.run(export, stdout=subprocess.PIPE, check=True).stdout
if holds(journal):
    found.append("journal")
print(json.dumps({"found": found, "bytes": size, "journal": len(journal)}))
"""


@dataclass(kw_only=True)
class Watch:
    """What the watcher saw: how many rounds it made, our own processes, and those that showed a token."""

    samples: int = 0
    ours: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)


def tokens(machine: Machine) -> list[str]:
    """Return every token that was ever handed out to the machine."""
    return [token.value for token in machine.control.tokens()]


@contextmanager
def watch_processes(machine: Machine) -> Iterator[Watch]:
    """Read every process's arguments and environment over and over, as root, while the block runs."""
    command = machine.ssh_command("admin", "-o", "BatchMode=yes")
    command += ["--", f"sudo python3 -I -c {shlex.quote(_WATCH)}"]
    seen = Watch()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield seen
        finally:
            output = process.communicate(input="end\n", timeout=60)[0]
    report = json.loads(output)
    seen.samples, seen.ours, seen.found = report["samples"], report["ours"], report["found"]


def holders(machine: Machine, tokens: list[str]) -> list[str]:
    """Return the path of each file on the machine that holds a token, and `journal` if that holds one."""
    script = _HOLDERS.replace("TOKENS", repr(tokens))
    report = json.loads(machine.ssh("admin", "sudo python3 -I -", input=script, check=True).stdout)
    assert report["bytes"] > 10**8, report  # it looked at the whole system
    assert report["journal"] > 10**4, report
    return sorted(report["found"])


def in_text(text: str, tokens: list[str]) -> list[str]:
    """Return the tokens that a text shows, also within Basic authentication, by their last six characters."""
    shown = [token for token in tokens if token in text]
    shown += [
        token for token in tokens if base64.b64encode(f"oauth2accesstoken:{token}".encode()).decode() in text
    ]
    return [f"...{token[-6:]}" for token in shown]
