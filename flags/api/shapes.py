"""What the flags' addresses take and give, beside the documents themselves."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from access.problems import Problem
from flags import documents
from flags.documents import Closed, Document, moment
from flags.models import Flag, FlagChange, PendingChange
from flags.services.change import KINDS, Row
from flags.services.explain import Explanation
from flags.services.history import differences


def problems(*statuses: int) -> dict[tuple[int, str], type[Problem]]:
    """Return the problems that an address may answer with beside those that any may."""
    return {(status, "application/problem+json"): Problem for status in statuses}


class Why(Closed):
    why = serializers.CharField(help_text="Kept with the change.")


class FlagIn(documents.FlagDocument):
    why = serializers.CharField(help_text="Kept with the change.")


class SegmentIn(documents.SegmentDocument):
    why = serializers.CharField(help_text="Kept with the change.")


class PlanIn(Closed):
    template = serializers.CharField(help_text="The key of a plan to copy.")
    flag = serializers.CharField()
    why = serializers.CharField(help_text="Kept with the change.")


class RestoreIn(Why):
    change_id = serializers.IntegerField(help_text="The change whose outcome is brought back.")


class ExplainIn(Closed):
    unit_id = serializers.CharField(max_length=128)
    attributes = serializers.DictField(default=dict, help_text="What to assume of the unit.")


class FlagOut(documents.FlagDocument):
    version = serializers.IntegerField()
    changed_at = serializers.DateTimeField()
    stale = serializers.CharField(help_text="Why the code should be rid of it; empty: it need not.")


class FlagsOut(serializers.Serializer):
    flags = FlagOut(many=True)


class SegmentsOut(serializers.Serializer):
    segments = documents.SegmentDocument(many=True)


class PlansOut(serializers.Serializer):
    rollouts = documents.PlanDocument(many=True)


class DifferenceOut(serializers.Serializer):
    field = serializers.CharField()
    before = serializers.CharField()
    after = serializers.CharField()


class ChangeOut(serializers.Serializer):
    id = serializers.IntegerField()
    at = serializers.DateTimeField()
    who = serializers.CharField()
    approved_by = serializers.CharField(allow_null=True)
    action = serializers.CharField()
    why = serializers.CharField()
    differences = DifferenceOut(many=True)
    evidence = serializers.ListField(child=serializers.DictField())


class ChangesOut(serializers.Serializer):
    changes = ChangeOut(many=True)
    next_before = serializers.IntegerField(allow_null=True, help_text="Ask with before=this for older ones.")


class WaitingOut(serializers.Serializer):
    id = serializers.IntegerField()
    key = serializers.CharField()
    action = serializers.CharField()
    why = serializers.CharField()
    asked_by = serializers.CharField()
    asked_at = serializers.DateTimeField()
    decision = serializers.CharField(help_text="waiting, approved, rejected")
    differences = DifferenceOut(many=True)


class WaitingsOut(serializers.Serializer):
    approvals = WaitingOut(many=True)


class StepOut(serializers.Serializer):
    rule = serializers.CharField()
    outcome = serializers.CharField()
    decides = serializers.BooleanField()


@extend_schema_serializer(component_name="FlagExplanation")
class ExplanationOut(serializers.Serializer):
    key = serializers.CharField()
    unit_id = serializers.CharField()
    value = documents.ValueField()
    name = serializers.CharField(help_text="A variant's, or on, default, off.")
    reason = serializers.CharField(help_text="OpenFeature's word.")
    bucket = serializers.FloatField(help_text="Where the unit lies in the rollout, 0 to 1.")
    attributes = serializers.DictField()
    steps = StepOut(many=True)


def flag_shape(flag: Flag, stale: str) -> Document:
    """Return a flag as the API gives it."""
    extra = {"version": flag.version, "changed_at": moment(flag.changed_at), "stale": stale}
    return documents.flag_document(flag) | extra


def change_shape(row: FlagChange) -> dict[str, Any]:
    """Return a record of a change as the API gives it."""
    return {
        "id": row.pk,
        "at": moment(row.at),
        "who": row.who,
        "approved_by": row.approved_by.get_username() if row.approved_by else None,
        "action": row.action,
        "why": row.why,
        "differences": difference_shapes(row.before, row.after),
        "evidence": row.evidence,
    }


def waiting_shape(row: PendingChange) -> dict[str, Any]:
    """Return a change that waits as the API gives it."""
    now = current(row)
    return {
        "id": row.pk,
        "key": row.key,
        "action": row.action,
        "why": row.why,
        "asked_by": row.asked_by.get_username() if row.asked_by else f"system: {row.asked_by_system}",
        "asked_at": moment(row.asked_at),
        "decision": row.state,
        "differences": difference_shapes(now, now | row.patch),
    }


def current(row: PendingChange) -> Document:
    """Return what a waiting change would change, as it is now."""
    kind = KINDS[row.subject]  # type: ignore[index]
    found: Row | None = kind.model.objects.filter(key=row.key).first()
    return kind.read(found) if found else {}


def difference_shapes(before: Document | None, after: Document) -> list[dict[str, str]]:
    """Return what differs, as the API gives it."""
    return [{"field": d.field, "before": d.before, "after": d.after} for d in differences(before, after)]


def explanation_shape(found: Explanation) -> dict[str, Any]:
    """Return an explanation as the API gives it."""
    names = ("key", "unit_id", "value", "name", "reason", "bucket")
    return {name: getattr(found, name) for name in names} | {
        "attributes": dict(found.attributes),
        "steps": [{"rule": s.rule, "outcome": s.outcome, "decides": s.decides} for s in found.steps],
    }
