"""Interests: decayed sums that may be added to one act at a time, at a cost that history does not change."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recommendations.contracts import Policy
from recommendations.services.learning.interests import (
    HALF_LIFE_SECONDS,
    JOIN_COSINE,
    MAX_INTERESTS,
    InterestSums,
    decay_factor,
    unit_vectors,
)

WEIGHTS = Policy().interaction_weights
AXES = np.eye(16, dtype=np.float32)
START = 1_780_000_000.0


def learn_in_runs(acts, parts=1):
    """Add (vector, weight, moment) acts in *parts* runs, stored as float32 between them as the database does."""
    sums = InterestSums.empty(16, acts[0][2])
    for part in np.array_split(np.arange(len(acts)), parts):
        sums = InterestSums(sums.vectors.astype("<f4").copy(), sums.mass.astype("<f4").copy(), sums.moment)
        for i in part:
            sums.add(*acts[i])
    return sums


@st.composite
def histories(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 80))
    topics = rng.integers(draw(st.integers(1, 16)), size=n)
    vectors = unit_vectors((AXES[topics] + 0.1 * rng.normal(size=(n, 16))).astype(np.float32))
    moments = START + np.sort(rng.random(n)) * draw(st.sampled_from([60.0, 86_400.0 * 90]))
    return [(v, float(w), float(m)) for v, w, m in zip(vectors, rng.choice([0.2, 1.0, 2.0], n), moments, strict=True)]


@given(histories(), st.integers(1, 10))
def test_learning_in_parts_gives_what_learning_at_once_gives(acts, parts):
    """Incremental equals rebuilt, to 1e-4."""
    whole, pieces = learn_in_runs(acts), learn_in_runs(acts, parts)
    pieces.decay_to(whole.moment)
    np.testing.assert_allclose(pieces.vectors, whole.vectors, atol=1e-4)
    np.testing.assert_allclose(pieces.mass, whole.mass, atol=1e-4)


@given(histories())
def test_there_are_never_more_interests_than_the_limit(acts):
    """So an act costs the same after fifty thousand as after five."""
    sums = learn_in_runs(acts)
    assert 1 <= len(sums.mass) <= MAX_INTERESTS
    assert sums.vectors.shape == (len(sums.mass), 16)


@given(histories())
def test_no_weight_is_lost_or_invented(acts):
    """Joining and merging move mass, and what is left is each weight times its own decay."""
    sums = learn_in_runs(acts)
    expected = sum(weight * decay_factor(sums.moment - moment) for _, weight, moment in acts)
    assert np.isclose(float(sums.mass.sum()), expected, rtol=1e-4)


def test_a_sum_halves_with_every_half_life():
    sums = learn_in_runs([(AXES[0], 1.0, START)])
    sums.decay_to(START + HALF_LIFE_SECONDS)
    np.testing.assert_allclose(sums.mass, [0.5])
    np.testing.assert_allclose(sums.vectors[0], AXES[0] / 2)


def test_a_late_act_counts_as_if_it_had_come_in_time():
    """Out of order gives what in order gives, as long as the acts belong to the same interest."""
    acts = [(AXES[0], 1.0, START), (AXES[0], 2.0, START + HALF_LIFE_SECONDS)]
    early, late = learn_in_runs(acts), learn_in_runs(acts[::-1])
    np.testing.assert_allclose(early.vectors, late.vectors, rtol=1e-5)
    np.testing.assert_allclose(early.mass, [2.5])
    assert early.moment == late.moment == START + HALF_LIFE_SECONDS


def test_likeness_decides_between_joining_and_opening():
    near = unit_vectors((AXES[0] + AXES[1] / 2)[None])[0]
    assert near @ AXES[0] > JOIN_COSINE
    sums = learn_in_runs([(AXES[0], 1.0, START), (near, 1.0, START), (AXES[5], 1.0, START)])
    assert len(sums.mass) == 2


def test_the_two_most_alike_are_merged_when_there_is_no_room():
    half = unit_vectors((AXES[0] + 1.8 * AXES[1])[None])[0]
    acts = [(axis, 1.0, START) for axis in AXES[[0, *range(2, 2 + MAX_INTERESTS - 1)]]]
    sums = learn_in_runs([*acts, (half, 1.0, START)])
    assert len(sums.mass) == MAX_INTERESTS
    assert sums.mass.tolist().count(2.0) == 1
    np.testing.assert_allclose(sums.vectors[sums.mass.argmax()], AXES[0] + half, atol=1e-6)


def test_every_kind_of_act_has_a_weight_that_is_not_zero():
    assert all(WEIGHTS.values())
    assert {kind for kind, weight in WEIGHTS.items() if weight < 0} == {"hide", "not_interested", "report"}
