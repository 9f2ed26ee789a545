"""What a flag is worth for a unit. Code outside of flags asks through OpenFeature (flags/provider.py)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from django.db import DatabaseError

from flags import attributes as known_attributes
from flags import rollout
from flags.experiments import queries
from flags.experiments.rules import FlagAnswer
from flags.snapshot import flag_snapshot

log = logging.getLogger(__name__)

NO_ATTRIBUTES: Mapping[str, object] = {}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An answer, and what the flag calls it."""

    answer: FlagAnswer
    variant_name: str
    """A variant's, or on, default, off."""
    reason: str
    """As OpenFeature says it: DISABLED, DEFAULT, STATIC, SPLIT, TARGETING_MATCH."""


def evaluate(*, key: str, unit_id: str, attributes: Mapping[str, object] = NO_ATTRIBUTES) -> FlagAnswer:
    """Return what the flag is worth for this unit, and by which variant. A flag without a row is worth None."""
    found = evaluate_details(flag_snapshot.current(), key, unit_id, attributes)
    return found.answer if found else FlagAnswer(None)


def evaluate_details(
    compiled: rollout.CompiledFlags, key: str, unit_id: str, attributes: Mapping[str, object] = NO_ATTRIBUTES
) -> Evaluation | None:
    """Return what the flag is worth for this unit and why; None if there is no such flag."""
    known = compiled.flags.get(key)
    if known is None:
        return None
    if known.attributes:
        attributes = known_attributes.read_attributes(known.attributes, unit_id, attributes)
    return evaluate_with_attributes(compiled, known, unit_id, attributes)


def evaluate_all_details(
    compiled: rollout.CompiledFlags, unit_id: str, attributes: Mapping[str, object] = NO_ATTRIBUTES
) -> dict[str, Evaluation]:
    """Return the same of every flag, by its key; what is known of the unit is read once for all."""
    needed = frozenset[str]().union(*(known.attributes for known in compiled.flags.values()))
    if needed:
        attributes = known_attributes.read_attributes(needed, unit_id, attributes)
    return {
        key: evaluate_with_attributes(compiled, known, unit_id, attributes) for key, known in compiled.flags.items()
    }


def evaluate_with_attributes(
    compiled: rollout.CompiledFlags, compiled_flag: rollout.CompiledFlag, unit_id: str, attributes: Mapping[str, object]
) -> Evaluation:
    """Return what a flag is worth for a unit of which all is known that its rules need."""
    assigned = load_earlier_assignments(compiled_flag, unit_id) if compiled_flag.experiments else {}
    answer = rollout.evaluate_with_engine(compiled, compiled_flag.rollout.key, unit_id, assigned, attributes)
    return Evaluation(answer, rollout.variant_name(compiled_flag, answer), openfeature_reason(compiled_flag, answer))


def load_earlier_assignments(compiled_flag: rollout.CompiledFlag, unit_id: str) -> dict[str, str]:
    """Return the unit's earlier variants where they hold; read only then, since this is the road of a request."""
    rows = compiled_flag.sticky_experiments
    try:
        return queries.load_assignments(rows, unit_id) if rows else {}
    except DatabaseError:
        log.exception("assignments_unreadable", extra={"flag": compiled_flag.rollout.key})
        return {}


def openfeature_reason(compiled_flag: rollout.CompiledFlag, answer: FlagAnswer) -> str:
    """Return OpenFeature's word for why."""
    if not compiled_flag.rollout.is_enabled:
        return "DISABLED"
    if answer.rule.startswith("rule:"):
        return "TARGETING_MATCH"
    if (
        answer.rule.startswith("rollout:")
        and compiled_flag.rollout.percentage == 100
        and len(compiled_flag.rollout.arms) < 2
    ):
        return "STATIC"
    return "SPLIT" if answer.rule else "DEFAULT"
