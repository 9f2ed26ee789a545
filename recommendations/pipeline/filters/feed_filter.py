"""The filter of one request: by language, kind, tag and age. It is not stored with the viewer."""

from __future__ import annotations

import numpy as np

from recommendations.contracts import BoolArray, Candidates, Query, is_in_sorted
from recommendations.pipeline.stages import explained_filter
from values.translation import translatable


@explained_filter(translatable("You asked for other languages, kinds, tags or ages."))
def matches_feed_filter(query: Query, candidates: Candidates) -> BoolArray:
    """Keep posts of the languages, kinds, tags and age that the request accepts. An empty filter accepts all."""
    accepted = query.feed_filter
    mask = np.ones(len(candidates), np.bool_)
    if len(accepted.language_ids):
        mask &= is_in_sorted(candidates.language_ids, accepted.language_ids)
    if len(accepted.kind_ids):
        mask &= is_in_sorted(candidates.kind_ids, accepted.kind_ids)
    if len(accepted.tag_ids):
        has_tag = is_in_sorted(candidates.tag_ids, accepted.tag_ids).any(axis=1)
        mask &= has_tag | is_in_sorted(candidates.post_ids, accepted.late_tagged_post_ids)
    if accepted.since > 0:
        mask &= candidates.created_at >= accepted.since
    return mask
