"""
The arithmetic of popularity: sums of the interactions with a post, one for each half-life. No database access.

Each interaction adds its weight to every sum of its post. A sum halves after its half-life (`Policy`); the total sum
never decays. Decaying a sum to another time is one multiplication, so adding an interaction costs the same for any
history.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recommendations.contracts import POPULARITY_SUMS, Float32Array, Float64Array, Int32Array, Int64Array
from recommendations.stores.row_groups import count_before

HalfLives = tuple[float, ...]
"""Seconds, one for each of `POPULARITY_SUMS`; infinity for a sum that does not decay."""

MAX_MEMBER_WEIGHT = 3.0
"""
The most that one member adds to each sum of one post: as much as a like and a share. Otherwise one member could make a
post popular by repeating an event. Changes the answer.
"""
MAX_AUTHOR_DAY_WEIGHT = 2 * MAX_MEMBER_WEIGHT
"""
The most that one member adds to each sum of all posts of one author together, by interactions of one day (UTC): as much
as six likes. k members who like whatever one author posts add at most 6 k a day to these posts together. Changes the
answer.
"""
MAX_DAY_WEIGHT = 100.0
"""The most that one member adds to each sum of all posts together, by interactions of one day. Changes the answer."""
MIN_TOTAL = 1e-6
"""A total sum below this is a rounding error that an undo left: the post has no interactions that count."""
NEGLIGIBLE_BITS = 30
"""A sum below 2^-30 of the greatest counts as 0. Changes the speed."""
FAST_WEIGHTS = {"hour_sum": 1 / 3, "day_sum": 1 / 3, "week_sum": 1 / 3}
"""The weights of the fast sums in the trend of a post. Changes the answer."""


def bound_weights(pairs: Int64Array, weights: Float64Array) -> Float64Array:
    """
    Return what each interaction (n,) adds to the sums of its post, oldest first. *pairs* number its member and post.

    An interaction adds its weight until the interactions of this member with this post have added `MAX_MEMBER_WEIGHT`.
    A negative interaction adds nothing.
    """
    added = np.zeros(len(weights))
    totals = np.zeros(pairs.max(initial=-1) + 1)
    numbers = count_before(pairs)
    # The first interaction of every pair, then the second of every pair, and so on.
    for rows in np.split(np.argsort(numbers, kind="stable"), np.cumsum(np.bincount(numbers))[:-1]):
        added[rows] = np.maximum(np.minimum(weights[rows], MAX_MEMBER_WEIGHT - totals[pairs[rows]]), 0.0)
        totals[pairs[rows]] += added[rows]
    return added


def scale_weights(groups: Int64Array, weights: Float64Array, bound: float) -> Float64Array:
    """
    Return the weights (n,), scaled so that those of each group add up to at most *bound*: w · min(1, bound / sum).

    *groups* (n,) number the group of each. The result does not depend on the order of the interactions of a group.
    """
    totals = np.bincount(groups, weights)
    factors = np.divide(bound, totals, out=np.ones(len(totals)), where=totals > bound)
    return np.asarray(weights * factors[groups])


def add_to_sums(
    sums: Float64Array,
    summed_at: Float64Array,
    rows: Int64Array,
    times: Float64Array,
    weights: Float64Array,
    half_lives: HalfLives,
) -> tuple[Float64Array, Float64Array]:
    """
    Return sums (n, 5) and their times (n,) after adding interactions to them.

    *sums* (n, 5) are those of `POPULARITY_SUMS` at *summed_at* (n,), in Unix seconds. The m interactions have the row
    of their sums, *rows* (m,), *times* (m,) and *weights* (m,), which are negative to remove an interaction. The sums
    are decayed to the latest of all these times, and so is an interaction that arrives late. They are never negative.
    """
    latest = summed_at.copy()
    np.maximum.at(latest, rows, times)
    changed = sums * decay(latest - summed_at, half_lives)
    np.add.at(changed, rows, weights[:, None] * decay(latest[rows] - times, half_lives))
    changed = np.maximum(changed, 0.0)
    changed[changed[:, POPULARITY_SUMS.index("total_sum")] < MIN_TOTAL] = 0.0
    return changed, latest


def decay(seconds: Float64Array, half_lives: HalfLives) -> Float64Array:
    """Return the fractions (n, 5) of sums that are left after *seconds* (n,): 2^(-seconds / half-life)."""
    return np.exp2(-seconds[:, None] / np.array(half_lives))


def compute_heat(sums: Float64Array, summed_at: Float64Array, half_lives: HalfLives) -> Float64Array:
    """
    Return the heat (n, 5) of *sums* (n, 5) at *summed_at* (n,): the base-2 logarithm of each sum converted to time 0.

    All sums with one half-life decay by the same factor, so the order of the converted values never changes, and the
    difference of two is the logarithm of the ratio of the sums at any time. The converted values themselves would be
    far beyond the range of floating-point numbers. The heat of a sum of 0 is minus infinity.
    """
    logarithms = np.full(sums.shape, -np.inf)
    np.log2(sums, out=logarithms, where=sums > 0)
    return logarithms + summed_at[:, None] / np.array(half_lives)


@dataclass(frozen=True)
class RelativePopularity:
    """
    The popularity and the trend of n posts, each from 0 to 1, relative to the most popular of them.

    The share of a sum s in the greatest sum M is log(1 + s/m) / log(1 + M/m), where m is the sum that an average
    interaction meets: the mean of s, weighted by s. So the share is 1 for M and grows with s. It does not saturate, and
    does not depend on the number of interactions on the platform. Ratios of sums are the same at any time, so shares
    are computed once, at their first use. Only the activity in `trend` depends on the moment.
    """

    heat: Float64Array  # (n, 5) as `compute_heat` returns it
    half_lives: HalfLives

    @classmethod
    def zeros(cls, n: int, half_lives: HalfLives) -> RelativePopularity:
        """Return the popularity of *n* posts without interactions."""
        return cls(np.full((n, len(POPULARITY_SUMS)), -np.inf), half_lives)

    def copy(self) -> RelativePopularity:
        """Return a copy whose heat may be modified until the first use of a share."""
        return RelativePopularity(self.heat.copy(), self.half_lives)

    @cached_property
    def all_time(self) -> Float32Array:
        """The share (n,) of each post of the total sum."""
        return self._share("total_sum")

    @cached_property
    def year(self) -> Float32Array:
        """The share (n,) of each post of the year sum."""
        return self._share("year_sum")

    @cached_property
    def fast_shares(self) -> Float32Array:
        """The trend (n,) of each post if all fast sums are equally active."""
        return np.sum(list(self._fast_shares.values()), axis=0)

    def trend(self, rows: Int32Array, now: float) -> Float32Array:
        """
        Return the trend (k,) of the posts at *rows* (k,) at *now* (Unix seconds): the mean of their shares of the fast
        sums, by `FAST_WEIGHTS`, each times the activity of the sum.

        The activity is 1 - `MAX_MEMBER_WEIGHT` / M, where M is the greatest sum at *now*, and 0 if one member alone may
        have made M as great as it is. So nothing trends where little happens now, whatever happened last.
        """
        shares = [np.float32(self._activity(name, now)) * share[rows] for name, share in self._fast_shares.items()]
        return np.minimum(np.sum(shares, axis=0), np.float32(1))

    @cached_property
    def _fast_shares(self) -> dict[str, Float32Array]:
        return {name: np.float32(weight) * self._share(name) for name, weight in FAST_WEIGHTS.items()}

    @cached_property
    def _greatest(self) -> Float64Array:
        """The greatest heat (5,) of each sum."""
        return np.array([column.max(initial=-np.inf) for column in self.heat.T])

    def _share(self, name: str) -> Float32Array:
        """Return the share (n,) of each post's sum in the greatest; 0 for all posts if all sums are 0."""
        i = POPULARITY_SUMS.index(name)
        if self._greatest[i] == -np.inf:
            return np.zeros(len(self.heat), np.float32)
        logarithms = self.heat[:, i] - self._greatest[i]
        rows = np.flatnonzero(logarithms > -NEGLIGIBLE_BITS)  # of most sums, few posts: the others cost no time
        ratios = np.exp2(logarithms[rows])
        mean_ratio = np.square(ratios).sum() / ratios.sum()  # not a dot product, whose threads take longer to start
        shares = np.zeros(len(self.heat), np.float32)
        shares[rows] = np.log1p(ratios / mean_ratio) / np.log1p(1 / mean_ratio)
        return shares

    def _activity(self, name: str, now: float) -> float:
        i = POPULARITY_SUMS.index(name)
        greatest = float(self._greatest[i]) - now / self.half_lives[i]  # as a logarithm, which may be far below 0
        return max(1 - MAX_MEMBER_WEIGHT * 2.0 ** -max(greatest, 0.0), 0.0)


def order_by(keys: Float32Array, post_ids: Int64Array, limit: int | None = None) -> Int32Array:
    """
    Return the rows of posts by descending *keys* (n,), without those whose key is 0. Ties go to the lower id.

    With a *limit*, only the first are returned: finding them takes a tenth of the time of ordering all.
    """
    lowest = np.float32(0)
    if limit is not None and limit < len(keys):
        lowest = np.partition(keys, -limit)[-limit]
    rows = np.flatnonzero((keys > 0) & (keys >= lowest)).astype(np.int32)
    return rows[np.lexsort((post_ids[rows], -keys[rows]))][:limit]
