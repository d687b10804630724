"""Guessing is slow, and nobody pays for it but who guesses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rustploy_agent import throttle
from rustploy_agent.throttle import ACCOUNT_BURST, FREE, FREE_PER_CLIENT, LONGEST_PAUSE, Buckets, Throttle


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def failures(slow: Throttle, clock: Clock, client: str, seconds: float, account: str = "admin") -> int:
    """How often a client that never gives up gets to try."""
    tries, end = 0, clock.now + seconds
    while True:
        pause = slow.attempt(account, client)
        if not pause:
            tries += 1
        elif clock.now + pause > end:
            clock.now = end
            return tries
        else:
            clock.now += pause


def test_a_client_gets_few_tries_and_then_ever_fewer() -> None:
    clock = Clock()
    slow = Throttle(clock)
    assert failures(slow, clock, "mallory", 0) == FREE
    assert failures(slow, clock, "mallory", 24 * 3600) < 120


def test_tries_at_once_are_no_way_around_it() -> None:
    """They are counted before the password is looked at, which takes a while."""
    slow = Throttle(Clock())
    assert [slow.attempt("admin", "mallory") == 0 for _ in range(50)].count(True) == FREE


@given(st.floats(0, 72 * 3600))
def test_one_client_cannot_lock_out_another(seconds: float) -> None:
    clock = Clock()
    slow = Throttle(clock)
    failures(slow, clock, "uid 999", seconds)
    assert slow.attempt("admin", "uid 0") == 0


def test_many_clients_together_get_few_tries_as_well() -> None:
    clock = Clock()
    slow = Throttle(clock)
    assert sum(failures(slow, clock, f"192.0.2.{n}", 0) for n in range(200)) == ACCOUNT_BURST
    assert slow.attempt("admin", "192.0.2.250") > 0
    assert slow.attempt("other", "192.0.2.250") == 0


def test_many_clients_do_not_lock_out_who_has_logged_in_from_where_he_is() -> None:
    clock = Clock()
    slow = Throttle(clock)
    assert slow.attempt("admin", "home") == 0
    slow.succeeded("admin", "home")
    for number in range(200):
        failures(slow, clock, f"192.0.2.{number}", 0)
    assert slow.attempt("admin", "home") == 0


def test_a_client_with_many_accounts_is_slowed_down_too() -> None:
    slow = Throttle(Clock())
    tries = [slow.attempt(f"user{number}", "mallory") == 0 for number in range(100)]
    assert tries.count(True) == FREE_PER_CLIENT


def test_who_logs_in_is_not_slowed_down() -> None:
    slow = Throttle(Clock())
    for _ in range(500):
        assert slow.attempt("admin", "home") == 0
        slow.succeeded("admin", "home")


def test_a_pause_ends_and_failures_are_forgotten() -> None:
    clock = Clock()
    slow = Throttle(clock)
    failures(slow, clock, "home", 24 * 3600)
    assert 0 < slow.attempt("admin", "home") <= LONGEST_PAUSE
    clock.now += throttle.FORGOTTEN_AFTER + 1
    assert failures(slow, clock, "home", 0) == FREE


def test_memory_is_bounded() -> None:
    slow = Throttle(Clock())
    for number in range(throttle.MOST_KEYS * 2):
        slow.attempt(f"user {number}", f"client {number}")
    assert len(slow._failures) == throttle.MOST_KEYS


def test_a_bucket_fills_up_again() -> None:
    clock = Clock()
    bucket = Buckets(3, 60, clock)
    assert [bucket.take("a") for _ in range(4)] == [0, 0, 0, 60]
    assert bucket.take("b") == 0
    clock.now += 60
    assert [bucket.take("a") for _ in range(2)] == [0, 60]
    bucket.give_back("a")
    assert bucket.take("a") == 0
