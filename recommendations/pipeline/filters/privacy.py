"""Filters for privacy: visibility, blocks, mutes, and posts that the viewer hid."""

from __future__ import annotations

import numpy as np

from recommendations.contracts import BoolArray, Candidates, Query, is_in_sorted
from recommendations.pipeline.stages import explained_filter, mandatory_filter
from values.translation import translatable


def is_by_author(candidates: Candidates, author_ids: np.typing.NDArray[np.int64]) -> BoolArray:
    """Return a mask (n,) of the candidates by one of *author_ids*, which are sorted."""
    return is_in_sorted(candidates.author_ids, author_ids)


@mandatory_filter
def visible_to_viewer(query: Query, candidates: Candidates) -> BoolArray:
    """Keep public posts of open accounts, and posts for followers if the viewer follows the author."""
    mask = candidates.is_visible_to_all.copy()
    # Few posts are for followers only, so only their authors are compared with the followed ones.
    positions, author_ids = candidates.followers_only
    mask[positions[is_in_sorted(author_ids, query.followed_author_ids)]] = True
    return mask


@mandatory_filter
def not_removed(query: Query, candidates: Candidates) -> BoolArray:
    """Keep posts that are not removed."""
    return ~candidates.is_removed


@mandatory_filter
def not_blocked(query: Query, candidates: Candidates) -> BoolArray:
    """Keep posts whose author is known and on neither side of a block."""
    if not len(query.blocked_author_ids):
        return candidates.has_author
    return candidates.has_author & ~is_by_author(candidates, query.blocked_author_ids)


@explained_filter(translatable("You muted its author, one of its tags or a word in it."))
def not_muted(query: Query, candidates: Candidates) -> BoolArray:
    """Keep posts without a muted author, tag or word. If the viewer mutes any author, the author must be known."""
    mask = ~candidates.has_muted_word
    if len(query.muted_tag_ids):
        mask &= ~is_in_sorted(candidates.tag_ids, query.muted_tag_ids).any(axis=1)
    if len(query.muted_author_ids):
        mask &= candidates.has_author & ~is_by_author(candidates, query.muted_author_ids)
    return mask


@explained_filter(translatable("You hid or reported this post, or were not interested in it."))
def not_hidden(query: Query, candidates: Candidates) -> BoolArray:
    """Keep posts that the viewer did not hide, report or reject."""
    return ~is_in_sorted(candidates.post_ids, query.hidden_post_ids)


@explained_filter(translatable("It is your own post."))
def not_own(query: Query, candidates: Candidates) -> BoolArray:
    """Keep posts by a known author other than the viewer."""
    return candidates.has_author & (candidates.author_ids != query.viewer_id)
