"""A breaker opens after repeated failure, lets one trial through after a while, and closes by itself."""

import pytest

from recommendations.services.breaker import Breaker, State


@pytest.fixture
def opened():
    breaker = Breaker(failures=3, window_seconds=30, cool_off_seconds=15)
    for now in (0, 1, 2):
        breaker.failed(now)
    return breaker


def test_few_failures_or_rare_ones_do_not_open_it():
    breaker = Breaker(failures=3, window_seconds=30)
    for now in (0, 20, 40, 60, 80):
        breaker.failed(now)
        assert breaker.allows(now)


def test_repeated_failure_opens_it(opened):
    assert opened.state(2) is State.OPEN and not opened.allows(16)


def test_one_trial_is_let_through(opened):
    assert opened.state(17) is State.HALF_OPEN
    assert [opened.allows(17), opened.allows(17), opened.allows(31)] == [True, False, False]


def test_a_trial_that_goes_well_closes_it(opened):
    assert opened.allows(17)
    opened.succeeded()
    assert opened.state(17) is State.CLOSED
    opened.failed(18)
    assert opened.allows(18)


def test_a_trial_that_fails_keeps_it_open(opened):
    assert opened.allows(17)
    opened.failed(20)
    assert not opened.allows(34) and opened.allows(35)


def test_a_trial_of_which_nothing_is_heard_is_followed_by_another(opened):
    assert opened.allows(17) and opened.allows(32)
