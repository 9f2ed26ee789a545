"""The input of training: who liked which post, and when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from recommendations.contracts import Float64Array, Int32Array, Int64Array

MAX_HISTORY = 500
"""Newest likes of a member that training uses. The cost of counting pairs grows with the square. Changes the answer."""


@dataclass(frozen=True)
class Likes:
    """
    Likes as columns, in the order of member, time and event. A member likes a post at most once: at the first time.

    *members* and *posts* are positions in *member_ids* and *post_ids*, not ids.
    """

    member_ids: Int64Array  # (m,) sorted
    post_ids: Int64Array  # (p,) sorted
    members: Int32Array  # (n,)
    posts: Int32Array  # (n,)
    times: Float64Array  # (n,) Unix seconds

    @classmethod
    def from_events(cls, member_ids: Int64Array, post_ids: Int64Array, times: Float64Array) -> Likes:
        """
        Return the likes of these events (n,): the first of each member and post, the newest `MAX_HISTORY` per member.

        Events of equal time keep their order.
        """
        order = np.lexsort((np.arange(len(times)), times, member_ids))
        members, posts, moments = member_ids[order], post_ids[order], times[order]
        pair_order = np.lexsort((np.arange(len(members)), posts, members))
        is_first = np.ones(len(members), np.bool_)
        same = (np.diff(members[pair_order]) == 0) & (np.diff(posts[pair_order]) == 0)
        is_first[pair_order[1:][same]] = False
        members, posts, moments = members[is_first], posts[is_first], moments[is_first]
        is_newest = count_after(members) < MAX_HISTORY
        members, posts, moments = members[is_newest], posts[is_newest], moments[is_newest]
        unique_members, member_positions = np.unique(members, return_inverse=True)
        unique_posts, post_positions = np.unique(posts, return_inverse=True)
        return cls(
            unique_members,
            unique_posts,
            member_positions.astype(np.int32),
            post_positions.astype(np.int32),
            moments,
        )

    def __len__(self) -> int:
        return len(self.members)

    @cached_property
    def matrix(self) -> sparse.csr_matrix:
        """A matrix (m, p) of float32: 1 where the member liked the post."""
        ones = np.ones(len(self), np.float32)
        return sparse.csr_matrix((ones, (self.members, self.posts)), (len(self.member_ids), len(self.post_ids)))

    @cached_property
    def post_counts(self) -> Int64Array:
        """How many members (p,) liked each post."""
        return np.bincount(self.posts, minlength=len(self.post_ids)).astype(np.int64)

    def sequences(self) -> Iterator[tuple[int, Int32Array]]:
        """Yield each member's position and the posts (k,) that they liked, oldest first."""
        ends = np.searchsorted(self.members, np.arange(len(self.member_ids)), "right")
        start = 0
        for member, end in enumerate(ends.tolist()):
            yield member, self.posts[start:end]
            start = end


def count_after(groups: Int64Array) -> Int64Array:
    """Return how many elements of the same group come after each element of *groups* (n,), which must be sorted."""
    ends = np.searchsorted(groups, groups, "right")
    return (ends - 1 - np.arange(len(groups))).astype(np.int64)
