"""
A member's reactions: which posts they liked and rejected, oldest first, each post once, at its latest reaction.

The latest reaction counts, and only the newest `MAX_REACTIONS` are stored. Both rules make the result independent of
the order in which events arrive: adding reactions one by one equals building the history from all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recommendations.contracts import BoolArray, Float64Array, Int64Array

MAX_REACTIONS = 1_000
"""Newest reactions of a member that are stored and trained on. Changes the answer, and the cost of an event."""


@dataclass(frozen=True)
class Reactions:
    """Reactions (n,) in the order of time, then of post id."""

    signed_ids: Int64Array  # (n,) the id of a liked post, minus the id of a rejected post
    times: Float64Array  # (n,) Unix seconds

    def __len__(self) -> int:
        return len(self.signed_ids)

    @classmethod
    def empty(cls) -> Reactions:
        """Return no reactions."""
        return cls(np.zeros(0, np.int64), np.zeros(0))

    @classmethod
    def from_events(cls, signed_ids: Int64Array, times: Float64Array) -> Reactions:
        """
        Return the reactions of these events (n,), in any order: the latest of each post, the newest `MAX_REACTIONS`.

        Of a like and a rejection of one post at the same time, the rejection counts.
        """
        post_ids = np.abs(signed_ids)
        order = np.lexsort((-signed_ids, times, post_ids))
        is_latest = np.ones(len(order), np.bool_)
        is_latest[:-1] = np.diff(post_ids[order]) != 0
        latest = order[is_latest]
        by_time = latest[np.lexsort((post_ids[latest], times[latest]))][-MAX_REACTIONS:]
        return cls(signed_ids[by_time], times[by_time])

    @classmethod
    def from_bytes(cls, signed_ids: bytes, times: bytes) -> Reactions:
        """Return the reactions of a row of `ReactionHistory`."""
        return cls(np.frombuffer(signed_ids, "<i8"), np.frombuffer(times, "<f8"))

    def add(self, signed_ids: Int64Array, times: Float64Array) -> Reactions:
        """Return the reactions with these events (n,) added."""
        return self.from_events(np.concatenate([self.signed_ids, signed_ids]), np.concatenate([self.times, times]))

    @cached_property
    def is_like(self) -> BoolArray:
        """Whether each reaction (n,) is a like."""
        return self.signed_ids > 0

    @cached_property
    def liked_ids(self) -> Int64Array:
        """The ids of the liked posts, oldest like first."""
        return self.signed_ids[self.is_like]

    @cached_property
    def liked_times(self) -> Float64Array:
        """When the posts of `liked_ids` were liked, in Unix seconds."""
        return self.times[self.is_like]

    @cached_property
    def rejected_ids(self) -> Int64Array:
        """The ids of the rejected posts, oldest rejection first."""
        return -self.signed_ids[~self.is_like]

    def without(self, post_ids: Int64Array) -> Reactions:
        """Return the reactions without those to these posts (n,)."""
        is_kept = ~np.isin(np.abs(self.signed_ids), post_ids)
        return Reactions(self.signed_ids[is_kept], self.times[is_kept])
