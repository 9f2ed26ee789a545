"""Writes who met which variant, once a phase: it takes what others noted, so that no request waits for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from flags.experiments.rules import ExposedVariant
from flags.models import Experiment, ExperimentPhase, Exposure
from monitoring.metrics import FLAG_EXPOSURES


@dataclass(frozen=True, slots=True)
class UnitExposure:
    """That a unit was served a variant."""

    unit_id: str
    exposed_variant: ExposedVariant
    exposed_at: datetime


def record_exposures(exposures: Iterable[UnitExposure]) -> int:
    """Write what is not written yet, and return how many that is. The first of a unit and phase counts."""
    first = {
        (one.exposed_variant.phase_id, one.unit_id): one
        for one in sorted(exposures, key=lambda one: one.exposed_at, reverse=True)
    }
    phases = dict(
        ExperimentPhase.objects.filter(pk__in={phase for phase, _ in first}).values_list("pk", "experiment_id")
    )
    there = set(
        Exposure.objects.filter(phase__in=phases, unit_id__in={unit for _, unit in first}).values_list(
            "phase", "unit_id"
        )
    )
    new = [one for key, one in first.items() if key not in there and key[0] in phases]
    Exposure.objects.bulk_create(
        [
            Exposure(
                phase_id=one.exposed_variant.phase_id,
                experiment_id=phases[one.exposed_variant.phase_id],
                unit_id=one.unit_id,
                variant=one.exposed_variant.variant,
                propensity=one.exposed_variant.propensity,
                exposed_at=one.exposed_at,
            )
            for one in new
        ],
        ignore_conflicts=True,
    )
    keys = dict(Experiment.objects.filter(pk__in=set(phases.values())).values_list("pk", "key"))
    for one in new:
        FLAG_EXPOSURES.labels(keys[phases[one.exposed_variant.phase_id]], one.exposed_variant.variant).inc()
    return len(new)
