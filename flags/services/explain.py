"""Explanation of an evaluation: each rule in order, and why it did or did not apply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.translation import gettext
from growthbook.core import evalCondition, gbhash

from flags import attributes as known_attributes
from flags import payload, rollout
from flags.experiments import queries
from flags.experiments.rules import HASH_VERSION
from flags.models import ChangeSubject, Flag
from flags.services.errors import UnknownKeyError
from flags.services.evaluate import evaluate_details
from monitoring.number_texts import significant


@dataclass(frozen=True, slots=True)
class ExplanationStep:
    """A rule and its outcome."""

    rule: str
    outcome: str
    is_decisive: bool = False


@dataclass(frozen=True, slots=True)
class Explanation:
    """A flag's value for a unit and the steps that led to it."""

    key: str
    unit_id: str
    value: object
    variant: str
    reason: str
    bucket: float
    """The unit's bucket in the flag's rollout, 0 to 1. The unit has the flag if the bucket is below the percentage."""
    attributes: Mapping[str, object]
    steps: tuple[ExplanationStep, ...]


def explain(*, key: str, unit_id: str, given_attributes: Mapping[str, object], now: datetime) -> Explanation:
    """
    Return the flag's value for the unit from the current rows, with an explanation.

    *given_attributes* are assumed; the other attributes are read. Raises `UnknownKeyError`.
    """
    compiled = payload.load_payload(queries.load_running_experiments(), now).compiled
    compiled_flag = compiled.flags.get(key)
    evaluation = evaluate_details(compiled, key, unit_id, given_attributes)
    if compiled_flag is None or evaluation is None:
        raise UnknownKeyError(ChangeSubject.FLAG.label, key)
    attributes = known_attributes.read_attributes(compiled_flag.attributes, unit_id, given_attributes)
    return Explanation(
        key=key,
        unit_id=unit_id,
        value=evaluation.answer.value,
        variant=evaluation.variant_name,
        reason=evaluation.reason,
        bucket=gbhash(key, unit_id, HASH_VERSION) or 0.0,
        attributes=attributes,
        steps=tuple(explain_steps(compiled, compiled_flag, unit_id, attributes, evaluation.answer.rule, now)),
    )


def explain_steps(
    compiled: rollout.CompiledFlags,
    compiled_flag: rollout.CompiledFlag,
    unit_id: str,
    attributes: Mapping[str, object],
    deciding_rule_id: str,
    now: datetime,
) -> list[ExplanationStep]:
    """Return the outcome of each rule up to the deciding rule."""
    flag = Flag.objects.get(key=compiled_flag.rollout.key)
    if not compiled_flag.rollout.is_enabled:
        cause = gettext("The schedule turns the flag off now.") if flag.is_enabled else gettext("The flag is off.")
        outcome = f"{cause} {gettext('All units get the off value.')}"
        return [ExplanationStep(gettext("switch"), outcome, is_decisive=True)]
    failed_prerequisites = [
        ExplanationStep(
            gettext("requires {flag}").format(flag=required_key),
            gettext("Its value is {actual}, not {expected}: the unit gets the default value.").format(
                actual=repr(actual), expected=repr(expected)
            ),
            is_decisive=True,
        )
        for required_key, expected in compiled_flag.rollout.prerequisites
        if (actual := rollout.evaluate_with_engine(compiled, required_key, unit_id, {}, attributes).value) != expected
    ]
    if failed_prerequisites:
        return failed_prerequisites
    steps: list[ExplanationStep] = []
    names = rule_names(flag)
    rules_by_label: dict[str, list[dict[str, Any]]] = {}
    for rule in compiled.features[flag.key].get("rules", []):
        rules_by_label.setdefault(rule_label(rule["id"]), []).append(rule)
    for label, engine_rules in rules_by_label.items():
        name = names.get(label, label.replace(":", " "))
        if any(rule["id"] == deciding_rule_id for rule in engine_rules):
            return [*steps, ExplanationStep(name, gettext("This rule decides."), is_decisive=True)]
        steps.append(ExplanationStep(name, explain_miss(engine_rules, unit_id, attributes)))
    return [*steps, ExplanationStep(gettext("default value"), gettext("No rule applies."), is_decisive=True)]


def rule_label(rule_id: str) -> str:
    """Return the label of the flag's rule to which the engine's rule belongs."""
    kind, _, rest = rule_id.partition(":")
    return f"{kind}:{rest.partition(':')[0]}" if kind == "rule" else kind if kind == "rollout" else rule_id


def rule_names(flag: Flag) -> dict[str, str]:
    """Return a readable name for each rule label."""
    rules = {
        f"rule:{n}": gettext("rule {number}: {rule}").format(number=n, rule=row)
        for n, row in enumerate(flag.rules.select_related("segment"), 1)
    }
    share = significant(flag.rollout_percentage)
    return rules | {"rollout": gettext("rollout: {share} % of the remaining units").format(share=share)}


def explain_miss(engine_rules: list[dict[str, Any]], unit_id: str, attributes: Mapping[str, object]) -> str:
    """Return why the rule did not apply to the unit."""
    condition = engine_rules[0].get("condition")
    if condition and not evalCondition({**attributes, "id": unit_id}, condition):
        return gettext("The unit is not in the segment.")
    bucket = gbhash(engine_rules[0].get("seed", ""), unit_id, HASH_VERSION)
    ranges = [rule["range"] for rule in engine_rules if "range" in rule]
    if ranges and bucket is not None:
        limits = ", ".join(
            gettext("{low} to {high} %").format(low=significant(100 * low), high=significant(100 * high))
            for low, high in ranges
        )
        text = gettext("The unit's bucket is {bucket} %, outside of {limits}.")
        return text.format(bucket=significant(100 * bucket), limits=limits)
    return gettext("The rule does not apply to this unit.")
