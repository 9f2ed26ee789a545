"""Queries for running experiments and earlier assignments, returned as plain values."""

from __future__ import annotations

from collections.abc import Iterable

from flags.experiments.rules import ExperimentArm, RunningExperiment
from flags.models import Experiment, ExperimentPhase, Exposure


def load_running_experiments() -> tuple[RunningExperiment, ...]:
    """Return the open phases of running experiments, in one query."""
    phases = ExperimentPhase.objects.filter(ended_at=None, experiment__state=Experiment.State.RUNNING)
    return tuple(
        _build_running_experiment(phase)
        for phase in phases.select_related("experiment__flag", "experiment__group", "experiment__holdout")
    )


def _build_running_experiment(phase: ExperimentPhase) -> RunningExperiment:
    experiment = phase.experiment
    holdout = experiment.holdout
    return RunningExperiment(
        experiment_id=experiment.pk,
        phase_id=phase.pk,
        key=experiment.key,
        flag_key=experiment.flag.key,
        seed=phase.seed,
        traffic=phase.traffic,
        arms=tuple(ExperimentArm(v["key"], v["share"], v["value"], v["config"]) for v in phase.variants),
        group=experiment.group.key if experiment.group else "",
        slot=(experiment.slot_from / 100, experiment.slot_to / 100),
        holdout=holdout.key if holdout else "",
        holdout_share=holdout.percentage / 100 if holdout else 0.0,
        has_earlier_assignments=experiment.is_sticky and phase.number > 1,
    )


def load_assignments(rows: Iterable[RunningExperiment], unit_id: str) -> dict[str, str]:
    """Return the variant that the unit was first exposed to, by the experiment's key."""
    keys = {row.experiment_id: row.key for row in rows}
    # Later rows of the mapping replace earlier ones, so the oldest exposure wins.
    exposures = Exposure.objects.filter(experiment_id__in=keys, unit_id=unit_id).order_by("-pk")
    return {keys[experiment]: variant for experiment, variant in exposures.values_list("experiment_id", "variant")}
