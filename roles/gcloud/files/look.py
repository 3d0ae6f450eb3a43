# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what there is of the Google Cloud CLI on this machine: one JSON object; changes nothing.

The role sends versions.py (of the role poetry) and this file to Python's standard input.

Arguments: the prefix of archives, the directory of their links, each file whose content the role asks for.
"""

import glob
import json
import os
import stat
import subprocess
import sys

versions = globals()["versions"]  # of versions.py, which stands before this file

COMMANDS = ("gcloud", "gsutil", "bq")
PACKAGES = ("google-cloud-cli*", "google-cloud-sdk*")


def main(prefix, bin_directory, *files):
    """All that the role asks."""
    release = os_release()
    links = {os.path.join(bin_directory, name): "bin/" + name for name in COMMANDS}
    return {
        "family": family(release),
        "release": release.get("VERSION_ID", "").partition(".")[0],
        "name": release.get("PRETTY_NAME", "an unknown system"),
        "machine": os.uname().machine,
        "files": {path: content(path) for path in files},
        "written": {path: int(os.lstat(path).st_mtime) for path in files if os.path.lexists(path)},
        "dnf": dnf_generation(),
        "rpm_keys": rpm_keys(),
        "packages": {"apt": debian_packages(), "dnf": rpm_packages()},
        "sources": [entry for path in source_files() for entry in sources(path)],
        "versions": versions(prefix, links),
    }


def os_release():
    """The variables of os-release(5)."""
    found = {}
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        if os.path.exists(path):
            with open(path, encoding="utf-8") as stream:
                for line in stream:
                    name, equals, value = line.strip().partition("=")
                    if equals:
                        found[name] = value.strip("\"'")
            break
    return found


def family(release):
    """debian, rhel, or an empty string."""
    names = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    for name in ("debian", "rhel"):
        if name in names or (name == "rhel" and "fedora" in names):
            return name
    return ""


def content(path):
    """What a regular file of root's says that everybody may read and only root may change, else nothing."""
    try:
        info = os.lstat(path)
        if not stat.S_ISREG(info.st_mode) or info.st_uid or info.st_mode & 0o777 != 0o644:
            return ""
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except (OSError, UnicodeDecodeError):
        return ""


def output(*command):
    """What a command prints; nothing where it is not there, or finds nothing."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=PLAIN, check=False
        )
    except OSError:
        return ""
    return done.stdout.decode("utf-8", "replace")


PLAIN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


def debian_packages():
    """By name, the version of each package that is installed, and whether it is held."""
    found = {}
    for line in output(
        "dpkg-query", "-W", "-f", "${Package}\t${Version}\t${db:Status-Abbrev}\n", *PACKAGES
    ).splitlines():
        name, version, status = line.split("\t")
        if status[1:2] == "i":
            found[name] = {"version": version.rpartition("-")[0], "held": status.startswith("h")}
    return found


def rpm_packages():
    """The same of rpm; what holds them is in the repository's own file."""
    lines = output("rpm", "-qa", "--qf", "%{NAME}\t%{VERSION}\n", *PACKAGES).splitlines()
    return {
        name: {"version": version, "held": False}
        for name, _tab, version in (line.partition("\t") for line in lines)
    }


def rpm_keys():
    """By package, since when rpm trusts a key, in seconds since 1970; dnf imports what a repository names."""
    lines = output("rpm", "-q", "gpg-pubkey", "--qf", "%{NAME}-%{VERSION}-%{RELEASE}\t%{INSTALLTIME}\n")
    found = (line.partition("\t") for line in lines.splitlines())
    return {name: int(since) for name, tab, since in found if tab}


def dnf_generation():
    """The backend of the module ansible.builtin.dnf: which of the two the command dnf is."""
    return "dnf5" if os.path.basename(os.path.realpath("/usr/bin/dnf")) == "dnf5" else "dnf4"


def source_files():
    """Where apt reads its sources (sources.list(5))."""
    parts = glob.glob("/etc/apt/sources.list.d/*.list") + glob.glob("/etc/apt/sources.list.d/*.sources")
    return ["/etc/apt/sources.list", *sorted(parts)]


def sources(path):
    """Each repository that a file names: where it lies, and the suite."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
    except OSError:
        return
    if path.endswith(".sources"):
        for stanza in text.split("\n\n"):
            fields = {}
            for line in stanza.splitlines():
                name, colon, value = line.partition(":")
                if colon and not line.startswith(("#", " ", "\t")):
                    fields[name.lower()] = value.split()
            for url in fields.get("uris", []):
                for suite in fields.get("suites", []):
                    yield {"path": path, "url": url.rstrip("/"), "suite": suite}
        return
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if words[:1] == ["deb"]:
            rest = words[1:]
            if rest and rest[0].startswith("["):
                while rest and not rest.pop(0).endswith("]"):
                    pass
            if len(rest) > 1:
                yield {"path": path, "url": rest[0].rstrip("/"), "suite": rest[1]}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
