"""
The interim analysis of an experiment: from exposures and events to an `InterimAnalysis` with a result per metric.

A unit counts from its exposure on, for the days of the metric's window, in the variant of its first exposure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import isfinite
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from flags.analysis import statistics as s
from flags.analysis.moments import Float64Array, Moments, compute_moments, compute_ratio_moments
from flags.experiments import metric_sources, report
from flags.models import Experiment, ExperimentPhase, ExperimentResult, Exposure, InterimAnalysis, Metric
from monitoring.transactions import write_transaction

Mask = NDArray[np.bool_]

DAY_SECONDS = 86_400.0
MIN_SLICE_UNITS = 50
"""Smaller slices are omitted: they are uninformative, and could reveal individual members."""
MAX_SLICES = 8
"""Values reported per kind of slice: those with the most units. Changes what is reported."""


class NothingToAnalyzeError(ValueError):
    """The experiment has not started, or has no goal."""


@dataclass(frozen=True, slots=True)
class ExposedUnits:
    """The exposed units, one entry each (n,)."""

    ids: list[str]
    variants: NDArray[np.str_]
    exposed_at: Float64Array  # Unix seconds
    weights: Float64Array | None
    """1 / propensity for a bandit, whose variants had unequal probabilities over time; None: equal weights."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class ArmComparison:
    """A variant compared with the control, for one metric and one slice of the units."""

    metric: Metric
    variant: str
    slice_label: str
    control: Moments
    treatment: Moments


def run_interim_analysis(*, key: str, now: datetime) -> InterimAnalysis:
    """Analyze the experiment, save the analysis and return it. Raises `NothingToAnalyzeError`."""
    started = perf_counter()
    experiment = Experiment.objects.select_related("goal").get(key=key)
    phases = list(experiment.phases.order_by("number"))
    if not phases or experiment.goal is None:
        raise NothingToAnalyzeError(f"{key} has not started, or has no goal.")
    # A bandit's phases form one data set. In other experiments new weights mean a new data set.
    analyzed_phases = phases if experiment.is_bandit else phases[-1:]
    units = load_exposed_units(analyzed_phases, weighted=experiment.is_bandit)
    metrics = [experiment.goal, *experiment.metrics.exclude(pk=experiment.goal.pk)]
    comparisons = [row for metric in metrics for row in compare_variants(metric, units, analyzed_phases[-1], now)]
    comparisons += compare_slices(experiment.goal, units, analyzed_phases[-1], now)
    needed = estimate_needed_units(experiment, comparisons, analyzed_phases[-1])
    analysis = InterimAnalysis(
        experiment=experiment,
        phase_number=phases[-1].number,
        analyzed_at=now,
        units={arm["key"]: int(np.count_nonzero(units.variants == arm["key"])) for arm in analyzed_phases[-1].variants},
        daily_units=daily_unit_counts(units),
        sample_ratio_p=phases_sample_ratio_p(analyzed_phases),
        needed_units=needed,
        days_left=estimate_days_left(needed, units, report.count_reachable_units(experiment), now),
        duration_seconds=0.0,
    )
    results = list(build_results(comparisons))
    analysis.duration_seconds = perf_counter() - started
    save_analysis(analysis, results)
    return analysis


@write_transaction
def save_analysis(analysis: InterimAnalysis, results: Sequence[ExperimentResult]) -> None:
    """Insert the analysis with its results."""
    analysis.save(force_insert=True)
    for result in results:
        result.interim_analysis = analysis
    ExperimentResult.objects.bulk_create(results)


def load_exposed_units(phases: Sequence[ExperimentPhase], *, weighted: bool) -> ExposedUnits:
    """Return the units exposed in these phases. A unit exposed in several phases counts in its first."""
    rows = Exposure.objects.filter(phase__in=phases).order_by("-exposed_at", "-pk")
    # Newest first: later rows of the mapping replace earlier ones, so the first exposure wins.
    columns = rows.values_list("unit_id", "variant", "exposed_at", "propensity")
    exposures = {row[0]: row for row in columns.iterator(10_000)}
    propensities = np.array([row[3] for row in exposures.values()])
    return ExposedUnits(
        ids=list(exposures),
        variants=np.array([row[1] for row in exposures.values()], dtype=np.str_),
        exposed_at=np.array([row[2].timestamp() for row in exposures.values()]),
        weights=1 / propensities if weighted else None,
    )


def compare_variants(
    metric: Metric, units: ExposedUnits, phase: ExperimentPhase, now: datetime
) -> Iterator[ArmComparison]:
    """Yield the comparison of every variant with the control, over all units."""
    values = load_unit_values(metric, units, now)
    for control, treatment in control_treatment_pairs(phase):
        arms = (masked_moments(values, units, units.variants == arm) for arm in (control, treatment))
        yield ArmComparison(metric, treatment, "", *arms)


def compare_slices(metric: Metric, units: ExposedUnits, phase: ExperimentPhase, now: datetime) -> list[ArmComparison]:
    """Return the same comparisons for each slice of at least `MIN_SLICE_UNITS` units per variant."""
    values, comparisons = load_unit_values(metric, units, now), list[ArmComparison]()
    for name, slice_values in metric_sources.slice_units(units.ids).items():
        values_array = np.array(slice_values, dtype=np.str_)
        for value, _ in Counter(value for value in slice_values if value).most_common(MAX_SLICES):
            for control, treatment in control_treatment_pairs(phase):
                masks = [(values_array == value) & (units.variants == arm) for arm in (control, treatment)]
                if min(np.count_nonzero(mask) for mask in masks) >= MIN_SLICE_UNITS:
                    arms = (masked_moments(values, units, mask) for mask in masks)
                    comparisons.append(ArmComparison(metric, treatment, f"{name}={value}"[:64], *arms))
    return comparisons


def control_treatment_pairs(phase: ExperimentPhase) -> list[tuple[str, str]]:
    """Return the control's key paired with each other variant's key."""
    control = next(arm["key"] for arm in phase.variants if arm["is_control"])
    return [(control, arm["key"]) for arm in phase.variants if arm["key"] != control]


@dataclass(frozen=True, slots=True)
class UnitValues:
    """A metric's values per unit (n,)."""

    values: Float64Array
    denominators: Float64Array | None = None
    """The denominators of a ratio metric."""
    prior_values: Float64Array | None = None
    """The same metric in the days before the exposure, for CUPED."""


def load_unit_values(metric: Metric, units: ExposedUnits, now: datetime) -> UnitValues:
    """Return each unit's value within the metric's window after its exposure, and before it."""
    start = units.exposed_at
    end = np.minimum(start + metric.window_days * DAY_SECONDS, now.timestamp())
    counts = metric_sources.count_events(metric.source, units.ids, start, end, metric.numerator)
    if metric.kind == Metric.Kind.RATIO:
        return UnitValues(
            counts, denominators=metric_sources.count_events(metric.source, units.ids, start, end, metric.denominator)
        )
    prior = None
    if metric.prior_days:
        since = start - metric.prior_days * DAY_SECONDS
        prior = metric_sources.count_events(metric.source, units.ids, since, start, metric.numerator)
    if metric.kind == Metric.Kind.RATE:
        return UnitValues((counts > 0).astype(float), prior_values=None if prior is None else (prior > 0).astype(float))
    return UnitValues(counts, prior_values=prior)


def masked_moments(values: UnitValues, units: ExposedUnits, mask: Mask) -> Moments:
    """Return the moments of the units in *mask* (n,)."""
    weights = None if units.weights is None else units.weights[mask]
    if values.denominators is not None:
        return compute_ratio_moments(values.values[mask], values.denominators[mask], weights)
    return compute_moments(
        values.values[mask], None if values.prior_values is None else values.prior_values[mask], weights
    )


def build_results(comparisons: Sequence[ArmComparison]) -> Iterator[ExperimentResult]:
    """
    Yield a result for each comparison.

    P-values are adjusted in two families: all comparisons over all units, and all comparisons of slices.
    """
    arms = [s.adjust_with_cuped(row.control, row.treatment) for row in comparisons]
    differences = [compute_difference(row, pair) for row, pair in zip(comparisons, arms, strict=True)]
    anytime = [s.anytime_interval(difference) for difference in differences]
    adjusted = dict[int, float]()
    for is_slice in (False, True):
        numbers = [number for number, row in enumerate(comparisons) if bool(row.slice_label) == is_slice]
        adjusted |= dict(zip(numbers, s.adjust_p_values([anytime[number].p for number in numbers]), strict=True))
    for number, (row, pair, difference, interval) in enumerate(
        zip(comparisons, arms, differences, anytime, strict=True)
    ):
        yield build_result(row, pair, difference, interval, adjusted[number])


def compute_difference(comparison: ArmComparison, arms: tuple[Moments, Moments]) -> s.MeanDifference:
    """
    Return the difference of the arms.

    A rate whose variance is not that of counts, because of CUPED or a bandit's weights, is compared as a mean.
    """
    if comparison.metric.kind != Metric.Kind.RATE:
        return s.mean_difference(*arms)
    if all(s.is_of_counts(arm) for arm in arms):
        return s.rate_difference(*arms)
    return replace(s.mean_difference(*arms), limits=s.RATE_LIMITS)


def build_result(
    comparison: ArmComparison,
    arms: tuple[Moments, Moments],
    difference: s.MeanDifference,
    anytime: s.Interval,
    adjusted_p: float,
) -> ExperimentResult:
    """Return the result of one comparison: fixed interval, anytime interval and Bayesian view."""
    fixed, lift = s.fixed_interval(difference), s.relative_lift(*arms, anytime)
    chance, loss = comparison_chance_and_loss(comparison, difference)
    raw_variance = comparison.control.squared_standard_error + comparison.treatment.squared_standard_error
    adjusted_variance = sum(arm.squared_standard_error for arm in arms)
    return ExperimentResult(
        metric=comparison.metric,
        variant=comparison.variant,
        slice_label=comparison.slice_label,
        control_units=comparison.control.n,
        units=comparison.treatment.n,
        control_mean=comparison.control.mean,
        mean=comparison.treatment.mean,
        difference=difference.estimate,
        fixed_low=finite_or_none(fixed.low),
        fixed_high=finite_or_none(fixed.high),
        fixed_p=fixed.p,
        anytime_low=finite_or_none(anytime.low),
        anytime_high=finite_or_none(anytime.high),
        anytime_p=anytime.p,
        adjusted_p=adjusted_p,
        lift=lift[0] if lift else None,
        lift_low=finite_or_none(lift[1]) if lift else None,
        lift_high=finite_or_none(lift[2]) if lift else None,
        chance_better=chance,
        expected_loss=finite_or_none(loss),
        remaining_variance_ratio=adjusted_variance / raw_variance
        if isfinite(raw_variance) and raw_variance > 0
        else 1.0,
        verdict=decide_verdict(comparison.metric, comparison.control.mean, anytime, adjusted_p),
    )


def comparison_chance_and_loss(comparison: ArmComparison, difference: s.MeanDifference) -> tuple[float, float]:
    """Return the probability that the variant is better, and the expected loss; for rates from their counts."""
    higher_is_better = comparison.metric.higher_is_better
    if comparison.metric.kind != Metric.Kind.RATE or min(comparison.control.n, comparison.treatment.n) == 0:
        return s.chance_and_loss(difference, higher_is_better=higher_is_better)
    counts = [(arm.mean * arm.n, arm.n) for arm in (comparison.control, comparison.treatment)]
    return s.rate_chance_and_loss(counts[0], counts[1], higher_is_better=higher_is_better)


def decide_verdict(
    metric: Metric, control_mean: float, anytime: s.Interval, adjusted_p: float
) -> ExperimentResult.Verdict:
    """
    Return the verdict, which is valid at any interim analysis.

    A guardrail is safe once the largest harm within its anytime interval is within the tolerance.
    """
    gain = anytime.estimate if metric.higher_is_better else -anytime.estimate
    worst = anytime.low if metric.higher_is_better else -anytime.high
    if adjusted_p <= s.ALPHA:
        return ExperimentResult.Verdict.BETTER if gain > 0 else ExperimentResult.Verdict.WORSE
    if metric.is_guardrail and worst >= -metric.tolerance * abs(control_mean):
        return ExperimentResult.Verdict.SAFE
    return ExperimentResult.Verdict.INCONCLUSIVE


def finite_or_none(value: float) -> float | None:
    """Return the number, or None for infinity."""
    return value if isfinite(value) else None


def phases_sample_ratio_p(phases: Sequence[ExperimentPhase]) -> float:
    """Return the p-value of the sample ratio check over the phases, each with its own weights."""
    counts, expected = Counter[str](), Counter[str]()
    for phase in phases:
        rows = phase.exposures.order_by().values_list("variant", flat=True)
        phase_counts = Counter(rows.iterator(10_000))
        counts += phase_counts
        for arm in phase.variants:
            expected[arm["key"]] += arm["share"] * phase_counts.total()
    keys = [key for key, weight in expected.items() if weight > 0]
    return s.sample_ratio_p([counts[key] for key in keys], [expected[key] for key in keys]) if keys else 1.0


def daily_unit_counts(units: ExposedUnits) -> dict[str, dict[str, int]]:
    """Return the units first exposed on each day, by variant."""
    days = np.floor(units.exposed_at / DAY_SECONDS).astype(int)
    counts = Counter(zip(units.variants.tolist(), days.tolist(), strict=True))
    daily: dict[str, dict[str, int]] = {}
    for (variant, day), count in sorted(counts.items()):
        daily.setdefault(variant, {})[str(np.datetime64(day, "D"))] = count
    return daily


def estimate_needed_units(
    experiment: Experiment, comparisons: Sequence[ArmComparison], phase: ExperimentPhase
) -> float | None:
    """Return the total units at which every variant reaches `POWER` for the goal's minimum effect, or None."""
    share: Mapping[str, float] = {arm["key"]: arm["share"] for arm in phase.variants}
    control = next(arm["key"] for arm in phase.variants if arm["is_control"])
    most = 0.0
    for row in comparisons:
        if row.metric.pk != experiment.goal_id or row.slice_label:
            continue
        arms = s.adjust_with_cuped(row.control, row.treatment)
        effect = experiment.minimum_effect * abs(row.control.mean)
        both = share[control] + share[row.variant]
        needed = s.needed_units(arms[0].variance, effect, (share[control], share[row.variant]))
        most = max(most, needed / both)
    return finite_or_none(most) if most else None


def estimate_days_left(
    needed: float | None, units: ExposedUnits, reachable: float | None, now: datetime
) -> float | None:
    """
    Return the days until *needed* units are exposed, at last week's pace.

    None if the pace is unknown, or if the platform has only *reachable* units, which are fewer than needed.
    """
    if needed is None or not len(units) or (reachable is not None and needed > reachable):
        return None
    week = (now - timedelta(days=7)).timestamp()
    seconds = now.timestamp() - max(week, float(units.exposed_at.min()))
    pace = float(np.count_nonzero(units.exposed_at >= week)) / max(seconds / DAY_SECONDS, 1 / 24)
    still_needed = max(needed - len(units), 0.0)
    return 0.0 if still_needed == 0 else still_needed / pace if pace > 0 else None
