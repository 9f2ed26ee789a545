"""What a flag is worth for a unit. Code outside of flags asks through OpenFeature (flags/provider.py)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from django.db import DatabaseError

from flags import attributes as known_attributes
from flags import rollout
from flags.experiments import reading
from flags.experiments.rules import Answer
from flags.snapshot import snapshot

log = logging.getLogger(__name__)

NOTHING: Mapping[str, object] = {}


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An answer, and what the flag calls it."""

    answer: Answer
    name: str
    """A variant's, or on, default, off."""
    reason: str
    """As OpenFeature says it: DISABLED, DEFAULT, STATIC, SPLIT, TARGETING_MATCH."""


def evaluate(*, key: str, unit_id: str, attributes: Mapping[str, object] = NOTHING) -> Answer:
    """Return what the flag is worth for this unit, and by which variant. A flag without a row is worth None."""
    found = details(snapshot.current(), key, unit_id, attributes)
    return found.answer if found else Answer(None)


def details(
    compiled: rollout.Compiled, key: str, unit_id: str, attributes: Mapping[str, object] = NOTHING
) -> Evaluated | None:
    """Return what the flag is worth for this unit and why; None if there is no such flag."""
    known = compiled.flags.get(key)
    if known is None:
        return None
    if known.attributes:
        attributes = known_attributes.read(known.attributes, unit_id, attributes)
    return evaluated(compiled, known, unit_id, attributes)


def all_details(
    compiled: rollout.Compiled, unit_id: str, attributes: Mapping[str, object] = NOTHING
) -> dict[str, Evaluated]:
    """Return the same of every flag, by its key; what is known of the unit is read once for all."""
    needed = frozenset[str]().union(*(known.attributes for known in compiled.flags.values()))
    if needed:
        attributes = known_attributes.read(needed, unit_id, attributes)
    return {key: evaluated(compiled, known, unit_id, attributes) for key, known in compiled.flags.items()}


def evaluated(
    compiled: rollout.Compiled, known: rollout.Known, unit_id: str, attributes: Mapping[str, object]
) -> Evaluated:
    """Return what a flag is worth for a unit of which all is known that its rules need."""
    assigned = assigned_before(known, unit_id) if known.experiments else {}
    answer = rollout.evaluate(compiled, known.rollout.key, unit_id, assigned, attributes)
    return Evaluated(answer, rollout.name_of(known, answer), reason_of(known, answer))


def assigned_before(known: rollout.Known, unit_id: str) -> dict[str, str]:
    """Return the unit's earlier variants where they hold; read only then, since this is the road of a request."""
    rows = known.reading_assignments
    try:
        return reading.assigned(rows, unit_id) if rows else {}
    except DatabaseError:
        log.exception("assignments_unreadable", extra={"flag": known.rollout.key})
        return {}


def reason_of(known: rollout.Known, answer: Answer) -> str:
    """Return OpenFeature's word for why."""
    if not known.rollout.is_enabled:
        return "DISABLED"
    if answer.rule.startswith("rule:"):
        return "TARGETING_MATCH"
    if answer.rule.startswith("rollout:") and known.rollout.percentage == 100 and len(known.rollout.arms) < 2:
        return "STATIC"
    return "SPLIT" if answer.rule else "DEFAULT"
