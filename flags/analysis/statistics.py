"""
Statistics of the difference between two variants: from moments to intervals and probabilities. Pure functions.

Three views of one difference:

- The fixed interval (Welch's t) is valid for a single analysis at a planned time.
- The anytime interval is valid at every interim analysis. Verdicts use it.
- The Bayesian view gives the probability that a variant is better, and the expected loss of choosing it.

Why anytime-valid intervals. Experiments are analyzed every night, and people stop them when a result appears. A fixed
95 % interval excludes the true value in 5 % of single analyses, but the chance that it does so in at least one of many
repeated analyses is far higher, and approaches 1 as the analyses continue. Stopping at the first "significant" result
would therefore find differences where none exist. An anytime-valid interval (a confidence sequence) contains the true
value at all analyses together with a probability of 95 %, so that it stays valid however often and whenever somebody
looks or stops. The price is width: at the same units it is wider than the fixed interval. Replacing it by the fixed
interval in verdicts would invalidate every interim analysis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, isclose, log, sqrt

import numpy as np
from scipy import integrate, stats

from flags.analysis.moments import Moments

ALPHA = 0.05
"""Accepted probability of a false positive. Changes the answer."""
POWER = 0.8
"""Probability of detecting an effect that exists. Changes the estimated time to significance."""
RATE_LIMITS = (-1.0, 1.0)
"""The range of the difference of two rates."""
TUNING_UNITS = 5000
"""Units at which the anytime interval is narrowest. Changes its width slightly, never its validity."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its limits and p-value."""

    estimate: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True)
class MeanDifference:
    """The difference of two means (treatment minus control) and its standard error."""

    estimate: float
    standard_error: float
    units: int
    degrees_of_freedom: float
    """Degrees of freedom, by Welch and Satterthwaite."""
    control_mean: float
    null_standard_error: float | None = None
    """The standard error if the arms did not differ, for the p-value; None: as the other one."""
    limits: tuple[float, float] = (-inf, inf)
    """The range of the metric: no difference is outside of it."""

    @property
    def is_estimable(self) -> bool:
        """Return whether the standard error is known: at least 2 units in both arms, and some variance."""
        return 0 < self.standard_error < inf


def mean_difference(control: Moments, treatment: Moments) -> MeanDifference:
    """Return treatment minus control, with Welch's standard error and degrees of freedom."""
    a, b = control.squared_standard_error, treatment.squared_standard_error
    total = a + b
    if total == 0 and control.mean != treatment.mean:
        # Neither arm varies, so the variance of both together is all that is known: that of the score test.
        units = control.n + treatment.n
        total = control.n * treatment.n * (treatment.mean - control.mean) ** 2 / units**2
        a, b = total / control.n, total / treatment.n
        total = a + b
    if min(control.n, treatment.n) < 2 or total == 0:
        return MeanDifference(treatment.mean - control.mean, inf, control.n + treatment.n, 1.0, control.mean)
    degrees = total**2 / (a**2 / (control.n - 1) + b**2 / (treatment.n - 1))
    return MeanDifference(treatment.mean - control.mean, sqrt(total), control.n + treatment.n, degrees, control.mean)


def is_of_counts(arm: Moments) -> bool:
    """Return whether the moments are those of unweighted zeros and ones."""
    return isclose(arm.variance * max(arm.n - 1, 1), arm.mean * (1 - arm.mean) * arm.n, abs_tol=1e-9)


def rate_difference(control: Moments, treatment: Moments) -> MeanDifference:
    """
    Return treatment minus control for two rates, of zeros and ones.

    The p-value is of the score test: its standard error is that of both arms pooled, which is above 0 even if all
    units of one arm and none of the other have the event. The interval adds one success and one failure to each arm
    (Agresti, Caffo 2000), for the same reason.
    """
    units = control.n + treatment.n
    if min(control.n, treatment.n) < 2:
        return mean_difference(control, treatment)
    pooled = (control.mean * control.n + treatment.mean * treatment.n) / units
    null_error = sqrt(pooled * (1 - pooled) * (1 / control.n + 1 / treatment.n))
    rates = [((arm.mean * arm.n + 1) / (arm.n + 2), arm.n + 2) for arm in (control, treatment)]
    error = sqrt(sum(rate * (1 - rate) / n for rate, n in rates))
    return MeanDifference(treatment.mean - control.mean, error, units, inf, control.mean, null_error, RATE_LIMITS)


def adjust_with_cuped(control: Moments, treatment: Moments) -> tuple[Moments, Moments]:
    """
    Return both arms with the prior values regressed out of their means and variances (CUPED).

    Deng, Xu, Kohavi, Walker 2013: y - theta * (x - mean of x), theta = cov(x, y) / var(x), both pooled over the two
    arms.
    """
    units = control.n + treatment.n
    prior_variance = _pooled_variance(control.prior_variance, control.n, treatment.prior_variance, treatment.n)
    if units < 4 or prior_variance == 0:
        return control, treatment
    theta = _pooled_variance(control.covariance, control.n, treatment.covariance, treatment.n) / prior_variance
    prior_mean = (control.n * control.prior_mean + treatment.n * treatment.prior_mean) / units
    return _remove_prior(control, theta, prior_mean), _remove_prior(treatment, theta, prior_mean)


def _pooled_variance(a: float, n_a: int, b: float, n_b: int) -> float:
    return (a * max(n_a - 1, 0) + b * max(n_b - 1, 0)) / max(n_a + n_b - 2, 1)


def _remove_prior(arm: Moments, theta: float, prior_mean: float) -> Moments:
    variance = arm.variance + theta**2 * arm.prior_variance - 2 * theta * arm.covariance
    return Moments(arm.n, arm.mean - theta * (arm.prior_mean - prior_mean), max(variance, 0.0))


def fixed_interval(difference: MeanDifference, alpha: float = ALPHA) -> Interval:
    """Return Welch's t interval of the difference. Valid for one planned analysis only; see the module docstring."""
    if not difference.is_estimable:
        return Interval(difference.estimate, -inf, inf, 1.0)
    half = float(stats.t.ppf(1 - alpha / 2, difference.degrees_of_freedom)) * difference.standard_error
    z = abs(difference.estimate) / difference.standard_error
    if difference.null_standard_error is not None:
        z = abs(difference.estimate) / difference.null_standard_error if difference.null_standard_error else 0.0
    return clipped_interval(difference, half, 2 * float(stats.t.sf(z, difference.degrees_of_freedom)))


def clipped_interval(difference: MeanDifference, half: float, p: float) -> Interval:
    """Return the interval of the estimate plus and minus *half*, within the range of the metric."""
    low, high = difference.limits
    estimate = difference.estimate
    return Interval(estimate, max(low, estimate - half), min(high, estimate + half), p)


def anytime_interval(difference: MeanDifference, alpha: float = ALPHA, tuning_units: int = TUNING_UNITS) -> Interval:
    """
    Return an interval that is valid at all analyses together, and a p-value that may be read at any of them.

    The asymptotic confidence sequence of the normal mixture (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas,
    arXiv 2103.06476, theorem 2.2), over the units of both arms. With n units, standard error se and rho² chosen so that
    the interval is narrowest at *tuning_units*:

        half-width = se * sqrt(2 (n rho² + 1) / (n rho²) * log(sqrt(n rho² + 1) / alpha))

    The p-value is 1 / (the mixture's martingale), at most 1; it is at most alpha exactly if the interval excludes 0.
    """
    if not difference.is_estimable:
        return Interval(difference.estimate, -inf, inf, 1.0)
    n = difference.units
    rho2 = (-2 * log(alpha) + log(-2 * log(alpha) + 1)) / tuning_units
    variance_factor = n * rho2 + 1
    # The larger one, so that the interval excludes 0 exactly if the p-value is at most alpha.
    error = max(difference.standard_error, difference.null_standard_error or 0.0)
    half = error * sqrt(2 * variance_factor / (n * rho2) * log(sqrt(variance_factor) / alpha))
    z_squared = (difference.estimate / error) ** 2
    log_martingale = z_squared * n * rho2 / (2 * variance_factor) - log(variance_factor) / 2
    return clipped_interval(difference, half, exp(-max(log_martingale, 0.0)))


def relative_lift(control: Moments, treatment: Moments, interval: Interval) -> tuple[float, float, float] | None:
    """
    Return the relative lift and its limits, as fractions of the control's mean; None if that mean is close to zero.

    The interval of the difference is widened by the control's standard error (delta method), at the same confidence.
    """
    control_mean = control.mean
    min_mean = 3 * sqrt(control.squared_standard_error)
    if not np.isfinite(interval.low) or control_mean == 0 or abs(control_mean) < min_mean:
        return None
    ratio = treatment.mean / control_mean
    difference_error = sqrt(treatment.squared_standard_error + control.squared_standard_error)
    ratio_error = sqrt(treatment.squared_standard_error + ratio**2 * control.squared_standard_error)
    half = (interval.high - interval.low) / 2 * (ratio_error / difference_error) / abs(control_mean)
    return ratio - 1, ratio - 1 - half, ratio - 1 + half


def chance_and_loss(difference: MeanDifference, *, higher_is_better: bool = True) -> tuple[float, float]:
    """
    Return the probability that the treatment is better, and the expected loss of choosing it.

    The posterior of the difference under a flat prior is normal. The loss is in the metric's unit.
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
    Return the same for two rates, each as (successes, units), with Beta(1, 1) priors: accurate for few successes too.

    P(a < b) is the integral of F_a f_b, and the expected loss the integral of F_b (1 - F_a), by Simpson's rule.
    """
    a, b = (stats.beta(1 + k, 1 + n - k) for k, n in (control, treatment))
    if not higher_is_better:
        a, b = b, a
    lowest = float(min(a.ppf(1e-9), b.ppf(1e-9)))
    grid = np.linspace(lowest, float(max(a.isf(1e-9), b.isf(1e-9))), 2001)
    cdf_a, cdf_b = a.cdf(grid), b.cdf(grid)
    chance = integrate.simpson(cdf_a * b.pdf(grid), x=grid)
    return float(np.clip(chance, 0, 1)), float(integrate.simpson(cdf_b * (1 - cdf_a), x=grid))


def sample_ratio_p(counts: Sequence[int], weights: Sequence[float]) -> float:
    """Return the p-value of *counts* against the split *weights* (chi-squared); 1.0 without units."""
    total, total_weight = sum(counts), sum(weights)
    if total == 0:
        return 1.0
    return float(stats.chisquare(counts, [total * weight / total_weight for weight in weights]).pvalue)


def adjust_p_values(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Benjamini and Hochberg): a false discovery rate of at most alpha."""
    return [float(p) for p in stats.false_discovery_control(p_values)] if p_values else []


def needed_units(variance: float, effect: float, shares: tuple[float, float], alpha: float = ALPHA) -> float:
    """Return the total units of both arms at which *effect* is detected with `POWER`; *shares* are the two arms'."""
    if effect == 0 or variance == 0 or min(shares) <= 0:
        return inf
    z = float(stats.norm.isf(alpha / 2) + stats.norm.ppf(POWER))
    a, b = (share / sum(shares) for share in shares)
    return z**2 * variance * (1 / a + 1 / b) / effect**2
