"""Moments of a metric over units: counts, means, variances and covariances, from which all estimates are computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moments:
    """
    The moments of a metric in one variant. Variances and covariance are of a single unit, with divisor n - 1.

    *mean* is the mean per unit (a rate: of zeros and ones; a ratio: the ratio of sums, with its delta-method variance).
    The *prior* fields are of the same units before their exposure, for CUPED; zero without prior values.
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

    *weights* (n,) are 1 / propensity where variants had unequal probabilities over time (a bandit): the mean is Hájek's
    estimator, and its variance that of a ratio of sums. Equal weights give the plain mean and variance.
    """
    n = len(values)
    if n == 0:
        return Moments(0, 0.0, 0.0)
    prior_values = np.zeros(n) if prior is None else prior
    weight = np.ones(n) if weights is None else weights / weights.mean()
    mean, prior_mean = float(np.mean(weight * values)), float(np.mean(weight * prior_values))
    y, x = weight * (values - mean), weight * (prior_values - prior_mean)
    degrees = max(n - 1, 1)
    return Moments(n, mean, float(y @ y) / degrees, prior_mean, float(x @ x) / degrees, float(x @ y) / degrees)


def compute_ratio_moments(
    numerator: Float64Array, denominator: Float64Array, weights: Float64Array | None = None
) -> Moments:
    """
    Return the moments of sum(*numerator*) / sum(*denominator*) over units, both (n,).

    The unit is what is randomized, so the variance comes from the delta method (Deng, Knoblich, Lu 2018, section 3.1):
    the variance of (numerator - ratio * denominator) / mean(denominator). Without a denominator the result has 0 units.
    """
    weight = np.ones(len(numerator)) if weights is None else weights
    total = float(weight @ denominator) if len(denominator) else 0.0
    if total == 0:
        return Moments(0, 0.0, 0.0)
    ratio = float(weight @ numerator) / total
    scale = total / float(weight.sum())
    linear = compute_moments((numerator - ratio * denominator) / scale, weights=weights)
    return Moments(linear.n, ratio, linear.variance)
