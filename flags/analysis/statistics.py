"""
Whether two variants differ: from moments to intervals, chances and verdicts. Pure functions, no database.

Three views of one difference. The fixed interval holds for a single look that was planned. The anytime interval holds
however often one looks, so that is what verdicts use. The Bayesian view says how likely a variant is the better one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt

import numpy as np
from scipy import integrate, stats

from flags.analysis.moments import Moments

ALPHA = 0.05
"""Chance of a false alarm that we accept. Changes the answer."""
POWER = 0.8
"""Chance of finding an effect that is there. Changes the answer of how long still."""
TUNING_UNITS = 5000
"""Units at which the anytime interval is the narrowest. Changes its width by a little, its validity never."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its limits and p-value."""

    estimate: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True)
class MeanDifference:
    """A difference of two means (treatment less control) and its standard error."""

    estimate: float
    standard_error: float
    units: int
    degrees_of_freedom: float
    """Degrees of freedom, by Welch and Satterthwaite."""
    control_mean: float
    """The control's mean."""

    @property
    def is_estimable(self) -> bool:
        """Return whether there is enough to say anything: units on both sides, and some spread."""
        return 0 < self.standard_error < inf


def mean_difference(control: Moments, treatment: Moments) -> MeanDifference:
    """Return treatment less control, with Welch's standard error and degrees of freedom."""
    a, b = control.squared_standard_error, treatment.squared_standard_error
    total = a + b
    if min(control.n, treatment.n) < 2 or total == 0:
        return MeanDifference(treatment.mean - control.mean, inf, control.n + treatment.n, 1.0, control.mean)
    degrees = total**2 / (a**2 / (control.n - 1) + b**2 / (treatment.n - 1))
    return MeanDifference(treatment.mean - control.mean, sqrt(total), control.n + treatment.n, degrees, control.mean)


def adjust_with_cuped(control: Moments, treatment: Moments) -> tuple[Moments, Moments]:
    """
    Return both with what the units did before taken out of their means and variances (CUPED).

    Deng, Xu, Kohavi, Walker 2013: y - theta * (x - mean of x), theta = cov(x, y) / var(x), both pooled over the two.
    """
    units = control.n + treatment.n
    spread = _pooled_variance(control.prior_variance, control.n, treatment.prior_variance, treatment.n)
    if units < 4 or spread == 0:
        return control, treatment
    theta = _pooled_variance(control.covariance, control.n, treatment.covariance, treatment.n) / spread
    middle = (control.n * control.prior_mean + treatment.n * treatment.prior_mean) / units
    return _remove_prior(control, theta, middle), _remove_prior(treatment, theta, middle)


def _pooled_variance(a: float, n_a: int, b: float, n_b: int) -> float:
    return (a * max(n_a - 1, 0) + b * max(n_b - 1, 0)) / max(n_a + n_b - 2, 1)


def _remove_prior(arm: Moments, theta: float, middle: float) -> Moments:
    variance = arm.variance + theta**2 * arm.prior_variance - 2 * theta * arm.covariance
    return Moments(arm.n, arm.mean - theta * (arm.prior_mean - middle), max(variance, 0.0))


def fixed_interval(difference: MeanDifference, alpha: float = ALPHA) -> Interval:
    """Return Welch's t interval of the difference. Good for one look; looked at again and again it cries wolf."""
    if not difference.is_estimable:
        return Interval(difference.estimate, -inf, inf, 1.0)
    half = float(stats.t.ppf(1 - alpha / 2, difference.degrees_of_freedom)) * difference.standard_error
    p = 2 * float(stats.t.sf(abs(difference.estimate) / difference.standard_error, difference.degrees_of_freedom))
    return Interval(difference.estimate, difference.estimate - half, difference.estimate + half, p)


def anytime_interval(difference: MeanDifference, alpha: float = ALPHA, tuning_units: int = TUNING_UNITS) -> Interval:
    """
    Return an interval that holds at all looks together, and a p-value that may be read at any of them.

    The normal mixture's asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas,
    arXiv 2103.06476, theorem 2.2), over both arms' units; the p-value is one over the mixture's martingale.
    """
    if not difference.is_estimable:
        return Interval(difference.estimate, -inf, inf, 1.0)
    n = difference.units
    rho2 = (-2 * log(alpha) + log(-2 * log(alpha) + 1)) / tuning_units
    grown = n * rho2 + 1
    half = difference.standard_error * sqrt(2 * grown / (n * rho2) * log(sqrt(grown) / alpha))
    evidence = (difference.estimate / difference.standard_error) ** 2 * n * rho2 / (2 * grown) - log(grown) / 2
    return Interval(
        difference.estimate, difference.estimate - half, difference.estimate + half, exp(-max(evidence, 0.0))
    )


def relative_lift(control: Moments, treatment: Moments, interval: Interval) -> tuple[float, float, float] | None:
    """
    Return the relative lift and its limits, as parts of the control's mean; None if that is about zero.

    The interval of the difference is widened for the control's own error by the delta method, at the same confidence.
    """
    base = control.mean
    if not np.isfinite(interval.low) or base == 0 or abs(base) < 3 * sqrt(control.squared_standard_error):
        return None
    ratio = treatment.mean / base
    plain = sqrt(treatment.squared_standard_error + control.squared_standard_error)
    wide = sqrt(treatment.squared_standard_error + ratio**2 * control.squared_standard_error)
    half = (interval.high - interval.low) / 2 * (wide / plain) / abs(base)
    return ratio - 1, ratio - 1 - half, ratio - 1 + half


def chance_and_loss(difference: MeanDifference, *, higher_is_better: bool = True) -> tuple[float, float]:
    """
    Return the chance that the treatment is better, and what choosing it is expected to cost if it is not.

    The posterior of the difference under a flat prior is normal; the loss is in the metric's own unit.
    """
    if not difference.is_estimable:
        return 0.5, inf
    gain = difference.estimate if higher_is_better else -difference.estimate
    z = gain / difference.standard_error
    return float(stats.norm.cdf(z)), float(difference.standard_error * stats.norm.pdf(z) - gain * stats.norm.sf(z))


def rate_chance_and_loss(
    control: tuple[float, int], treatment: tuple[float, int], *, higher_is_better: bool = True
) -> tuple[float, float]:
    """
    Return the same for two rates, each (successes, units), with Beta(1, 1) priors: right for few successes too.

    P(a < b) is the integral of F_a f_b, the expected loss that of F_b (1 - F_a), by quadrature.
    """
    a, b = (stats.beta(1 + k, 1 + n - k) for k, n in (control, treatment))
    if not higher_is_better:
        a, b = b, a
    low = float(min(a.ppf(1e-9), b.ppf(1e-9)))
    grid = np.linspace(low, float(max(a.isf(1e-9), b.isf(1e-9))), 2001)
    below_a, below_b = a.cdf(grid), b.cdf(grid)
    chance = integrate.simpson(below_a * b.pdf(grid), x=grid)
    return float(np.clip(chance, 0, 1)), float(integrate.simpson(below_b * (1 - below_a), x=grid))


def sample_ratio_p(counts: Sequence[int], weights: Sequence[float]) -> float:
    """Return how likely a split at least as far from *weights* is by chance (chi-squared); 1.0 while nobody is in."""
    total, whole = sum(counts), sum(weights)
    if total == 0:
        return 1.0
    return float(stats.chisquare(counts, [total * weight / whole for weight in weights]).pvalue)


def adjust_p_values(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for how many there are (Benjamini and Hochberg): at most 5 % of finds are false."""
    return [float(p) for p in stats.false_discovery_control(p_values)] if p_values else []


def needed_units(variance: float, effect: float, shares: tuple[float, float], alpha: float = ALPHA) -> float:
    """Return the units of both arms together at which *effect* is found with `POWER`; shares are of the two arms."""
    if effect == 0 or variance == 0 or min(shares) <= 0:
        return inf
    z = float(stats.norm.isf(alpha / 2) + stats.norm.ppf(POWER))
    a, b = (share / sum(shares) for share in shares)
    return z**2 * variance * (1 / a + 1 / b) / effect**2
