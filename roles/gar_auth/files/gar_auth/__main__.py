# SPDX-License-Identifier: GPL-3.0-or-later
"""The program C(gar-auth): a tick with nothing to do ends here, before anything more is imported."""

from __future__ import annotations

import os
import sys

# typing.TYPE_CHECKING without the import of typing
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["main"]

DEFAULT_CONFIG = "/etc/gar-auth/config.json"


def main(arguments: list[str] | None = None, *, config_file: str | Path = DEFAULT_CONFIG) -> int:
    """Run a command and return its exit code; a failure is one line on standard error.

    :param config_file: where the role wrote the configuration.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    os.umask(0o077)
    if len(arguments) == 2 and arguments[0] == "fetch":
        from gar_auth.idle import is_idle

        if is_idle(os.fspath(config_file), arguments[1]):
            return 0
    if len(arguments) == 2 and arguments[0] == "user":
        from gar_auth.idle import is_user_idle

        if is_user_idle(os.fspath(config_file), arguments[1]):
            return 0
    from gar_auth.commands import run

    return run(arguments, config_file=os.fspath(config_file))


if __name__ == "__main__":
    sys.exit(main())
