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
from flags.analysis.moments import Float64Array, Moments, moments, ratio_moments
from flags.experiments import sources
from flags.models import Experiment, Exposure, Metric, Phase, Result, Snapshot

Mask = NDArray[np.bool_]

DAY_SECONDS = 86_400.0
MIN_SLICE_UNITS = 50
"""A slice of fewer units in either variant is left out: it would say nothing, and few people are soon known ones."""
MOST_SLICES = 8
"""Values of one kind of slice that are looked at, those of most units. Changes what is reported."""


class NothingToLookAtError(ValueError):
    """The experiment never ran, or has no goal."""


@dataclass(frozen=True, slots=True)
class Units:
    """Who is in, one entry each (n,)."""

    ids: list[str]
    variants: NDArray[np.str_]
    exposed_at: Float64Array  # Unix seconds
    weights: Float64Array | None
    """1 / propensity where variants had unequal chances over time; None: they had not."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Compared:
    """A variant beside the control, in one metric and one slice of the units."""

    metric: Metric
    variant: str
    segment: str
    control: Moments
    treatment: Moments


def look(*, key: str, now: datetime) -> Snapshot:
    """Write and return what is known now of the experiment; raise `NothingToLookAtError` if that is nothing."""
    began = perf_counter()
    experiment = Experiment.objects.select_related("goal").get(key=key)
    phases = list(experiment.phases.order_by("number"))
    if not phases or experiment.goal is None:
        raise NothingToLookAtError(f"{key} has not begun, or has no goal.")
    # A bandit's phases belong together; other weights of anybody else's are another experiment.
    looked_at = phases if experiment.is_bandit else phases[-1:]
    units = units_of(looked_at, weighted=experiment.is_bandit)
    metrics = [experiment.goal, *experiment.metrics.exclude(pk=experiment.goal.pk)]
    found = [one for metric in metrics for one in compared(metric, units, looked_at[-1], now)]
    found += sliced(experiment.goal, units, looked_at[-1], now)
    needed = needed_units(experiment, found, looked_at[-1])
    snapshot = Snapshot(
        experiment=experiment,
        phase_number=phases[-1].number,
        made_at=now,
        units={arm["key"]: int(np.count_nonzero(units.variants == arm["key"])) for arm in looked_at[-1].variants},
        daily_units=daily(units),
        sample_ratio_p=sample_ratio_p(looked_at),
        needed_units=needed,
        days_left=days_left(needed, units, now),
        seconds=0.0,
    )
    results = list(results_of(found))
    snapshot.seconds = perf_counter() - began
    with transaction.atomic():
        snapshot.save()
        for result in results:
            result.snapshot = snapshot
        Result.objects.bulk_create(results)
    return snapshot


def units_of(phases: Sequence[Phase], *, weighted: bool) -> Units:
    """Return who was exposed in these phases; who was in several counts by the first."""
    rows = Exposure.objects.filter(phase__in=phases).order_by("-exposed_at", "-pk")
    met = {row[0]: row for row in rows.values_list("unit_id", "variant", "exposed_at", "propensity").iterator(10_000)}
    propensities = np.array([row[3] for row in met.values()])
    return Units(
        ids=list(met),
        variants=np.array([row[1] for row in met.values()], dtype=np.str_),
        exposed_at=np.array([row[2].timestamp() for row in met.values()]),
        weights=1 / propensities if weighted else None,
    )


def compared(metric: Metric, units: Units, phase: Phase, now: datetime) -> Iterator[Compared]:
    """Yield every variant beside the control, over everybody."""
    values = values_of(metric, units, now)
    for control, treatment in pairs(phase):
        arms = (moments_of(values, units, units.variants == arm) for arm in (control, treatment))
        yield Compared(metric, treatment, "", *arms)


def sliced(metric: Metric, units: Units, phase: Phase, now: datetime) -> list[Compared]:
    """Return the same for each part of the units that is large enough."""
    values, found = values_of(metric, units, now), list[Compared]()
    for name, told in sources.slices(units.ids).items():
        known = np.array(told, dtype=np.str_)
        for value, _ in Counter(one for one in told if one).most_common(MOST_SLICES):
            for control, treatment in pairs(phase):
                masks = [(known == value) & (units.variants == arm) for arm in (control, treatment)]
                if min(np.count_nonzero(mask) for mask in masks) >= MIN_SLICE_UNITS:
                    arms = (moments_of(values, units, mask) for mask in masks)
                    found.append(Compared(metric, treatment, f"{name}={value}"[:64], *arms))
    return found


def pairs(phase: Phase) -> list[tuple[str, str]]:
    """Return the control beside each other variant."""
    control = next(arm["key"] for arm in phase.variants if arm["is_control"])
    return [(control, arm["key"]) for arm in phase.variants if arm["key"] != control]


@dataclass(frozen=True, slots=True)
class Values:
    """A metric's numbers of each unit (n,)."""

    of: Float64Array
    below: Float64Array | None = None
    """Of a ratio: what stands below the line."""
    before: Float64Array | None = None
    """The same of the days before the exposure, for CUPED."""


def values_of(metric: Metric, units: Units, now: datetime) -> Values:
    """Return what each unit did within the metric's window, and before it."""
    start = units.exposed_at
    end = np.minimum(start + metric.window_days * DAY_SECONDS, now.timestamp())
    of = sources.count(metric.source, units.ids, start, end, metric.numerator)
    if metric.kind == Metric.Kind.RATIO:
        return Values(of, below=sources.count(metric.source, units.ids, start, end, metric.denominator))
    before = None
    if metric.prior_days:
        since = start - metric.prior_days * DAY_SECONDS
        before = sources.count(metric.source, units.ids, since, start, metric.numerator)
    if metric.kind == Metric.Kind.RATE:
        return Values((of > 0).astype(float), before=None if before is None else (before > 0).astype(float))
    return Values(of, before=before)


def moments_of(values: Values, units: Units, mask: Mask) -> Moments:
    """Return the moments of those whom *mask* has."""
    weights = None if units.weights is None else units.weights[mask]
    if values.below is not None:
        return ratio_moments(values.of[mask], values.below[mask], weights)
    return moments(values.of[mask], None if values.before is None else values.before[mask], weights)


def results_of(found: Sequence[Compared]) -> Iterator[Result]:
    """Yield a result for each comparison; p-values are adjusted for all that are made of everybody, and of slices."""
    arms = [s.adjusted(one.control, one.treatment) for one in found]
    differences = [s.difference(*pair) for pair in arms]
    anytime = [s.anytime(one) for one in differences]
    adjusted = dict[int, float]()
    for is_slice in (False, True):
        numbers = [number for number, one in enumerate(found) if bool(one.segment) == is_slice]
        adjusted |= dict(zip(numbers, s.controlled([anytime[number].p for number in numbers]), strict=True))
    for number, (one, pair, difference, interval) in enumerate(zip(found, arms, differences, anytime, strict=True)):
        yield result_of(one, pair, difference, interval, adjusted[number])


def result_of(
    one: Compared, arms: tuple[Moments, Moments], difference: s.Difference, anytime: s.Interval, adjusted_p: float
) -> Result:
    """Return one comparison in the three views of it."""
    fixed, lift = s.fixed(difference), s.lift(*arms, anytime)
    chance, loss = chance_and_loss(one, difference)
    raw = one.control.squared_error + one.treatment.squared_error
    kept = sum(arm.squared_error for arm in arms)
    return Result(
        metric=one.metric,
        variant=one.variant,
        segment=one.segment,
        control_units=one.control.n,
        units=one.treatment.n,
        control_mean=one.control.mean,
        mean=one.treatment.mean,
        difference=difference.estimate,
        low=finite(fixed.low),
        high=finite(fixed.high),
        p=fixed.p,
        anytime_low=finite(anytime.low),
        anytime_high=finite(anytime.high),
        anytime_p=anytime.p,
        adjusted_p=adjusted_p,
        lift=lift[0] if lift else None,
        lift_low=finite(lift[1]) if lift else None,
        lift_high=finite(lift[2]) if lift else None,
        chance=chance,
        loss=finite(loss),
        variance_kept=kept / raw if isfinite(raw) and raw > 0 else 1.0,
        verdict=verdict(one.metric, one.control.mean, anytime, adjusted_p),
    )


def chance_and_loss(one: Compared, difference: s.Difference) -> tuple[float, float]:
    """Return the chance that the variant is the better one, and the expected loss; of rates by their counts."""
    better = one.metric.higher_is_better
    if one.metric.kind != Metric.Kind.RATE or min(one.control.n, one.treatment.n) == 0:
        return s.chance_and_loss(difference, higher_is_better=better)
    counts = [(arm.mean * arm.n, arm.n) for arm in (one.control, one.treatment)]
    return s.rate_chance_and_loss(counts[0], counts[1], higher_is_better=better)


def verdict(metric: Metric, control_mean: float, anytime: s.Interval, adjusted_p: float) -> Result.Verdict:
    """
    Return what may be said at any look.

    A guardrail is safe once the harm that its interval leaves possible is within the tolerance.
    """
    gain = anytime.estimate if metric.higher_is_better else -anytime.estimate
    worst = anytime.low if metric.higher_is_better else -anytime.high
    if adjusted_p <= s.ALPHA:
        return Result.Verdict.BETTER if gain > 0 else Result.Verdict.WORSE
    if metric.is_guardrail and worst >= -metric.tolerance * abs(control_mean):
        return Result.Verdict.SAFE
    return Result.Verdict.OPEN


def finite(value: float) -> float | None:
    """Return a number as a row holds it: nothing for infinity."""
    return value if isfinite(value) else None


def sample_ratio_p(phases: Sequence[Phase]) -> float:
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


def daily(units: Units) -> dict[str, dict[str, int]]:
    """Return the units first exposed on each day, by variant."""
    days = np.floor(units.exposed_at / DAY_SECONDS).astype(int)
    counted = Counter(zip(units.variants.tolist(), days.tolist(), strict=True))
    found: dict[str, dict[str, int]] = {}
    for (variant, day), count in sorted(counted.items()):
        found.setdefault(variant, {})[str(np.datetime64(day, "D"))] = count
    return found


def needed_units(experiment: Experiment, found: Sequence[Compared], phase: Phase) -> float | None:
    """Return the units in all at which the goal's smallest effect worth finding is found in every variant."""
    share: Mapping[str, float] = {arm["key"]: arm["share"] for arm in phase.variants}
    control = next(arm["key"] for arm in phase.variants if arm["is_control"])
    most = 0.0
    for one in found:
        if one.metric.pk != experiment.goal_id or one.segment:
            continue
        arms = s.adjusted(one.control, one.treatment)
        effect = experiment.minimum_effect * abs(one.control.mean)
        both = share[control] + share[one.variant]
        needed = s.needed_units(arms[0].variance, effect, (share[control], share[one.variant]))
        most = max(most, needed / both)
    return finite(most) if most else None


def days_left(needed: float | None, units: Units, now: datetime) -> float | None:
    """Return how long until then at the pace of the last week; nothing if that cannot be said."""
    if needed is None or not len(units):
        return None
    week = (now - timedelta(days=7)).timestamp()
    seconds = now.timestamp() - max(week, float(units.exposed_at.min()))
    pace = float(np.count_nonzero(units.exposed_at >= week)) / max(seconds / DAY_SECONDS, 1 / 24)
    missing = max(needed - len(units), 0.0)
    return 0.0 if missing == 0 else missing / pace if pace > 0 else None
