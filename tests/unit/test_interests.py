"""Interests: decayed sums that are updated one interaction at a time, at a cost independent of the history."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recommendations.contracts import Policy
from recommendations.services.learning.interests import InterestSums, SessionVector, unit_vectors

WEIGHTS = Policy().interaction_weights
AXES = np.eye(16, dtype=np.float32)
START = 1_780_000_000.0
HALF_LIFE_SECONDS = 56 * 86_400


def learn_in_runs(interactions, parts=1):
    """Add (vector, weight, moment) interactions in *parts* runs, with float32 between them as in the database."""
    sums = InterestSums.empty(16, interactions[0][2])
    for part in np.array_split(np.arange(len(interactions)), parts):
        sums = InterestSums(sums.vectors.astype("<f4").copy(), sums.mass.astype("<f4").copy(), sums.moment)
        for i in part:
            sums.add(*interactions[i])
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
def test_learning_in_parts_gives_the_same_as_learning_at_once(interactions, parts):
    """Incremental and full learning agree to 1e-4."""
    at_once, in_parts = learn_in_runs(interactions), learn_in_runs(interactions, parts)
    in_parts.decay_to(at_once.moment)
    np.testing.assert_allclose(in_parts.vectors, at_once.vectors, atol=1e-4)
    np.testing.assert_allclose(in_parts.mass, at_once.mass, atol=1e-4)


@given(histories())
def test_there_are_never_more_interests_than_the_limit(interactions):
    """So an interaction costs the same after fifty thousand as after five."""
    sums = learn_in_runs(interactions)
    assert 1 <= len(sums.mass) <= 6
    assert sums.vectors.shape == (len(sums.mass), 16)


@given(histories())
def test_the_total_weight_is_preserved(interactions):
    """Joining and merging move mass. The total is the sum of the weights, each with its own decay."""
    sums = learn_in_runs(interactions)
    expected = sum(weight * 0.5 ** ((sums.moment - moment) / HALF_LIFE_SECONDS) for _, weight, moment in interactions)
    assert np.isclose(float(sums.mass.sum()), expected, rtol=1e-4)


def test_a_sum_halves_with_every_half_life():
    sums = learn_in_runs([(AXES[0], 1.0, START)])
    sums.decay_to(START + HALF_LIFE_SECONDS)
    np.testing.assert_allclose(sums.mass, [0.5])
    np.testing.assert_allclose(sums.vectors[0], AXES[0] / 2)


def test_a_late_interaction_counts_as_if_it_had_arrived_in_time():
    """The order does not matter if the interactions belong to the same interest."""
    interactions = [(AXES[0], 1.0, START), (AXES[0], 2.0, START + HALF_LIFE_SECONDS)]
    early, late = learn_in_runs(interactions), learn_in_runs(interactions[::-1])
    np.testing.assert_allclose(early.vectors, late.vectors, rtol=1e-5)
    np.testing.assert_allclose(early.mass, [2.5])
    assert early.moment == late.moment == START + HALF_LIFE_SECONDS


def test_similarity_decides_between_joining_and_opening_an_interest():
    """An interaction joins an interest from a cosine of 0.55 on."""
    for cosine, interests in ((0.54, 2), (0.56, 1), (-0.9, 2)):
        vector = np.float32(cosine) * AXES[0] + np.float32((1 - cosine**2) ** 0.5) * AXES[1]
        assert len(learn_in_runs([(AXES[0], 1.0, START), (vector, 1.0, START)]).mass) == interests


def test_the_two_most_similar_interests_are_merged_at_the_limit():
    half = unit_vectors((AXES[0] + 1.8 * AXES[1])[None])[0]
    interactions = [(axis, 1.0, START) for axis in AXES[[0, 2, 3, 4, 5, 6]]]
    sums = learn_in_runs([*interactions, (half, 1.0, START)])
    assert len(sums.mass) == 6
    assert sums.mass.tolist().count(2.0) == 1
    np.testing.assert_allclose(sums.vectors[sums.mass.argmax()], AXES[0] + half, atol=1e-6)


def test_every_kind_of_interaction_has_a_nonzero_weight():
    assert all(WEIGHTS.values())
    assert {kind for kind, weight in WEIGHTS.items() if weight < 0} == {"hide", "not_interested", "report"}


def test_an_interest_halves_every_56_days():
    sums = InterestSums(np.array([[4.0, 0.0]], np.float32), np.array([4.0], np.float32), 0.0)
    sums.add(np.array([1.0, 0.0], np.float32), 1.0, HALF_LIFE_SECONDS)
    np.testing.assert_allclose(sums.vectors, [[3.0, 0.0]])
    np.testing.assert_allclose(sums.mass, [3.0])


def test_the_session_vector_halves_every_15_minutes():
    session = SessionVector(np.array([4.0, 0.0], np.float32), 0.0)
    session.add(np.array([0.0, 1.0], np.float32), 1.0, 900.0)
    np.testing.assert_allclose(session.vector, [2.0, 1.0])
    session.add(np.array([0.0, 1.0], np.float32), 2.0, 0.0)
    np.testing.assert_allclose(session.vector, [2.0, 2.0])
    assert session.moment == 900.0
