"""What this one request asks for: nothing of it is remembered of the viewer."""

from __future__ import annotations

import numpy as np

from recommendations.contracts import BoolArray, Candidates, Query, is_in_sorted
from recommendations.pipeline.stages import explained_filter


@explained_filter("You asked for other languages, kinds, tags or ages.")
def matches_feed_filter(query: Query, candidates: Candidates) -> BoolArray:
    """Keep posts of the languages, formats, tags and age that the request names; all where it names none."""
    only = query.feed_filter
    kept = np.ones(len(candidates), np.bool_)
    if len(only.language_ids):
        kept &= is_in_sorted(candidates.language_ids, only.language_ids)
    if len(only.kind_ids):
        kept &= is_in_sorted(candidates.kind_ids, only.kind_ids)
    if len(only.tag_ids):
        kept &= is_in_sorted(candidates.tag_ids, only.tag_ids).any(axis=1)
    if only.since > 0:
        kept &= candidates.created_at >= only.since
    return kept
