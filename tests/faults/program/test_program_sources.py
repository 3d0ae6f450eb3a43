# SPDX-License-Identifier: GPL-3.0-or-later
"""Endpoints that fail or answer nonsense: the old token stays, and one line says why and what to do."""

from __future__ import annotations

import json
import os
import time

import pytest
from faults.machine import User
from faults.program.fetching import ROBOT, asked, assert_fails, backdate, few, reply, state
from faults.program.google import Google
from faults.program.installed import TOKEN, Gar


def test_a_working_key_gives_a_token_that_the_writer_writes(keyed: Gar, google: Google, dev: User) -> None:
    done = keyed.fetch("--now", env=google.environment)
    assert (done.code, done.said) == (0, "")
    token = keyed.token()
    assert token is not None
    assert [seen.value for seen in google.control.tokens() if seen.valid] == [token["token"]]
    assert keyed("write", user=dev).code == 0
    assert token["token"] in dev.auth.read_text()
    since = time.time()
    assert keyed.fetch(env=google.environment).code == 0
    assert asked(google, since) == [], "a fresh token is not asked for again"


@pytest.mark.parametrize("status", [500, 429])
def test_an_endpoint_in_trouble_is_asked_again_until_it_is_fine(
    keyed: Gar, google: Google, status: int
) -> None:
    since = time.time()
    google.control.set_fault("token", f"status:{status}", count=2)
    assert keyed.fetch("--now", env=google.environment).code == 0
    assert asked(google, since) == [status, status, 200]


def test_an_endpoint_that_stays_in_trouble_is_asked_three_times_and_the_next_tick_heals(
    keyed: Gar, google: Google
) -> None:
    since = time.time()
    google.control.set_fault("token", "status:500")
    done = assert_fails(keyed, google, 75, r"answers 500 \(3 tries\); the next run tries again")
    assert done.seconds < 20
    assert asked(google, since) == [500] * 3
    google.control.clear_faults()
    assert keyed.fetch("--now", env=google.environment).code == 0
    assert keyed.status()["error"] is None


UNUSABLE = {
    "HTML": "html",
    "empty": "json:",
    "truncated": "truncated",
    "no object": "json:[]",
    "null": "json:null",
    "no token": "json:{}",
    "a number": reply(access_token=1),
    "a list": reply(access_token=[TOKEN]),
    "an empty token": reply(access_token=""),
    "a line break": reply(access_token=f"{TOKEN}\r\nX-Evil: 1"),
    "a NUL": reply(access_token=f"{TOKEN}\0"),
    "a quotation mark": reply(access_token=f'{TOKEN}"'),
    "too long a token": reply(access_token=TOKEN * 500),
    "no lifetime": reply(expires_in=None),
    "lifetime 0": reply(expires_in=0),
    "a negative lifetime": reply(expires_in=-1),
    "NaN": reply(expires_in=float("nan")),
    "infinity": reply(expires_in=float("inf")),
    "a word": reply(expires_in="soon"),
    "a huge number": "json:" + reply().removeprefix("json:").replace("3599", "9" * 400),
}
NOT_GOOGLE = {"huge": "huge", "a redirect": "redirect"}


@pytest.mark.parametrize("case", few(UNUSABLE, every=4))
def test_an_answer_without_a_usable_token_is_temporary_and_never_echoed(
    keyed: Gar, google: Google, case: str
) -> None:
    google.control.set_fault("token", UNUSABLE[case])
    done = assert_fails(keyed, google, 75, r"holds no usable token|is not JSON|the next run tries again")
    assert "Sign in" not in done.stderr


@pytest.mark.parametrize("case", NOT_GOOGLE)
def test_an_answer_that_cannot_be_googles_is_permanent_and_not_followed(
    keyed: Gar, google: Google, case: str
) -> None:
    since = time.time()
    google.control.set_fault("token", NOT_GOOGLE[case])
    assert_fails(keyed, google, 78, r"oauth2\.googleapis\.com (redirects|answers more than 64 KiB)")
    assert len(asked(google, since)) == 1


@pytest.mark.parametrize(("stated", "kept"), [(30, 30), (1, 1), (10**9, 12 * 3600)])
def test_a_short_lifetime_is_used_and_polled_soon_again_and_a_huge_one_is_cut(
    keyed: Gar, google: Google, stated: int, kept: int
) -> None:
    google.control.set_fault("token", reply(access_token="ya29.c.other", expires_in=stated))
    assert keyed.fetch("--now", env=google.environment).code == 0
    token = keyed.token()
    assert token is not None
    assert abs(token["expiry"] - time.time() - kept) < 5
    since = time.time()
    google.control.clear_faults()
    time.sleep(1 if stated == 1 else 0)
    backdate(keyed.run_dir / "default", seconds=16 if stated == 30 else 0)
    assert keyed.fetch(env=google.environment).code == 0
    assert asked(google, since) == ([] if stated == 10**9 else [200])


METADATA: dict[str, tuple[str, int, str]] = {
    "no service account": ("status:404", 78, "knows no service account .*; attach one to this VM"),
    "scope missing": ("status:403", 78, "give the VM the access scope cloud-platform"),
    "no flavor": ("no_flavor", 78, "is not a metadata server"),
    "a redirect": ("redirect", 78, "is not a metadata server"),
    "huge": ("huge", 78, "larger than 64 KiB"),
    "HTML": ("html", 75, "is not JSON"),
    "truncated": ("truncated", 75, "is not JSON"),
    "a line break": (reply(access_token=f"{TOKEN}\r\nx"), 75, "no usable access_token"),
    "lifetime 0": (reply(expires_in=0), 75, "no usable expires_in"),
    "NaN": (reply(expires_in=float("nan")), 75, "no usable expires_in"),
}


@pytest.mark.parametrize("case", few(METADATA, every=2))
def test_a_metadata_server_that_fails_leaves_the_token_alone(gar: Gar, google: Google, case: str) -> None:
    fault, code, said = METADATA[case]
    gar.identity(type="metadata", account="default")
    google.control.set_fault("metadata", fault)
    assert_fails(gar, google, code, said)


def test_the_same_cached_token_is_written_once_and_a_new_one_at_every_call_once_each(
    gar: Gar, google: Google, dev: User
) -> None:
    gar.identity(type="metadata", account="default")
    google.control.set_fault("metadata", "ok")
    assert gar.fetch("--now", env=google.environment).code == 0
    before = state(gar)
    assert gar("write", user=dev).code == 0
    written = (dev.auth.stat().st_mtime_ns, dev.auth.stat().st_ino)
    for _tick in range(3):
        assert gar.fetch("--now", env=google.environment).code == 0
        assert gar("write", user=dev).code == 0
    assert state(gar) == before
    assert (dev.auth.stat().st_mtime_ns, dev.auth.stat().st_ino) == written
    seen = {state(gar)[1]}
    for _tick in range(3):
        google.control.expire_all()
        assert gar.fetch("--now", env=google.environment).code == 0
        seen.add(state(gar)[1])
        assert sorted(os.listdir(gar.run_dir / "default")) == ["status.json", "token"]
    assert len(seen) > 1


def test_a_service_account_that_may_not_be_impersonated_names_the_missing_role(
    keyed: Gar, google: Google
) -> None:
    declared = json.loads((keyed.etc / "config.json").read_text())["identities"]["default"]
    target = "publisher@demo-project.iam.gserviceaccount.com"
    keyed.identity(**declared, impersonate_service_account=target)
    said = rf"roles/iam\.serviceAccountTokenCreator on {target} to {ROBOT}"
    assert_fails(keyed, google, 78, said)
