"""
Bootstrap intervals of means, and paired comparisons of two systems on the same cases.

Efron and Tibshirani 1993, "An Introduction to the Bootstrap": cases are drawn with replacement, as often as there are
cases; the interval holds the middle 95 % of the means over many draws (the percentile method, chapter 13). Members
with several cases are drawn with all their cases, because cases of one member resemble each other (Field and Welsh
2007, "Bootstrapping clustered data").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommendations.contracts import Float64Array

DRAWS = 2000
"""Number of bootstrap draws. Changes the limits slightly."""
LEVEL = 0.95
"""The probability that an interval holds the true value."""
CHUNK_NUMBERS = 1_000_000
"""Draws are computed in chunks of about this many random numbers. Changes the memory."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with the limits of its bootstrap interval. All are NaN if there are no values."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """The mean of one system minus that of another on the same cases, with the limits of its interval."""

    difference: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval excludes 0: the difference is not chance, at the level of the interval."""
        return self.low > 0 or self.high < 0


def compute_interval(
    values: Float64Array,
    *,
    seed: int,
    groups: NDArray[np.integer] | None = None,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> Interval:
    """
    Return the mean of *values* (n,) with its percentile interval. NaN is left out.

    *groups* (n,) gives values that are drawn together the same number, such as those of one member. The same seed and
    groups give the same draws.
    """
    known = ~np.isnan(values)
    if not known.any():
        return Interval(np.nan, np.nan, np.nan)
    numbers = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    sums = np.bincount(numbers, weights=np.where(known, values, 0.0)).astype(np.float64)
    counts = np.bincount(numbers, weights=known).astype(np.float64)
    means = np.concatenate(list(draw_means(sums, counts, np.random.default_rng(seed), draws)))
    low, high = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values[known].mean()), float(low), float(high))


def draw_means(
    sums: Float64Array, counts: Float64Array, rng: np.random.Generator, draws: int
) -> Iterator[Float64Array]:
    """Yield the means of *draws* draws of groups with these sums (g,) and counts (g,), in chunks; NaN for no values."""
    size = max(CHUNK_NUMBERS // len(sums), 1)
    for start in range(0, draws, size):
        drawn = rng.integers(0, len(sums), (min(size, draws - start), len(sums)))
        totals = counts[drawn].sum(axis=1)
        yield np.where(totals > 0, sums[drawn].sum(axis=1) / np.maximum(totals, 1), np.nan)


def compare_paired(
    values: Float64Array,
    others: Float64Array,
    *,
    seed: int,
    groups: NDArray[np.integer] | None = None,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> Comparison:
    """
    Return the mean of *values* (n,) minus that of *others* (n,), of two systems on the same cases, with its interval.

    The difference of each case is drawn, so that cases that are hard for both systems do not widen the interval. Cases
    with a NaN are left out. *groups* as in `compute_interval`.
    """
    interval = compute_interval(values - others, seed=seed, groups=groups, draws=draws, level=level)
    return Comparison(interval.mean, interval.low, interval.high)
