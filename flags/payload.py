"""Builds what the engine evaluates from the rows of flags."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flags import rollout
from flags.experiments.rules import ExperimentArm, RunningExperiment
from flags.models import Condition, Flag, Segment
from flags.versions import build_at_least, build_below, is_version

MATCHES_NOBODY: dict[str, Any] = {"id": {"$in": []}}


@dataclass(frozen=True, slots=True)
class Payload:
    """The compiled flags, valid until the next scheduled switch."""

    compiled: rollout.CompiledFlags
    valid_until: datetime | None
    """When a schedule next turns a flag on or off; None: never."""


def load_payload(experiments: Sequence[RunningExperiment], now: datetime) -> Payload:
    """Return the payload of all flags that are not archived, from their current rows."""
    rows = Flag.objects.filter(is_archived=False).prefetch_related(
        "variants", "rules__segment__conditions", "prerequisites__required_flag"
    )
    flags = list(rows)
    switch_times = [moment for flag in flags for moment in (flag.starts_at, flag.ends_at) if moment and moment > now]
    return Payload(
        rollout.compile_rollouts([build_rollout(flag, now) for flag in flags], experiments),
        min(switch_times, default=None),
    )


def build_rollout(flag: Flag, now: datetime) -> rollout.Rollout:
    """Return a flag's row with its variants, rules and prerequisites as plain values."""
    variants = list(flag.variants.all())
    total = sum(variant.weight for variant in variants)
    return rollout.Rollout(
        key=flag.key,
        is_enabled=flag.is_enabled and is_in_schedule(flag, now),
        percentage=flag.rollout_percentage,
        on_value=flag.on_value,
        default_value=flag.default_value,
        off_value=flag.off_value,
        arms=tuple(ExperimentArm(row.name, row.weight / total, row.value) for row in variants),
        rules=tuple(build_rule(row) for row in flag.rules.all()),
        prerequisites=tuple((row.required_flag.key, row.value) for row in flag.prerequisites.all()),
    )


def is_in_schedule(flag: Flag, now: datetime) -> bool:
    """Return whether *now* is within the flag's schedule."""
    return (flag.starts_at is None or flag.starts_at <= now) and (flag.ends_at is None or now < flag.ends_at)


def build_rule(row: Any) -> rollout.RolloutRule:
    """Return a rule's row as plain values."""
    if row.segment is None:
        return rollout.RolloutRule(None, row.percentage, row.serves)
    conditions = row.segment.conditions.all()
    attributes = frozenset(condition.attribute for condition in conditions) - {"id"}
    return rollout.RolloutRule(build_segment_condition(row.segment), row.percentage, row.serves, attributes)


def build_segment_condition(segment: Segment) -> dict[str, Any]:
    """Return a segment as a GrowthBook condition. A segment without conditions contains only the units on its list."""
    parts = [build_attribute_condition(row) for row in segment.conditions.all()]
    listed = [{"id": {"$in": list(segment.allowed_ids)}}] if segment.allowed_ids else []
    matching = [{"$and": parts}] if parts and segment.match == Segment.Match.ALL else parts
    inside = {"$or": [*listed, *matching]} if listed or matching else MATCHES_NOBODY
    if not segment.denied_ids:
        return inside
    return {"$and": [{"id": {"$nin": list(segment.denied_ids)}}, inside]}


VERSION_CONDITIONS = {
    Condition.Operator.VERSION_AT_LEAST: build_at_least,
    Condition.Operator.VERSION_BELOW: build_below,
}
COMPARISON_OPERATORS = {
    Condition.Operator.ABOVE: "$gt",
    Condition.Operator.AT_LEAST: "$gte",
    Condition.Operator.BELOW: "$lt",
    Condition.Operator.AT_MOST: "$lte",
}


def build_attribute_condition(row: Condition) -> dict[str, Any]:
    """Return one condition as a GrowthBook condition. An unknown attribute satisfies only the operator `unknown`."""
    is_known = {"$exists": True}
    operator = Condition.Operator(row.operator)
    if operator in (Condition.Operator.KNOWN, Condition.Operator.UNKNOWN):
        return {row.attribute: {"$exists": operator is Condition.Operator.KNOWN}}
    if operator is Condition.Operator.IN:
        return {row.attribute: is_known | {"$in": row.values}}
    if operator is Condition.Operator.NOT_IN:
        return {row.attribute: is_known | {"$nin": row.values}}
    if operator in (Condition.Operator.CONTAINS, Condition.Operator.STARTS_WITH):
        return build_text_condition(row.attribute, operator, [str(value) for value in row.values])
    if operator in VERSION_CONDITIONS:
        version = str(row.values[0])
        # An earlier release stored any text as a version.
        return VERSION_CONDITIONS[operator](row.attribute, version) if is_version(version) else MATCHES_NOBODY
    return {row.attribute: is_known | {COMPARISON_OPERATORS[operator]: row.values[0]}}


def build_text_condition(attribute: str, operator: Condition.Operator, words: list[str]) -> dict[str, Any]:
    """
    Return the condition that a text contains, or starts with, one of *words*.

    A list contains the words that are its items, and starts with a word if one of its items does.
    """
    alternatives = "|".join(map(re.escape, words))
    if operator is Condition.Operator.CONTAINS:
        text: dict[str, Any] = {"$regex": f"({alternatives})"}
        items: dict[str, Any] = {"$in": words}
    else:
        text = {"$regex": f"^({alternatives})"}
        items = {"$elemMatch": text}
    return {"$or": [{attribute: text}, {attribute: items}]}
