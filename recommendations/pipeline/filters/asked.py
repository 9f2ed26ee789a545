"""What this one request asks for: nothing of it is remembered of the viewer."""

from __future__ import annotations

import numpy as np

from recommendations.contracts import BoolArray, Candidates, Query, among
from recommendations.pipeline.stages import explained_filter


@explained_filter("You asked for other languages, kinds, tags or ages.")
def asked_for(query: Query, candidates: Candidates) -> BoolArray:
    """Keep posts of the languages, formats, tags and age that the request names; all where it names none."""
    only = query.only
    kept = np.ones(len(candidates), np.bool_)
    if len(only.language_ids):
        kept &= among(candidates.language_ids, only.language_ids)
    if len(only.format_ids):
        kept &= among(candidates.format_ids, only.format_ids)
    if len(only.tag_ids):
        kept &= among(candidates.tag_ids, only.tag_ids).any(axis=1)
    if only.since > 0:
        kept &= candidates.created_at >= only.since
    return kept
