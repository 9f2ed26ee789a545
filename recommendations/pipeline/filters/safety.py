"""The filter for sensitive content."""

from __future__ import annotations

from recommendations.contracts import BoolArray, Candidates, Query
from recommendations.pipeline.stages import mandatory_filter


@mandatory_filter
def safe_for_viewer(query: Query, candidates: Candidates) -> BoolArray:
    """Keep posts whose sensitivity is known and at most the viewer's maximum. Adult content requires an adult."""
    # Plain numbers: with a member of an IntEnum, NumPy compares as int64 and takes eight times as long.
    return (candidates.sensitivity >= 0) & (candidates.sensitivity <= int(query.max_sensitivity))
