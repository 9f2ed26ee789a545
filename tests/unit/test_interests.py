"""
Interests: decayed sums that are updated one interaction at a time, at a cost independent of the history.

`PlainInterests` and `PlainSession` are the definition: one interaction of one member. The service adds those of many
members at once, and must give the same bits.
"""

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recommendations.contracts import Policy
from recommendations.services.learning.interests import (
    JOIN_COSINE,
    MAX_INTERESTS,
    Additions,
    InterestSums,
    SessionVector,
    add_to_interests,
    add_to_sessions,
    decay_factor,
)

WEIGHTS = Policy().interaction_weights
AXES = np.eye(16, dtype=np.float32)
START = 1_780_000_000.0
HALF_LIFE_SECONDS = 56 * 86_400


def unit_vectors(vectors):
    """Return the rows scaled to unit length."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@dataclass
class PlainInterests(InterestSums):
    """The interests of one sign of one member."""

    def add(self, vector, weight, moment):
        """Add an interaction of *weight* above 0 with the post of this unit *vector* (d,). A late one counts less."""
        if moment > self.moment:
            self.decay_to(moment)
        weight *= decay_factor(self.moment - moment)
        cosines = unit_vectors(self.vectors) @ vector
        if len(cosines) and cosines.max() >= JOIN_COSINE:
            self.vectors[cosines.argmax()] += vector * np.float32(weight)
            self.mass[cosines.argmax()] += np.float32(weight)
            return
        self.vectors = np.vstack([self.vectors, vector * np.float32(weight)])
        self.mass = np.append(self.mass, np.float32(weight))
        if len(self.mass) > MAX_INTERESTS:
            self.merge_nearest_pair()

    def merge_nearest_pair(self):
        """Merge the two most similar interests. Of equally similar pairs, merge the first."""
        unit = unit_vectors(self.vectors)
        pairs = [(a, b) for a in range(len(unit)) for b in range(a + 1, len(unit))]
        a, b = max(pairs, key=lambda pair: unit[pair[0]] @ unit[pair[1]])
        self.vectors[a] += self.vectors[b]
        self.mass[a] += self.mass[b]
        self.vectors, self.mass = np.delete(self.vectors, b, axis=0), np.delete(self.mass, b)


@dataclass
class PlainSession(SessionVector):
    """The session vector of one member."""

    def add(self, vector, weight, moment):
        """Add an interaction of *weight* above 0. A late one counts less."""
        latest = max(self.moment, moment)
        self.vector = self.vector * np.float32(2.0 ** ((self.moment - latest) / 900))
        self.vector += vector * np.float32(weight * 2.0 ** ((moment - latest) / 900))
        self.moment = latest


def to_additions(interactions, owners=None):
    """Return (vector, weight, moment) interactions as columns, of these sums or of one, and the vectors."""
    vectors, weights, moments = zip(*interactions, strict=True)
    owners = np.zeros(len(weights), np.int64) if owners is None else np.array(owners)
    additions = Additions(owners, np.arange(len(weights)), np.array(weights), np.array(moments))
    return additions, np.array(vectors, np.float32)


def learn_in_runs(interactions, parts=1):
    """Add (vector, weight, moment) interactions in *parts* runs, with float32 between them as in the database."""
    sums = InterestSums.empty(16, interactions[0][2])
    for part in np.array_split(np.arange(len(interactions)), parts):
        if len(part):
            (sums,) = add_to_interests([sums], *to_additions([interactions[i] for i in part]))
    return sums


@st.composite
def histories(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 80))
    topics = rng.integers(draw(st.integers(1, 16)), size=n)
    vectors = unit_vectors((AXES[topics] + 0.1 * rng.normal(size=(n, 16))).astype(np.float32))
    moments = START + np.sort(rng.random(n)) * draw(st.sampled_from([60.0, 86_400.0 * 90]))
    return [(v, float(w), float(m)) for v, w, m in zip(vectors, rng.choice([0.2, 1.0, 2.0], n), moments, strict=True)]


@given(st.lists(histories(), min_size=1, max_size=5), st.data())
def test_many_members_at_once_get_the_bits_of_one_interaction_after_the_other(members, data):
    """Also if a member has earlier interests, and if an interaction is older than them."""
    moments = [own[0][2] + data.draw(st.sampled_from([-1e6, 0.0, 3e6])) for own in members]
    start = [own[: data.draw(st.integers(0, 3))] for own in members]
    plain = [PlainInterests.empty(16, moment) for moment in moments]
    sessions = [PlainSession(np.zeros(16, np.float32), moment) for moment in moments]
    for i, own in enumerate(start):
        for interaction in own:
            plain[i].add(*interaction)
            sessions[i].add(*interaction)
    sums = [InterestSums(one.vectors.copy(), one.mass.copy(), one.moment) for one in plain]
    vectors = [SessionVector(one.vector.copy(), one.moment) for one in sessions]
    together = [(i, interaction) for i, own in enumerate(members) for interaction in own[len(start[i]) :]]
    together = sorted(data.draw(st.permutations(together)), key=lambda one: one[1][2])
    for i, interaction in together:
        plain[i].add(*interaction)
        sessions[i].add(*interaction)
    if together:
        added = to_additions([interaction for _, interaction in together], [i for i, _ in together])
        sums, vectors = add_to_interests(sums, *added), add_to_sessions(vectors, *added)
    assert [to_bits(one.vectors, one.mass, one.moment) for one in sums] == [
        to_bits(one.vectors, one.mass, one.moment) for one in plain
    ]
    assert [to_bits(one.vector, one.moment) for one in vectors] == [to_bits(one.vector, one.moment) for one in sessions]


def to_bits(*values):
    return [np.asarray(value).tobytes() for value in values]


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
    (sums,) = add_to_interests([sums], *to_additions([([1.0, 0.0], 1.0, HALF_LIFE_SECONDS)]))
    np.testing.assert_allclose(sums.vectors, [[3.0, 0.0]])
    np.testing.assert_allclose(sums.mass, [3.0])


def test_the_session_vector_halves_every_15_minutes():
    session = SessionVector(np.array([4.0, 0.0], np.float32), 0.0)
    (session,) = add_to_sessions([session], *to_additions([([0.0, 1.0], 1.0, 900.0)]))
    np.testing.assert_allclose(session.vector, [2.0, 1.0])
    (session,) = add_to_sessions([session], *to_additions([([0.0, 1.0], 2.0, 0.0)]))
    np.testing.assert_allclose(session.vector, [2.0, 2.0])
    assert session.moment == 900.0
