"""Filters for posts that are new to the viewer, and in a language that the viewer reads."""

from __future__ import annotations

import numpy as np

from recommendations.contracts import UNKNOWN, BoolArray, Candidates, Query, is_in_sorted
from recommendations.pipeline.stages import explained_filter
from values.translation import translatable


@explained_filter(translatable("You have seen it."))
def not_seen(query: Query, candidates: Candidates) -> BoolArray:
    """Keep posts that the viewer has not seen and that the request does not exclude."""
    mask = ~candidates.is_seen
    for post_ids in (query.seen_post_ids, query.excluded_post_ids):
        if len(post_ids):
            mask &= ~is_in_sorted(candidates.post_ids, post_ids)
    return mask


@explained_filter(translatable("It was on an earlier page."))
def not_excluded(query: Query, candidates: Candidates) -> BoolArray:
    """Keep posts that the request does not exclude, whether seen or not."""
    return ~is_in_sorted(candidates.post_ids, query.excluded_post_ids)


@explained_filter(translatable("It is in a language that you do not read."))
def in_readable_language(query: Query, candidates: Candidates) -> BoolArray:
    """Keep posts in one of the viewer's languages or of unknown language. A viewer without languages reads all."""
    if not len(query.language_ids):
        return np.ones(len(candidates), np.bool_)
    return (candidates.language_ids == UNKNOWN) | is_in_sorted(candidates.language_ids, query.language_ids)
