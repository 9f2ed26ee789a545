"""Slices of test cases: members with little history, new posts, segments. Each slice is reported on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from recommendations.contracts import Float64Array, Int64Array
from recommendations.evaluation.folds import Fold, join_members
from recommendations.evaluation.ragged import Ragged, join_ragged
from recommendations.evaluation.splits import DAY

HISTORY_EDGES = (0, 1, 3, 5, 10, 20, 50, 100)
"""First number of interactions of each slice by history."""
AGE_EDGES_DAYS = (0, 1, 7, 30, 365)
"""First age of each slice by age of post, in days."""


@dataclass(frozen=True)
class Slice:
    """Some of the cases of all folds (folds joined), with those of their targets that belong to the slice."""

    group: str
    """What the slices of this group differ in, such as: interactions of the member."""
    label: str
    cases: Int64Array  # (c,) positions among the cases of all folds
    targets: Ragged  # (c) lists of post indexes, none empty


def slice_by_history(folds: Sequence[Fold], edges: Sequence[int] = HISTORY_EDGES) -> list[Slice]:
    """Return slices by the number of interactions of any kind that the member had at the moment."""
    counts = np.concatenate([fold.histories.lengths for fold in folds])
    bands = np.searchsorted(edges, counts, side="right") - 1
    targets = join_ragged([fold.targets for fold in folds])
    labels = [str(low) if high - low == 1 else f"{low}–{high - 1}" for low, high in pairwise(edges)]
    return build_slices("interactions of the member", [*labels, f"{edges[-1]}+"], bands[targets.owners], targets)


def slice_by_likes(folds: Sequence[Fold], counts: Sequence[int]) -> list[Slice]:
    """Return slices by the number of posts that the member had liked at the moment, of these *counts*."""
    likes = np.concatenate([np.diff(fold.likes.indptr) for fold in folds])
    targets = join_ragged([fold.targets for fold in folds])
    bands = np.where(np.isin(likes, counts), np.searchsorted(counts, likes), -1)
    return build_slices("likes of the member", list(map(str, counts)), bands[targets.owners], targets)


def slice_by_segment(folds: Sequence[Fold], group: str, segments: Sequence[str]) -> list[Slice]:
    """Return slices by the segment of the member. *segments* names it for every member index; "" is in no slice."""
    labels = sorted({*segments} - {""})
    numbers = np.array([labels.index(segment) if segment else -1 for segment in segments], np.int64)
    targets = join_ragged([fold.targets for fold in folds])
    return build_slices(group, labels, numbers[join_members(folds)][targets.owners], targets)


def slice_by_post_age(
    folds: Sequence[Fold], created_at: Float64Array, edges: Sequence[float] = AGE_EDGES_DAYS
) -> list[Slice]:
    """
    Return slices by the age of the targets at the moment of their case, in days.

    A case is in the slice of each of its targets, with only the targets of that age. *created_at* (posts,) is in Unix
    seconds. Posts created after the moment have the age 0; targets of unknown age (NaN) are in no slice. An age equal
    to an edge is in the slice that starts there.
    """
    targets = join_ragged([fold.targets for fold in folds])
    moments = np.concatenate([fold.moments for fold in folds])
    ages = np.maximum(moments[targets.owners] - created_at[targets.values], 0) / DAY
    bands = np.where(np.isnan(ages), -1, np.searchsorted(edges, ages, side="right") - 1)
    labels = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    return build_slices("age of the post in days", [*labels, f"{edges[-1]:g}+"], bands, targets)


def find_first_times(posts: NDArray[np.integer], times: Float64Array, n: int) -> Float64Array:
    """Return the time of the first interaction with each of *n* posts (n,), as its creation. NaN without one."""
    first = np.full(n, np.inf)
    np.minimum.at(first, posts, times)
    return np.where(np.isinf(first), np.nan, first)


def build_slices(group: str, labels: Sequence[str], bands: Int64Array, targets: Ragged) -> list[Slice]:
    """Return a slice for each label with targets. *bands* (m,) is the position of each target's label, or negative."""
    slices = []
    for band, label in enumerate(labels):
        kept = targets.keep(bands == band)
        cases = np.flatnonzero(kept.lengths)
        if len(cases):
            slices.append(Slice(group, label, cases, kept.take(cases)))
    return slices
