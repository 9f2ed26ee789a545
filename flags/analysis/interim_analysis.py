"""
One look at an experiment: from who was exposed and what they did, to a snapshot with a result for each metric.

A unit counts from the moment it was exposed, for the days of the metric's window, whichever variant it meets later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isfinite
from time import perf_counter

import numpy as np
from django.db import transaction
from numpy.typing import NDArray

from flags.analysis import statistics as s
from flags.analysis.moments import Float64Array, Moments, compute_moments, compute_ratio_moments
from flags.experiments import metric_sources
from flags.models import Experiment, ExperimentPhase, ExperimentResult, Exposure, InterimAnalysis, Metric

Mask = NDArray[np.bool_]

DAY_SECONDS = 86_400.0
MIN_SLICE_UNITS = 50
"""A slice of fewer units in either variant is left out: it would say nothing, and few people are soon known ones."""
MAX_SLICES = 8
"""Values of one kind of slice that are looked at, those of most units. Changes what is reported."""


class NothingToAnalyzeError(ValueError):
    """The experiment never ran, or has no goal."""


@dataclass(frozen=True, slots=True)
class ExposedUnits:
    """Who is in, one entry each (n,)."""

    ids: list[str]
    variants: NDArray[np.str_]
    exposed_at: Float64Array  # Unix seconds
    weights: Float64Array | None
    """1 / propensity where variants had unequal chances over time; None: they had not."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class ArmComparison:
    """A variant beside the control, in one metric and one slice of the units."""

    metric: Metric
    variant: str
    slice_label: str
    control: Moments
    treatment: Moments


def run_interim_analysis(*, key: str, now: datetime) -> InterimAnalysis:
    """Write and return what is known now of the experiment; raise `NothingToLookAtError` if that is nothing."""
    began = perf_counter()
    experiment = Experiment.objects.select_related("goal").get(key=key)
    phases = list(experiment.phases.order_by("number"))
    if not phases or experiment.goal is None:
        raise NothingToAnalyzeError(f"{key} has not begun, or has no goal.")
    # A bandit's phases belong together; other weights of anybody else's are another experiment.
    looked_at = phases if experiment.is_bandit else phases[-1:]
    units = load_exposed_units(looked_at, weighted=experiment.is_bandit)
    metrics = [experiment.goal, *experiment.metrics.exclude(pk=experiment.goal.pk)]
    found = [one for metric in metrics for one in compare_variants(metric, units, looked_at[-1], now)]
    found += compare_slices(experiment.goal, units, looked_at[-1], now)
    needed = estimate_needed_units(experiment, found, looked_at[-1])
    snapshot = InterimAnalysis(
        experiment=experiment,
        phase_number=phases[-1].number,
        analyzed_at=now,
        units={arm["key"]: int(np.count_nonzero(units.variants == arm["key"])) for arm in looked_at[-1].variants},
        daily_units=daily_unit_counts(units),
        sample_ratio_p=phases_sample_ratio_p(looked_at),
        needed_units=needed,
        days_left=estimate_days_left(needed, units, now),
        duration_seconds=0.0,
    )
    results = list(build_results(found))
    snapshot.duration_seconds = perf_counter() - began
    with transaction.atomic():
        snapshot.save()
        for result in results:
            result.interim_analysis = snapshot
        ExperimentResult.objects.bulk_create(results)
    return snapshot


def load_exposed_units(phases: Sequence[ExperimentPhase], *, weighted: bool) -> ExposedUnits:
    """Return who was exposed in these phases; who was in several counts by the first."""
    rows = Exposure.objects.filter(phase__in=phases).order_by("-exposed_at", "-pk")
    met = {row[0]: row for row in rows.values_list("unit_id", "variant", "exposed_at", "propensity").iterator(10_000)}
    propensities = np.array([row[3] for row in met.values()])
    return ExposedUnits(
        ids=list(met),
        variants=np.array([row[1] for row in met.values()], dtype=np.str_),
        exposed_at=np.array([row[2].timestamp() for row in met.values()]),
        weights=1 / propensities if weighted else None,
    )


def compare_variants(
    metric: Metric, units: ExposedUnits, phase: ExperimentPhase, now: datetime
) -> Iterator[ArmComparison]:
    """Yield every variant beside the control, over everybody."""
    values = load_unit_values(metric, units, now)
    for control, treatment in control_treatment_pairs(phase):
        arms = (masked_moments(values, units, units.variants == arm) for arm in (control, treatment))
        yield ArmComparison(metric, treatment, "", *arms)


def compare_slices(metric: Metric, units: ExposedUnits, phase: ExperimentPhase, now: datetime) -> list[ArmComparison]:
    """Return the same for each part of the units that is large enough."""
    values, found = load_unit_values(metric, units, now), list[ArmComparison]()
    for name, told in metric_sources.slice_units(units.ids).items():
        known = np.array(told, dtype=np.str_)
        for value, _ in Counter(one for one in told if one).most_common(MAX_SLICES):
            for control, treatment in control_treatment_pairs(phase):
                masks = [(known == value) & (units.variants == arm) for arm in (control, treatment)]
                if min(np.count_nonzero(mask) for mask in masks) >= MIN_SLICE_UNITS:
                    arms = (masked_moments(values, units, mask) for mask in masks)
                    found.append(ArmComparison(metric, treatment, f"{name}={value}"[:64], *arms))
    return found


def control_treatment_pairs(phase: ExperimentPhase) -> list[tuple[str, str]]:
    """Return the control beside each other variant."""
    control = next(arm["key"] for arm in phase.variants if arm["is_control"])
    return [(control, arm["key"]) for arm in phase.variants if arm["key"] != control]


@dataclass(frozen=True, slots=True)
class UnitValues:
    """A metric's numbers of each unit (n,)."""

    values: Float64Array
    denominators: Float64Array | None = None
    """Of a ratio: what stands below the line."""
    prior_values: Float64Array | None = None
    """The same of the days before the exposure, for CUPED."""


def load_unit_values(metric: Metric, units: ExposedUnits, now: datetime) -> UnitValues:
    """Return what each unit did within the metric's window, and before it."""
    start = units.exposed_at
    end = np.minimum(start + metric.window_days * DAY_SECONDS, now.timestamp())
    of = metric_sources.count_events(metric.source, units.ids, start, end, metric.numerator)
    if metric.kind == Metric.Kind.RATIO:
        return UnitValues(
            of, denominators=metric_sources.count_events(metric.source, units.ids, start, end, metric.denominator)
        )
    before = None
    if metric.prior_days:
        since = start - metric.prior_days * DAY_SECONDS
        before = metric_sources.count_events(metric.source, units.ids, since, start, metric.numerator)
    if metric.kind == Metric.Kind.RATE:
        return UnitValues((of > 0).astype(float), prior_values=None if before is None else (before > 0).astype(float))
    return UnitValues(of, prior_values=before)


def masked_moments(values: UnitValues, units: ExposedUnits, mask: Mask) -> Moments:
    """Return the moments of those whom *mask* has."""
    weights = None if units.weights is None else units.weights[mask]
    if values.denominators is not None:
        return compute_ratio_moments(values.values[mask], values.denominators[mask], weights)
    return compute_moments(
        values.values[mask], None if values.prior_values is None else values.prior_values[mask], weights
    )


def build_results(comparisons: Sequence[ArmComparison]) -> Iterator[ExperimentResult]:
    """Yield a result for each comparison; p-values are adjusted for all that are made of everybody, and of slices."""
    arms = [s.adjust_with_cuped(one.control, one.treatment) for one in comparisons]
    differences = [s.mean_difference(*pair) for pair in arms]
    anytime = [s.anytime_interval(one) for one in differences]
    adjusted = dict[int, float]()
    for is_slice in (False, True):
        numbers = [number for number, one in enumerate(comparisons) if bool(one.slice_label) == is_slice]
        adjusted |= dict(zip(numbers, s.adjust_p_values([anytime[number].p for number in numbers]), strict=True))
    for number, (one, pair, difference, interval) in enumerate(
        zip(comparisons, arms, differences, anytime, strict=True)
    ):
        yield build_result(one, pair, difference, interval, adjusted[number])


def build_result(
    comparison: ArmComparison,
    arms: tuple[Moments, Moments],
    difference: s.MeanDifference,
    anytime: s.Interval,
    adjusted_p: float,
) -> ExperimentResult:
    """Return one comparison in the three views of it."""
    fixed, lift = s.fixed_interval(difference), s.relative_lift(*arms, anytime)
    chance, loss = comparison_chance_and_loss(comparison, difference)
    raw = comparison.control.squared_standard_error + comparison.treatment.squared_standard_error
    kept = sum(arm.squared_standard_error for arm in arms)
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
        remaining_variance_ratio=kept / raw if isfinite(raw) and raw > 0 else 1.0,
        verdict=decide_verdict(comparison.metric, comparison.control.mean, anytime, adjusted_p),
    )


def comparison_chance_and_loss(comparison: ArmComparison, difference: s.MeanDifference) -> tuple[float, float]:
    """Return the chance that the variant is the better one, and the expected loss; of rates by their counts."""
    better = comparison.metric.higher_is_better
    if comparison.metric.kind != Metric.Kind.RATE or min(comparison.control.n, comparison.treatment.n) == 0:
        return s.chance_and_loss(difference, higher_is_better=better)
    counts = [(arm.mean * arm.n, arm.n) for arm in (comparison.control, comparison.treatment)]
    return s.rate_chance_and_loss(counts[0], counts[1], higher_is_better=better)


def decide_verdict(
    metric: Metric, control_mean: float, anytime: s.Interval, adjusted_p: float
) -> ExperimentResult.Verdict:
    """
    Return what may be said at any look.

    A guardrail is safe once the harm that its interval leaves possible is within the tolerance.
    """
    gain = anytime.estimate if metric.higher_is_better else -anytime.estimate
    worst = anytime.low if metric.higher_is_better else -anytime.high
    if adjusted_p <= s.ALPHA:
        return ExperimentResult.Verdict.BETTER if gain > 0 else ExperimentResult.Verdict.WORSE
    if metric.is_guardrail and worst >= -metric.tolerance * abs(control_mean):
        return ExperimentResult.Verdict.SAFE
    return ExperimentResult.Verdict.INCONCLUSIVE


def finite_or_none(value: float) -> float | None:
    """Return a number as a row holds it: nothing for infinity."""
    return value if isfinite(value) else None


def phases_sample_ratio_p(phases: Sequence[ExperimentPhase]) -> float:
    """Return how likely a split as far from the asked one is by chance; each phase has its own weights."""
    counts, expected = Counter[str](), Counter[str]()
    for phase in phases:
        rows = phase.exposures.order_by().values_list("variant", flat=True)
        there = Counter(rows.iterator(10_000))
        counts += there
        for arm in phase.variants:
            expected[arm["key"]] += arm["share"] * there.total()
    keys = [key for key, weight in expected.items() if weight > 0]
    return s.sample_ratio_p([counts[key] for key in keys], [expected[key] for key in keys]) if keys else 1.0


def daily_unit_counts(units: ExposedUnits) -> dict[str, dict[str, int]]:
    """Return the units first exposed on each day, by variant."""
    days = np.floor(units.exposed_at / DAY_SECONDS).astype(int)
    counted = Counter(zip(units.variants.tolist(), days.tolist(), strict=True))
    found: dict[str, dict[str, int]] = {}
    for (variant, day), count in sorted(counted.items()):
        found.setdefault(variant, {})[str(np.datetime64(day, "D"))] = count
    return found


def estimate_needed_units(
    experiment: Experiment, comparisons: Sequence[ArmComparison], phase: ExperimentPhase
) -> float | None:
    """Return the units in all at which the goal's smallest effect worth finding is found in every variant."""
    share: Mapping[str, float] = {arm["key"]: arm["share"] for arm in phase.variants}
    control = next(arm["key"] for arm in phase.variants if arm["is_control"])
    most = 0.0
    for one in comparisons:
        if one.metric.pk != experiment.goal_id or one.slice_label:
            continue
        arms = s.adjust_with_cuped(one.control, one.treatment)
        effect = experiment.minimum_effect * abs(one.control.mean)
        both = share[control] + share[one.variant]
        needed = s.needed_units(arms[0].variance, effect, (share[control], share[one.variant]))
        most = max(most, needed / both)
    return finite_or_none(most) if most else None


def estimate_days_left(needed: float | None, units: ExposedUnits, now: datetime) -> float | None:
    """Return how long until then at the pace of the last week; nothing if that cannot be said."""
    if needed is None or not len(units):
        return None
    week = (now - timedelta(days=7)).timestamp()
    seconds = now.timestamp() - max(week, float(units.exposed_at.min()))
    pace = float(np.count_nonzero(units.exposed_at >= week)) / max(seconds / DAY_SECONDS, 1 / 24)
    missing = max(needed - len(units), 0.0)
    return 0.0 if missing == 0 else missing / pace if pace > 0 else None
