# SPDX-License-Identifier: GPL-3.0-or-later
"""One round for everybody, for machines without systemd: what its units do, from one cron job of root's.

The process that talks to Google is the service's own account, each one that writes is the user; root only
reads key material before, makes directories below /run, and waits.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shlex
import stat
import sys
import typing as t
from pathlib import Path

from gar_auth._as_user import WorkFailed, run_all
from gar_auth.config import Config, Identity, account_of
from gar_auth.errors import Exit, Failure, carried, unpacked
from gar_auth.idle import is_due
from gar_auth.store import Store
from gar_auth.write import tokens, write

if t.TYPE_CHECKING:
    from gar_auth.material import Material

__all__ = ["ACCOUNT", "cycle", "material_of", "service_account"]

#: The service's account, which the role makes.
ACCOUNT = "gar-auth"
#: For key material of this type root need not help.
_WITHOUT_FILE = ("metadata", "gcloud")

_Job = t.Tuple[str, pwd.struct_passwd, t.Callable[[], t.Any]]


def cycle(config: Config, store: Store) -> int:
    """Fetch what is due, then write for each user; each problem is a line on standard error.

    :returns: the exit code of the first problem.
    :raises Failure: not root (77), or nothing is scheduled machine-wide (78).
    """
    if os.geteuid() != 0:
        raise Failure("only root can act for everybody; run it with sudo", code=Exit.REFUSED)
    if config.shared_run_dir is None:
        message = "no directory for the machine's tokens is configured (run_dir); use: gar-auth refresh"
        raise Failure(message, code=Exit.CONFIGURATION)
    problems: list[Failure] = []
    service = service_account()
    results = _run(_fetches(config, store, service, problems), problems)
    for name, new in results.items():
        if new:
            print(f"new token for identity {name}")
    known = tokens(config, store, problems)
    jobs = _writes(config, known, problems)
    for name, changed in _run(jobs, problems).items():
        if changed:
            print(f"new tokens in auth.toml of {name}")
    for problem in problems:
        print(f"gar-auth: {problem}", file=sys.stderr)
    return int(problems[0].code) if problems else Exit.FINE


def service_account() -> pwd.struct_passwd:
    """Who asks Google.

    :raises Failure: the role has not made it (78).
    """
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        message = f"no user {ACCOUNT!r} on this machine; run the playbook again"
        raise Failure(message, code=Exit.CONFIGURATION) from None


def _fetches(config: Config, store: Store, service: pwd.struct_passwd, problems: list[Failure]) -> list[_Job]:
    jobs: list[_Job] = []
    for identity in config.host_identities():
        directory = store.directory(identity.name)
        try:
            _make(directory, service, mode=0o755, readers=config.keyring_group)
        except Failure as problem:
            problems.append(problem)
            continue
        if not _due(identity, directory, config):
            continue
        material: Material | Failure | None
        try:
            material = material_of(identity)
        except Failure as problem:
            material = problem  # the job notes it, as any other
        jobs.append((identity.name, service, _fetching(identity, store, config, material)))
    return jobs


def _fetching(
    identity: Identity, store: Store, config: Config, material: Material | Failure | None
) -> t.Callable[[], bool]:
    def work() -> bool:
        from gar_auth.fetch import fetch

        return fetch(identity, store, config, material=material)

    return work


def _due(identity: Identity, directory: Path, config: Config) -> bool:
    return is_due(
        os.fspath(directory),
        identity=identity.name,
        source=identity.source,
        on_demand=identity.on_demand,
        interval=config.interval,
    )


def material_of(identity: Identity) -> Material | None:
    """What root has to read for an identity; None where that is nothing.

    :raises Failure: as C(material.read).
    """
    if identity.type in _WITHOUT_FILE:
        return None
    from gar_auth.material import read

    return read(identity)


def _writes(config: Config, known: dict[str, t.Any], problems: list[Failure]) -> list[_Job]:
    jobs: list[_Job] = []
    for user in config.users:
        try:
            account = account_of(user)
        except Failure as problem:
            problems.append(problem)
            continue
        own = bool(config.user_identities())
        if not own and not config.writes:
            continue
        try:
            if own and config.user_run_dir:
                _make(Path(config.user_run_dir) / user, account, mode=0o700)
        except Failure as problem:
            problems.append(problem)
            own = False
        jobs.append((user, account, _writing(config, known, account, own=own)))
    return jobs


def _writing(
    config: Config, known: dict[str, t.Any], account: pwd.struct_passwd, *, own: bool
) -> t.Callable[[], bool]:
    def work() -> bool:
        if not own:
            return bool(known) and config.writes and write(config, known, account)
        from gar_auth.user import refresh_user

        return refresh_user(config, account, known=known)

    return work


def _run(jobs: list[_Job], problems: list[Failure]) -> dict[str, t.Any]:
    """Do all jobs, each as its account; the results by name."""
    results: dict[str, t.Any] = {}
    answers = run_all([(account, _carried(work)) for _name, account, work in jobs])
    for (name, _account, _work), answer in zip(jobs, answers):
        try:
            if isinstance(answer, WorkFailed):
                raise Failure(str(answer), code=Exit.TEMPORARY)
            results[name] = unpacked(answer)
        except Failure as problem:
            problems.append(problem)
    return results


def _carried(work: t.Callable[[], t.Any]) -> t.Callable[[], dict[str, t.Any]]:
    return lambda: carried(work)


def _make(directory: Path, owner: pwd.struct_passwd, *, mode: int, readers: str | None = None) -> None:
    """A directory of that account's below one of root's; after a boot neither is there.

    :param readers: the group that may read the token in it, and that new ones get.
    :raises Failure: it cannot be made (75), or somebody else could have made it (77).
    """
    parent = directory.parent
    try:
        parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if os.lstat(parent).st_uid != 0:
            raise Failure(f"{parent} is not root's; remove it, it is made again", code=Exit.REFUSED)
        parent.chmod(0o755)
        directory.mkdir(mode=0o700, exist_ok=True)
        group = _gid(readers) if readers else owner.pw_gid
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if (found.st_uid, found.st_gid) != (owner.pw_uid, group):
                os.fchown(descriptor, owner.pw_uid, group)
                _give_token(descriptor, owner, group)
            os.fchmod(descriptor, mode | stat.S_ISGID if readers else mode)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Failure(
            f"{directory}: {error.strerror}; see: namei -l {shlex.quote(str(directory))}", code=Exit.TEMPORARY
        ) from None


def _gid(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        message = f"no group {name!r} on this machine; run the playbook again"
        raise Failure(message, code=Exit.CONFIGURATION) from None


def _give_token(directory: int, owner: pwd.struct_passwd, group: int) -> None:
    """Let the group read the token that is there already, where it is nothing but the owner's file."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with contextlib.suppress(OSError):  # the next one comes with the group
        descriptor = os.open("token", flags, dir_fd=directory)
        try:
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode) and found.st_uid == owner.pw_uid and found.st_nlink == 1:
                os.fchown(descriptor, owner.pw_uid, group)
        finally:
            os.close(descriptor)
