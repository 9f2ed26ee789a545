"""The remaining requests and the reset time, computed from the two windows that Redis counts."""

import math

import pytest
from prometheus_client import REGISTRY

from access.throttles import RateLimitBucket, RateLimiter, build_decision, limit_units, rate_limit_headers
from monitoring.dependencies import MAX_FAILURES
from tests.servers import free_port


def remaining_and_reset(*window, limit=60, allowed=True):
    """
    Return the remaining requests and the seconds until the reset.

    *window* has the count and the milliseconds to live of the previous window, then of the current one.
    """
    decision = build_decision(RateLimitBucket("key", "name", limit), allowed=allowed, window=list(window))
    return decision.remaining, decision.reset_seconds


def test_before_the_first_request_the_whole_limit_remains():
    assert remaining_and_reset(None, None, None, None) == (60, 60.0)


def test_requests_of_the_current_window_count_in_full():
    """A window is stored for two minutes. In the second minute it is the previous window, and its weight decreases."""
    assert remaining_and_reset(None, None, b"5", 95_000) == (55, 35.0)


@pytest.mark.parametrize(("milliseconds", "remaining"), [(60_000, 30), (45_000, 38), (30_000, 45), (0, 60)])
def test_the_previous_window_counts_by_its_overlap_with_the_last_minute(milliseconds, remaining):
    """With an overlap of three quarters, 30 requests count as 22.5, rounded down to 22."""
    assert remaining_and_reset(b"30", milliseconds, 0, None)[0] == remaining


def test_the_reset_is_when_a_request_of_the_previous_window_stops_counting():
    """Of 30 requests in 60 seconds, one stops counting every two seconds: 21 s before the end, the next one in 1 s."""
    assert remaining_and_reset(b"30", 21_000, b"5", 95_000) == (45, pytest.approx(1.0))
    assert remaining_and_reset(b"30", 21_500, b"5", 61_000) == (45, pytest.approx(1.0))


def retry_seconds(*window, units, limit=60):
    bucket = RateLimitBucket("key", "name", limit)
    return build_decision(bucket, allowed=False, window=list(window), retry_units=units).retry_seconds


@pytest.mark.parametrize(
    ("window", "units", "seconds"),
    [
        # Of 60 units of the previous window 30 count. One expires each second, the first of them at once.
        ((b"60", 30_000, b"30", 90_000), 1, 0.001),
        ((b"60", 30_000, b"0", 90_000), 59, 29 - 1 + 0.001),
        # Nothing is free before the current window ends in 20 s. A second later, one unit of 60 has expired.
        ((None, None, b"60", 80_000), 1, 20.001),
        ((None, None, b"60", 80_000), 30, 20 + 29.001),
        ((None, None, b"60", 80_000), 60, 20 + 59.001),
        ((None, None, None, None), 60, 0),
    ],
)
def test_the_time_to_retry_is_when_all_units_of_the_request_are_free(window, units, seconds):
    assert retry_seconds(*window, units=units) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    ("limit", "earlier", "units"), [(100, 0, 50), (100, 1, 50), (3, 1, 1), (1, 0, 1), (1, 1, 0), (1_000, 1, 200)]
)
def test_a_request_counts_at_most_half_of_the_limit_and_fits_into_it(limit, earlier, units):
    counted = limit_units(200, RateLimitBucket("key", "name", limit), earlier)
    assert counted == units and counted + earlier <= limit


def test_the_remaining_requests_are_never_negative():
    assert remaining_and_reset(b"100", 60_000, b"50", 119_000)[0] == 0
    assert remaining_and_reset(-1, -1, b"5", 95_000) == (55, 35.0), "an expired window has a negative time to live"


def test_the_headers_have_the_limit_the_remaining_requests_and_whole_seconds():
    decision = build_decision(RateLimitBucket("member", "name", 60), allowed=False, window=[None, None, b"5", 94_100])
    assert not decision.allowed and math.isclose(decision.reset_seconds, 34.1)
    assert rate_limit_headers(decision) == {"RateLimit-Policy": '"member";q=60;w=60', "RateLimit": '"member";r=55;t=35'}


def count_outcomes(outcome):
    return REGISTRY.get_sample_value("recsys_throttle_events_total", {"policy": "key", "outcome": outcome}) or 0


def test_after_failures_of_redis_requests_are_not_counted_and_do_not_wait(caplog):
    """The first ones call the server. The others find its breaker open, and log nothing."""
    limiter, bucket, before = (
        RateLimiter(f"redis://127.0.0.1:{free_port()}/0"),
        RateLimitBucket("key", "name", 60),
        count_outcomes("uncounted"),
    )
    for _ in range(5):
        assert limiter.admit(bucket) is None
    failures = [record for record in caplog.records if record.message == "throttle_failed"]
    assert len(failures) == MAX_FAILURES and count_outcomes("uncounted") - before == 5


def test_a_rejected_request_is_counted(monkeypatch):
    monkeypatch.setattr(
        RateLimiter, "_count", lambda self, bucket, units: (bucket.name == "admitted", [None, None, b"60", 119_000])
    )
    limiter, before = RateLimiter(f"redis://127.0.0.1:{free_port()}/0"), count_outcomes("rejected")
    assert [limiter.admit(RateLimitBucket("key", name, 60)).allowed for name in ("admitted", "rejected")] == [
        True,
        False,
    ]
    assert count_outcomes("rejected") - before == 1
