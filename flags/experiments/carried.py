"""What OpenFeature carries of an experiment beside a flag's value: the provider puts it in, and this takes it out."""

from __future__ import annotations

from typing import Any

from openfeature.flag_evaluation import FlagEvaluationDetails

from flags.experiments.rules import Answer, Exposed


def answer_of(found: FlagEvaluationDetails[Any]) -> Answer:
    """Return the answer again that OpenFeature carried: the experiment's variant, its settings, and the exposure."""
    data = found.flag_metadata
    rule = str(data.get("rule", ""))
    if "experiment" not in data:
        return Answer(found.value, rule=rule)
    config = {name.removeprefix("config."): value for name, value in data.items() if name.startswith("config.")}
    exposed = None
    if "phase_id" in data:
        ids = int(data["experiment_id"]), int(data["phase_id"])
        exposed = Exposed(*ids, str(found.variant), float(data["propensity"]))
    return Answer(found.value, str(found.variant), config, exposed, rule)
