"""From rows to what the engine evaluates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flags import rollout
from flags.experiments.rules import Arm, Running
from flags.models import Condition, Flag, Segment

NOBODY: dict[str, Any] = {"id": {"$in": []}}


@dataclass(frozen=True, slots=True)
class Payload:
    """What holds from a reading of the rows until a schedule changes it."""

    compiled: rollout.Compiled
    valid_until: datetime | None
    """When a flag's schedule next turns it on or off; None: never."""


def read(experiments: Sequence[Running], now: datetime) -> Payload:
    """Return the payload of all flags as their rows are now."""
    rows = Flag.objects.filter(is_archived=False).prefetch_related(
        "variants", "rules__segment__conditions", "prerequisites__needs"
    )
    flags = list(rows)
    turns = [moment for flag in flags for moment in (flag.starts_at, flag.ends_at) if moment and moment > now]
    return Payload(
        rollout.compile_rollouts([rollout_of(flag, now) for flag in flags], experiments),
        min(turns, default=None),
    )


def rollout_of(flag: Flag, now: datetime) -> rollout.Rollout:
    """Return a flag's row and what hangs on it as plain values."""
    variants = list(flag.variants.all())
    total = sum(variant.weight for variant in variants)
    return rollout.Rollout(
        key=flag.key,
        is_enabled=flag.is_enabled and is_in_time(flag, now),
        percentage=flag.rollout_percentage,
        on_value=flag.on_value,
        default_value=flag.default_value,
        off_value=flag.off_value,
        arms=tuple(Arm(row.name, row.weight / total, row.value) for row in variants),
        rules=tuple(rule_of(row) for row in flag.rules.all()),
        prerequisites=tuple((row.needs.key, row.value) for row in flag.prerequisites.all()),
    )


def is_in_time(flag: Flag, now: datetime) -> bool:
    """Return whether the flag's schedule lets it be on."""
    return (flag.starts_at is None or flag.starts_at <= now) and (flag.ends_at is None or now < flag.ends_at)


def rule_of(row: Any) -> rollout.Rule:
    """Return a rule's row as plain values."""
    if row.segment is None:
        return rollout.Rule(None, row.percentage, row.serves)
    conditions = row.segment.conditions.all()
    attributes = frozenset(condition.attribute for condition in conditions) - {"id"}
    return rollout.Rule(condition_of(row.segment), row.percentage, row.serves, attributes)


def condition_of(segment: Segment) -> dict[str, Any]:
    """Return a segment as GrowthBook writes a condition. One without conditions has its listed units alone."""
    parts = [one_condition(row) for row in segment.conditions.all()]
    listed = [{"id": {"$in": list(segment.allowed_ids)}}] if segment.allowed_ids else []
    met = [{"$and": parts}] if parts and segment.meets == Segment.Meets.ALL else parts
    inside = {"$or": [*listed, *met]} if listed or met else NOBODY
    if not segment.denied_ids:
        return inside
    return {"$and": [{"id": {"$nin": list(segment.denied_ids)}}, inside]}


COMPARISONS = {
    Condition.Operator.ABOVE: "$gt",
    Condition.Operator.AT_LEAST: "$gte",
    Condition.Operator.BELOW: "$lt",
    Condition.Operator.AT_MOST: "$lte",
    Condition.Operator.VERSION_AT_LEAST: "$vgte",
    Condition.Operator.VERSION_BELOW: "$vlt",
}


def one_condition(row: Condition) -> dict[str, Any]:
    """Return one condition as GrowthBook writes it. An attribute that is not known meets none but `unknown`."""
    is_known = {"$exists": True}
    operator = Condition.Operator(row.operator)
    if operator in (Condition.Operator.KNOWN, Condition.Operator.UNKNOWN):
        return {row.attribute: {"$exists": operator is Condition.Operator.KNOWN}}
    if operator is Condition.Operator.IN:
        return {row.attribute: is_known | {"$in": row.values}}
    if operator is Condition.Operator.NOT_IN:
        return {row.attribute: is_known | {"$nin": row.values}}
    if operator in (Condition.Operator.CONTAINS, Condition.Operator.STARTS):
        words = "|".join(re.escape(str(value)) for value in row.values)
        start = "^" if operator is Condition.Operator.STARTS else ""
        return {row.attribute: is_known | {"$regex": f"{start}({words})"}}
    return {row.attribute: is_known | {COMPARISONS[operator]: row.values[0]}}
