# SPDX-License-Identifier: GPL-3.0-or-later
"""What gar_auth installs beside its units: the configuration, the command, the shells' hint, cron's entry."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from unit.roles.rendering import IDENTITIES, template

SHELLS = [shell for shell in ("sh", "dash", "bash", "busybox", "zsh") if shutil.which(shell)]
HINT = "gar-auth: run `gcloud auth login` once and private packages work; more: gar-auth status"


def test_the_configuration_is_what_the_program_reads(tmp_path: Path) -> None:
    from gar_auth.config import Config

    path = tmp_path / "config.json"
    path.write_text(template("config.json", gar_auth_interval=7, gar_auth_gcloud="/opt/gcloud"))
    config = Config.load(path)
    assert (config.run_dir, config.user_run_dir) == (Path("/run/gar-auth"), "/run/gar-auth-user")
    assert (config.users, config.config_dir) == (("dev", "ops"), ".config/pypoetry")
    assert [repository.identity for repository in config.repositories] == list(IDENTITIES)
    assert {one.name: one.type for one in config.host_identities()} == {
        name: identity["type"] for name, identity in IDENTITIES.items() if name != "own"
    }
    assert [one.name for one in config.user_identities()] == ["own"]
    assert config.identities["federation"].subject_token_file == "/run/agent/subject"
    assert (config.interval, config.gcloud, config.state_dir) == (7, "/opt/gcloud", "/var/lib/gar-auth")
    assert config.service_manager == "systemd"


@pytest.mark.parametrize(
    ("manager", "run_dir", "user_run_dir"),
    [
        ("systemd", "/run/gar-auth", "/run/gar-auth-user"),
        ("cron", "/run/gar-auth", "/run/gar-auth-user"),
        ("none", None, None),
    ],
)
def test_tokens_lie_where_the_service_manager_puts_them(
    manager: str, run_dir: str | None, user_run_dir: str | None
) -> None:
    config = json.loads(template("config.json", gar_auth_service_manager=manager))
    assert (config["run_dir"], config["user_run_dir"]) == (run_dir, user_run_dir)


def test_the_command_is_isolated_from_the_callers_python() -> None:
    text = template("gar-auth", gar_auth_prefix="/srv/opt", __gar_auth_requirements="")
    assert re.match(r"#!/srv/opt/venv-3\.11-[0-9a-f]{8}/bin/python -I\n", text)
    compile(text, "gar-auth", "exec")
    imported = re.findall(r"^(?:import|from) (\S+)", text, re.MULTILINE)
    assert imported == ["sys", "gar_auth.__main__"], "a tick with nothing to do pays for each import"


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "gar-auth.sh"
    path.write_text(template("gar-auth.sh", __gar_auth_user_run_dir=str(tmp_path / "run")))
    return path


def come_in(shell: str, profile: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Source the file as a login shell does, and say how many variables are left of it."""
    command = [shell, "sh"] if shell == "busybox" else [shell]
    script = f'. {shlex.quote(str(profile))}; echo "left:${{_gar_auth_hint-}}${{_gar_auth_line-}} $?"'
    return subprocess.run(
        [*command, *options, "-c", script],
        env={"PATH": "/nowhere", "HOME": "/nonexistent", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        executable=shutil.which(command[0]),
    )


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("hint", "options", "environment", "shown"),
    [
        (f"{HINT}\n", ["-i"], {"LOGNAME": "dev"}, [HINT]),
        (f"{HINT}\n", ["-i"], {"USER": "dev"}, [HINT]),
        (f"{HINT}\n", ["-iu"], {"LOGNAME": "dev"}, [HINT]),
        (f"{HINT}\nmore\n", ["-i"], {"LOGNAME": "dev"}, [HINT]),
        (HINT, ["-ieu"], {"LOGNAME": "dev"}, [HINT]),
        (f"{HINT}\n", [], {"LOGNAME": "dev"}, []),
        (f"{HINT}\n", ["-i"], {"LOGNAME": "ops"}, []),
        (f"{HINT}\n", ["-i"], {}, []),
        ("", ["-i"], {"LOGNAME": "dev"}, []),
        (None, ["-i"], {"LOGNAME": "dev"}, []),
        (None, ["-ieu"], {"LOGNAME": "dev"}, []),
    ],
)
def test_the_hint_is_for_whoever_comes_in_and_starts_no_process(
    profile: Path,
    shell: str,
    hint: str | None,
    options: list[str],
    environment: dict[str, str],
    shown: list[str],
) -> None:
    if hint is not None:
        (profile.parent / "run/dev").mkdir(parents=True)
        (profile.parent / "run/dev/.hint").write_text(hint)
    done = come_in(shell, profile, *options, **environment)
    # Nothing is on the PATH: a process that it wanted to start would be an error here.
    ours = [line for line in done.stderr.splitlines() if "gar" in line or "not found" in line]
    assert (ours, done.stdout) == (shown, "left: 0\n"), done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_a_hint_that_is_no_file_or_nobody_may_read_is_no_hint(profile: Path, shell: str) -> None:
    (profile.parent / "run/dev/.hint").mkdir(parents=True)
    os.mkfifo(profile.parent / "fifo")
    for name in ("dev", "../fifo"):
        done = come_in(shell, profile, "-i", LOGNAME=name)
        assert done.stdout == "left: 0\n"
        assert "gar" not in done.stderr


def cron_line(tmp_path: Path, **changes: str) -> str:
    """The command of cron's entry, as cron hands it to the shell."""
    text = template("cron", gar_auth_service_manager="cron", **changes)
    (line,) = [line for line in text.splitlines() if line.startswith("*")]
    schedule, _, command = line.partition(" root ")
    assert schedule == "* * * * *"
    assert not re.search(r"(?<!\\)%", command), "cron takes it for a line break"
    return command.replace("\\%", "%")


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """A prefix whose program says on both streams what it was called with."""
    program = tmp_path / "my 100% opt" / "bin" / "gar-auth"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "called: $*"\necho problem >&2\nexit 75\n')
    program.chmod(0o755)
    return program.parent.parent


@pytest.mark.parametrize("shell", ["sh", "dash", "bash"])
@pytest.mark.parametrize(
    ("metrics", "called"),
    [
        ("", ["called: cycle", "problem"]),
        ("/m d", ["called: cycle", "problem", "called: metrics --output /m d/gar_auth.prom", "problem"]),
    ],
)
def test_cron_acts_only_where_systemd_does_not_run(
    tmp_path: Path, prefix: Path, shell: str, metrics: str, called: list[str]
) -> None:
    logged = tmp_path / "logged"
    (tmp_path / "bin").mkdir()
    logger = tmp_path / "bin" / "logger"
    logger.write_text(
        f'#!/bin/sh\necho "$*" >> {shlex.quote(str(logged))}\ncat >> {shlex.quote(str(logged))}\n'
    )
    logger.chmod(0o755)
    command = cron_line(
        tmp_path,
        gar_auth_prefix=str(prefix),
        gar_auth_metrics_dir=metrics,
        __gar_auth_systemd_runs=str(tmp_path / "run" / "systemd"),
    )

    def run(path: str) -> str:
        done = subprocess.run(
            [shell, "-c", command],
            env={"PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
            check=False,
            executable=shutil.which(shell),
        )
        assert done.returncode == 0
        return done.stdout

    assert run(f"{tmp_path / 'bin'}:/usr/bin:/bin") == "", "cron would send it as mail"
    assert logged.read_text().splitlines() == ["-t gar-auth", *called]
    logged.unlink()
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "cat").symlink_to("/bin/cat")
    assert run(str(bare)) == "", "no logger"
    (tmp_path / "run" / "systemd").mkdir(parents=True)
    assert run(f"{tmp_path / 'bin'}:/usr/bin:/bin") == ""
    assert not logged.exists()


def test_crons_entry_has_the_environment() -> None:
    declared = {"HTTPS_PROXY": "http://proxy.example.com:3128", "SSL_CERT_FILE": '/etc/a "b".pem'}
    lines = template("cron", gar_auth_service_manager="cron", gar_auth_environment=declared).splitlines()
    assert 'HTTPS_PROXY="http://proxy.example.com:3128"' in lines
    assert 'NO_PROXY="metadata.google.internal,metadata,169.254.169.254"' in lines
    assert "SSL_CERT_FILE='/etc/a \"b\".pem'" in lines
    assert 'MAILTO=""' in lines
