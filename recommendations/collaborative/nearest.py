"""
The strongest co-likes of a post, in the form that ranking reads: a few kilobytes per post.

The weight of a pair is count / √((n + `SHRINKAGE`) · (m + `SHRINKAGE`)), where n and m are how many members like each
of the two posts: the cosine of the two posts, shrunk because a cosine of few likes is mostly chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommendations.collaborative.pair_counts import AFTER_COUNTS
from recommendations.collaborative.part_scores import FULL_STRENGTH, WEIGHT_UNIT, PartScores, round_unit
from recommendations.collaborative.strengths import Strengths, list_posts
from recommendations.contracts import Float64Array, Int32Array, Int64Array

SHRINKAGE = 10.0
"""Changes the answer."""
MAX_TOGETHER, MAX_AFTER = 100, 50
"""Entries of a post with the largest weights of each kind. Change the answer, the speed and the size."""
ENTRY = np.dtype([("target", "<i8"), ("members", "<u2"), ("together", "<i2"), ("after", "<i2")])
"""A packed entry: the other post, how many members liked both (at most 65,535), and the two weights."""
CO_LIKE_PARTS = {"co_liked": "together", "liked_next": "after"}
"""The weight in an `ENTRY` of each score part of co-likes."""


@dataclass(frozen=True)
class PostCounts:
    """The counts of one post with others."""

    like_count: int
    target_ids: Int64Array  # (n,) sorted
    together: Int32Array  # (n,)
    after: Int32Array  # (n,)


def pack_nearest(counts: PostCounts, target_like_counts: Int64Array) -> bytes:
    """Return the packed entries of a post, sorted by target. *target_like_counts* (n,) are those of the targets."""
    lengths = np.sqrt((counts.like_count + SHRINKAGE) * (target_like_counts + SHRINKAGE))
    together = counts.together / lengths
    after = counts.after / AFTER_COUNTS[0] / lengths
    chosen = np.union1d(largest(together, MAX_TOGETHER), largest(after, MAX_AFTER))
    entries = np.zeros(len(chosen), ENTRY)
    entries["target"] = counts.target_ids[chosen]
    entries["members"] = np.minimum(counts.together[chosen], 2**16 - 1)
    entries["together"] = to_units(together[chosen])
    entries["after"] = to_units(after[chosen])
    return entries.tobytes()


def largest(weights: Float64Array, count: int) -> Int64Array:
    """Return the positions of the *count* largest of *weights* above 0; of equal ones, the first."""
    order = np.argsort(-weights, kind="stable")[:count]
    return order[weights[order] > 0]


def to_units(weights: Float64Array) -> Int64Array:
    """Return *weights* from 0 to 1 as whole numbers of `WEIGHT_UNIT`."""
    return np.round(weights / WEIGHT_UNIT).astype(np.int64)


Entries = NDArray[np.void]
"""Unpacked entries (n,) of one post, of the type `ENTRY`."""


def unpack_nearest(packed: bytes, *, min_members: int) -> Entries:
    """Return the packed entries that at least *min_members* members support: fewer would tell who they are."""
    entries = np.frombuffer(packed, ENTRY)
    return entries[entries["members"] >= min_members]


@dataclass(frozen=True)
class JoinedCoLikes:
    """The co-likes of the posts of a member's latest reactions, post after post. Both parts come from them."""

    source_ids: Int64Array  # (r,) those posts
    strengths: Mapping[str, Int64Array]  # by part: (r,) 0 for a reaction that does not count for the part
    lengths: Int64Array  # (r,) how many entries each of them has
    entries: Entries  # (e,)
    keys: Int64Array  # (e,) positions in *key_ids*
    key_ids: Int64Array  # (k,) the other posts, sorted

    def score(self, part: str, *, scale: float) -> PartScores:
        """Return a part. A score of *scale* becomes a part of 1."""
        return PartScores(
            source_ids=self.source_ids,
            strengths=self.strengths[part],
            lengths=self.lengths,
            keys=self.keys,
            weights=self.entries[CO_LIKE_PARTS[part]],
            key_ids=self.key_ids,
            unit=round_unit(WEIGHT_UNIT / FULL_STRENGTH / scale),
        )


def join_co_likes(reactions: Mapping[str, Strengths], nearest: Mapping[int, Entries]) -> JoinedCoLikes:
    """
    Return the co-likes of a member with these *reactions* for each of the `CO_LIKE_PARTS`.

    *nearest* has the entries of those posts that have any.
    """
    post_ids = [post_id for post_id in list_posts(reactions) if post_id in nearest]
    known = [nearest[post_id] for post_id in post_ids]
    by_part = {part: dict(strengths) for part, strengths in reactions.items()}
    # NumPy concatenates structured arrays field by field, which takes ten times as long as joining their bytes.
    entries = np.frombuffer(b"".join(entries.tobytes() for entries in known), ENTRY)
    key_ids, keys = np.unique(entries["target"], return_inverse=True)
    return JoinedCoLikes(
        source_ids=np.array(post_ids, np.int64),
        strengths={
            part: np.array([strength_of.get(post_id, 0) for post_id in post_ids], np.int64)
            for part, strength_of in by_part.items()
        },
        lengths=np.array([len(entries) for entries in known], np.int64),
        entries=entries,
        keys=keys,
        key_ids=key_ids,
    )
