# SPDX-License-Identifier: GPL-3.0-or-later
"""Run by the Python of a Poetry's environment: says what that Poetry makes of a user's configuration.

Each line of standard input is one JSON object: the user's environment variables and a list of questions, each
the name of a function below and its argument. Each line of standard output is the list of the answers, all of
them Poetry's own: nothing is decided here. Where a question failed it is null.

Each line is answered by a new child process that imports Poetry in the user's environment. What takes most of
the time when Poetry starts, importing the libraries that it uses, is done once, before.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import Any


def command(arguments: list[str]) -> dict[str, Any]:
    """Run `poetry ARGUMENTS` as Poetry's own script does; its exit code and what it printed."""
    from poetry.config import config
    from poetry.console.application import main

    config._default_config = None  # as in a new process
    sys.argv = ["poetry", "--no-ansi", *arguments]
    output, errors = io.StringIO(), io.StringIO()
    code: Any = 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            code = main()
        except SystemExit as end:
            code = end.code
    return {"code": code or 0, "output": output.getvalue(), "errors": errors.getvalue()}


def repositories(_nothing: None) -> dict[str, str]:
    """The URL of every repository that Poetry can publish to or log in at."""
    from poetry.config.config import Config
    from poetry.utils.authenticator import Authenticator

    known = Authenticator(Config.create(reload=True)).configured_repositories
    return {name: repository.url for name, repository in known.items()}


def credentials(names: list[str]) -> dict[str, dict[str, Any]]:
    """For each name of a repository what Poetry's password manager and authenticator find for it."""
    from poetry.config.config import Config
    from poetry.utils.authenticator import Authenticator
    from poetry.utils.password_manager import PasswordManager

    config = Config.create(reload=True)
    manager, authenticator = PasswordManager(config), Authenticator(config)
    found = {}
    for name in names:
        login = manager.get_http_auth(name)  # a dictionary up to 1.8, then a dataclass
        if login is not None and not isinstance(login, dict):
            login = dataclasses.asdict(login)
        certificates = authenticator.get_certs_for_repository(name)
        found[name] = {
            "username": login["username"] if login else None,
            "password": login["password"] if login else None,
            "token": manager.get_pypi_token(name),
            "cert": certificates.cert and str(certificates.cert),
            "client_cert": certificates.client_cert and str(certificates.client_cert),
            "verify": certificates.verify,
        }
    return found


def logins(urls: list[str]) -> dict[str, list[Any]]:
    """The user name and password that Poetry sends with a request for each URL."""
    from poetry.config.config import Config
    from poetry.utils.authenticator import Authenticator

    authenticator = Authenticator(Config.create(reload=True))
    found = {url: authenticator.get_credentials_for_url(url) for url in urls}
    return {url: [login.username, login.password] for url, login in found.items()}


def settings(candidates: list[str]) -> dict[str, dict[str, Any]]:
    """Every setting that this Poetry knows, each with those candidates that its validator accepts.

    An accepted candidate maps to the value as Poetry stores it.
    """
    from poetry.console.commands.config import ConfigCommand

    accepted: dict[str, dict[str, Any]] = {}
    for name, (validator, normalizer, *_more) in ConfigCommand().unique_config_values.items():
        values = accepted.setdefault(name, {})
        for candidate in candidates:
            with contextlib.suppress(ValueError):
                if validator(candidate):
                    values[candidate] = normalizer(candidate)
    return accepted


QUESTIONS: dict[str, Callable[[Any], Any]] = {
    question.__name__: question for question in (command, repositories, credentials, logins, settings)
}


def forget_poetry() -> None:
    """Take the modules of Poetry and its plugins out again: they hold what they read from the environment."""
    for name in [
        name for name in sys.modules if name.startswith(("poetry.", "poetry_plugin_")) or name == "poetry"
    ]:
        del sys.modules[name]


def answer(line: str) -> None:
    """Answer one line, in a child process."""
    asked = json.loads(line)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(os.environ["HOME"])
    answers = [QUESTIONS[name](argument) for name, argument in asked["questions"]]
    print(json.dumps(answers), flush=True)


def serve() -> None:
    """Import the libraries, then answer until the input ends."""
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(HOME=home, POETRY_CONFIG_DIR=home)
        for name, argument in (("settings", []), ("command", ["config", "--list"]), ("credentials", ["x"])):
            QUESTIONS[name](argument)
    forget_poetry()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                answer(line)
                code = 0
            except Exception:
                traceback.print_exc()
            finally:
                os._exit(code)
        if os.waitpid(child, 0)[1]:
            print("null", flush=True)  # its traceback is on standard error


if __name__ == "__main__":
    serve()
