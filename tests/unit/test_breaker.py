"""A breaker opens after repeated failures, allows one trial after a while, and closes after a success."""

import pytest

from monitoring.breaker import Breaker, BreakerState


@pytest.fixture
def open_breaker():
    breaker = Breaker(failures=3, window_seconds=30, cool_off_seconds=15)
    for now in (0, 1, 2):
        breaker.record_failure(now)
    return breaker


def test_few_or_rare_failures_do_not_open_it():
    breaker = Breaker(failures=3, window_seconds=30)
    for now in (0, 20, 40, 60, 80):
        breaker.record_failure(now)
        assert breaker.allows(now)


def test_repeated_failures_open_it(open_breaker):
    assert open_breaker.state(2) is BreakerState.OPEN and not open_breaker.allows(16)


def test_one_trial_is_allowed_after_the_cool_off(open_breaker):
    assert open_breaker.state(17) is BreakerState.HALF_OPEN
    assert [open_breaker.allows(17), open_breaker.allows(17), open_breaker.allows(31)] == [True, False, False]


def test_a_successful_trial_closes_it(open_breaker):
    assert open_breaker.allows(17)
    open_breaker.record_success()
    assert open_breaker.state(17) is BreakerState.CLOSED
    open_breaker.record_failure(18)
    assert open_breaker.allows(18)


def test_a_failed_trial_keeps_it_open(open_breaker):
    assert open_breaker.allows(17)
    open_breaker.record_failure(20)
    assert not open_breaker.allows(34) and open_breaker.allows(35)


def test_a_trial_without_a_result_is_followed_by_another(open_breaker):
    assert open_breaker.allows(17) and open_breaker.allows(32)
