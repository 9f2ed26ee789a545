"""REST endpoints of flags, segments, rollout plans and approvals. The services validate and record the changes."""

from __future__ import annotations

from typing import Any
from zlib import crc32

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response

from access import conditional_requests
from access.inputs import Request
from access.views import takes
from flags import documents
from flags import serializers as flag_serializers
from flags.api import schemas
from flags.api.permissions import READ_SCOPE, RELEASE_PERMISSION, BaseFlagView, get_actor, permissions_for
from flags.models import ChangeSubject, Flag, FlagChange, PendingChange, RolloutPlan, Segment
from flags.services import approve, rollouts
from flags.services.change import apply_change
from flags.services.errors import UnknownKeyError
from flags.services.explain import explain
from flags.services.history import restore_change
from flags.services.kill import kill_flag
from flags.services.record import find_flag
from flags.services.stale_flags import stale_reason
from monitoring.clock import now

PAGE_SIZE = 50


def parse_patch(content: object) -> tuple[dict[str, Any], str]:
    """Return the fields to change and the reason. The service validates the fields as part of the whole document."""
    if not isinstance(content, dict):
        raise ValidationError({"": "Give a JSON object."})
    patch = dict(content)
    return patch, str(patch.pop("why", "") or "")


def flag_response(key: str, status: int = 200) -> Response:
    """Return the current flag, with its version as ETag."""
    flag = find_flag(key)
    why = stale_reason(flag, now())
    return Response(schemas.serialize_flag(flag, why), status=status, headers={"ETag": flag_etag(flag, why)})


def flag_etag(flag: Flag, stale_reason: str) -> str:
    """Return the flag's ETag. It includes the stale reason, which can change without a change of the flag."""
    return conditional_requests.etag(flag.version, f"{crc32(stale_reason.encode()):x}" if stale_reason else "")


def pending_change_response(pending: PendingChange) -> Response:
    """Return the pending change with status 202."""
    return Response(schemas.serialize_pending_change(pending), status=202)


class FlagListView(BaseFlagView):
    """All flags."""

    staff_permissions = permissions_for("view_flag", POST="add_flag")

    @extend_schema(
        operation_id="list_flags",
        tags=["flags"],
        summary="Flags by key",
        responses={200: schemas.FlagsOut, **schemas.problem_responses(400)},
    )
    @takes(query=schemas.FlagsQuery())
    def get(self, request: Request) -> Response:
        """Return the matching flags."""
        query, moment = request.inputs.query, now()
        rows: QuerySet[Flag] = Flag.objects.filter(is_archived=query["is_archived"])
        if text := query["q"]:
            rows = rows.filter(key__icontains=text) | rows.filter(description__icontains=text)
        if query["is_enabled"] is not None:
            rows = rows.filter(is_enabled=query["is_enabled"])
        tag, only_stale = query["tag"], query["is_stale"]
        flags = [(flag, stale_reason(flag, moment)) for flag in rows if not tag or tag in flag.tags]
        return Response({"flags": [schemas.serialize_flag(*row) for row in flags if row[1] or not only_stale]})

    @extend_schema(
        operation_id="create_flag",
        tags=["flags"],
        summary="Create a flag",
        request=schemas.FlagIn,
        responses={201: schemas.FlagOut, **schemas.problem_responses(400, 409)},
    )
    @takes(body=parse_patch)
    def post(self, request: Request) -> Response:
        """Create a flag. It is off unless the body turns it on."""
        patch, why = request.inputs.body
        key = str(patch.get("key", ""))
        apply_change(key=key, patch=patch, actor=get_actor(request), why=why, now=now(), create=True)
        return flag_response(key, 201)


class FlagDetailView(BaseFlagView):
    """One flag."""

    @extend_schema(
        operation_id="read_flag",
        tags=["flags"],
        summary="One flag",
        parameters=[conditional_requests.IF_NONE_MATCH],
        responses={200: schemas.FlagOut, 304: None, **schemas.problem_responses(404)},
    )
    def get(self, request: Request, key: str) -> Response:
        """Return the flag with its version as ETag."""
        response = flag_response(key)
        tag = response.headers["ETag"]
        if conditional_requests.client_has_current(request, tag):
            return Response(status=304, headers={"ETag": tag})
        return response

    @extend_schema(
        operation_id="update_flag",
        tags=["flags"],
        summary="Change a flag",
        parameters=[conditional_requests.IF_MATCH],
        request=schemas.FlagIn(partial=True),
        responses={
            200: schemas.FlagOut,
            202: schemas.PendingChangeOut,
            **schemas.problem_responses(400, 404, 412, 428),
        },
    )
    @takes(body=parse_patch)
    def patch(self, request: Request, key: str) -> Response:
        """Change the fields in the body. Returns 202 if the flag needs approval: nothing has changed then."""
        patch, why = request.inputs.body
        version = conditional_requests.expected_version(request)
        outcome = apply_change(
            key=key,
            patch=patch,
            actor=get_actor(request),
            why=why,
            now=now(),
            version=version,
        )
        return pending_change_response(outcome) if isinstance(outcome, PendingChange) else flag_response(key)

    @extend_schema(
        operation_id="archive_flag",
        tags=["flags"],
        summary="Archive a flag",
        responses={204: None, 202: schemas.PendingChangeOut, **schemas.problem_responses(400, 404)},
    )
    @takes(query=schemas.ReasonQuery())
    def delete(self, request: Request, key: str) -> Response:
        """Archive the flag: lists omit it, and code gets its own default. The change history stays."""
        why = request.inputs.query["why"]
        outcome = apply_change(
            key=key, patch={"is_archived": True}, actor=get_actor(request), why=why, now=now(), action="archived"
        )
        return pending_change_response(outcome) if isinstance(outcome, PendingChange) else Response(status=204)


class KillFlagView(BaseFlagView):
    """The emergency switch."""

    @extend_schema(
        operation_id="kill_flag",
        tags=["flags"],
        summary="Turn a flag off at once",
        responses={200: schemas.FlagOut, **schemas.problem_responses(400, 404)},
    )
    @takes(body=schemas.ReasonBody())
    def post(self, request: Request, key: str) -> Response:
        """Turn the flag off for all units without approval, and pause its rollout. Processes apply it within 2 s."""
        kill_flag(key=key, actor=get_actor(request), why=request.inputs.body["why"], now=now())
        return flag_response(key)


class FlagChangesView(BaseFlagView):
    """The change history of a flag."""

    staff_permissions = permissions_for("view_flagchange")

    @extend_schema(
        operation_id="list_flag_changes",
        tags=["flags"],
        summary="Changes of a flag, newest first",
        responses={200: schemas.ChangesOut, **schemas.problem_responses(400, 404)},
    )
    @takes(query=schemas.ChangesQuery())
    def get(self, request: Request, key: str) -> Response:
        """Return the changes with author and reason."""
        find_flag(key)
        rows = FlagChange.objects.filter(subject=ChangeSubject.FLAG, key=key).order_by("-pk")
        if (before := request.inputs.query.get("before", "")) != "":
            rows = rows.filter(pk__lt=before)
        page = list(rows.select_related("user", "approved_by")[: PAGE_SIZE + 1])
        next_before = page[PAGE_SIZE - 1].pk if len(page) > PAGE_SIZE else None
        changes = [schemas.serialize_change(row) for row in page[:PAGE_SIZE]]
        return Response({"changes": changes, "next_before": next_before})


class RestoreFlagView(BaseFlagView):
    """Restoring an earlier state."""

    @extend_schema(
        operation_id="restore_flag",
        tags=["flags"],
        summary="Restore the state after a change",
        responses={200: schemas.FlagOut, 202: schemas.PendingChangeOut, **schemas.problem_responses(400, 404)},
    )
    @takes(body=schemas.RestoreIn())
    def post(self, request: Request, key: str) -> Response:
        """Restore the flag to its state after the change."""
        body = request.inputs.body
        if not FlagChange.objects.filter(pk=body["change_id"], subject=ChangeSubject.FLAG, key=key).exists():
            raise UnknownKeyError(f"change of {key}", str(body["change_id"]))
        outcome = restore_change(change_id=body["change_id"], actor=get_actor(request), why=body["why"], now=now())
        return pending_change_response(outcome) if isinstance(outcome, PendingChange) else flag_response(key)


class ExplainFlagView(BaseFlagView):
    """Explanation of an evaluation."""

    is_read_only = True
    scopes = {"POST": READ_SCOPE}

    @extend_schema(
        operation_id="explain_flag",
        tags=["flags"],
        summary="Explain a flag's value for a unit",
        responses={200: schemas.FlagExplanationOut, **schemas.problem_responses(400, 404)},
    )
    @takes(body=schemas.ExplainIn())
    def post(self, request: Request, key: str) -> Response:
        """Return the value and the outcome of each rule."""
        body = request.inputs.body
        explanation = explain(key=key, unit_id=body["unit_id"], given_attributes=body["attributes"], now=now())
        return Response(schemas.serialize_explanation(explanation))


class SegmentListView(BaseFlagView):
    """All segments."""

    staff_permissions = permissions_for("view_segment", POST="add_segment")

    @extend_schema(
        operation_id="list_segments",
        tags=["flags"],
        summary="Segments by key",
        responses={200: schemas.SegmentsOut},
    )
    def get(self, request: Request) -> Response:
        """Return the segments."""
        return Response({"segments": [documents.segment_document(row) for row in Segment.objects.all()]})

    @extend_schema(
        operation_id="create_segment",
        tags=["flags"],
        summary="Create a segment",
        request=schemas.SegmentIn,
        responses={201: flag_serializers.SegmentDocument, **schemas.problem_responses(400, 409)},
    )
    @takes(body=parse_patch)
    def post(self, request: Request) -> Response:
        """Create a segment."""
        patch, why = request.inputs.body
        key = str(patch.get("key", ""))
        subject = ChangeSubject.SEGMENT
        apply_change(subject=subject, key=key, patch=patch, actor=get_actor(request), why=why, now=now(), create=True)
        return Response(documents.segment_document(Segment.objects.get(key=key)), status=201)


class SegmentDetailView(BaseFlagView):
    """One segment."""

    staff_permissions = permissions_for("view_segment", PATCH="change_segment")

    @extend_schema(
        operation_id="read_segment",
        tags=["flags"],
        summary="One segment",
        responses={200: flag_serializers.SegmentDocument, **schemas.problem_responses(404)},
    )
    def get(self, request: Request, key: str) -> Response:
        """Return the segment."""
        row = Segment.objects.filter(key=key).first()
        if row is None:
            raise UnknownKeyError(ChangeSubject.SEGMENT.label, key)
        return Response(documents.segment_document(row))

    @extend_schema(
        operation_id="update_segment",
        tags=["flags"],
        summary="Change a segment",
        request=schemas.SegmentIn(partial=True),
        responses={
            200: flag_serializers.SegmentDocument,
            202: schemas.PendingChangeOut,
            **schemas.problem_responses(400, 404),
        },
    )
    @takes(body=parse_patch)
    def patch(self, request: Request, key: str) -> Response:
        """Change the fields in the body, for every flag that uses the segment."""
        patch, why = request.inputs.body
        outcome = apply_change(
            subject=ChangeSubject.SEGMENT, key=key, patch=patch, actor=get_actor(request), why=why, now=now()
        )
        return pending_change_response(outcome) if isinstance(outcome, PendingChange) else self.get(request, key)


class RolloutListView(BaseFlagView):
    """All rollout plans."""

    staff_permissions = permissions_for("view_rolloutplan", POST="release_flag")

    @extend_schema(
        operation_id="list_rollouts",
        tags=["flags"],
        summary="Rollout plans and templates",
        responses={200: schemas.RolloutPlansOut},
    )
    def get(self, request: Request) -> Response:
        """Return the plans."""
        rows = RolloutPlan.objects.select_related("flag")
        return Response({"rollouts": [documents.plan_document(row) for row in rows]})

    @extend_schema(
        operation_id="create_rollout",
        tags=["flags"],
        summary="Copy a template for a flag",
        responses={201: flag_serializers.RolloutPlanDocument, **schemas.problem_responses(400, 404)},
    )
    @takes(body=schemas.RolloutPlanIn())
    def post(self, request: Request) -> Response:
        """Copy the template as a draft. Start it with /rollouts/KEY/start."""
        plan = rollouts.copy_template(actor=get_actor(request), now=now(), **request.inputs.body)
        return Response(documents.plan_document(plan), status=201)


ROLLOUT_ACTIONS = {
    "start": rollouts.start,
    "pause": rollouts.pause,
    "resume": rollouts.resume,
    "step-back": rollouts.step_back,
    "stop": rollouts.stop,
}


class RolloutActionView(BaseFlagView):
    """The actions on a rollout plan."""

    staff_permissions = {"POST": RELEASE_PERMISSION}

    @extend_schema(
        operation_id="run_rollout_action",
        tags=["flags"],
        summary="Start, pause, resume, step back or stop a plan",
        parameters=[OpenApiParameter("action", str, OpenApiParameter.PATH, enum=sorted(ROLLOUT_ACTIONS))],
        responses={
            200: flag_serializers.RolloutPlanDocument,
            202: schemas.PendingChangeOut,
            **schemas.problem_responses(400, 404, 409),
        },
    )
    @takes(body=schemas.ReasonBody())
    def post(self, request: Request, key: str, action: str) -> Response:
        """Run the action and record the reason."""
        if action not in ROLLOUT_ACTIONS:
            raise UnknownKeyError("action", action)
        why = request.inputs.body["why"]
        outcome = ROLLOUT_ACTIONS[action](key=key, actor=get_actor(request), why=why, now=now())
        if isinstance(outcome, PendingChange):
            return pending_change_response(outcome)
        return Response(documents.plan_document(outcome))


class ApprovalListView(BaseFlagView):
    """Pending changes."""

    staff_permissions = permissions_for("view_pendingchange")

    @extend_schema(
        operation_id="list_approvals",
        tags=["flags"],
        summary="Changes that are pending approval",
        responses={200: schemas.PendingChangesOut},
    )
    def get(self, request: Request) -> Response:
        """Return the pending changes, newest first."""
        rows = PendingChange.objects.filter(state=PendingChange.State.PENDING).select_related("requested_by")
        return Response({"approvals": [schemas.serialize_pending_change(row) for row in rows]})


class ApprovalDecisionView(BaseFlagView):
    """The second person's decision on a pending change."""

    # The service also requires a second person with the release permission, unless a person withdraws their own change.
    is_for_people_only = True

    @extend_schema(
        operation_id="decide_approval",
        tags=["flags"],
        summary="Approve or reject a change",
        parameters=[OpenApiParameter("decision", str, OpenApiParameter.PATH, enum=["approve", "reject"])],
        request=None,
        responses={204: None, **schemas.problem_responses(404, 409)},
    )
    def post(self, request: Request, pending_id: int, decision: str) -> Response:
        """Apply the pending change, or reject it."""
        if decision not in ("approve", "reject"):
            raise UnknownKeyError("decision", decision)
        user = get_actor(request).user
        assert user is not None
        (approve.approve if decision == "approve" else approve.reject)(pending_id=pending_id, user=user, now=now())
        return Response(status=204)
