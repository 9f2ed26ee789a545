"""What is left of a limit and when there is more room, from the two windows that Redis counts."""

import math

import pytest
import redis
from prometheus_client import REGISTRY

from access import throttles
from access.throttles import RateLimitBucket, RateLimiter, build_decision, rate_limit_headers
from tests.servers import free_port


def told(*window, limit=60, allowed=True):
    """Return what is left and the seconds until there is more, of the windows (count, milliseconds to live) × 2."""
    found = build_decision(RateLimitBucket("key", "name", limit), allowed=allowed, window=list(window))
    return found.remaining, found.reset_seconds


def test_before_any_request_all_is_left_and_a_window_lasts_a_minute():
    assert told(None, None, None, None) == (60, 60.0)


def test_the_present_window_counts_in_full():
    """It lives two minutes, and after one it is the window before, which weighs less and less."""
    assert told(None, None, b"5", 95_000) == (55, 35.0)


@pytest.mark.parametrize(("milliseconds", "left"), [(60_000, 30), (45_000, 38), (30_000, 45), (0, 60)])
def test_the_window_before_counts_by_the_share_of_it_that_is_within_a_minute(milliseconds, left):
    """Of 30 requests, three quarters of a minute's are 22.5, which count as 22."""
    assert told(b"30", milliseconds, 0, None)[0] == left


def test_there_is_more_room_when_one_request_of_the_window_before_leaves():
    """30 requests in 60 seconds leave one every two seconds; 21 seconds before the end, the next does in one."""
    assert told(b"30", 21_000, b"5", 95_000) == (45, pytest.approx(1.0))
    assert told(b"30", 21_500, b"5", 61_000) == (45, pytest.approx(1.0))


def test_never_less_than_nothing_is_left():
    assert told(b"100", 60_000, b"50", 119_000)[0] == 0
    assert told(-1, -1, b"5", 95_000) == (55, 35.0), "a window that is gone has a time to live below zero"


def test_the_headers_say_the_limit_what_is_left_and_whole_seconds():
    found = build_decision(RateLimitBucket("member", "name", 60), allowed=False, window=[None, None, b"5", 94_100])
    assert not found.allowed and math.isclose(found.reset_seconds, 34.1)
    assert rate_limit_headers(found) == {"RateLimit-Policy": '"member";q=60;w=60', "RateLimit": '"member";r=55;t=35'}


def count_outcomes(outcome):
    return REGISTRY.get_sample_value("recsys_throttle_events_total", {"policy": "key", "outcome": outcome}) or 0


def test_after_a_failure_of_redis_requests_are_not_counted_for_a_second(monkeypatch):
    """Only one request waits for an unreachable Redis."""
    calls, moment = [], [100.0]

    def fail(self, bucket):
        calls.append(bucket.name)
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(RateLimiter, "_count", fail)
    monkeypatch.setattr(throttles, "monotonic", lambda: moment[0])
    limiter, bucket, before = (
        RateLimiter(f"redis://127.0.0.1:{free_port()}/0"),
        RateLimitBucket("key", "name", 60),
        count_outcomes("uncounted"),
    )
    for moment[0] in (100.0, 100.5, 100.9, 101.1, 102.0):
        assert limiter.admit(bucket) is None
    assert len(calls) == 2 and count_outcomes("uncounted") - before == 5


def test_a_rejected_request_is_counted(monkeypatch):
    monkeypatch.setattr(RateLimiter, "_count", lambda self, bucket: (bucket.name == "in", [None, None, b"60", 119_000]))
    limiter, before = RateLimiter(f"redis://127.0.0.1:{free_port()}/0"), count_outcomes("rejected")
    assert [limiter.admit(RateLimitBucket("key", name, 60)).allowed for name in ("in", "out")] == [True, False]
    assert count_outcomes("rejected") - before == 1
