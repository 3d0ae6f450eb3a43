# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine itself: no network yet, no names, a proxy, certificates, a wrong clock, suspend, no systemd."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from faults.machine import Machine, User
from faults.program.fetching import asked, assert_fails, backdate
from faults.program.google import Google, listening, named
from faults.program.installed import TOKEN, Gar, assert_auth

from gar_auth.schedule import due, spread

#: A network namespace with nothing but its loopback, which is down: as before the network at boot.
OFFLINE = ["unshare", "--net", "--"]
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


@pytest.fixture
def machined(gar: Gar, google: Google) -> Gar:
    """The program with the machine's own service account."""
    gar.identity(type="metadata", account="default")
    return gar


def offline(gar: Gar) -> list[str]:
    """Run what follows without network, as the service; unshare needs root."""
    ids = [f"--reuid={gar.service.uid}", f"--regid={gar.service.uid}", "--clear-groups", "--"]
    return [*OFFLINE, "setpriv", *ids]


def test_no_route_at_boot_is_temporary_and_the_first_tick_with_network_heals(
    machined: Gar, google: Google, dev: User
) -> None:
    """Nothing leaves: the namespace has no device that could carry it to the metadata server's address."""
    (machined.run_dir / "default" / "token").unlink()
    done = machined("fetch", "default", tracer=offline(machined))
    assert done.code == 75
    assert done.said.startswith(
        "the metadata server 169.254.169.254 cannot be reached (Network is unreachable)"
    )
    assert done.seconds < 20
    assert machined("write", user=dev).code == 75
    assert machined.fetch(env=google.environment).code == 0, "without waiting: there is no token"
    assert machined("write", user=dev).code == 0


def test_a_name_that_cannot_be_resolved_is_temporary_and_the_old_token_stays(
    keyed: Gar, google: Google, machine: Machine
) -> None:
    before = (keyed.run_dir / "default" / "token").read_bytes()
    with named(machine, {}):
        done = keyed("fetch", "default", "--now", tracer=offline(keyed))
    assert done.code == 75
    assert "oauth2.googleapis.com cannot be reached (its name cannot be resolved)" in done.said
    assert done.seconds < 24
    assert (keyed.run_dir / "default" / "token").read_bytes() == before
    assert keyed.fetch("--now", env=google.environment).code == 0


PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def test_the_metadata_server_is_never_asked_through_a_proxy(machined: Gar, google: Google) -> None:
    with listening() as (address, seen):
        proxies = dict.fromkeys(PROXIES, f"http://{address}")
        assert machined.fetch("--now", env={**google.environment, **proxies, "NO_PROXY": ""}).code == 0
    assert seen == []
    token = machined.token()
    assert token is not None
    assert token["token"] != TOKEN


def test_a_proxy_that_is_needed_is_used_and_its_refusal_named(keyed: Gar, google: Google) -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    with listening(answer=refusal) as (address, seen):
        env = {"https_proxy": f"http://me:canary-secret@{address}"}
        done = assert_fails(keyed, google, 75, "the proxy does not let us reach oauth2", **env)
    assert seen[0].startswith(b"CONNECT oauth2.googleapis.com:443 ")
    assert "canary-secret" not in done.stderr


@pytest.mark.parametrize("kind", ["expired", "wrong_name", "untrusted"])
def test_a_certificate_that_is_wrong_is_refused_and_nothing_is_sent(
    keyed: Gar, google: Google, kind: str
) -> None:
    since = time.time()
    google.control.set_certificate(kind)
    assert_fails(
        keyed, google, 78, r"the certificate of oauth2\.googleapis\.com is not trusted \(.+\); check"
    )
    assert asked(google, since) == []
    google.control.set_certificate("valid")
    assert keyed.fetch("--now", env=google.environment).code == 0


def test_an_authority_of_ones_own_is_trusted_where_it_is_named_only(keyed: Gar, google: Google) -> None:
    certificate = google.environment.pop("REQUESTS_CA_BUNDLE")
    bundles = dict.fromkeys(("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"), "")
    assert_fails(keyed, google, 78, "is not trusted .* set REQUESTS_CA_BUNDLE", **bundles)
    named_so = {"REQUESTS_CA_BUNDLE": "", "SSL_CERT_FILE": certificate}
    assert keyed.fetch("--now", env={**google.environment, **named_so}).code == 0


@pytest.mark.parametrize("hours", [2, -2], ids=["was ahead", "was behind"])
def test_a_clock_that_was_off_when_the_token_came_is_put_right_by_the_next_tick(
    machined: Gar, google: Google, hours: int
) -> None:
    assert machined.fetch("--now", env=google.environment).code == 0
    true = machined.token()
    assert true is not None
    backdate(machined.run_dir / "default", seconds=-hours * 3600)
    done = machined.fetch(env=google.environment)
    assert (done.code, done.stdout) == (0, ""), "no new token, only its true expiry"
    token = machined.token()
    assert token is not None
    assert (token["token"], abs(token["expiry"] - true["expiry"]) < 5) == (true["token"], True)


@pytest.mark.skipif(not LIBRARIES, reason="needs libfaketime; on Debian: apt-get install libfaketime")
@pytest.mark.parametrize(("offset", "way"), [("+2h", "120 min ahead"), ("-2h", "120 min behind")])
def test_a_clock_that_is_off_now_is_named_where_a_key_is_refused_for_it(
    keyed: Gar, google: Google, offset: str, way: str
) -> None:
    env = {"LD_PRELOAD": str(LIBRARIES[-1]), "FAKETIME": offset}
    done = keyed.fetch("--now", env={**google.environment, **env})
    assert done.code in (75, 78), done
    assert way in done.said or "is not trusted" in done.said, "the lab's certificate is not valid then"
    assert keyed.fetch("--now", env=google.environment).code == 0


@pytest.mark.skipif(not LIBRARIES, reason="needs libfaketime; on Debian: apt-get install libfaketime")
@pytest.mark.parametrize("offset", ["+2h", "-2h"])
def test_the_metadata_servers_token_serves_whatever_the_clock_says(
    machined: Gar, google: Google, dev: User, offset: str
) -> None:
    env = {"LD_PRELOAD": str(LIBRARIES[-1]), "FAKETIME": offset}
    assert machined.fetch("--now", env={**google.environment, **env}).code == 0
    assert machined("write", user=dev, env=env).code == 0
    (valid,) = [token.value for token in google.control.tokens() if token.valid]
    assert_auth(dev, token=valid)


def test_the_first_tick_after_two_hours_of_sleep_brings_a_new_token(
    machined: Gar, google: Google, dev: User
) -> None:
    assert machined.fetch("--now", env=google.environment).code == 0
    backdate(machined.run_dir / "default", seconds=7200)
    google.control.expire_all()
    assert machined("write", user=dev).code == 75, "an expired token is not written"
    assert machined.fetch(env=google.environment).code == 0
    assert machined("write", user=dev).code == 0
    (valid,) = [token.value for token in google.control.tokens() if token.valid]
    assert_auth(dev, token=valid)


@pytest.mark.parametrize("on_demand", [True, False], ids=["minted", "cached"])
def test_five_hundred_hosts_started_at_once_do_not_ask_at_once(on_demand: bool) -> None:
    """From half of the lifetime on for sources that mint; the metadata server is each machine's own."""
    start = 1_800_000_000
    chance = random.Random(8)  # noqa: S311
    moments = Counter[int]()
    for _host in range(500):
        share = spread(f"{chance.getrandbits(128):032x}\n".encode(), "default")
        assert 0 <= share < 1
        moments[
            next(
                tick
                for tick in range(0, 3600, 30)  # all timers in step: the worst case
                if due(
                    start + tick,
                    token_expiry=start + 3600,
                    obtained=start,
                    looked=start,
                    failures=0,
                    failed_at=None,
                    on_demand=on_demand,
                    interval=30,
                    spread=share,
                )
                and tick > 0
            )
        ] += 1
    if on_demand:
        assert len(moments) >= 10
        assert max(moments.values()) < 75
        assert min(moments) >= 1200, "at least two thirds of an hour are left to readers"
    else:
        assert set(moments) == {180}


def test_without_systemd_one_cron_job_of_root_serves_all(
    gar: Gar, google: Google, dev: User, eve: User
) -> None:
    """The key is root's own: root hands it to the process that fetches, which may not read it."""
    key = gar.put_key(google.control.create_key("robot@demo-project.iam.gserviceaccount.com"))
    os.chown(key, 0, 0)
    key.chmod(0o600)
    gar.configure(
        users=["dev", "eve"], identities={"default": {"type": "service_account_key", "file": str(key)}}
    )
    (gar.run_dir / "default" / "token").unlink()
    assert gar.fetch("--now", env=google.environment).code == 78, "the service itself may not read it"
    (gar.run_dir / "default" / "status.json").unlink()
    done = gar("cycle", env=google.environment)
    assert done.code == 0, done
    token = gar.token()
    assert token is not None
    for path in (gar.run_dir / "default").iterdir():
        assert path.stat().st_uid == gar.service.uid, path
    for user in (dev, eve):
        assert_auth(user, token=token["token"])
    again = gar("cycle", env=google.environment)
    assert (again.code, again.stdout, again.stderr) == (0, "", "")


def test_without_systemd_one_users_trouble_does_not_hold_up_the_others(
    gar: Gar, google: Google, machine: Machine, dev: User, eve: User
) -> None:
    gar.configure(users=["gone", "ghost", "dev", "eve"])
    (gar.user_run_dir / "dev").write_text("in the way")
    dev.auth.chmod(0o644)
    started = time.monotonic()
    process = gar.start("cycle", env=google.environment)
    output, errors = (part.decode() for part in process.communicate(timeout=60))
    assert process.returncode != 0
    assert time.monotonic() - started < 30
    assert "no user 'gone'" in errors
    assert "Traceback" not in errors
    assert "eve" in output
    token = gar.token()
    assert token is not None
    assert_auth(eve, token=token["token"])
    assert not (machine.top / "homes" / "not").exists()


def test_with_nothing_scheduled_a_user_refreshes_for_oneself(gar: Gar, google: Google, dev: User) -> None:
    gar.configure(run_dir=None, user_run_dir=None)
    own = gar.place / "runtime"
    own.mkdir(mode=0o700, exist_ok=True)
    dev.own(own)
    env = {**google.environment, "XDG_RUNTIME_DIR": str(own)}
    assert gar("refresh", user=dev, env=env, extra_groups=[]).code == 0
    token = json.loads((own / "gar-auth" / "default" / "token").read_text())
    assert_auth(dev, token=token["token"])
    assert {path.stat().st_mode & 0o077 for path in own.rglob("*")} == {0}
