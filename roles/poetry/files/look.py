# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what there is of Poetry on this machine: one JSON object on standard output; changes nothing.

The role sends versions.py and this file to the interpreter's standard input, so that one task tells all.

Arguments: the prefix, the directory of the link on the PATH, the interpreter that was declared or nothing.
"""

import json
import os
import subprocess
import sys

versions = globals()["versions"]  # of versions.py, which stands before this file

#: Poetry 2.3 and newer need it: https://python-poetry.org/docs/#system-requirements
NEWEST_NEEDS = (3, 10)
#: Where bash, zsh and fish look, beside the directory on the PATH.
COMPLETIONS = ("share/bash-completion/completions/poetry", "share/zsh/site-functions/_poetry")
FISH = "share/fish/vendor_completions.d/poetry.fish"
#: Unlike the other two, fish does not look below /usr/local.
FISH_OF_ALL = "/etc/fish/completions/poetry.fish"
#: Where another installation puts a command for all users.
PLACES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/snap/bin")


def main(prefix, bin_directory, declared):
    """All that the role asks."""
    python, version = interpreter(declared)
    root = os.path.dirname(bin_directory)
    links = {os.path.join(bin_directory, "poetry"): "bin/poetry"}
    links.update({os.path.join(root, path): path for path in COMPLETIONS})
    links[FISH_OF_ALL if root == "/usr/local" else os.path.join(root, FISH)] = FISH
    return {
        "python": python,
        "python_version": version,
        "versions": versions(prefix, links),
        "others": others(prefix, bin_directory),
        "keyring": keyring(os.path.join(prefix, "current")),
    }


def interpreter(declared):
    """The interpreter and its version: the declared one, else this one, else a newer one beside it."""
    own = sys.executable, "{}.{}".format(*sys.version_info[:2])
    if declared or sys.version_info >= NEWEST_NEEDS:
        return own
    for minor in range(20, NEWEST_NEEDS[1] - 1, -1):
        path = f"/usr/bin/python3.{minor}"
        if os.access(path, os.X_OK) and subprocess.call([path, "-I", "-c", "import venv"]) == 0:
            return path, f"3.{minor}"
    return own


def others(prefix, bin_directory):
    """Each poetry for all users that is not ours, and that one's real place."""
    found = {}
    for directory in (*PLACES, bin_directory):
        path = os.path.join(directory, "poetry")
        real = os.path.realpath(path)
        if os.access(path, os.X_OK) and not (real + "/").startswith(os.path.realpath(prefix) + "/"):
            found.setdefault(real, path)
    return sorted(found.values())


def keyring(environment):
    """The program that put a keyring backend into an environment; an empty string where there is none."""
    for name in ("lib", "lib64"):
        library = os.path.join(environment, name)
        for python in sorted(os.listdir(library)) if os.path.isdir(library) else []:
            place = os.path.join(library, python, "site-packages", "gar_auth_keyring", "place.json")
            try:
                with open(place) as stream:
                    config = json.load(stream)["config"]
                with open(config) as stream:
                    return str(json.load(stream)["program"])
            except (OSError, ValueError, KeyError, TypeError):
                continue
    return ""


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
