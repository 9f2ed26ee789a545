"""
Searches for the weights of score parts with which lists find the most targets.

A coordinate search: one weight after the other is multiplied by each of `FACTORS`, or leaves 0 by one of
`FIRST_VALUES`, and the value with the highest NDCG stays, until no weight changes. NDCG changes in steps, so there is
no gradient. A few hundred cases decide about ten weights, so most small gains are chance: a change stays only if it
gains more than its standard error (the rule of one standard error, Breiman et al. 1984, "Classification and Regression
Trees"), and NDCG counts more places than a page shows, because it then changes in smaller steps. Measured on MovieLens
small: without the rule, the gains on the members that were searched did not hold on the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from recommendations.contracts import BoolArray, Float32Array, Float64Array, Int64Array
from recommendations.evaluation.metrics import compute_ndcg, rank_posts

PLACES = 50
"""Places of a list that NDCG is computed in. Changes the answer."""
STANDARD_ERRORS = 1.0
"""A weight changes if it gains more than this number of standard errors of the gain. Changes the answer."""
FACTORS = (0.0, 0.5, 0.7, 1.4, 2.0)
"""What a weight is multiplied by."""
FIRST_VALUES = (0.02, 0.1, 0.4)
"""What a weight of 0 may become."""
MIN_GAIN = 0.002
"""The least gain for which a weight changes, as a fraction of the NDCG: an effect may be certain and too small."""
MAX_ROUNDS = 6
"""Most rounds over all weights."""
LARGEST_WEIGHT = 10.0

Progress = Callable[[str], None]
"""Called with a line about what was done."""


@dataclass(frozen=True)
class PartCases:
    """The candidates of n cases with their score parts, one case after the other, c in all."""

    starts: Int64Array  # (n + 1,) where the candidates of each case start
    parts: Float32Array  # (c, p) before their weights
    is_target: BoolArray  # (c,)
    target_counts: Int64Array  # (n,) of the case, whether they are candidates or not; at least 1

    @classmethod
    def join(cls, parts: Sequence[PartCases]) -> PartCases:
        """Return the cases of all *parts*, of which there must be one."""
        lengths = np.concatenate([np.diff(part.starts) for part in parts])
        return cls(
            starts=np.concatenate([[0], np.cumsum(lengths)]),
            parts=np.concatenate([part.parts for part in parts]),
            is_target=np.concatenate([part.is_target for part in parts]),
            target_counts=np.concatenate([part.target_counts for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.starts) - 1

    def compute_ndcg(self, scores: Float32Array) -> Float64Array:
        """Return the NDCG (n,) of the lists by these *scores* (c,). The earlier candidate wins a tie."""
        lengths = np.diff(self.starts)
        cases = np.repeat(np.arange(len(self)), lengths)
        places = np.arange(len(scores)) - np.repeat(self.starts[:-1], lengths)
        padded = np.full((len(self), lengths.max(initial=0)), -np.inf)
        padded[cases, places] = scores
        lists = rank_posts(padded, PLACES)
        is_hit = self.is_target[np.where(lists >= 0, self.starts[:-1, None] + lists, 0)] & (lists >= 0)
        return compute_ndcg(is_hit, self.target_counts)


def search_weights(
    sets: Sequence[PartCases],
    names: Sequence[str],
    start: Float64Array,
    is_free: BoolArray,
    progress: Progress = lambda line: None,
) -> Float64Array:
    """
    Return the weights (p,) of the parts *names* with the highest mean NDCG over the *sets*, beginning at *start* (p,).

    Only weights that are *is_free* (p,) change. The NDCG of a case counts as a fraction of the mean of its set with
    *start*, so that a case counts the same, however hard its set is. A weight is at least 0 and has two significant
    digits.
    """
    weights = start.copy()
    scores = [cases.parts @ start.astype(np.float32) for cases in sets]
    norms = [max(cases.compute_ndcg(of_set).mean(), 1e-9) for cases, of_set in zip(sets, scores, strict=True)]

    def score_with(part: int, value: float) -> list[Float32Array]:
        change = np.float32(value - weights[part])
        return [of_set + change * cases.parts[:, part] for cases, of_set in zip(sets, scores, strict=True)]

    def measure(all_scores: Sequence[Float32Array]) -> Float64Array:
        """Return the NDCG of every case, as fractions of the means of their sets."""
        return np.concatenate([c.compute_ndcg(s) / norm for c, s, norm in zip(sets, all_scores, norms, strict=True)])

    best = measure(scores)
    for _ in range(MAX_ROUNDS):
        before = weights.copy()
        for part in np.flatnonzero(is_free).tolist():
            tried = {value: measure(score_with(part, value)) for value in neighboring_values(weights[part])}
            value, figures = max(tried.items(), key=lambda item: float(item[1].mean()))
            if is_gain(figures - best):
                change = f"{names[part]} {weights[part]:g} to {value:g}"
                progress(f"{change}: {figures.mean():.3f} times the NDCG of the start")
                scores = score_with(part, value)
                weights[part], best = value, figures
        if np.array_equal(before, weights):
            break
    return weights


def is_gain(gains: Float64Array) -> bool:
    """Return whether the mean of the *gains* (n,) of all cases is above `STANDARD_ERRORS` and `MIN_GAIN`."""
    error = gains.std() / np.sqrt(len(gains))
    return bool(gains.mean() > max(STANDARD_ERRORS * error, MIN_GAIN))


def neighboring_values(weight: float) -> list[float]:
    """Return the values to try in place of *weight*, with two significant digits."""
    values = [weight * factor for factor in FACTORS] if weight else FIRST_VALUES
    return sorted({min(float(f"{value:.2g}"), LARGEST_WEIGHT) for value in values} - {weight})
