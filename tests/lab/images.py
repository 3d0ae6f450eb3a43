# SPDX-License-Identifier: GPL-3.0-or-later
"""Build and cache the images of the machines: Debian 12 and 13 much like a fresh cloud VM."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab import cache, owners
from lab.console import say, step
from lab.podman import LABEL, podman
from lab.system import LabError, Need, as_root, install, run

__all__ = [
    "ACCOUNTS",
    "SUITES",
    "Recipe",
    "Suite",
    "ensure",
    "forget_saved",
    "forget_stale",
    "recipe",
    "remove_saved",
    "save",
]

ACCOUNTS: Mapping[str, int] = {"admin": 1000, "dev": 1001, "ops": 1002}
"""Users of each machine and their numbers; `admin` may use sudo without a password."""

MIRROR = os.environ.get("DEVBOX_LAB_MIRROR", "http://deb.debian.org")
"""Where Debian's packages come from; holds debian/ and debian-security/."""

NAME = "localhost/devbox-lab"
SAVED = "localhost/devbox-lab-saved"

_NEEDS = (
    Need(what="mmdebstrap", packages=("mmdebstrap",)),
    Need(what="/usr/share/keyrings/debian-archive-keyring.gpg", packages=("debian-archive-keyring",)),
)

# What a fresh Debian cloud VM has. The roles install what they need besides: python3-venv, gnupg, git, acl.
_PACKAGES = (
    *(
        "systemd",
        "systemd-sysv",
        "dbus",
        "libpam-systemd",
        "sudo",
        "passwd",
        "openssh-server",
        "ca-certificates",
    ),
    *("python3", "python3-apt", "iproute2", "procps", "netbase"),
)

_DPKG = [
    "force-unsafe-io",
    *(f"path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale", "info")),
]

# Units that make no sense in a container, reach for the host, or wake up in the middle of a test.
_MASKED = (
    "apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service "
    "systemd-sysctl.service systemd-modules-load.service systemd-binfmt.service systemd-udevd.service "
    "systemd-journald-audit.socket systemd-firstboot.service systemd-update-utmp.service getty.target "
    "console-getty.service sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount "
    "sys-fs-fuse-connections.mount dev-hugepages.mount proc-sys-fs-binfmt_misc.automount "
    "proc-sys-fs-binfmt_misc.mount"
)

# LoadCredential= and other private mounts of services need a shared root, which a container does not have.
_SHARED_ROOT = """\
[Unit]
Description=Share the root mount, as on a real machine
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
ExecStart=mount --make-rshared /
RemainAfterExit=yes
[Install]
WantedBy=sysinit.target
"""

_CUSTOMIZE = """\
set -eu
cd "$1"
rm -f etc/ssh/ssh_host_*
: > etc/machine-id
echo 'LANG=C.UTF-8' > etc/default/locale
for account in {accounts}; do
  chroot . useradd --create-home --shell /bin/bash --uid "${{account#*:}}" --user-group "${{account%:*}}"
done
chmod 0755 home/dev
chmod 0700 home/ops
echo 'admin ALL=(ALL) NOPASSWD: ALL' > etc/sudoers.d/lab-admin
chmod 0440 etc/sudoers.d/lab-admin
for unit in {masked}; do ln -sf /dev/null "etc/systemd/system/$unit"; done
cat > etc/systemd/system/lab-shared-root.service <<'EOF'
{shared_root}EOF
chroot . systemctl --quiet enable lab-shared-root.service
"""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A system that machines can run."""

    name: str
    codename: str
    title: str


SUITES: Mapping[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(name="debian12", codename="bookworm", title="Debian 12"),
        Suite(name="debian13", codename="trixie", title="Debian 13"),
    )
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides what is in an image; its hash is the image's version."""

    suite: Suite
    sources: tuple[str, ...]
    packages: tuple[str, ...]
    dpkg_options: tuple[str, ...]
    apt_options: tuple[str, ...]
    customize: str

    @property
    def version(self) -> str:
        """Return 12 hexadecimal digits that change with any part of the recipe."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def image(self) -> str:
        """Return the image's name in podman."""
        return f"{NAME}:{self.suite.name}-{self.version}"

    @property
    def tarball(self) -> Path:
        """Return where the image's file system is cached."""
        return cache.directory("images") / f"{self.suite.name}-{self.version}.tar"


def recipe(suite: str) -> Recipe:
    """Return the recipe of a suite, with this host's mirror and apt proxy."""
    if suite not in SUITES:
        raise LabError(f"unknown suite {suite}; there is: {', '.join(SUITES)}")
    chosen = SUITES[suite]
    name = chosen.codename
    return Recipe(
        suite=chosen,
        sources=(
            f"deb {MIRROR}/debian {name} main",
            f"deb {MIRROR}/debian {name}-updates main",
            f"deb {MIRROR}/debian-security {name}-security main",
        ),
        packages=_PACKAGES,
        dpkg_options=tuple(_DPKG),
        apt_options=(
            'Acquire::Languages "none";',
            *proxy_options(run(["apt-config", "dump"], check=False).stdout),
        ),
        customize=_CUSTOMIZE.format(
            accounts=" ".join(f"{account}:{number}" for account, number in ACCOUNTS.items()),
            masked=_MASKED,
            shared_root=_SHARED_ROOT,
        ),
    )


def proxy_options(dump: str) -> list[str]:
    """Pick the proxy settings out of `apt-config dump`; nothing else of the host's concerns a machine."""
    return [
        line
        for line in dump.splitlines()
        if line.startswith(("Acquire::http::", "Acquire::https::"))
        and "Proxy" in line
        and not line.endswith('"";')
    ]


def ensure(suite: str) -> str:
    """Return the name of a suite's image, building or importing it where it is missing."""
    chosen = recipe(suite)
    with cache.locked(f"image-{suite}"):
        if podman("image", "exists", chosen.image, check=False).returncode == 0:
            return chosen.image
        if _intact(chosen.tarball) and _import(chosen):
            return chosen.image
        install(_NEEDS, purpose="building images")
        with step(f"Build the {chosen.suite.title} image (about half a minute, cached afterwards)"):
            _build(chosen)
            if not _import(chosen):
                raise LabError(f"podman cannot import {chosen.tarball}; see `podman import` on that file")
    return chosen.image


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _digest_file(tarball: Path) -> Path:
    return tarball.with_suffix(".sha256")


def _intact(tarball: Path) -> bool:
    """Whether the cached file is there and is what was written."""
    try:
        return _digest_file(tarball).read_text(encoding="ascii").strip() == _digest(tarball)
    except OSError:
        return False


def _import(chosen: Recipe) -> bool:
    change = f"LABEL devbox-lab-image={chosen.suite.name}"
    return (
        podman("import", "--change", change, str(chosen.tarball), chosen.image, check=False).returncode == 0
    )


def _build(chosen: Recipe) -> None:
    """Write the tarball under a temporary name, then its digest, then its name."""
    for left in chosen.tarball.parent.glob(
        f"{chosen.suite.name}-*.partial"
    ):  # nobody else builds: we hold the lock
        left.unlink()
    partial = chosen.tarball.with_suffix(".partial")
    command = ["mmdebstrap", "--variant=minbase", "--mode=root", "--format=tar", "--quiet"]
    command += [f"--include={','.join(chosen.packages)}", f"--customize-hook={chosen.customize}"]
    command += [f"--dpkgopt={option}" for option in chosen.dpkg_options]
    command += [f"--aptopt={option}" for option in chosen.apt_options]
    command += [chosen.suite.codename, "-", *chosen.sources]
    try:
        with partial.open("wb") as output:
            done = subprocess.run(
                as_root(command), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, check=False
            )
        if done.returncode != 0:
            words = " / ".join(done.stderr.decode(errors="replace").strip().splitlines()[-3:])
            raise LabError(f"mmdebstrap could not build {chosen.suite.title} from {MIRROR}: {words}")
        _digest_file(chosen.tarball).write_text(_digest(partial) + "\n", encoding="ascii")
        partial.replace(chosen.tarball)
    finally:
        partial.unlink(missing_ok=True)


def save(container: str, *, name: str, owner: str) -> str:
    """Make an image of a container that has stopped, and return its name.

    :param owner: who it belongs to, as of :func:`owners.identify`.
    """
    image = f"{SAVED}:{name}"
    podman("commit", "--quiet", "--change", f"LABEL {LABEL}.saved-by={owner}", container, image)
    return image


def remove_saved(image: str) -> None:
    """Remove an image that was saved, and the containers that still use it."""
    podman("rmi", "--force", "--ignore", image)


def forget_saved() -> None:
    """Remove images that were saved by a process that is gone."""
    for image in _saved():
        if not owners.alive(image["Labels"][f"{LABEL}.saved-by"]):
            podman("rmi", image["Id"], check=False)


def _saved(attempts: int = 5) -> list[dict[str, Any]]:
    """The images that were saved; podman cannot list while somebody else removes one of them."""
    try:
        listed = podman("images", "--filter", f"label={LABEL}.saved-by", "--format", "json").stdout
    except LabError as error:
        if attempts == 1 or "image not known" not in str(error):
            raise
        return _saved(attempts - 1)
    return list(json.loads(listed or "[]") or [])


def forget_stale() -> None:
    """Remove cached files and images of recipes that are no longer in use."""
    current = [recipe(suite) for suite in SUITES]
    stems = {chosen.tarball.stem for chosen in current}
    for path in cache.directory("images").iterdir():
        if path.stem not in stems:
            path.unlink()
    tags = podman("images", "--format", "{{.Repository}}:{{.Tag}}", NAME, check=False).stdout.split()
    for tag in sorted(set(tags) - {chosen.image for chosen in current}):
        if podman("rmi", tag, check=False).returncode == 0:
            say(f"removed the outdated image {tag}")
