"""What a unit gets, and why: each rule in its order, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from growthbook.core import evalCondition, gbhash

from flags import attributes as known_attributes
from flags import payload, rollout
from flags.experiments import reading
from flags.experiments.rules import HASH_VERSION
from flags.models import Flag, Subject
from flags.services.errors import UnknownKeyError
from flags.services.evaluate import details


@dataclass(frozen=True, slots=True)
class Step:
    """A rule, and what became of it."""

    rule: str
    outcome: str
    decides: bool = False


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer and the way to it."""

    key: str
    unit_id: str
    value: object
    name: str
    reason: str
    bucket: float
    """Where the unit lies in the flag's rollout, 0 to 1: in it below the percentage."""
    attributes: Mapping[str, object]
    steps: tuple[Step, ...]


def explain(*, key: str, unit_id: str, said: Mapping[str, object], now: datetime) -> Explanation:
    """
    Return what the flag is worth for the unit by the rows of this moment; *said* are attributes to assume.

    Raises `UnknownKeyError`.
    """
    compiled = payload.read(reading.running(), now).compiled
    known = compiled.flags.get(key)
    found = details(compiled, key, unit_id, said)
    if known is None or found is None:
        raise UnknownKeyError(Subject.FLAG.label, key)
    attributes = known_attributes.read(known.attributes, unit_id, said)
    return Explanation(
        key=key,
        unit_id=unit_id,
        value=found.answer.value,
        name=found.name,
        reason=found.reason,
        bucket=gbhash(key, unit_id, HASH_VERSION) or 0.0,
        attributes=attributes,
        steps=tuple(steps_of(compiled, known, unit_id, attributes, found.answer.rule, now)),
    )


def steps_of(
    compiled: rollout.Compiled,
    known: rollout.Known,
    unit_id: str,
    attributes: Mapping[str, object],
    decisive: str,
    now: datetime,
) -> list[Step]:
    """Return what became of each rule until the one that decides."""
    flag = Flag.objects.get(key=known.rollout.key)
    if not known.rollout.is_enabled:
        in_time = payload.is_in_time(flag, now)
        why = "The flag is off." if not flag.is_enabled else "Its schedule has it off now." if not in_time else ""
        return [Step("switch", f"{why} Everybody has the off value.", decides=True)]
    missed = [
        Step(f"needs {needs}", f"It is {worth!r}, not {value!r}: the default value.", decides=True)
        for needs, value in known.rollout.prerequisites
        if (worth := rollout.evaluate(compiled, needs, unit_id, {}, attributes).value) != value
    ]
    if missed:
        return missed
    steps: list[Step] = []
    names = names_of(flag)
    by_label: dict[str, list[dict[str, Any]]] = {}
    for rule in compiled.features[flag.key].get("rules", []):
        by_label.setdefault(label_of(rule["id"]), []).append(rule)
    for label, parts in by_label.items():
        name = names.get(label, label.replace(":", " "))
        if any(rule["id"] == decisive for rule in parts):
            return [*steps, Step(name, "It decides.", decides=True)]
        steps.append(Step(name, outcome(parts, unit_id, attributes)))
    return [*steps, Step("default value", "No rule decides.", decides=True)]


def label_of(rule_id: str) -> str:
    """Return which of our rules the engine's rule is a part of."""
    kind, _, rest = rule_id.partition(":")
    return f"{kind}:{rest.partition(':')[0]}" if kind == "rule" else kind if kind == "rollout" else rule_id


def names_of(flag: Flag) -> dict[str, str]:
    """Return what a person calls each rule."""
    rules = {f"rule:{n}": f"rule {n}: {row}" for n, row in enumerate(flag.rules.select_related("segment"), 1)}
    return rules | {"rollout": f"rollout: {flag.rollout_percentage:g} % of the others"}


def outcome(parts: list[dict[str, Any]], unit_id: str, attributes: Mapping[str, object]) -> str:
    """Return why none of the parts of a rule took the unit."""
    condition = parts[0].get("condition")
    if condition and not evalCondition({**attributes, "id": unit_id}, condition):
        return "The unit is not in its segment."
    bucket = gbhash(parts[0].get("seed", ""), unit_id, HASH_VERSION)
    ranges = [rule["range"] for rule in parts if "range" in rule]
    if ranges and bucket is not None:
        parts_of = ", ".join(f"{100 * low:.4g} to {100 * high:.4g} %" for low, high in ranges)
        return f"The unit lies at {100 * bucket:.4g} %, outside of {parts_of}."
    return "The unit is not among those that it takes."
