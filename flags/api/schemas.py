"""Request and response schemas of the flag endpoints, besides the documents themselves."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from access.problems import Problem
from access.typed_fields import StrictSerializer, TypedField
from flags import documents
from flags import serializers as flag_serializers
from flags.differences import find_differences
from flags.documents import Document, format_timestamp
from flags.models import Flag, FlagChange, PendingChange
from flags.serializers import SettingsField
from flags.services.change import SUBJECT_HANDLERS, SubjectRow
from flags.services.explain import Explanation
from values.types import whole_number_from

ChangeId = whole_number_from(0, 2**63 - 1)
"""An id of a row of the change history."""


def problem_responses(*statuses: int) -> dict[tuple[int, str], type[Problem]]:
    """Return the problem responses of an endpoint, in addition to those of every endpoint."""
    return {(status, "application/problem+json"): Problem for status in statuses}


class FlagsQuery(serializers.Serializer):
    """Query parameters of the list of flags."""

    q = serializers.CharField(max_length=200, default="", allow_blank=True, help_text="Part of a key or a description.")
    tag = serializers.CharField(max_length=200, default="", allow_blank=True)
    is_enabled = serializers.BooleanField(allow_null=True, default=None)
    is_archived = serializers.BooleanField(default=False, help_text="true: only archived flags.")
    is_stale = serializers.BooleanField(
        default=False, help_text="true: only flags that should be removed from the code."
    )


class ReasonQuery(serializers.Serializer):
    """The reason for a change whose request has no body."""

    why = serializers.CharField(help_text="The reason, saved with the change.")


class ChangesQuery(serializers.Serializer):
    """Query parameters of a change history."""

    before = TypedField(ChangeId, required=False, allow_blank=True, help_text="Only changes with a lower id.")


class ReasonBody(StrictSerializer):
    why = serializers.CharField(help_text="The reason, saved with the change.")


class FlagIn(flag_serializers.FlagDocument):
    why = serializers.CharField(help_text="The reason, saved with the change.")


class SegmentIn(flag_serializers.SegmentDocument):
    why = serializers.CharField(help_text="The reason, saved with the change.")


class RolloutPlanIn(StrictSerializer):
    template = serializers.CharField(help_text="Key of the plan to copy.")
    flag = serializers.CharField()
    why = serializers.CharField(help_text="The reason, saved with the change.")


class RestoreIn(ReasonBody):
    change_id = TypedField(ChangeId, help_text="The change whose resulting state is restored.")


class ExplainIn(StrictSerializer):
    unit_id = serializers.CharField(max_length=128)
    attributes = SettingsField(default=dict, help_text="Attributes to assume.")


class FlagOut(flag_serializers.FlagDocument):
    version = serializers.IntegerField()
    changed_at = serializers.DateTimeField()
    stale_reason = serializers.CharField(help_text="Why the flag is stale; empty: it is not.")


class FlagsOut(serializers.Serializer):
    flags = FlagOut(many=True)


class SegmentsOut(serializers.Serializer):
    segments = flag_serializers.SegmentDocument(many=True)


class RolloutPlansOut(serializers.Serializer):
    rollouts = flag_serializers.RolloutPlanDocument(many=True)


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
    next_before = serializers.IntegerField(allow_null=True, help_text="Pass as `before` to get older changes.")


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
    value = flag_serializers.ValueField()
    variant = serializers.CharField(help_text="A variant's name, or on, default, off.")
    reason = serializers.CharField(help_text="OpenFeature's reason.")
    bucket = serializers.FloatField(help_text="The unit's bucket in the rollout, 0 to 1.")
    attributes = serializers.DictField()
    steps = ExplanationStepOut(many=True)


def serialize_flag(flag: Flag, stale_reason: str) -> Document:
    """Return a flag for the API."""
    extra = {"version": flag.version, "changed_at": format_timestamp(flag.changed_at), "stale_reason": stale_reason}
    return documents.flag_document(flag) | extra


def serialize_change(row: FlagChange) -> dict[str, Any]:
    """Return a recorded change for the API."""
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
    """Return a pending change for the API."""
    current = read_current_document(row)
    return {
        "id": row.pk,
        "key": row.key,
        "action": row.action,
        "why": row.why,
        "requested_by": row.requested_by.get_username() if row.requested_by else f"system: {row.requested_by_system}",
        "requested_at": format_timestamp(row.requested_at),
        "state": row.state,
        "differences": serialize_differences(current, current | row.patch),
    }


def read_current_document(row: PendingChange) -> Document:
    """Return the current document of the pending change's subject; empty if it does not exist yet."""
    handler = SUBJECT_HANDLERS[row.subject]  # type: ignore[index]
    subject: SubjectRow | None = handler.model.objects.filter(key=row.key).first()
    return handler.to_document(subject) if subject else {}


def serialize_differences(before: Document | None, after: Document) -> list[dict[str, str]]:
    """Return the differences for the API."""
    return [{"field": d.field, "before": d.before, "after": d.after} for d in find_differences(before, after)]


def serialize_explanation(explanation: Explanation) -> dict[str, Any]:
    """Return an explanation for the API."""
    names = ("key", "unit_id", "value", "variant", "reason", "bucket")
    return {name: getattr(explanation, name) for name in names} | {
        "attributes": dict(explanation.attributes),
        "steps": [
            {"rule": step.rule, "outcome": step.outcome, "is_decisive": step.is_decisive} for step in explanation.steps
        ],
    }
