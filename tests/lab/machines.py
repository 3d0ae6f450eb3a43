# SPDX-License-Identifier: GPL-3.0-or-later
"""Throwaway systemd machines: start one, log in to it, give Ansible its inventory, remove it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lab import aptrepo, boot, cache, connection, emulation, guest, images, owners, podman
from lab.console import say, uninterrupted
from lab.system import LabError, Need, install, run

if TYPE_CHECKING:
    from lab.emulator.client import Control

__all__ = ["Machine", "collect_garbage", "remove"]

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_LONGEST_DIRECTORY = 79
"""Characters: what is left of a Unix socket's 107 for the names of ours and of ssh's below it."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine that runs, and where its state lies. Usable as a context manager, which stops it."""

    name: str
    suite: str
    address: str
    pid: int
    kept: bool
    directory: Path

    @classmethod
    def start(
        cls,
        *,
        name: str,
        suite: str = "debian12",
        image: str | None = None,
        keep: bool = False,
        owner: int | None = None,
        emulator_options: Sequence[str] = (),
    ) -> Machine:
        """Boot a machine with the emulated Google and wait until it is ready for Ansible.

        It boots from `image`, such as one of :meth:`save`, where that is given, else from the suite's own.
        It belongs to the process `owner` (default: this one) and is garbage when that is gone, unless `keep`.
        A kept machine of that name is replaced.
        """
        install([Need(what="ssh", packages=("openssh-client",))], purpose="logging in to machines")
        podman.prepare()
        collect_garbage()
        image = image or images.ensure(suite)
        repository = aptrepo.ensure()
        directory = _state_directory(name)
        _make_room(name, directory)
        container = boot.CONTAINER + name
        try:
            directory.mkdir(mode=0o700)
            owners.claim(directory)
            keys = guest.make_keys(directory)
            boot.create(
                container,
                image=image,
                labels={
                    "owner": owners.KEPT if keep else owners.identify(owner or os.getpid()),
                    "state": str(directory),
                    "suite": suite,
                },
                names=guest.host_names(packages=repository.directory is not None),
            )
            boot.unpack(container, guest.seed(keys))
            pid, address, authority = _boot(
                container, directory, packages=repository.directory, emulator_options=emulator_options
            )
            podman.podman("exec", "-i", container, "sh", "-s", input=guest.trust_script(authority))
            machine = cls(
                name=name,
                suite=suite,
                address=address,
                pid=pid,
                kept=keep,
                directory=directory,
            )
            (directory / "cp").mkdir(mode=0o700)
            machine._write_state(fingerprints=repository.fingerprints)
            machine._wait_for_login()
            if owner is not None and not keep and owners.identify(owner) == "0:0":
                raise LabError(f"process {owner}, which wanted the machine {name}, is gone")
        except BaseException:
            _remove(container, directory)
            raise
        return machine

    @classmethod
    def find(cls, name: str) -> Machine | None:
        """Return the running machine of that name, whoever started it; None where there is none."""
        directory = _state_directory(name)
        try:
            fields = json.loads((directory / "machine.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        machine = cls(**{**fields, "directory": directory})
        running = podman.podman(
            "inspect", "-f", "{{.State.Pid}}", machine.container, check=False
        ).stdout.strip()
        return machine if running == str(machine.pid) else None

    @property
    def container(self) -> str:
        """Return the container's name in podman."""
        return boot.CONTAINER + self.name

    @property
    def inventory(self) -> Path:
        """Return the Ansible inventory with this machine as its only host."""
        return self.directory / "inventory.yml"

    @property
    def variables(self) -> Path:
        """Return the lab's overrides of the collection's variables."""
        return self.directory / "variables.yml"

    @property
    def emulator_directory(self) -> Path:
        """Return the emulator's directory: its log, control socket and published packages."""
        return self.directory / "emulator"

    @property
    def control(self) -> Control:
        """Return the switches of the machine's emulated Google."""
        from lab.emulator.client import Control

        return Control(self.emulator_directory / "control.sock")

    def ssh_command(self, user: str, *options: str) -> list[str]:
        """Return the ssh command that logs in as a user; further words are the remote command."""
        return ["ssh", *connection.ssh_options(self.directory), *options, f"{user}@{self.address}"]

    def ssh(
        self,
        user: str,
        command: str,
        *,
        check: bool = False,
        input: str | None = None,
        timeout: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command in a user's login session. The timeout is in seconds."""
        argv = [*self.ssh_command(user, "-o", "BatchMode=yes"), "--", command]
        return run(argv, check=check, input=input, timeout=timeout)

    def restart(self, *, emulator_options: Sequence[str] = ()) -> Machine:
        """Shut the machine down in order and boot it again; return it as it is then.

        Its disk stays, and with it the emulated Google's authority and packages. All tokens and registered
        accounts are lost: nothing from before is accepted any more.
        """
        self._hang_up()
        card = _network(self.container)
        podman.podman("stop", "--time=30", self.container)
        emulation.end(self.directory / "emulator")
        plug = [f"--ip={self.address}", f"--mac-address={card['MacAddress']}", podman.NETWORK]
        podman.podman("network", "disconnect", podman.NETWORK, self.container)
        podman.podman("network", "connect", *plug, self.container)
        repository = aptrepo.ensure()
        pid, address, _authority = _boot(
            self.container,
            self.directory,
            packages=repository.directory,
            emulator_options=emulator_options,
        )
        machine = replace(self, pid=pid, address=address)
        machine._write_state(fingerprints=repository.fingerprints)
        machine._wait_for_login()
        return machine

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop every process of the machine, as when it is suspended; the emulated Google runs on."""
        podman.podman("pause", self.container)
        try:
            yield
        finally:
            podman.podman("unpause", self.container)

    def stop(self) -> None:
        """Remove the machine, its emulator and its state."""
        self._hang_up()
        _remove(self.container, self.directory)

    def save(self, name: str) -> str:
        """Shut the machine down, make an image of it and return the image's name in podman.

        The machine cannot be used any more, only removed. The image goes with this process, at the latest
        (:func:`collect_garbage`).
        """
        podman.podman("stop", "--time=30", self.container)
        return images.save(self.container, name=name, owner=owners.identify(os.getpid()))

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.kept:
            self.stop()

    def _hang_up(self) -> None:
        """End ssh's shared connections."""
        for socket in (self.directory / "cp").glob("*"):
            run(["ssh", "-O", "exit", "-o", f"ControlPath={socket}", "machine"], check=False, timeout=10)

    def _write_state(self, *, fingerprints: Sequence[str] | None) -> None:
        known = f"{self.address} {' '.join(guest.keys(self.directory).host_public.split()[:2])}\n"
        (self.directory / "known_hosts").write_text(known, encoding="ascii")
        hosts = connection.inventory(name=self.name, address=self.address, directory=self.directory)
        connection.write(self.inventory, hosts)
        connection.write(self.variables, connection.variables(fingerprints=fingerprints))
        connection.write(self.directory / "machine.json", {**asdict(self), "directory": str(self.directory)})

    def _wait_for_login(self, *, deadline: float = 30.0) -> None:
        """Wait until sshd answers and `admin` may become root. The deadline is in seconds."""
        answer = ""

        def answers() -> bool:
            nonlocal answer
            done = self.ssh("admin", "sudo -n true", timeout=30)
            answer = done.stderr.strip()
            return done.returncode == 0

        if not boot.wait_for(answers, deadline):
            raise LabError(f"machine {self.name} booted but nobody can log in at {self.address}: {answer}")


def collect_garbage() -> list[str]:
    """Remove machines whose owner is gone and which nobody kept, and state without a machine; name them.

    Images of such machines go too.
    """
    removed = []
    listed = podman.containers()
    for container in listed:
        labels = container["Labels"]
        if not owners.alive(labels.get(f"{podman.LABEL}.owner", "")):
            name = container["Names"][0]
            _remove(name, labels.get(f"{podman.LABEL}.state"))
            removed.append(name.removeprefix(boot.CONTAINER))
    present = {container["Names"][0] for container in listed}
    for directory in cache.directory("machines").iterdir():
        if boot.CONTAINER + directory.name not in present and owners.abandoned(directory):
            _remove_directory(directory)
    images.forget_saved()
    return removed


def remove(name: str) -> bool:
    """Remove a machine whatever its state and whoever's it is; False if there was none."""
    directory = _state_directory(name)
    machine = Machine.find(name)
    there = any(container["Names"][0] == boot.CONTAINER + name for container in podman.containers())
    if machine is not None:
        machine.stop()
    elif there or directory.exists():
        _remove(boot.CONTAINER + name, directory)
    return there


def _state_directory(name: str) -> Path:
    """Return where a machine's state lies, for a name that is fit for a host and a path."""
    if not _NAME.fullmatch(name):
        raise LabError(f"machine name {name!r}: use 1 to 40 lower-case letters, digits and dashes")
    directory = cache.directory("machines") / name
    if len(str(directory)) > _LONGEST_DIRECTORY:
        raise LabError(
            f"{directory} is too long for Unix sockets below it: set XDG_CACHE_HOME to a shorter path"
        )
    return directory


def _make_room(name: str, directory: Path) -> None:
    """Remove a kept machine of that name; stop if another process uses it."""
    for container in podman.containers():
        if container["Names"][0] != boot.CONTAINER + name:
            continue
        owner = container["Labels"].get(f"{podman.LABEL}.owner", "")
        if owner != owners.KEPT:
            raise LabError(
                f"machine {name} is in use by process {owner.partition(':')[0]}: wait for it or end it"
            )
        say(f"replacing the machine {name} that was kept")
        _remove(boot.CONTAINER + name, directory)
    if directory.exists():
        _remove_directory(directory)


def _boot(
    container: str,
    directory: Path,
    *,
    packages: Path | None,
    emulator_options: Sequence[str],
) -> tuple[int, str, str]:
    """Start a container that does not run, with the emulated Google in its network before its systemd runs.

    Return its first process, its address and the authority to trust.
    """
    podman.podman("init", container)
    pid, address = _inspect(container)
    _shut_in(pid)
    emulator = emulation.launch(
        directory=directory / "emulator", machine_pid=pid, apt=packages, options=emulator_options
    )
    podman.podman("start", container)
    emulator.wait()
    boot.wait_until_booted(container)  # before: its systemd still clears /tmp, which the trust script uses
    return pid, address, emulator.authority()


def _inspect(container: str) -> tuple[int, str]:
    """Return the machine's first process, as the host numbers it, and its address."""
    facts = json.loads(podman.podman("inspect", container).stdout)[0]
    return int(facts["State"]["Pid"]), str(_network(container)["IPAddress"])


def _network(container: str) -> dict[str, Any]:
    """Return what podman says of the network that the machine is in."""
    settings = json.loads(podman.podman("inspect", container).stdout)[0]["NetworkSettings"]
    return dict(next(iter(settings["Networks"].values()), settings))


def _shut_in(pid: int) -> None:
    """Put the metadata address on the machine's own loopback, before anything runs that could send to it."""
    run(
        ["nsenter", f"--target={pid}", "--net", "ip", "address", "add", f"{guest.METADATA}/32", "dev", "lo"],
        root=True,
    )


def _remove(container: str, directory: Path | str | None) -> None:
    """Remove a container, the emulator beside it and its state; signals wait until that is done."""
    with uninterrupted():
        boot.remove(container)
        if directory is not None:
            emulation.end(Path(directory) / "emulator")
            _remove_directory(Path(directory))


def _remove_directory(directory: Path) -> None:
    """Remove a state directory, of which a part may be root's."""
    if directory.parent.name != "machines":
        raise LabError(f"{directory} is no machine's state: not removed")
    run(["rm", "-rf", "--one-file-system", "--", str(directory)], root=True)
