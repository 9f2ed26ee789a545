"""
How interests are learned: pure arithmetic on decayed sums, no database.

An interest is a sum of the unit vectors of posts, each times the weight of the act and 2^(-age / half-life). Moving a
sum from one moment to another is one multiplication, so an act costs the same whatever came before it. A new act joins
the interest it is nearest to, or opens one of its own if it is unlike all (a sequential form of leader clustering,
Hartigan 1975, ch. 3); when there is no room, the two nearest interests become one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recommendations.contracts import ENGAGEMENT_HALF_LIFE_SECONDS, Float32Array

MAX_INTERESTS = 6
"""Interests of a kind that a member has at most. Changes the answer and, a little, the speed."""
JOIN_COSINE = 0.55
"""From this similarity on, an act belongs to an interest. Changes the answer."""
HALF_LIFE_SECONDS = 4 * ENGAGEMENT_HALF_LIFE_SECONDS
"""Tastes outlast trends. Changes the answer."""

MIN_POSITIVE_WEIGHT = 0.5
"""From this weight on an act speaks for the post: it counts as a success of an impression. Changes the answer."""


@dataclass
class InterestSums:
    """Interests of one sign, as they stand at *moment* (Unix seconds)."""

    vectors: Float32Array  # (k, d)
    mass: Float32Array  # (k,)
    moment: float

    @classmethod
    def empty(cls, dimension: int, moment: float) -> InterestSums:
        """Return no interests."""
        return cls(np.zeros((0, dimension), np.float32), np.zeros(0, np.float32), moment)

    def decay_to(self, moment: float) -> None:
        """Let the sums stand for *moment*."""
        factor = np.float32(decay_factor(moment - self.moment))
        self.vectors, self.mass, self.moment = self.vectors * factor, self.mass * factor, moment

    def add(self, vector: Float32Array, weight: float, moment: float) -> None:
        """Add one act of *weight* above 0 on a post with this unit *vector*. A late act counts for less."""
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
        """Return the interest most like *vector*, and its cosine; -1 and -1 if there is none."""
        if not len(self.mass):
            return -1, -1.0
        cosines = unit_vectors(self.vectors) @ vector
        return int(cosines.argmax()), float(cosines.max())

    def merge_nearest_pair(self) -> None:
        """Make one interest of the two most alike; of equals, the earlier."""
        unit = unit_vectors(self.vectors)
        similarity = unit @ unit.T
        similarity[np.tril_indices(len(unit))] = -2
        a, b = np.unravel_index(similarity.argmax(), similarity.shape)
        self.vectors[a] += self.vectors[b]
        self.mass[a] += self.mass[b]
        self.vectors, self.mass = np.delete(self.vectors, b, axis=0), np.delete(self.mass, b)


SESSION_HALF_LIFE_SECONDS = 900.0
"""After a quarter of an hour an act counts half in the session vector. Changes the answer."""


@dataclass
class SessionVector:
    """What the member does right now: a sum that fades within the hour, as it stands at *moment* (Unix seconds)."""

    vector: Float32Array  # (d,)
    moment: float

    def add(self, vector: Float32Array, weight: float, moment: float) -> None:
        """Add one act of *weight* above 0; a late one counts for less."""
        latest = max(self.moment, moment)
        self.vector = self.vector * np.float32(2.0 ** ((self.moment - latest) / SESSION_HALF_LIFE_SECONDS))
        self.vector += vector * np.float32(weight * 2.0 ** ((moment - latest) / SESSION_HALF_LIFE_SECONDS))
        self.moment = latest


def decay_factor(seconds: float) -> float:
    """Return what is left of a weight after *seconds*."""
    return float(2.0 ** (-seconds / HALF_LIFE_SECONDS))


def unit_vectors(sums: Float32Array) -> Float32Array:
    """Return the rows at unit length; zero stays zero."""
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)
