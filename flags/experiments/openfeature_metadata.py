"""Reads a flag answer back from OpenFeature's flag metadata, in which the provider (`build_metadata`) puts it."""

from __future__ import annotations

from typing import Any

from openfeature.flag_evaluation import FlagEvaluationDetails

from flags.experiments.rules import ExposedVariant, FlagAnswer


def answer_from_details(details: FlagEvaluationDetails[Any]) -> FlagAnswer:
    """Return the flag answer in *details*: the value, the experiment's variant with its settings, and the exposure."""
    data = details.flag_metadata
    rule = str(data.get("rule", ""))
    if "experiment" not in data:
        return FlagAnswer(details.value, rule=rule)
    config = {name.removeprefix("config."): value for name, value in data.items() if name.startswith("config.")}
    exposed_variant = None
    if "phase_id" in data:
        ids = int(data["experiment_id"]), int(data["phase_id"])
        exposed_variant = ExposedVariant(*ids, str(details.variant), float(data["propensity"]))
    return FlagAnswer(details.value, str(details.variant), config, exposed_variant, rule)
