"""What the viewer may take."""

from __future__ import annotations

from recommendations.contracts import BoolArray, Candidates, Query
from recommendations.pipeline.stages import mandatory_filter


@mandatory_filter
def safe_for_viewer(query: Query, candidates: Candidates) -> BoolArray:
    """Keep what is known to be no more sensitive than the viewer takes (who is of age, for what is adult)."""
    # Plain numbers: NumPy takes a member of an IntEnum for a column of eight bytes each, and eight times as long.
    return (candidates.sensitivity >= 0) & (candidates.sensitivity <= int(query.max_sensitivity))
