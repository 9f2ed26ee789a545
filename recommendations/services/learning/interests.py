"""
The arithmetic of interests: decayed sums of post vectors. No database access.

An interest is a sum of the unit vectors of posts, each times the weight of the interaction and 2^(-age / half-life).
Decaying a sum to another time is one multiplication, so adding an interaction costs the same for any history. A new
interaction is added to the nearest interest, or starts a new interest if none is similar enough (a sequential form of
leader clustering, Hartigan 1975, ch. 3). If there are then too many interests, the two most similar ones are merged.

Which interest gets an interaction depends on all earlier interactions of the member, so those of one member are added
one after the other. Members do not depend on each other: step k adds the k-th interaction of every member at once.
`tests/unit/test_interests.py` has the plain form, which adds one interaction of one member.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from recommendations.contracts import Float32Array, Float64Array, Int64Array
from recommendations.stores.row_groups import count_before

MAX_INTERESTS = 6
"""Maximum number of interests of each sign per member. Changes the answer and, slightly, the speed."""
PLACES = np.arange(MAX_INTERESTS + 1)
"""Places for the interests of a member while one is added."""
IS_LATER = np.triu(np.ones((len(PLACES), len(PLACES)), np.bool_), 1)
"""Whether the second of two places comes after the first."""
NOTHING = np.float32(-0.0)
"""What a free place is filled with: -0 + x has the bits of x for every x, and 0 + x has not, for -0."""
JOIN_COSINE = 0.55
"""Minimum cosine at which an interaction is added to an existing interest. Changes the answer."""
HALF_LIFE_SECONDS = 56 * 86_400.0
"""Half-life of an interaction in the interests of a member: 56 days. Changes the answer."""
SESSION_HALF_LIFE_SECONDS = 900.0
"""Half-life of an interaction in the session vector: 15 minutes. Changes the answer."""


@dataclass
class InterestSums:
    """The interests of one sign, decayed to *moment* (Unix seconds)."""

    vectors: Float32Array  # (k, d)
    mass: Float32Array  # (k,)
    moment: float

    @classmethod
    def empty(cls, dimension: int, moment: float) -> InterestSums:
        """Return sums without interests."""
        return cls(np.zeros((0, dimension), np.float32), np.zeros(0, np.float32), moment)

    def decay_to(self, moment: float) -> None:
        """Decay the sums to *moment* (Unix seconds)."""
        factor = np.float32(decay_factor(moment - self.moment))
        self.vectors, self.mass, self.moment = self.vectors * factor, self.mass * factor, moment


@dataclass
class SessionVector:
    """The member's most recent interactions: a sum that fades within an hour, decayed to *moment* (Unix seconds)."""

    vector: Float32Array  # (d,)
    moment: float


class Additions(NamedTuple):
    """Interactions (n,) to add to m sums, such as those of m members. Those of one sum are ordered by time."""

    owners: Int64Array  # (n,) the position of the sum
    posts: Int64Array  # (n,) the row of the post's unit vector
    weights: Float64Array  # (n,) above 0
    times: Float64Array  # (n,) Unix seconds


class Step(NamedTuple):
    """One addition to each of the first s sums."""

    posts: Int64Array  # (s,)
    decays: Float32Array  # (s,) the fraction of the sum that is left at the time of the addition
    weights: Float32Array  # (s,) the weight of the addition; a late one counts less


def split_into_steps(
    added: Additions, moments: Float64Array, half_life: float
) -> tuple[Int64Array, list[Step], Float64Array]:
    """
    Return the order of the m sums, the sum with most additions first, and the steps for the sums in this order.

    Step k has the k-th addition of each sum that has so many. *moments* (m,) are the times of the sums. Also returns
    their times (m,) afterwards.
    """
    by_sum = np.argsort(added.owners, kind="stable")
    owners, times = added.owners[by_sum], added.times[by_sum]
    numbers = count_before(owners)
    latest = np.maximum(times, moments[owners])
    latest_before = np.where(numbers == 0, moments[owners], np.roll(latest, 1))
    fractions = fractions_left(latest - latest_before, half_life)
    late_weights = added.weights[by_sum] * fractions_left(latest - times, half_life)
    order = np.argsort(-np.bincount(owners, minlength=len(moments)), kind="stable")
    by_step = np.lexsort((np.argsort(order)[owners], numbers))
    posts = added.posts[by_sum[by_step]]
    decays, weights = fractions[by_step].astype(np.float32), late_weights[by_step].astype(np.float32)
    bounds = [0, *np.cumsum(np.bincount(numbers)).tolist()]
    moments_after = moments.copy()
    moments_after[owners] = latest  # of several values for one sum, the last one stays
    steps = [Step(posts[start:end], decays[start:end], weights[start:end]) for start, end in pairwise(bounds)]
    return order, steps, moments_after


def add_to_interests(sums: Sequence[InterestSums], added: Additions, post_vectors: Float32Array) -> list[InterestSums]:
    """Return the interests with the interactions added. *post_vectors* (p, d) are the unit vectors of the posts."""
    moments = np.array([one.moment for one in sums])
    order, steps, moments_after = split_into_steps(added, moments, HALF_LIFE_SECONDS)
    counts = np.array([len(sums[i].mass) for i in order])
    vectors = np.full((len(sums), len(PLACES), post_vectors.shape[1]), NOTHING)
    mass = np.zeros((len(sums), len(PLACES)), np.float32)
    for position, (i, count) in enumerate(zip(order, counts, strict=True)):
        vectors[position, :count], mass[position, :count] = sums[i].vectors, sums[i].mass
    for step in steps:
        size = len(step.weights)
        add_step(vectors[:size], mass[:size], counts[:size], step, post_vectors[step.posts])
    return [
        InterestSums(vectors[position, : counts[position]], mass[position, : counts[position]], moments_after[i].item())
        for i, position in enumerate(np.argsort(order))
    ]


def add_step(vectors: Float32Array, mass: Float32Array, counts: Int64Array, step: Step, added: Float32Array) -> None:
    """
    Add an interaction to the interests of each of s members, in place. *added* (s, d) are the vectors of its posts.

    *vectors* (s, k, d) and *mass* (s, k) have one place more than `MAX_INTERESTS`. The first *counts* (s,) are used.
    """
    vectors *= step.decays[:, None, None]
    mass *= step.decays[:, None]
    cosines = np.vecdot(vectors, added[:, None]) / lengths(vectors)
    cosines[counts[:, None] <= PLACES] = -1
    members, nearest = np.arange(len(counts)), cosines.argmax(axis=1)
    is_new = cosines[members, nearest] < JOIN_COSINE
    nearest[is_new] = counts[is_new]
    vectors[members, nearest] += added * step.weights[:, None]
    mass[members, nearest] += step.weights
    counts += is_new
    if len(full := np.flatnonzero(counts > MAX_INTERESTS)):
        merge_nearest_pairs(vectors, mass, full)
        counts[full] = MAX_INTERESTS


def merge_nearest_pairs(vectors: Float32Array, mass: Float32Array, members: Int64Array) -> None:
    """
    Merge the two most similar interests of each of these *members* (m,), who have one too many, in place.

    Of equally similar pairs, merge the first.
    """
    own = vectors[members]
    own_lengths = lengths(own)
    cosines = np.vecdot(own[:, :, None], own[:, None]) / (own_lengths[:, :, None] * own_lengths[:, None])
    first, second = divmod(np.where(IS_LATER, cosines, -2).reshape(len(own), -1).argmax(axis=1), len(PLACES))
    vectors[members, first] += vectors[members, second]
    mass[members, first] += mass[members, second]
    # The interests after the second move up, so that the last place is free.
    rows, kept = members[:, None], PLACES[:-1] + (PLACES[:-1] >= second[:, None])
    vectors[rows, PLACES[:-1]], mass[rows, PLACES[:-1]] = vectors[rows, kept], mass[rows, kept]
    vectors[members, -1], mass[members, -1] = NOTHING, 0


def add_to_sessions(
    sessions: Sequence[SessionVector], added: Additions, post_vectors: Float32Array
) -> list[SessionVector]:
    """Return the session vectors with the interactions added. *post_vectors*: see `add_to_interests`."""
    moments = np.array([session.moment for session in sessions])
    order, steps, moments_after = split_into_steps(added, moments, SESSION_HALF_LIFE_SECONDS)
    vectors = np.stack([sessions[i].vector for i in order])
    for step in steps:
        current = vectors[: len(step.weights)]
        current *= step.decays[:, None]
        current += post_vectors[step.posts] * step.weights[:, None]
    return [SessionVector(vectors[position], moments_after[i].item()) for i, position in enumerate(np.argsort(order))]


def fractions_left(seconds: Float64Array, half_life: float) -> Float64Array:
    """Return the fractions of weights that are left after *seconds* (n,): 2^(-seconds / half-life)."""
    # NumPy's powers may have other bits than Python's, depending on the processor.
    return np.array([2.0 ** (-value / half_life) for value in seconds.tolist()])


def decay_factor(seconds: float) -> float:
    """Return the fraction of a weight that is left after *seconds*: 2^(-seconds / `HALF_LIFE_SECONDS`)."""
    return float(2.0 ** (-seconds / HALF_LIFE_SECONDS))


def lengths(sums: Float32Array) -> Float32Array:
    """Return the lengths (…, k) of vectors (…, k, d), and 1 for zero vectors."""
    found: Float32Array = np.sqrt(np.vecdot(sums, sums))
    found[found == 0] = 1
    return found
