# SPDX-License-Identifier: GPL-3.0-or-later
"""The emulator's token store: lifetime, renewal window, expiry and revocation, on a clock of its own."""

from __future__ import annotations

import dataclasses

import pytest

from lab.emulator import tokens
from lab.emulator.tokens import TokenStore

VM = "vm@demo-project.iam.gserviceaccount.com"


@dataclasses.dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> TokenStore:
    return TokenStore(lifetime=3600, window=300, clock=clock)


def test_a_token_looks_like_googles(store: TokenStore) -> None:
    value = store.issue(VM).value
    assert value.startswith("ya29.")
    assert 140 <= len(value) <= 160


@pytest.mark.parametrize(
    ("age", "valid", "remaining"), [(0, True, 3600), (3599.5, True, 0), (3600, False, 0), (9999, False, 0)]
)
def test_a_token_is_valid_for_its_lifetime(
    store: TokenStore, clock: Clock, age: float, valid: bool, remaining: int
) -> None:
    token = store.issue(VM)
    clock.now += age
    assert store.valid(token.value) is valid
    assert store.remaining(token) == remaining
    assert store.identity(token.value) == (VM if valid else None)


@pytest.mark.parametrize(("age", "same"), [(0, True), (3299, True), (3300, False), (3600, False)])
def test_the_current_token_is_renewed_in_its_window(
    store: TokenStore, clock: Clock, age: float, same: bool
) -> None:
    first = store.current(VM)
    clock.now += age
    assert (store.current(VM) is first) is same


def test_a_window_as_long_as_the_lifetime_renews_at_every_call(store: TokenStore) -> None:
    store.window = store.lifetime
    assert store.current(VM) is not store.current(VM)


def test_identities_have_tokens_of_their_own(store: TokenStore) -> None:
    assert store.current(VM) is not store.current("other@example.com")
    assert store.issued() == {VM: 1, "other@example.com": 1}


def test_expired_tokens_are_replaced(store: TokenStore) -> None:
    first, second = store.current(VM), store.issue(VM)
    assert store.expire_all() == 2
    assert not store.valid(first.value)
    assert not store.valid(second.value)
    assert store.valid(store.current(VM).value)
    assert store.expire_all() == 1


def test_revoked_tokens_are_replaced(store: TokenStore) -> None:
    first = store.current(VM)
    assert store.revoke_all() == 1
    assert not store.valid(first.value)
    assert store.valid(store.current(VM).value)


def test_a_foreign_token_is_not_valid(store: TokenStore) -> None:
    assert not store.valid("ya29.c.invented")
    assert not store.valid("")


def test_a_lifetime_of_its_own(store: TokenStore) -> None:
    assert store.remaining(store.issue(VM, lifetime=43200)) == 43200
    assert store.remaining(store.issue(VM)) == 3600


def test_the_clock_is_ahead_of_the_real_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 5000.0)
    clock = tokens.Clock()
    assert clock() == 5000
    clock.move(172800)
    assert clock() == 177800
    for wrong in (1.7e9, float("nan")):
        with pytest.raises(ValueError, match="not an epoch"):
            clock.move(wrong)
    assert clock() == 177800
