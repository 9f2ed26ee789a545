"""The law of `throttles.RateWindow`, held by Redis and by its in-memory twin; and what only a real Redis can show."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from access.memory_window import MemoryWindow
from access.throttles import WINDOW_SECONDS, RateLimitBucket, RateLimiter
from tests.servers import free_port

A_LITTLE = 0.2
"""Seconds by which a moment is passed for sure: a real Redis has a clock of its own beside the test's."""


def redis_window(request, clock):
    """Return a window on the emptied Redis of the fixture, whose keys age with *clock*."""
    request.getfixturevalue("client")
    return RateLimiter(os.environ["CACHE_REDIS_URL"])


MAKERS = {"redis": redis_window, "memory": lambda request, clock: MemoryWindow(clock=clock)}


@pytest.fixture(params=MAKERS)
def window(request, clock):
    return MAKERS[request.param](request, clock)


def caller(name="one", per_minute=10, policy="key"):
    return RateLimitBucket(policy, name, per_minute)


def admitted(window, count, who=None):
    """Return how many of *count* requests are let in."""
    return sum(window.admit(who or caller()).allowed for _ in range(count))


# every window


def test_exactly_as_many_requests_come_through_as_the_limit_says(window):
    """What is left is told with each."""
    verdicts = [window.admit(caller(per_minute=3)) for _ in range(5)]
    assert [verdict.allowed for verdict in verdicts] == [True, True, True, False, False]
    assert [verdict.remaining for verdict in verdicts] == [2, 1, 0, 0, 0]
    assert {(verdict.policy, verdict.limit) for verdict in verdicts} == {("key", 3)}


def test_each_caller_and_each_policy_has_a_window_of_its_own(window):
    assert admitted(window, 12) == 10
    assert admitted(window, 12, caller("another")) == 10
    assert admitted(window, 12, caller(policy="member")) == 10


def test_a_window_that_is_over_weighs_less_and_less(window, clock):
    """80 s after ten requests, 40 of their 60 s lie outside of the last minute: they weigh 6 2/3, that is 6."""
    assert admitted(window, 10) == 10
    clock.advance(80)
    assert admitted(window, 10) == 4


def test_a_refused_request_is_not_counted(window, clock):
    """Trying again and again delays nobody."""
    admitted(window, 50)
    clock.advance(80)
    assert admitted(window, 10) == 4


def test_within_the_window_nothing_is_forgiven(window, clock):
    admitted(window, 10)
    clock.advance(WINDOW_SECONDS - 1)
    assert admitted(window, 1) == 0


def test_after_two_windows_everything_is_forgiven(window, clock):
    admitted(window, 10)
    clock.advance(2 * WINDOW_SECONDS + A_LITTLE)
    assert admitted(window, 12) == 10


def test_the_first_request_has_a_whole_window_before_it(window):
    verdict = window.admit(caller())
    assert verdict.reset_seconds == pytest.approx(WINDOW_SECONDS, abs=A_LITTLE)


PAUSES = st.lists(st.tuples(st.integers(0, 12), st.floats(0, 70)), max_size=6)
"""Requests at once, and seconds until the next."""


@settings(max_examples=40)
@given(pauses=PAUSES, limit=st.integers(1, 10))
def test_who_waits_as_long_as_it_was_told_finds_room(window, clock, pauses, limit):
    """Whatever came before. What is left lies within the limit, and the wait within a window."""
    clock.advance(2 * WINDOW_SECONDS + A_LITTLE)
    who = caller(per_minute=limit)
    for count, seconds in pauses:
        admitted(window, count, who)
        clock.advance(seconds)
    verdict = window.admit(who)
    assert 0 <= verdict.remaining < limit or not verdict.allowed
    while verdict.allowed and verdict.remaining:
        verdict = window.admit(who)
    assert 0 <= verdict.reset_seconds <= WINDOW_SECONDS
    clock.advance(verdict.reset_seconds + A_LITTLE)
    assert window.admit(who).allowed


# what only Redis can show


def test_while_redis_cannot_be_asked_there_is_no_verdict():
    gone = RateLimiter(f"redis://127.0.0.1:{free_port()}/0")
    assert [gone.admit(caller(per_minute=1)) for _ in range(3)] == [None] * 3


def test_every_count_has_a_time_to_live(client):
    """Nothing may stay in a cache for ever."""
    RateLimiter(os.environ["CACHE_REDIS_URL"]).admit(caller())
    assert [0 < client.ttl(key) <= 2 * WINDOW_SECONDS for key in client.scan_iter()] == [True]
