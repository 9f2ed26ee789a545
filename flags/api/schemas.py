"""What the flags' addresses take and give, beside the documents themselves."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from access.problems import Problem
from flags import documents
from flags.documents import Document, StrictSerializer, format_timestamp
from flags.models import Flag, FlagChange, PendingChange
from flags.services.change import SUBJECT_HANDLERS, SubjectRow
from flags.services.explain import Explanation
from flags.services.history import find_differences


def problem_responses(*statuses: int) -> dict[tuple[int, str], type[Problem]]:
    """Return the problems that an address may answer with beside those that any may."""
    return {(status, "application/problem+json"): Problem for status in statuses}


class ReasonBody(StrictSerializer):
    why = serializers.CharField(help_text="Kept with the change.")


class FlagIn(documents.FlagDocument):
    why = serializers.CharField(help_text="Kept with the change.")


class SegmentIn(documents.SegmentDocument):
    why = serializers.CharField(help_text="Kept with the change.")


class RolloutPlanIn(StrictSerializer):
    template = serializers.CharField(help_text="The key of a plan to copy.")
    flag = serializers.CharField()
    why = serializers.CharField(help_text="Kept with the change.")


class RestoreIn(ReasonBody):
    change_id = serializers.IntegerField(help_text="The change whose outcome is brought back.")


class ExplainIn(StrictSerializer):
    unit_id = serializers.CharField(max_length=128)
    attributes = serializers.DictField(default=dict, help_text="What to assume of the unit.")


class FlagOut(documents.FlagDocument):
    version = serializers.IntegerField()
    changed_at = serializers.DateTimeField()
    stale_reason = serializers.CharField(help_text="Why the code should be rid of it; empty: it need not.")


class FlagsOut(serializers.Serializer):
    flags = FlagOut(many=True)


class SegmentsOut(serializers.Serializer):
    segments = documents.SegmentDocument(many=True)


class RolloutPlansOut(serializers.Serializer):
    rollouts = documents.RolloutPlanDocument(many=True)


class DifferenceOut(serializers.Serializer):
    field = serializers.CharField()
    before = serializers.CharField()
    after = serializers.CharField()


class ChangeOut(serializers.Serializer):
    id = serializers.IntegerField()
    changed_at = serializers.DateTimeField()
    actor = serializers.CharField()
    approved_by = serializers.CharField(allow_null=True)
    action = serializers.CharField()
    why = serializers.CharField()
    differences = DifferenceOut(many=True)
    evidence = serializers.ListField(child=serializers.DictField())


class ChangesOut(serializers.Serializer):
    changes = ChangeOut(many=True)
    next_before = serializers.IntegerField(allow_null=True, help_text="Ask with before=this for older ones.")


class PendingChangeOut(serializers.Serializer):
    id = serializers.IntegerField()
    key = serializers.CharField()
    action = serializers.CharField()
    why = serializers.CharField()
    requested_by = serializers.CharField()
    requested_at = serializers.DateTimeField()
    state = serializers.CharField(help_text="pending, approved or rejected")
    differences = DifferenceOut(many=True)


class PendingChangesOut(serializers.Serializer):
    approvals = PendingChangeOut(many=True)


class ExplanationStepOut(serializers.Serializer):
    rule = serializers.CharField()
    outcome = serializers.CharField()
    is_decisive = serializers.BooleanField()


@extend_schema_serializer(component_name="FlagExplanation")
class FlagExplanationOut(serializers.Serializer):
    key = serializers.CharField()
    unit_id = serializers.CharField()
    value = documents.ValueField()
    variant = serializers.CharField(help_text="A variant's, or on, default, off.")
    reason = serializers.CharField(help_text="OpenFeature's word.")
    bucket = serializers.FloatField(help_text="Where the unit lies in the rollout, 0 to 1.")
    attributes = serializers.DictField()
    steps = ExplanationStepOut(many=True)


def serialize_flag(flag: Flag, stale_reason: str) -> Document:
    """Return a flag as the API gives it."""
    extra = {"version": flag.version, "changed_at": format_timestamp(flag.changed_at), "stale_reason": stale_reason}
    return documents.flag_document(flag) | extra


def serialize_change(row: FlagChange) -> dict[str, Any]:
    """Return a record of a change as the API gives it."""
    return {
        "id": row.pk,
        "changed_at": format_timestamp(row.changed_at),
        "actor": row.actor_name,
        "approved_by": row.approved_by.get_username() if row.approved_by else None,
        "action": row.action,
        "why": row.why,
        "differences": serialize_differences(row.before, row.after),
        "evidence": row.evidence,
    }


def serialize_pending_change(row: PendingChange) -> dict[str, Any]:
    """Return a change that waits as the API gives it."""
    now = read_current_document(row)
    return {
        "id": row.pk,
        "key": row.key,
        "action": row.action,
        "why": row.why,
        "requested_by": row.requested_by.get_username() if row.requested_by else f"system: {row.requested_by_system}",
        "requested_at": format_timestamp(row.requested_at),
        "state": row.state,
        "differences": serialize_differences(now, now | row.patch),
    }


def read_current_document(row: PendingChange) -> Document:
    """Return what a waiting change would change, as it is now."""
    kind = SUBJECT_HANDLERS[row.subject]  # type: ignore[index]
    found: SubjectRow | None = kind.model.objects.filter(key=row.key).first()
    return kind.to_document(found) if found else {}


def serialize_differences(before: Document | None, after: Document) -> list[dict[str, str]]:
    """Return what differs, as the API gives it."""
    return [{"field": d.field, "before": d.before, "after": d.after} for d in find_differences(before, after)]


def serialize_explanation(found: Explanation) -> dict[str, Any]:
    """Return an explanation as the API gives it."""
    names = ("key", "unit_id", "value", "variant", "reason", "bucket")
    return {name: getattr(found, name) for name in names} | {
        "attributes": dict(found.attributes),
        "steps": [{"rule": s.rule, "outcome": s.outcome, "is_decisive": s.is_decisive} for s in found.steps],
    }
