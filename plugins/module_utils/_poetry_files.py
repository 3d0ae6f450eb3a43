# SPDX-License-Identifier: GPL-3.0-or-later
"""Change one user's config.toml, as that user. Must run under an interpreter that has tomlkit."""

from __future__ import annotations

from ._home_file import ConfigDirectory, FileProblem
from ._toml_edit import REMOVE, EditFailed, edit, is_valid

__all__ = ["update_config"]


def update_config(
    directory_path: str, *, home: str, changes: dict[tuple[str, ...], object], check: bool
) -> dict[str, str]:
    """Apply changes to config.toml.

    :param changes: key path -> value, None: remove.
    :param check: only say what would be.
    :returns: C(before) and C(after), or C(failure): one line that says why nothing was changed.
    """
    wanted = {path: REMOVE if value is None else value for path, value in changes.items()}
    name = "config.toml"
    try:
        removal = all(value is REMOVE for value in wanted.values())
        with ConfigDirectory(directory_path, home=home, create=not check and not removal) as directory:
            for _attempt in range(5):
                if directory.missing:
                    return {"before": "", "after": edit("", wanted)}
                with directory.locked():
                    snapshot = directory.read(name, complete=is_valid, private=False)
                    text = edit(snapshot.text, wanted)
                    if not check:
                        directory.sweep()
                    if check or text == snapshot.text or directory.replace(name, text, previous=snapshot):
                        if removal and not check:
                            directory.remove_if_empty()
                        return {"before": snapshot.text, "after": text}
            return {"failure": f"{directory_path}/{name} is written by somebody else all the time; try again"}
    except FileProblem as problem:
        return {"failure": str(problem)}
    except EditFailed as problem:
        return {"failure": f"{directory_path}/{name}: {problem}; repair it, or move it away"}
