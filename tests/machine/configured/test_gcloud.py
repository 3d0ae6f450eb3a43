# SPDX-License-Identifier: GPL-3.0-or-later
"""The Google Cloud CLI comes from a signed repository and runs for ordinary users."""

from __future__ import annotations

import testinfra.host

from lab.machines import Machine

KEY = "/etc/apt/keyrings/devbox-google-cloud.asc"
SOURCES = "/etc/apt/sources.list.d/devbox-google-cloud.sources"

# Reads the repository's index anew, into a directory of its own.
UPDATE = f"""\
place=$(mktemp -d)
chmod 0755 "$place"
trap 'rm -r "$place"; test ! -e {KEY}.away || mv {KEY}.away {KEY}' EXIT
LC_ALL=C apt-get update -o Dir::Etc::SourceList={SOURCES} -o Dir::Etc::SourceParts=/dev/null \\
  -o Dir::State::Lists="$place" -o APT::Update::Error-Mode=any
"""
WITHOUT_KEY = f"mv {KEY} {KEY}.away\n"


def test_gcloud_runs_as_an_ordinary_user(machine: Machine) -> None:
    done = machine.ssh("dev", "gcloud --version")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Google Cloud SDK "), done.stdout


def test_the_package_comes_from_the_signed_repository(host: testinfra.host.Host) -> None:
    assert host.package("google-cloud-cli").is_installed
    policy = host.run("LC_ALL=C apt-cache policy google-cloud-cli").stdout
    installed = policy.partition("***")[2]
    assert "https://packages.cloud.google.com/apt cloud-sdk/main" in installed, policy
    sources = host.file(SOURCES).content_string
    assert f"Signed-By: {KEY}" in sources
    assert "trusted" not in sources.lower()


def test_apt_trusts_the_repository_by_that_key_alone(machine: Machine) -> None:
    accepted = machine.ssh("admin", "sudo sh -s", input=UPDATE)
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    refused = machine.ssh("admin", "sudo sh -s", input=WITHOUT_KEY + UPDATE)
    assert refused.returncode == 100, refused.stdout + refused.stderr
    assert "is not signed" in refused.stderr


def test_key_and_sources_belong_to_root(host: testinfra.host.Host) -> None:
    for path in (KEY, SOURCES):
        file = host.file(path)
        assert (file.user, file.group, file.mode) == ("root", "root", 0o644), path
