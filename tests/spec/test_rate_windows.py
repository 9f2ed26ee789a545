"""The behavior of every `RateWindow`, and of `RateLimiter` with Redis alone."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from access.memory_window import MemoryWindow
from access.throttles import WINDOW_SECONDS, RateLimitBucket, RateLimiter
from tests.servers import free_port

CLOCK_TOLERANCE = 0.2
"""Seconds to wait beyond a moment, because Redis has its own clock."""


def redis_window(request, clock):
    """Return a window in the empty Redis of the fixture, whose keys age with *clock*."""
    request.getfixturevalue("client")
    return RateLimiter(os.environ["CACHE_REDIS_URL"])


FACTORIES = {"redis": redis_window, "memory": lambda request, clock: MemoryWindow(clock=clock)}


@pytest.fixture(params=FACTORIES)
def window(request, clock):
    return FACTORIES[request.param](request, clock)


def bucket(name="one", per_minute=10, policy="key"):
    return RateLimitBucket(policy, name, per_minute)


def count_admitted(window, count, counted=None):
    """Return how many of *count* requests are admitted."""
    return sum(window.admit(counted or bucket()).allowed for _ in range(count))


# Every implementation


def test_the_limit_admits_exactly_as_many_requests(window):
    decisions = [window.admit(bucket(per_minute=3)) for _ in range(5)]
    assert [decision.allowed for decision in decisions] == [True, True, True, False, False]
    assert [decision.remaining for decision in decisions] == [2, 1, 0, 0, 0]
    assert {(decision.policy, decision.limit) for decision in decisions} == {("key", 3)}


def test_each_caller_and_policy_has_a_separate_window(window):
    assert count_admitted(window, 12) == 10
    assert count_admitted(window, 12, bucket("another")) == 10
    assert count_admitted(window, 12, bucket(policy="member")) == 10


def test_the_weight_of_the_previous_window_decreases(window, clock):
    """80 s after ten requests, 40 s of the previous window are within the last minute: 10 × 40/60, rounded to 6."""
    assert count_admitted(window, 10) == 10
    clock.advance(80)
    assert count_admitted(window, 10) == 4


def test_a_rejected_request_is_not_counted(window, clock):
    """Repeated attempts do not extend the wait."""
    count_admitted(window, 50)
    clock.advance(80)
    assert count_admitted(window, 10) == 4


def test_requests_count_fully_within_the_window(window, clock):
    count_admitted(window, 10)
    clock.advance(WINDOW_SECONDS - 1)
    assert count_admitted(window, 1) == 0


def test_requests_do_not_count_after_two_windows(window, clock):
    count_admitted(window, 10)
    clock.advance(2 * WINDOW_SECONDS + CLOCK_TOLERANCE)
    assert count_admitted(window, 12) == 10


def test_the_first_request_starts_a_whole_window(window):
    decision = window.admit(bucket())
    assert decision.reset_seconds == pytest.approx(WINDOW_SECONDS, abs=CLOCK_TOLERANCE)


def test_units_are_admitted_together_or_not_at_all(window):
    decisions = [window.admit(bucket(per_minute=10), units) for units in (6, 5, 4, 1)]
    assert [decision.allowed for decision in decisions] == [True, False, True, False]
    assert [decision.remaining for decision in decisions] == [4, 4, 0, 0]


@settings(max_examples=40)
@given(
    earlier=st.lists(st.tuples(st.integers(1, 10), st.floats(0, 70)), max_size=5),
    first=st.integers(0, 1),
    units=st.integers(1, 9),
    limit=st.integers(10, 20),
)
def test_a_request_is_admitted_after_the_time_to_retry_and_not_much_earlier(
    window, clock, earlier, first, units, limit
):
    """Also if its first unit is counted before the others."""
    clock.advance(2 * WINDOW_SECONDS + CLOCK_TOLERANCE)
    counted = bucket(per_minute=limit)
    for count, seconds in earlier:
        window.admit(counted, count)
        clock.advance(seconds)
    while (decision := window.admit(counted, units, first)).allowed:
        assert decision.retry_seconds == 0
    assert 0 < decision.retry_seconds <= 2 * WINDOW_SECONDS
    clock.advance(max(0, decision.retry_seconds - 2 * CLOCK_TOLERANCE))
    is_early = decision.retry_seconds > 3 * CLOCK_TOLERANCE
    assert not (is_early and window.admit(counted, units + first).allowed)
    clock.advance(3 * CLOCK_TOLERANCE)
    assert not first or window.admit(counted, first).allowed
    assert window.admit(counted, units, first).allowed


PAUSES = st.lists(st.tuples(st.integers(0, 12), st.floats(0, 70)), max_size=6)
"""Numbers of concurrent requests, and seconds until the next."""


@settings(max_examples=40)
@given(pauses=PAUSES, limit=st.integers(1, 10))
def test_a_request_after_the_reset_time_is_admitted(window, clock, pauses, limit):
    """For any earlier requests, `remaining` is below the limit and `reset_seconds` within a window."""
    clock.advance(2 * WINDOW_SECONDS + CLOCK_TOLERANCE)
    counted = bucket(per_minute=limit)
    for count, seconds in pauses:
        count_admitted(window, count, counted)
        clock.advance(seconds)
    decision = window.admit(counted)
    assert 0 <= decision.remaining < limit or not decision.allowed
    while decision.allowed and decision.remaining:
        decision = window.admit(counted)
    assert 0 <= decision.reset_seconds <= WINDOW_SECONDS
    clock.advance(decision.reset_seconds + CLOCK_TOLERANCE)
    assert window.admit(counted).allowed


# Only Redis


def test_there_is_no_decision_without_redis():
    limiter = RateLimiter(f"redis://127.0.0.1:{free_port()}/0")
    assert [limiter.admit(bucket(per_minute=1)) for _ in range(3)] == [None] * 3


def test_every_count_has_a_time_to_live(client):
    """No key stays in the cache forever."""
    RateLimiter(os.environ["CACHE_REDIS_URL"]).admit(bucket())
    assert [0 < client.ttl(key) <= 2 * WINDOW_SECONDS for key in client.scan_iter()] == [True]
