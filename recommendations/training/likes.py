"""The input of training: who liked which post, and when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from recommendations.collaborative.reactions import Reactions
from recommendations.contracts import BoolArray, Float64Array, Int32Array, Int64Array


@dataclass(frozen=True)
class Likes:
    """
    Likes as columns, in the order of member, time and post. A member likes a post at most once.

    *members* and *posts* are positions in *member_ids* and *post_ids*, not ids. Every member and post has a like.
    """

    member_ids: Int64Array  # (m,) sorted
    post_ids: Int64Array  # (p,) sorted
    members: Int32Array  # (n,)
    posts: Int32Array  # (n,)
    times: Float64Array  # (n,) Unix seconds

    @classmethod
    def from_histories(cls, histories: Iterable[tuple[int, Reactions]]) -> Likes:
        """Return the likes among the reactions of each member, by the member's id. Rejections are left out."""
        rows = [(member, history.liked_ids, history.liked_times) for member, history in histories]
        member_ids = np.repeat(np.array([row[0] for row in rows], np.int64), [len(row[1]) for row in rows])
        posts = np.concatenate([np.zeros(0, np.int64), *(row[1] for row in rows)])
        times = np.concatenate([np.zeros(0), *(row[2] for row in rows)])
        return cls.from_columns(member_ids, posts, times)

    @classmethod
    def from_columns(cls, member_ids: Int64Array, post_ids: Int64Array, times: Float64Array) -> Likes:
        """Return likes by their members' ids (n,), posts' ids (n,) and times (n,), in any order and without repeats."""
        order = np.lexsort((post_ids, times, member_ids))
        unique_members, members = np.unique(member_ids[order], return_inverse=True)
        unique_posts, posts = np.unique(post_ids[order], return_inverse=True)
        return cls(unique_members, unique_posts, members.astype(np.int32), posts.astype(np.int32), times[order])

    def __len__(self) -> int:
        return len(self.members)

    def take(self, is_taken: BoolArray) -> Likes:
        """Return the likes for which *is_taken* (n,) is true."""
        members, posts = self.members[is_taken], self.posts[is_taken]
        return self.from_columns(self.member_ids[members], self.post_ids[posts], self.times[is_taken])

    def of_posts(self, post_ids: Int64Array) -> Likes:
        """Return the likes of these posts only."""
        return self.take(np.isin(self.post_ids, post_ids)[self.posts])

    @cached_property
    def matrix(self) -> sparse.csr_matrix:
        """A matrix (m, p) of float32: 1 where the member liked the post."""
        ones = np.ones(len(self), np.float32)
        return sparse.csr_matrix((ones, (self.members, self.posts)), (len(self.member_ids), len(self.post_ids)))
