"""What the author, and those on either side of a block, allow."""

from __future__ import annotations

import numpy as np

from recommendations.contracts import BoolArray, Candidates, Query, is_in_sorted
from recommendations.pipeline.stages import explained_filter, mandatory_filter


def is_by_author(candidates: Candidates, author_ids: np.typing.NDArray[np.int64]) -> BoolArray:
    """Return which candidates are by one of *author_ids*."""
    return is_in_sorted(candidates.author_ids, author_ids)


@mandatory_filter
def visible_to_viewer(query: Query, candidates: Candidates) -> BoolArray:
    """Keep what is public by an open account, and what is for followers if the viewer follows the author."""
    seen = candidates.is_visible_to_all.copy()
    # Few posts are for followers only: the authors of those alone are looked up.
    at, authors = candidates.followers_only
    seen[at[is_in_sorted(authors, query.followed_author_ids)]] = True
    return seen


@mandatory_filter
def not_removed(query: Query, candidates: Candidates) -> BoolArray:
    """Keep posts that stand."""
    return ~candidates.is_removed


@mandatory_filter
def not_blocked(query: Query, candidates: Candidates) -> BoolArray:
    """Keep posts whose author is known and on neither side of a block."""
    kept = candidates.has_author
    return kept & ~is_by_author(candidates, query.blocked_author_ids) if len(query.blocked_author_ids) else kept


@explained_filter("You muted its author, one of its tags or a word in it.")
def not_muted(query: Query, candidates: Candidates) -> BoolArray:
    """Keep posts without a muted author, tag or word; of a viewer who mutes authors, only those of a known author."""
    kept = ~candidates.has_muted_word
    if len(query.muted_tag_ids):
        kept &= ~is_in_sorted(candidates.tag_ids, query.muted_tag_ids).any(axis=1)
    if len(query.muted_author_ids):
        kept &= candidates.has_author & ~is_by_author(candidates, query.muted_author_ids)
    return kept


@explained_filter("You hid, reported or turned down this post.")
def not_hidden(query: Query, candidates: Candidates) -> BoolArray:
    """Keep what the viewer did not hide, report or turn down."""
    return ~is_in_sorted(candidates.post_ids, query.hidden_post_ids)


@explained_filter("It is yours.")
def not_own(query: Query, candidates: Candidates) -> BoolArray:
    """Keep what is known to be by somebody else."""
    return candidates.has_author & (candidates.author_ids != query.viewer_id)
