# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep what a machine has before a rollout, and put it back: one JSON object on standard output.

The role sends this file to a machine's interpreter. Standard library only, Python 3.9 and newer; runs as
root.

Argument: what to do, C(look), C(keep), C(restore) or C(end). Standard input: the places as JSON: C(state),
the directory for what is kept; C(prefix), C(etc) and C(program) of gar-auth; C(poetry) and C(gcloud),
prefixes whose versions have a directory each and a link that says which is in use; C(systemd), which is
there where systemd runs; C(files), shell patterns of all else that a release writes, and that nobody else
does; for C(keep) also C(declared), what the release declares: C(roles); for poetry_repositories C(users),
C(repositories), C(registered), by user what was registered under their names, C(config_dir) and C(poetry);
for gar_auth C(clients), C(client_users), C(client_repositories) and C(keyring_only).

What was there before stays from just before the first change until C(end): a rollout that is interrupted can
always be taken back, and the next one does that first. The record is written last and removed first.
"""

import glob
import io
import json
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
import tarfile

RECORD = "before.json"
FILES = "before.tar"
#: The configuration of the release.
AFTER = "after.json"
#: Below gar-auth's own prefix, so that links suffice: nothing in it is ever changed in place.
KEPT = ".before"
LINKS = ("current", "previous")
SECONDS = 300


def main(action, places):
    """Do it; what there is now, and what there was before."""
    os.umask(0o077)
    actions = {"look": inspect, "keep": keep, "restore": restore, "end": end}
    return actions[action](places)


def inspect(places):
    """What there is, and, where a rollout was C(interrupted), what was before that one."""
    record, now = os.path.join(places["state"], RECORD), look(places)
    interrupted = os.path.exists(record)
    return {"interrupted": interrupted, "before": read(record) if interrupted else now, "now": now}


def keep(places):
    """Keep what there is, and what is declared."""
    os.makedirs(places["state"], mode=0o700, exist_ok=True)
    before = {**look(places), "files": places["files"], "declared": places["declared"]}
    remove(os.path.join(places["state"], AFTER))  # of an `end` that was interrupted
    keep_prefix(places["prefix"])
    write(os.path.join(places["state"], FILES), pack(before["files"]))
    write(os.path.join(places["state"], RECORD), json.dumps(before).encode())
    return {"now": before}


def end(places):
    """Forget what was before: the release is what the machine has now."""
    for path in (os.path.join(places["state"], name) for name in (RECORD, FILES, AFTER)):
        if os.path.exists(path):
            os.unlink(path)
    shutil.rmtree(os.path.join(places["prefix"], KEPT), ignore_errors=True)
    if os.path.isdir(places["state"]) and not os.listdir(places["state"]):
        os.rmdir(places["state"])
    return {"now": look(places)}


def restore(places):
    """Put back what was there; twice is fine.

    C(lost) is what could not be put back, C(said) what else went wrong on the way and stopped nothing.
    """
    record = os.path.join(places["state"], RECORD)
    if not os.path.exists(record):
        return {"kept": False}
    before, lost, said = read(record), [], []
    old, new = before["config"], release(places)
    undone = run_all(entries_to_take_back(places["program"], old, new)) if old else []
    for name in ("poetry", "gcloud"):
        for link in LINKS if before[name] else ():
            point(os.path.join(places[name], link), before[name].get(link, ""), lost)
    if old:
        kept = os.path.join(places["prefix"], KEPT)
        if os.path.isdir(kept):
            mirror(kept, places["prefix"])
        idle = unpack(places, before["files"], lost)
        # what the release's own program could not do, the old one can
        for command in undone:
            tell([command[0], "--config", os.path.join(places["state"], AFTER), *command[1:]], said)
        bring_readers_back(places["program"], old, said)
        start_again(places, before["files"], idle, lost, said)
    return {
        "kept": True,
        "before": before,
        "now": look(places),
        "lost": lost,
        "said": said,
        "registrations": registrations(old or {}, before["declared"]),
        "clients": clients(old or {}, before["declared"]),
        "keyring_only": keyring_only(old or {}, before["declared"]),
    }


def registrations(old, release):
    """What the module poetry_config has to do for whom, so that what was registered is, and nothing else.

    What the release declares no more it has left alone. C(own): a user's own registration, which may be one
    that the module does not make.
    """
    if "poetry_repositories" not in release["roles"]:
        return []
    found = {}

    def add(user, state, repositories, own=False):
        if repositories and known(user):
            one = {"users": [], "state": state, "repositories": repositories, "own": own}
            found.setdefault(json.dumps([state, repositories, own]), one)["users"].append(user)

    names = [one["name"] for one in release["repositories"]]
    declared = [as_declared(one) for one in old.get("repositories", ()) if one["name"] in names]
    served = [user for user in old.get("users", ()) if user in release["users"]]
    for user in served:
        add(user, "present", declared)
    for user, registered in release["registered"].items():
        rest = {one["name"] for one in declared} if user in served else set()
        own = [as_declared(one) for one in registered if one["name"] not in rest]
        rest.update(one["name"] for one in own)
        add(user, "absent", [{"name": name} for name in names if name not in rest])
        for one in own:
            add(user, "present", [one], own=True)
    return list(found.values())


def clients(old, release):
    """What the module python_clients has to do, in its order, so that other clients know what they knew."""
    if not old or "gar_auth" not in release["roles"]:
        return []  # the role takes all of it out where it was not there before
    found = []

    def add(client, users, state, repositories):
        usable = [one for one in repositories if client == "twine" or one.get("index_url")]
        users = [user for user in users if known(user)]
        if usable and (users or client != "twine"):
            one = {"client": client, "state": state, "repositories": [address(one) for one in usable]}
            found.append({**one, "users": users} if client == "twine" else one)

    before = dict.fromkeys(old.get("clients", ()), old["repositories"])
    for client in release["clients"]:
        known_before = [address(one) for one in before.get(client, ())]
        only = [one for one in release["client_repositories"] if address(one) not in known_before]
        add(client, [user for user in release["client_users"] if user in old["users"]], "absent", only)
        if client == "twine":
            rest = [user for user in release["client_users"] if user not in old["users"]]
            add(client, rest, "absent", release["client_repositories"])
    for client, repositories in before.items():
        add(client, old["users"], "present", repositories)
    return found


def keyring_only(old, release):
    """The state of the line for all sessions; None where the release leaves it alone."""
    if "gar_auth" not in release["roles"] or not old:
        return None
    if old.get("keyring_only"):
        return "present"
    return "absent" if release["keyring_only"] else None


def address(repository):
    """A repository as the modules take it."""
    return {"name": repository["name"], "url": repository["publish_url"]}


def as_declared(repository):
    """A repository with its certificates, as the modules take it."""
    paths = {key: repository[key] for key in ("ca_cert", "client_cert") if repository.get(key)}
    return {**address(repository), **paths}


def release(places):
    """The configuration of the release, also where an interrupted call has put the old one back already."""
    path = os.path.join(places["state"], AFTER)
    if not os.path.exists(path):
        write(path, json.dumps(look(places)["config"] or {}).encode())
    return read(path)


def known(name):
    """Whether there is such an account."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def look(places):
    """The versions in use, and gar-auth's configuration."""
    try:
        config = read(os.path.join(places["etc"], "config.json"))
    except (OSError, ValueError):
        config = None
    found = {name: links(places[name]) for name in ("poetry", "gcloud")}
    number = re.compile(r"^__version__ = [\"'](.+)[\"']$", re.MULTILINE)
    try:
        with open(
            os.path.join(places["prefix"], "lib", "gar_auth", "__init__.py"), encoding="utf-8"
        ) as stream:
            own = number.search(stream.read())
    except OSError:
        own = None
    return {
        **found,
        "gcloud_package": package("google-cloud-cli"),
        "gar_auth": own and own[1],
        "config": config,
    }


def links(prefix):
    """Which versions the links name; empty where nothing is installed there."""
    found = {}
    for name in LINKS:
        path = os.path.join(prefix, name)
        if os.path.islink(path):
            found[name] = os.readlink(path)
    return found


def package(name):
    """The version of a package, without the number of its build; None without one."""
    if shutil.which("dpkg-query"):
        done = run(["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", name])
        status, _space, version = done.stdout.partition(" ")
        if status == "installed":
            return version.rpartition("-")[0] or version
    if shutil.which("rpm"):
        done = run(["rpm", "-q", "--queryformat=%{VERSION}", name])
        if done.returncode == 0:
            return done.stdout
    return None


def keep_prefix(prefix):
    """Keep the program and what it needs, by links; what an interrupted call left goes first."""
    kept = os.path.join(prefix, KEPT)
    shutil.rmtree(kept, ignore_errors=True)
    if os.path.isdir(prefix):
        shutil.copytree(
            prefix, kept, symlinks=True, copy_function=os.link, ignore=shutil.ignore_patterns(KEPT)
        )


def mirror(source, target):
    """Make a directory the same as the one that is kept: what differs, file by file, each in one step.

    What is not kept goes last, so that a program that starts meanwhile finds all that it needs.
    """
    for gone in replace(source, target):
        remove(gone)


def replace(source, target):
    """Bring what is kept; return the paths that are not kept."""
    if os.path.islink(target) or os.path.isfile(target):
        os.unlink(target)
    os.makedirs(target, exist_ok=True)
    shutil.copystat(source, target)
    names = set(os.listdir(source))
    extra = [os.path.join(target, name) for name in set(os.listdir(target)) - names - {KEPT}]
    # what programs run before the programs that run it
    for name in sorted(names, key=lambda name: not name.startswith("venv")):
        one, other = os.path.join(source, name), os.path.join(target, name)
        if os.path.isdir(one) and not os.path.islink(one):
            extra += replace(one, other)
        elif signature(one) != signature(other):
            new = f"{other}.before"
            remove(new)
            if os.path.islink(one):
                os.symlink(os.readlink(one), new)
            else:
                os.link(one, new)
            if os.path.isdir(other) and not os.path.islink(other):
                remove(other)
            os.rename(new, other)
    return extra


def signature(path):
    """What differs where two files differ; None without one."""
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return None
    target = os.readlink(path) if stat.S_ISLNK(info.st_mode) else None
    return (info.st_mode, target) if target else (info.st_mode, info.st_size, info.st_mtime_ns)


def pack(patterns):
    """The files of all patterns with their owners and modes, as a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in matching(patterns):
            archive.add(path, arcname=path.lstrip("/"), recursive=False)
    return buffer.getvalue()


def matching(patterns):
    """Each file, link and directory that a pattern names, and all below."""
    found = set()
    for top in (path for pattern in patterns for path in glob.glob(pattern)):
        found.add(top)
        if os.path.isdir(top) and not os.path.islink(top):
            for place, directories, files in os.walk(top):
                found.update(os.path.join(place, name) for name in directories + files)
    return sorted(found)


def unpack(places, patterns, lost):
    """Put the files back, then remove those that were not there; the units that nobody wants any more."""
    with tarfile.open(os.path.join(places["state"], FILES)) as archive:
        members = {"/" + member.name: member for member in archive}
        extra = [found for found in matching(patterns) if found not in members]
        idle = [os.path.basename(found) for found in extra if is_wish(found)]
        for target, member in sorted(members.items()):
            put_back(archive, member, target)
    if idle and booted(places):
        tell(["systemctl", "stop", *idle, *services(idle)], lost)
    for found in sorted(extra, reverse=True):
        remove(found)
    return idle


def put_back(archive, member, target):
    """One file, link or directory, in one step where it differs."""
    if member.isdir():
        os.makedirs(target, exist_ok=True)
        os.chown(target, member.uid, member.gid)
        os.chmod(target, member.mode)
        return
    new = f"{target}.before"
    remove(new)
    os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
    if member.issym():
        if os.path.islink(target) and os.readlink(target) == member.linkname:
            return
        os.symlink(member.linkname, new)
    else:
        content = archive.extractfile(member).read()
        if not os.path.islink(target) and os.path.isfile(target) and slurp(target) == content:
            return
        write(new, content)
        os.chown(new, member.uid, member.gid)
        os.chmod(new, member.mode)
    os.rename(new, target)


def entries_to_take_back(program, before, now):
    """The commands that take out of users' homes and of environments what only the release has there."""
    new = sorted(
        {one["name"] for one in now.get("repositories", [])} - {one["name"] for one in before["repositories"]}
    )
    environments = sorted(
        set(now.get("keyring_environments") or ()) - set(before.get("keyring_environments") or ())
    )
    wrote, writes = (one.get("provider", "token_timer") == "token_timer" for one in (now, before))
    commands = []
    for user in now.get("users", []) if wrote else ():
        if user not in before["users"] or not writes:
            commands.append([program, "write", "--remove", user])
        elif new:
            only = [word for name in new for word in ("--only", name)]
            commands.append([program, "write", "--remove", *only, user])
    if environments:
        commands.append([program, "keyring", "remove", *environments])
    return commands


def run_all(commands):
    """Run them; return those that failed."""
    return [command for command in commands if run(command).returncode]


def bring_readers_back(program, config, said):
    """Who may read the machine's tokens, and the backends, which are copies in other environments."""
    group = config.get("keyring_group")
    if group:
        members = ",".join(user for user in config["users"] if user != "root" and known(user))
        tell(["groupadd", "--system", "--force", group], said)
        tell(["gpasswd", "--members", members, group], said)
    if config.get("keyring_environments"):
        tell([program, "keyring", "install", *config["keyring_environments"]], said)


def start_again(places, patterns, idle, lost, said):
    """Let systemd run what it ran before, and bring everybody's tokens at once."""
    wishes = [found for found in matching(patterns) if is_wish(found)]
    units = sorted({os.path.basename(found) for found in wishes})
    if booted(places):
        tell(["systemctl", "daemon-reload"], lost)
        gone = idle + services(idle)
        if gone:
            run(["systemctl", "reset-failed", *gone])
        if units:
            run(["systemctl", "reset-failed", *services(units)])
            tell(["systemctl", "restart", *units], lost)
    if units or read(os.path.join(places["etc"], "config.json")).get("service_manager") == "cron":
        tell([places["program"], "refresh"], said)


def is_wish(path):
    """Whether a file is what enables a unit."""
    return os.path.dirname(path).endswith(".target.wants")


def services(units):
    """The services that these timers and paths start."""
    return [os.path.splitext(unit)[0] + ".service" for unit in units]


def booted(places):
    """Whether systemd runs."""
    return os.path.isdir(places["systemd"])


def point(link, version, lost):
    """Let a link name a version in one step; a version that is there no more leaves the link as it is."""
    if not version:
        remove(link)
    elif not os.path.isdir(os.path.join(os.path.dirname(link), version)):
        if os.path.basename(link) == LINKS[0]:
            lost.append(f"{link}: {version} is there no more")
    elif not os.path.islink(link) or os.readlink(link) != version:
        new = f"{link}.before"
        remove(new)
        os.symlink(version, new)
        os.rename(new, link)


def remove(path):
    """Remove a file, a link or a whole directory; nothing there is fine."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def tell(command, said):
    """Run a command, and keep what it says where it fails."""
    done = run(command)
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        said.append(f"{' '.join(command[:3])}: {words}")


def run(command):
    """Run a command; its exit code and what it printed."""
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 126, "", str(error))


def slurp(path):
    """A file's bytes."""
    with open(path, "rb") as stream:
        return stream.read()


def read(path):
    """A file of JSON."""
    return json.loads(slurp(path))


def write(path, content):
    """Write a file that is there as a whole or not at all."""
    new = f"{path}.new"
    with open(new, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.rename(new, path)


if __name__ == "__main__":
    try:
        print(json.dumps(main(sys.argv[1], json.load(sys.stdin))))
    except OSError as error:
        sys.exit(f"{error.filename or 'this machine'}: {error.strerror or error}")
