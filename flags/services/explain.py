"""What a unit gets, and why: each rule in its order, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from growthbook.core import evalCondition, gbhash

from flags import attributes as known_attributes
from flags import payload, rollout
from flags.experiments import queries
from flags.experiments.rules import HASH_VERSION
from flags.models import ChangeSubject, Flag
from flags.services.errors import UnknownKeyError
from flags.services.evaluate import evaluate_details


@dataclass(frozen=True, slots=True)
class ExplanationStep:
    """A rule, and what became of it."""

    rule: str
    outcome: str
    is_decisive: bool = False


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer and the way to it."""

    key: str
    unit_id: str
    value: object
    variant: str
    reason: str
    bucket: float
    """Where the unit lies in the flag's rollout, 0 to 1: in it below the percentage."""
    attributes: Mapping[str, object]
    steps: tuple[ExplanationStep, ...]


def explain(*, key: str, unit_id: str, given_attributes: Mapping[str, object], now: datetime) -> Explanation:
    """
    Return what the flag is worth for the unit by the rows of this moment; *said* are attributes to assume.

    Raises `UnknownKeyError`.
    """
    compiled = payload.load_payload(queries.load_running_experiments(), now).compiled
    known = compiled.flags.get(key)
    found = evaluate_details(compiled, key, unit_id, given_attributes)
    if known is None or found is None:
        raise UnknownKeyError(ChangeSubject.FLAG.label, key)
    attributes = known_attributes.read_attributes(known.attributes, unit_id, given_attributes)
    return Explanation(
        key=key,
        unit_id=unit_id,
        value=found.answer.value,
        variant=found.variant_name,
        reason=found.reason,
        bucket=gbhash(key, unit_id, HASH_VERSION) or 0.0,
        attributes=attributes,
        steps=tuple(explain_steps(compiled, known, unit_id, attributes, found.answer.rule, now)),
    )


def explain_steps(
    compiled: rollout.CompiledFlags,
    compiled_flag: rollout.CompiledFlag,
    unit_id: str,
    attributes: Mapping[str, object],
    deciding_rule_id: str,
    now: datetime,
) -> list[ExplanationStep]:
    """Return what became of each rule until the one that decides."""
    flag = Flag.objects.get(key=compiled_flag.rollout.key)
    if not compiled_flag.rollout.is_enabled:
        in_time = payload.is_in_schedule(flag, now)
        why = "The flag is off." if not flag.is_enabled else "Its schedule has it off now." if not in_time else ""
        return [ExplanationStep("switch", f"{why} Everybody has the off value.", is_decisive=True)]
    missed = [
        ExplanationStep(f"needs {needs}", f"It is {worth!r}, not {value!r}: the default value.", is_decisive=True)
        for needs, value in compiled_flag.rollout.prerequisites
        if (worth := rollout.evaluate_with_engine(compiled, needs, unit_id, {}, attributes).value) != value
    ]
    if missed:
        return missed
    steps: list[ExplanationStep] = []
    names = rule_names(flag)
    by_label: dict[str, list[dict[str, Any]]] = {}
    for rule in compiled.features[flag.key].get("rules", []):
        by_label.setdefault(rule_label(rule["id"]), []).append(rule)
    for label, parts in by_label.items():
        name = names.get(label, label.replace(":", " "))
        if any(rule["id"] == deciding_rule_id for rule in parts):
            return [*steps, ExplanationStep(name, "It decides.", is_decisive=True)]
        steps.append(ExplanationStep(name, explain_miss(parts, unit_id, attributes)))
    return [*steps, ExplanationStep("default value", "No rule decides.", is_decisive=True)]


def rule_label(rule_id: str) -> str:
    """Return which of our rules the engine's rule is a part of."""
    kind, _, rest = rule_id.partition(":")
    return f"{kind}:{rest.partition(':')[0]}" if kind == "rule" else kind if kind == "rollout" else rule_id


def rule_names(flag: Flag) -> dict[str, str]:
    """Return what a person calls each rule."""
    rules = {f"rule:{n}": f"rule {n}: {row}" for n, row in enumerate(flag.rules.select_related("segment"), 1)}
    return rules | {"rollout": f"rollout: {flag.rollout_percentage:g} % of the others"}


def explain_miss(engine_rules: list[dict[str, Any]], unit_id: str, attributes: Mapping[str, object]) -> str:
    """Return why none of the parts of a rule took the unit."""
    condition = engine_rules[0].get("condition")
    if condition and not evalCondition({**attributes, "id": unit_id}, condition):
        return "The unit is not in its segment."
    bucket = gbhash(engine_rules[0].get("seed", ""), unit_id, HASH_VERSION)
    ranges = [rule["range"] for rule in engine_rules if "range" in rule]
    if ranges and bucket is not None:
        parts_of = ", ".join(f"{100 * low:.4g} to {100 * high:.4g} %" for low, high in ranges)
        return f"The unit lies at {100 * bucket:.4g} %, outside of {parts_of}."
    return "The unit is not among those that it takes."
