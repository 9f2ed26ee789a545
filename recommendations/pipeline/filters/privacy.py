"""What the author, and those on either side of a block, allow."""

from __future__ import annotations

import numpy as np

from recommendations.contracts import BoolArray, Candidates, Query, Standing, Visibility, among


def is_by(candidates: Candidates, author_ids: np.typing.NDArray[np.int64]) -> BoolArray:
    """Return which candidates are by one of *author_ids*."""
    return among(candidates.author_ids, author_ids)


def visible(query: Query, candidates: Candidates) -> BoolArray:
    """Keep what is public by an open account, and what is for followers if the viewer follows the author."""
    public, to_all = candidates.visibility == Visibility.PUBLIC, candidates.standing == Standing.OPEN
    seen = public & to_all
    by_followers = (public | (candidates.visibility == Visibility.FOLLOWERS)) & (
        to_all | (candidates.standing == Standing.PRIVATE)
    )
    # Few posts are for followers only: the authors of those alone are looked up.
    at = np.flatnonzero(by_followers & ~seen)
    seen[at] = among(candidates.author_ids[at], query.followed_author_ids)
    return seen


def not_removed(query: Query, candidates: Candidates) -> BoolArray:
    """Keep posts that stand."""
    return ~candidates.is_removed


def not_blocked(query: Query, candidates: Candidates) -> BoolArray:
    """Keep posts whose author is known and on neither side of a block."""
    return (candidates.author_ids >= 0) & ~is_by(candidates, query.blocked_author_ids)


def not_muted(query: Query, candidates: Candidates) -> BoolArray:
    """Keep posts without a muted author, tag or word."""
    if len(query.muted_tag_ids):
        tagged = among(candidates.tag_ids, query.muted_tag_ids).any(axis=1)
    else:
        tagged = np.zeros(len(candidates), np.bool_)
    return ~tagged & ~candidates.is_muted & ~is_by(candidates, query.muted_author_ids)


def not_hidden(query: Query, candidates: Candidates) -> BoolArray:
    """Keep what the viewer did not hide, report or turn down."""
    return ~among(candidates.post_ids, query.hidden_post_ids)


def not_own(query: Query, candidates: Candidates) -> BoolArray:
    """Keep what somebody else wrote."""
    return candidates.author_ids != query.viewer_id
