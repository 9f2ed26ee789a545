"""What the catalogue reckons from counts: quality, and whether an audition is worth going on with."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recommendations.stores.resident_catalogue import Counts, is_promising


def counts(positives, impressions):
    n = len(positives)
    return Counts(np.zeros(n), np.array(positives, np.float32), np.array(impressions, np.float32))


def qualities(positives, impressions):
    return counts(positives, impressions).qualities(np.arange(len(positives), dtype=np.int32))


def test_the_usual_post_has_a_quality_of_a_half_and_so_has_one_that_nobody_met():
    """Among posts of one rate every post is the usual one, however often it was served."""
    np.testing.assert_allclose(qualities([5, 50, 500, 0], [50, 500, 5000, 0]), 0.5, rtol=1e-6)
    np.testing.assert_allclose(qualities([0, 0], [0, 0]), 0.5)


def test_better_than_usual_is_more_than_a_half_and_certainty_comes_with_impressions():
    liked_little, liked, passed_over, passed_over_long = qualities([2, 200, 0, 0], [10, 1000, 10, 1000])
    assert passed_over_long < passed_over < 0.5 < liked_little < liked < 1


MET = st.tuples(st.integers(0, 10**6), st.integers(0, 10**6))


@given(st.lists(MET, min_size=1, max_size=20))
def test_quality_lies_between_zero_and_one(met):
    """For any counts, also where there are more positive acts than impressions."""
    found = qualities([p for p, _ in met], [i for _, i in met])
    assert found.dtype == np.float32 and np.isfinite(found).all()
    assert (found >= 0).all() and (found <= 1).all()


def going_on(positives, impressions, usual):
    return is_promising(np.array([positives], np.float32), np.array([impressions], np.float32), usual).item()


def test_an_audition_ends_when_the_post_is_certain_to_do_worse():
    assert going_on(0, 0, usual=0.05)
    assert going_on(0, 20, usual=0.05)
    assert not going_on(0, 100, usual=0.05)
    assert going_on(5, 100, usual=0.05)
    assert not going_on(1, 300, usual=0.05)


@given(st.integers(0, 200), st.integers(0, 200), st.floats(0.001, 0.5))
def test_one_more_positive_act_never_ends_an_audition_that_one_more_passing_over_does_not_begin(
    positives, passed_over, usual
):
    """The rule is monotone: what goes on would go on with one like more, and with one passing over less."""
    if going_on(positives, positives + passed_over, usual):
        assert going_on(positives + 1, positives + 1 + passed_over, usual)
        assert going_on(positives, positives + max(passed_over - 1, 0), usual)


@given(st.integers(0, 100), st.integers(0, 300))
def test_a_post_that_does_as_the_usual_one_is_never_cut_short(positives, passed_over):
    rate = (1 + positives) / (2 + positives + passed_over)
    assert going_on(positives, positives + passed_over, rate * 0.999)
