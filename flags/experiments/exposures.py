"""
Writes exposures: which unit was served which variant, once per unit and phase.

Requests note exposures in memory and a worker writes them here, so that no request waits for the write.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from flags.experiments.rules import ExposedVariant
from flags.models import Experiment, ExperimentPhase, Exposure
from monitoring.metrics import FLAG_EXPOSURES


@dataclass(frozen=True, slots=True)
class UnitExposure:
    """A variant that was served to a unit."""

    unit_id: str
    exposed_variant: ExposedVariant
    exposed_at: datetime


def record_exposures(exposures: Iterable[UnitExposure]) -> int:
    """Write the exposures that are not stored yet and return their count. The earliest of a unit and phase counts."""
    earliest = {
        (exposure.exposed_variant.phase_id, exposure.unit_id): exposure
        for exposure in sorted(exposures, key=lambda exposure: exposure.exposed_at, reverse=True)
    }
    phases = dict(
        ExperimentPhase.objects.filter(pk__in={phase for phase, _ in earliest}).values_list("pk", "experiment_id")
    )
    stored = set(
        Exposure.objects.filter(phase__in=phases, unit_id__in={unit for _, unit in earliest}).values_list(
            "phase", "unit_id"
        )
    )
    new = [exposure for key, exposure in earliest.items() if key not in stored and key[0] in phases]
    Exposure.objects.bulk_create(
        [
            Exposure(
                phase_id=exposure.exposed_variant.phase_id,
                experiment_id=phases[exposure.exposed_variant.phase_id],
                unit_id=exposure.unit_id,
                variant=exposure.exposed_variant.variant,
                propensity=exposure.exposed_variant.propensity,
                exposed_at=exposure.exposed_at,
            )
            for exposure in new
        ],
        ignore_conflicts=True,
    )
    keys = dict(Experiment.objects.filter(pk__in=set(phases.values())).values_list("pk", "key"))
    for exposure in new:
        variant = exposure.exposed_variant
        FLAG_EXPOSURES.labels(keys[phases[variant.phase_id]], variant.variant).inc()
    return len(new)
