"""
The arithmetic of interests: decayed sums of post vectors. No database access.

An interest is a sum of the unit vectors of posts, each times the weight of the interaction and 2^(-age / half-life).
Decaying a sum to another time is one multiplication, so adding an interaction costs the same for any history. A new
interaction is added to the nearest interest, or starts a new interest if none is similar enough (a sequential form of
leader clustering, Hartigan 1975, ch. 3). If there are then too many interests, the two most similar ones are merged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recommendations.contracts import Float32Array

MAX_INTERESTS = 6
"""Maximum number of interests of each sign per member. Changes the answer and, slightly, the speed."""
IS_LATER = np.triu(np.ones((MAX_INTERESTS + 1, MAX_INTERESTS + 1), np.bool_), 1)
"""Whether the second of two interests comes after the first, when there is one too many."""
JOIN_COSINE = 0.55
"""Minimum cosine at which an interaction is added to an existing interest. Changes the answer."""
HALF_LIFE_SECONDS = 56 * 86_400.0
"""Half-life of an interaction in the interests of a member: 56 days. Changes the answer."""


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

    def add(self, vector: Float32Array, weight: float, moment: float) -> None:
        """Add an interaction of *weight* above 0 with the post of this unit *vector* (d,). A late one counts less."""
        if moment > self.moment:
            self.decay_to(moment)
        weight *= decay_factor(self.moment - moment)
        nearest, similarity = self.nearest(vector)
        if similarity < JOIN_COSINE:
            self.vectors = np.vstack([self.vectors, vector[None] * np.float32(weight)])
            self.mass = np.append(self.mass, weight).astype(np.float32)
            if len(self.mass) > MAX_INTERESTS:
                self.merge_nearest_pair()
        else:
            self.vectors[nearest] += vector * np.float32(weight)
            self.mass[nearest] += weight

    def nearest(self, vector: Float32Array) -> tuple[int, float]:
        """Return the index of the interest most similar to *vector* (d,) and its cosine; -1 and -1 if there is none."""
        if not len(self.mass):
            return -1, -1.0
        cosines = unit_vectors(self.vectors) @ vector
        return int(cosines.argmax()), float(cosines.max())

    def merge_nearest_pair(self) -> None:
        """Merge the two most similar interests. Of equally similar pairs, merge the first."""
        unit = unit_vectors(self.vectors)
        similarity = np.where(IS_LATER, unit @ unit.T, -2)
        a, b = divmod(int(similarity.argmax()), len(unit))
        self.vectors[a] += self.vectors[b]
        self.mass[a] += self.mass[b]
        is_kept = np.arange(len(unit)) != b
        self.vectors, self.mass = self.vectors[is_kept], self.mass[is_kept]


SESSION_HALF_LIFE_SECONDS = 900.0
"""Half-life of an interaction in the session vector: 15 minutes. Changes the answer."""


@dataclass
class SessionVector:
    """The member's most recent interactions: a sum that fades within an hour, decayed to *moment* (Unix seconds)."""

    vector: Float32Array  # (d,)
    moment: float

    def add(self, vector: Float32Array, weight: float, moment: float) -> None:
        """Add an interaction of *weight* above 0. A late interaction counts less."""
        latest = max(self.moment, moment)
        self.vector = self.vector * np.float32(2.0 ** ((self.moment - latest) / SESSION_HALF_LIFE_SECONDS))
        self.vector += vector * np.float32(weight * 2.0 ** ((moment - latest) / SESSION_HALF_LIFE_SECONDS))
        self.moment = latest


def decay_factor(seconds: float) -> float:
    """Return the fraction of a weight that is left after *seconds*: 2^(-seconds / `HALF_LIFE_SECONDS`)."""
    return float(2.0 ** (-seconds / HALF_LIFE_SECONDS))


def unit_vectors(sums: Float32Array) -> Float32Array:
    """Return the rows (k, d) scaled to unit length. A zero row stays zero."""
    # What `np.linalg.norm` computes, in half the time.
    lengths: Float32Array = np.sqrt(np.add.reduce(sums * sums, axis=1, keepdims=True))
    lengths[lengths == 0] = 1
    return sums / lengths
