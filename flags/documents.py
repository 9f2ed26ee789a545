"""
The document form of a flag, a segment and a rollout plan.

The API, the YAML export and the change history (before and after) use the same documents. `flags.serializers` validates
them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils.crypto import salted_hmac

from flags import gauges
from flags.experiments.rules import DEFAULT, OFF, ON
from flags.models import Flag, RolloutPlan, Segment

Document = dict[str, Any]

UNIT_ID_FIELDS = ("allowed_ids", "denied_ids")
RESERVED_VARIANT_NAMES = {DEFAULT, OFF, ON}


def guardrail_variants(flag: str) -> set[str]:
    """Return the variants that a guardrail of a plan for this flag may watch; the empty one is all requests."""
    variants = Flag.objects.filter(key=flag).values_list("variants__name", flat=True)
    return {name for name in variants if name} | gauges.read_variants(flag) | {"", *RESERVED_VARIANT_NAMES}


def format_timestamp(value: datetime | None) -> str | None:
    """Return a timestamp as documents have it: ISO 8601 with Z for UTC, or None."""
    return None if value is None else value.isoformat().replace("+00:00", "Z")


def flag_document(flag: Flag) -> Document:
    """Return the flag with its variants, rules and prerequisites as a document."""
    plain = ("key", "description", "kind", "is_enabled", "rollout_percentage", "on_value", "default_value", "off_value")
    return {name: getattr(flag, name) for name in plain} | {
        "variants": [{"name": v.name, "value": v.value, "weight": v.weight} for v in flag.variants.all()],
        "rules": [
            {
                "segment": rule.segment.key if rule.segment else None,
                "percentage": rule.percentage,
                "serves": rule.serves,
                "note": rule.note,
            }
            for rule in flag.rules.select_related("segment")
        ],
        "prerequisites": [
            {"flag": p.required_flag.key, "value": p.value} for p in flag.prerequisites.select_related("required_flag")
        ],
        "starts_at": format_timestamp(flag.starts_at),
        "ends_at": format_timestamp(flag.ends_at),
        "expires_at": format_timestamp(flag.expires_at),
        "tags": list(flag.tags),
        "owner": flag.owner,
        "needs_approval": flag.needs_approval,
        "is_archived": flag.is_archived,
    }


def segment_document(segment: Segment) -> Document:
    """Return the segment with its conditions as a document."""
    return {
        "key": segment.key,
        "description": segment.description,
        "match": segment.match,
        "conditions": [
            {"attribute": row.attribute, "operator": row.operator, "values": list(row.values)}
            for row in segment.conditions.all()
        ],
        "allowed_ids": list(segment.allowed_ids),
        "denied_ids": list(segment.denied_ids),
    }


def mask_unit_ids(document: Document) -> Document:
    """
    Return the document with each unit id replaced by its mask.

    The change history is never erased, so it must not contain ids of members.
    """
    return document | {name: [mask_unit_id(id) for id in document[name]] for name in UNIT_ID_FIELDS if name in document}


def mask_unit_id(unit_id: str) -> str:
    """Return a stand-in for an id: the same id gives the same mask, and the id cannot be recovered from it."""
    return salted_hmac("flags.record", unit_id).hexdigest()[:12]


def plan_document(plan: RolloutPlan) -> Document:
    """Return the plan with its phases and guardrails as a document."""
    guardrail_fields = ("gauge", "variant", "bound", "threshold", "window_minutes", "min_samples", "on_breach")
    return {
        "key": plan.key,
        "flag": plan.flag.key if plan.flag else None,
        "description": plan.description,
        "phases": [{"percentage": row.percentage, "hours": row.hours, "note": row.note} for row in plan.phases.all()],
        "guardrails": [{name: getattr(row, name) for name in guardrail_fields} for row in plan.guardrails.all()],
        "state": plan.state,
        "phase": plan.phase,
        "phase_started_at": format_timestamp(plan.phase_started_at),
    }
