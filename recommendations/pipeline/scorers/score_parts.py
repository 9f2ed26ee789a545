"""Parts that are a column of facts. The taste parts come from the engine, in the call that adds everything up."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recommendations.contracts import LEARNED_FLOOR, Candidates, Float32Array, Query, is_in_sorted


@dataclass(frozen=True)
class Recency:
    """1 for a post of this moment, halved by every half-life of the policy."""

    name: str = field(default="recency", init=False)

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`. A post from the future counts as of this moment; one without a date as ancient."""
        created_at = np.where(np.isnan(candidates.created_at), 0, candidates.created_at)
        hours = np.maximum(query.now - created_at, 0) / 3600
        return np.exp2(-hours / query.policy.recency_half_life_hours).astype(np.float32)


@dataclass(frozen=True)
class Popularity:
    """The logarithm of the engagement of late, from 0 up to 1 at a thousand acts."""

    name: str = field(default="popularity", init=False)

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`."""
        return np.minimum(np.log1p(candidates.engagement) / np.log1p(1000.0), 1.0).astype(np.float32)


@dataclass(frozen=True)
class FollowedAuthor:
    """1 for a post by an author whom the viewer follows."""

    name: str = field(default="follow", init=False)

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`."""
        return is_in_sorted(candidates.author_ids, query.followed_author_ids).astype(np.float32)


@dataclass(frozen=True)
class AuthorAffinity:
    """How much the viewer likes the author's posts, from `LEARNED_FLOOR` to 1; more than that is `Less`'s to say."""

    name: str = field(default="author", init=False)

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`."""
        return np.maximum(query.author_affinity.weights_of(candidates.author_ids), LEARNED_FLOOR)


@dataclass(frozen=True)
class TopicAffinity:
    """How much the viewer likes the best of the post's tags, and dislikes the worst, from `LEARNED_FLOOR` to 1."""

    name: str = field(default="topic", init=False)

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`."""
        weights = query.topic_affinity.weights_of(
            candidates.tag_ids.T
        )  # NumPy compares rows ten times as fast as columns
        return weights.max(axis=0, initial=0) + np.maximum(weights.min(axis=0, initial=0), LEARNED_FLOOR)


@dataclass(frozen=True)
class ShowLess:
    """
    Minus how much less the viewer asked to see of the author, of any of the tags and of the format, 1 for each at most.

    An affinity below `LEARNED_FLOOR` was asked for, not learned: at the floor it counts 0, at -1 it counts 1.
    """

    name: str = field(default="show_less", init=False)

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`."""
        less = np.zeros(len(candidates), np.float32)
        if not query.author_affinity.is_learned:
            less += show_less_strength(query.author_affinity.weights_of(candidates.author_ids))
        if not query.topic_affinity.is_learned:
            less += show_less_strength(query.topic_affinity.weights_of(candidates.tag_ids.T).min(axis=0, initial=0))
        if not query.kind_affinity.is_learned:
            less += show_less_strength(query.kind_affinity.weights_of(candidates.kind_ids))
        return less


def show_less_strength(weights: Float32Array) -> Float32Array:
    """Return the part of affinities that is a wish for less, 0 to -1."""
    return np.minimum((weights - LEARNED_FLOOR) / (1 + LEARNED_FLOOR), 0).astype(np.float32)


@dataclass(frozen=True)
class Quality:
    """The rate of positive acts an impression beside the usual one, 0 to 1 (`Counts.qualities`)."""

    name: str = field(default="quality", init=False)

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`."""
        return candidates.quality


@dataclass(frozen=True)
class ColdTaste:
    """The similarity of posts that are not resident: the engine, which has no vector of theirs, gives them no taste."""

    name: str = field(default="cold", init=False)

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`."""
        return candidates.similarity


@dataclass(frozen=True)
class ExplorationBonus:
    """1 for a post that nobody met, falling to 0 at the end of its exploration."""

    name: str = field(default="exploration", init=False)

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`."""
        return np.maximum(1 - candidates.served_count / np.float32(query.policy.exploration_max_served), 0)


@dataclass(frozen=True)
class Fatigue:
    """Minus how tired of the post the viewer may be, 0 to 1: it was served lately, and they passed it over."""

    name: str = field(default="fatigue", init=False)

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`."""
        return -query.post_fatigue.weights_of(candidates.post_ids)
