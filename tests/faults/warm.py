# SPDX-License-Identifier: GPL-3.0-or-later
"""A Python that has loaded Poetry and Ansible and forks a process for each request, within milliseconds.

Runs under Poetry's interpreter: `python warm.py SOCKET` serves until its standard input ends, `python
warm.py` alone does the one request on its standard input, as a process of its own. A request is a JSON
object: C(module) (the arguments of poetry_config) or C(poetry) (a command line), and optionally C(uid),
C(gid), C(cwd), C(umask), C(environment), C(stop): stop before the first step, so that a tracer can attach.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
from typing import Any

MODULE = "ansible_collections.devbox.artifact_registry.plugins.modules.poetry_config"


def run_module(arguments: dict[str, Any]) -> None:
    """Run the module as Ansible does after it has moved to Poetry's interpreter."""
    from ansible.module_utils import basic

    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
    basic._ANSIBLE_PROFILE = "legacy"
    runpy.run_module(MODULE, init_globals={"_respawned": True}, run_name="__main__", alter_sys=True)


def run_poetry(argv: list[str]) -> None:
    """Run Poetry as its script does."""
    from poetry.console.application import main

    sys.argv = ["poetry", *argv]
    sys.exit(main())


def perform(request: dict[str, Any]) -> None:
    """Do what is asked, in this process."""
    os.umask(request.get("umask", 0o022))
    os.chdir(request.get("cwd", "/"))
    os.environ.update(request.get("environment", {}))
    if "uid" in request:
        os.setgroups([])
        os.setgid(request["gid"])
        os.setuid(request["uid"])
    if request.get("stop"):
        os.kill(os.getpid(), signal.SIGSTOP)
    if "module" in request:
        run_module(request["module"])
    run_poetry(request["poetry"])


def in_fork(request: dict[str, Any], descriptors: list[int]) -> None:
    """Do what is asked and end, with the given standard output and error."""
    code = 1
    try:
        for number, descriptor in enumerate([os.open(os.devnull, os.O_RDONLY), *descriptors]):
            os.dup2(descriptor, number)
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
        perform(request)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def answer(connection: socket.socket) -> None:
    """Fork the process that does the request; tell its id, and when it has ended its status."""
    text, descriptors, _flags, _address = socket.recv_fds(connection, 65536, 2)
    child = os.fork()
    if child == 0:
        connection.close()
        in_fork(json.loads(text), descriptors)
    connection.sendall(f"{child}\n".encode())
    for descriptor in descriptors:
        os.close(descriptor)
    _child, status = os.waitpid(child, 0)
    connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def warm() -> None:
    """Load all that a request needs, by doing one; what it leaves in memory is put back."""
    import importlib

    import poetry.config.config
    from poetry.console.application import Application

    importlib.import_module(MODULE)
    del sys.modules[MODULE]  # what it imports stays, itself it runs anew
    sys.argv = ["poetry", "config", "--list"]
    application = Application()
    application.auto_exits(False)
    if application.run() != 0:
        raise RuntimeError("poetry config --list fails")
    poetry.config.config._default_config = None
    gc.collect()
    gc.freeze()


def serve(path: str) -> None:
    """Answer requests on a socket until standard input ends."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(64)
        warm()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        print("ready", flush=True)
        while True:
            ready, _w, _x = select.select([server, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            connection, _address = server.accept()
            with connection:
                if os.fork() == 0:
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    answer(connection)
                    os._exit(0)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve(sys.argv[1])
    else:
        perform(json.load(sys.stdin))
