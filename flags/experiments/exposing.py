"""Writes who met which variant, once a phase: it takes what others noted, so that no request waits for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from flags.experiments.rules import Exposed
from flags.models import Experiment, Exposure, Phase
from monitoring.metrics import FLAG_EXPOSURES


@dataclass(frozen=True, slots=True)
class Met:
    """That a unit was served a variant."""

    unit_id: str
    exposed: Exposed
    at: datetime


def expose(met: Iterable[Met]) -> int:
    """Write what is not written yet, and return how many that is. The first of a unit and phase counts."""
    first = {(one.exposed.phase_id, one.unit_id): one for one in sorted(met, key=lambda one: one.at, reverse=True)}
    phases = dict(Phase.objects.filter(pk__in={phase for phase, _ in first}).values_list("pk", "experiment_id"))
    there = set(
        Exposure.objects.filter(phase__in=phases, unit_id__in={unit for _, unit in first}).values_list(
            "phase", "unit_id"
        )
    )
    new = [one for key, one in first.items() if key not in there and key[0] in phases]
    Exposure.objects.bulk_create(
        [
            Exposure(
                phase_id=one.exposed.phase_id,
                experiment_id=phases[one.exposed.phase_id],
                unit_id=one.unit_id,
                variant=one.exposed.variant,
                propensity=one.exposed.propensity,
                exposed_at=one.at,
            )
            for one in new
        ],
        ignore_conflicts=True,
    )
    keys = dict(Experiment.objects.filter(pk__in=set(phases.values())).values_list("pk", "key"))
    for one in new:
        FLAG_EXPOSURES.labels(keys[phases[one.exposed.phase_id]], one.exposed.variant).inc()
    return len(new)
