"""What OpenFeature carries of an experiment beside a flag's value: the provider puts it in, and this takes it out."""

from __future__ import annotations

from typing import Any

from openfeature.flag_evaluation import FlagEvaluationDetails

from flags.experiments.rules import ExposedVariant, FlagAnswer


def answer_from_details(details: FlagEvaluationDetails[Any]) -> FlagAnswer:
    """Return the answer again that OpenFeature carried: the experiment's variant, its settings, and the exposure."""
    data = details.flag_metadata
    rule = str(data.get("rule", ""))
    if "experiment" not in data:
        return FlagAnswer(details.value, rule=rule)
    config = {name.removeprefix("config."): value for name, value in data.items() if name.startswith("config.")}
    exposed = None
    if "phase_id" in data:
        ids = int(data["experiment_id"]), int(data["phase_id"])
        exposed = ExposedVariant(*ids, str(details.variant), float(data["propensity"]))
    return FlagAnswer(details.value, str(details.variant), config, exposed, rule)
