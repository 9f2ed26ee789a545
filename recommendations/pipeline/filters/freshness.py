"""What is new to the viewer, and in a language that they read."""

from __future__ import annotations

import numpy as np

from recommendations.contracts import UNKNOWN, BoolArray, Candidates, Query, is_in_sorted
from recommendations.pipeline.stages import explained_filter


@explained_filter("You have seen it.")
def not_seen(query: Query, candidates: Candidates) -> BoolArray:
    """Keep what the viewer has not seen, and what this request does not exclude."""
    new = ~candidates.is_seen
    for known in (query.seen_post_ids, query.excluded_post_ids):
        if len(known):
            new &= ~is_in_sorted(candidates.post_ids, known)
    return new


@explained_filter("It was on an earlier page.")
def not_excluded(query: Query, candidates: Candidates) -> BoolArray:
    """Keep what this request does not exclude, seen or not."""
    return ~is_in_sorted(candidates.post_ids, query.excluded_post_ids)


@explained_filter("It is in a language that you do not read.")
def in_readable_language(query: Query, candidates: Candidates) -> BoolArray:
    """Keep posts in a language of the viewer, or in none that is known; a viewer who names none reads all."""
    if not len(query.language_ids):
        return np.ones(len(candidates), np.bool_)
    return (candidates.language_ids == UNKNOWN) | is_in_sorted(candidates.language_ids, query.language_ids)
