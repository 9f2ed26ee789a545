"""The score parts, except taste and dislike. The engine computes those two when it adds up the score."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recommendations.contracts import LEARNED_FLOOR, Affinity, Candidates, Float32Array, Query, is_in_sorted


@dataclass(frozen=True)
class Recency:
    """1 for a post created now, and half of that after each half-life of the policy."""

    name: str = field(default="recency", init=False)

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`. A post from the future counts as created now, and a post without a date as very old."""
        created_at = np.where(np.isnan(candidates.created_at), 0, candidates.created_at)
        hours = np.maximum(query.now - created_at, 0) / 3600
        return np.exp2(-hours / query.policy.recency_half_life_hours).astype(np.float32)


@dataclass(frozen=True)
class Popularity:
    """
    The popularity of all time, from 0 to 1 (`popularity_sums.RelativePopularity`).

    The feeds that are the same for everyone have a weight of their own: `trending_popularity`.
    """

    name: str = "popularity"

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`."""
        return candidates.popularity


@dataclass(frozen=True)
class YearPopularity:
    """The popularity of the last year, from 0 to 1 (`popularity_sums.RelativePopularity`)."""

    name: str = field(default="year_popularity", init=False)

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`."""
        return candidates.year_popularity


@dataclass(frozen=True)
class FewLikesPopularity:
    """
    The popularity of all time, divided by (1 + n)² for a viewer with n likes.

    Interests that a few views suggest find less than popularity does, and co-likes need a like. docs/evaluation.md has
    the figures.
    """

    name: str = field(default="few_likes_popularity", init=False)

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`."""
        return candidates.popularity / np.float32((1 + query.like_count) ** 2)


@dataclass(frozen=True)
class Trend:
    """The popularity of the last hour, day and week, from 0 to 1 (`popularity_sums.RelativePopularity`)."""

    name: str = field(default="trend", init=False)

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`."""
        return candidates.trend


@dataclass(frozen=True)
class FollowedAuthor:
    """1 for a post by an author whom the viewer follows."""

    name: str = field(default="follow", init=False)

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`."""
        return is_in_sorted(candidates.author_ids, query.followed_author_ids).astype(np.float32)


@dataclass(frozen=True)
class AuthorAffinity:
    """The viewer's affinity for the author, at least `LEARNED_FLOOR`. `ShowLess` scores anything below that."""

    name: str = field(default="author", init=False)

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`."""
        return np.maximum(query.author_affinity.weights_of(candidates.author_ids), LEARNED_FLOOR)


@dataclass(frozen=True)
class TopicAffinity:
    """The highest positive affinity for a tag of the post plus the lowest negative one, at least `LEARNED_FLOOR`."""

    name: str = field(default="topic", init=False)

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`."""
        # Transposed, because NumPy reduces over rows ten times as fast as over columns.
        weights = query.topic_affinity.weights_of(candidates.tag_ids.T)
        return weights.max(axis=0, initial=0) + np.maximum(weights.min(axis=0, initial=0), LEARNED_FLOOR)


@dataclass(frozen=True)
class ShowLess:
    """
    Minus the strength of the viewer's negative feedback on the author, on a tag and on the kind, from 0 to 1 for each.

    An affinity below `LEARNED_FLOOR` comes from negative feedback. Its strength is 0 at the floor and 1 at -1.
    """

    name: str = field(default="show_less", init=False)

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`."""
        part = np.zeros(len(candidates), np.float32)
        if not query.author_affinity.is_learned:
            part += show_less_strength(query.author_affinity.weights_of(candidates.author_ids))
        if not query.topic_affinity.is_learned:
            part += show_less_strength(query.topic_affinity.weights_of(candidates.tag_ids.T).min(axis=0, initial=0))
        if not query.kind_affinity.is_learned:
            part += show_less_strength(query.kind_affinity.weights_of(candidates.kind_ids))
        return part


def show_less_strength(weights: Float32Array) -> Float32Array:
    """Return minus the strength of negative feedback in each affinity, from -1 to 0."""
    return np.minimum((weights - LEARNED_FLOOR) / (1 + LEARNED_FLOOR), 0).astype(np.float32)


@dataclass(frozen=True)
class Quality:
    """The rate of positive interactions compared with the average, 0 to 1 (`PostCounts.quality`)."""

    name: str = field(default="quality", init=False)

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`."""
        return candidates.quality


@dataclass(frozen=True)
class ColdTaste:
    """The similarity of non-resident posts. The engine has no vectors of them, so their taste part is 0."""

    name: str = field(default="cold_taste", init=False)

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`."""
        return candidates.similarity


@dataclass(frozen=True)
class ExplorationBonus:
    """1 for a post that was never served, falling to 0 at the end of its exploration."""

    name: str = field(default="exploration", init=False)

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`."""
        return np.maximum(1 - candidates.served_count / np.float32(query.policy.exploration_max_served), 0)


@dataclass(frozen=True)
class Fatigue:
    """Minus the fatigue of the post, 0 to 1: the viewer was served it recently."""

    name: str = field(default="fatigue", init=False)

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`."""
        return -query.post_fatigue.weights_of(candidates.post_ids)


@dataclass(frozen=True)
class Collaborative:
    """One of the collaborative parts of the query, by post: 0 for a post that no reaction of the viewer speaks for."""

    name: str
    """`item_weights`, `co_liked` or `liked_next`: a field of `Query`, and a weight of `Policy`."""

    def __call__(self, query: Query, candidates: Candidates) -> Float32Array:
        """See `Scorer`."""
        scores: Affinity = getattr(query, self.name)
        return scores.weights_of(candidates.post_ids)
