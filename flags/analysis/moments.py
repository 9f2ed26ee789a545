"""From one number a unit to the few numbers that every estimate needs: counts, means, variances and covariances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moments:
    """
    What is known of a metric in one variant. Variances are of a single unit, with n - 1 below.

    *mean* is a unit's mean (a rate: of zeros and ones; a ratio: the ratio of sums, its variance by the delta method).
    *prior* columns are the same unit's value before its exposure, for CUPED; zero where there are none.
    """

    n: int
    mean: float
    variance: float
    prior_mean: float = 0.0
    prior_variance: float = 0.0
    covariance: float = 0.0

    @property
    def squared_standard_error(self) -> float:
        """Return the variance of the mean."""
        return self.variance / self.n if self.n else float("inf")


def compute_moments(
    values: Float64Array, prior: Float64Array | None = None, weights: Float64Array | None = None
) -> Moments:
    """
    Return the moments of *values* (n,), with those of *prior* (n,) if given.

    *weights* (n,) are 1 / propensity where variants had unequal chances over time (a bandit): the mean is Hájek's,
    its variance that of a ratio of sums. Equal weights give the plain mean and variance.
    """
    n = len(values)
    if n == 0:
        return Moments(0, 0.0, 0.0)
    before = np.zeros(n) if prior is None else prior
    weight = np.ones(n) if weights is None else weights / weights.mean()
    mean, prior_mean = float(np.mean(weight * values)), float(np.mean(weight * before))
    y, x = weight * (values - mean), weight * (before - prior_mean)
    degrees = max(n - 1, 1)
    return Moments(n, mean, float(y @ y) / degrees, prior_mean, float(x @ x) / degrees, float(x @ y) / degrees)


def compute_ratio_moments(
    numerator: Float64Array, denominator: Float64Array, weights: Float64Array | None = None
) -> Moments:
    """
    Return the moments of sum(*numerator*) / sum(*denominator*) over units, both (n,).

    The unit is what was randomised, so the variance is the delta method's (Deng, Knoblich, Lu 2018, section 3.1):
    that of (numerator - ratio * denominator) / mean(denominator). Without a denominator the ratio is 0 of no units.
    """
    weight = np.ones(len(numerator)) if weights is None else weights
    total = float(weight @ denominator) if len(denominator) else 0.0
    if total == 0:
        return Moments(0, 0.0, 0.0)
    ratio = float(weight @ numerator) / total
    scale = total / float(weight.sum())
    linear = compute_moments((numerator - ratio * denominator) / scale, weights=weights)
    return Moments(linear.n, ratio, linear.variance)
