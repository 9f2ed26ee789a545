"""Evaluation of flags for a unit. Code outside of flags uses OpenFeature (flags/provider.py)."""

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
    """A flag's answer with its OpenFeature variant name and reason."""

    answer: FlagAnswer
    variant_name: str
    """A variant's name, or on, default, off."""
    reason: str
    """OpenFeature's reason: DISABLED, DEFAULT, STATIC, SPLIT or TARGETING_MATCH."""


def evaluate(*, key: str, unit_id: str, attributes: Mapping[str, object] = NO_ATTRIBUTES) -> FlagAnswer:
    """Return the flag's value for the unit and the deciding variant. The value is None if the flag does not exist."""
    evaluation = evaluate_details(flag_snapshot.current(), key, unit_id, attributes)
    return evaluation.answer if evaluation else FlagAnswer(None)


def evaluate_details(
    compiled: rollout.CompiledFlags, key: str, unit_id: str, attributes: Mapping[str, object] = NO_ATTRIBUTES
) -> Evaluation | None:
    """Return the flag's value for the unit and the reason, or None if the flag does not exist."""
    compiled_flag = compiled.flags.get(key)
    if compiled_flag is None:
        return None
    if compiled_flag.attributes:
        attributes = known_attributes.read_attributes(compiled_flag.attributes, unit_id, attributes)
    return evaluate_with_attributes(compiled, compiled_flag, unit_id, attributes)


def evaluate_all_details(
    compiled: rollout.CompiledFlags, unit_id: str, attributes: Mapping[str, object] = NO_ATTRIBUTES
) -> dict[str, Evaluation]:
    """Return the evaluation of every flag by its key. The unit's attributes are read once for all flags."""
    needed = frozenset[str]().union(*(flag.attributes for flag in compiled.flags.values()))
    if needed:
        attributes = known_attributes.read_attributes(needed, unit_id, attributes)
    return {key: evaluate_with_attributes(compiled, flag, unit_id, attributes) for key, flag in compiled.flags.items()}


def evaluate_with_attributes(
    compiled: rollout.CompiledFlags, compiled_flag: rollout.CompiledFlag, unit_id: str, attributes: Mapping[str, object]
) -> Evaluation:
    """Return the evaluation for a unit whose attributes have been read."""
    key = compiled_flag.rollout.key
    if compiled_flag.is_static:
        answer = compiled.answer_static(key, unit_id)
    else:
        assignments = load_earlier_assignments(compiled_flag, unit_id)
        answer = rollout.evaluate_with_engine(compiled, key, unit_id, assignments, attributes)
    return Evaluation(answer, rollout.variant_name(compiled_flag, answer), openfeature_reason(compiled_flag, answer))


def load_earlier_assignments(compiled_flag: rollout.CompiledFlag, unit_id: str) -> dict[str, str]:
    """
    Return the unit's variants of earlier phases, by the experiment's key.

    Only sticky experiments are queried, because this runs in the request. On a database error there are none.
    """
    rows = compiled_flag.sticky_experiments
    try:
        return queries.load_assignments(rows, unit_id) if rows else {}
    except DatabaseError:
        log.exception("earlier_assignments_not_loaded", extra={"flag": compiled_flag.rollout.key})
        return {}


def openfeature_reason(compiled_flag: rollout.CompiledFlag, answer: FlagAnswer) -> str:
    """Return OpenFeature's reason for the answer."""
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
