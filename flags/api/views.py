"""Flags, segments, rollouts and approvals over REST: thin doors to the services, which check and record."""

from __future__ import annotations

from typing import Any
from zlib import crc32

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from access import conditional
from flags import documents
from flags.api import shapes
from flags.api.access import CHANGE, READ, RELEASE, FlagView, actor_of
from flags.models import Flag, FlagChange, PendingChange, RolloutPlan, Segment, Subject
from flags.services import approve, rollouts
from flags.services.change import change, find_flag
from flags.services.errors import UnknownKeyError
from flags.services.explain import explain
from flags.services.history import restore
from flags.services.kill import kill
from flags.services.stale import why_stale
from monitoring.clock import now

PAGE = 50
MOST_DIGITS = 18
"""Of a change's number: what a database's integers hold."""


def checked(form: type[serializers.Serializer], request: Request, **options: Any) -> dict[str, Any]:
    """Return the body if *form* takes it, or raise `ValidationError`."""
    found = form(data=request.data, **options)
    found.is_valid(raise_exception=True)
    return dict(found.validated_data)


def patch_of(request: Request) -> tuple[dict[str, Any], str]:
    """Return the fields to change and the reason. The service checks the fields, as a whole document."""
    if not isinstance(request.data, dict):
        raise ValidationError({"": "Give an object."})
    patch = dict(request.data)
    return patch, str(patch.pop("why", "") or "")


def flag_answer(key: str, status: int = 200) -> Response:
    """Return the flag as it is now, with its version as ETag."""
    flag = find_flag(key)
    why = why_stale(flag, now())
    return Response(shapes.flag_shape(flag, why), status=status, headers={"ETag": flag_etag(flag, why)})


def flag_etag(flag: Flag, stale: str) -> str:
    """Return the flag's ETag. A flag may become stale without a change, and its answer says so."""
    return conditional.etag(flag.version, f"{crc32(stale.encode()):x}" if stale else "")


def waits(pending: PendingChange) -> Response:
    """Answer that a second person must approve."""
    return Response(shapes.waiting_shape(pending), status=202)


class FlagsView(FlagView):
    """Every flag."""

    @extend_schema(
        operation_id="list_flags",
        tags=["flags"],
        summary="Flags by key",
        parameters=[
            OpenApiParameter("q", str, description="Part of a key or a description."),
            OpenApiParameter("tag", str),
            OpenApiParameter("is_enabled", bool),
            OpenApiParameter("archived", bool, description="true: the archived ones instead."),
            OpenApiParameter("stale", bool, description="true: only those that the code should be rid of."),
        ],
        responses={200: shapes.FlagsOut},
    )
    def get(self, request: Request) -> Response:
        """Return the flags that fit."""
        asked, moment = request.query_params, now()
        rows: QuerySet[Flag] = Flag.objects.filter(is_archived=asked.get("archived") == "true")
        if words := asked.get("q", ""):
            rows = rows.filter(key__icontains=words) | rows.filter(description__icontains=words)
        if enabled := asked.get("is_enabled"):
            rows = rows.filter(is_enabled=enabled == "true")
        found = [(flag, why_stale(flag, moment)) for flag in rows if not (tag := asked.get("tag")) or tag in flag.tags]
        is_wanted = asked.get("stale") == "true"
        return Response({"flags": [shapes.flag_shape(flag, why) for flag, why in found if why or not is_wanted]})

    @extend_schema(
        operation_id="make_flag",
        tags=["flags"],
        summary="Make a flag",
        request=shapes.FlagIn,
        responses={201: shapes.FlagOut, **shapes.problems(400, 409)},
    )
    def post(self, request: Request) -> Response:
        """Make a flag; it is off unless said otherwise."""
        patch, why = patch_of(request)
        key = str(patch.get("key", ""))
        change(key=key, patch=patch, actor=actor_of(request), why=why, now=now(), create=True)
        return flag_answer(key, 201)


class OneFlagView(FlagView):
    """One flag."""

    @extend_schema(
        operation_id="read_flag",
        tags=["flags"],
        summary="One flag",
        parameters=[conditional.IF_NONE_MATCH],
        responses={200: shapes.FlagOut, 304: None, **shapes.problems(404)},
    )
    def get(self, request: Request, key: str) -> Response:
        """Return the flag and its version."""
        answer = flag_answer(key)
        tag = answer.headers["ETag"]
        return Response(status=304, headers={"ETag": tag}) if conditional.has(request, tag) else answer

    @extend_schema(
        operation_id="change_flag",
        tags=["flags"],
        summary="Change a flag",
        parameters=[conditional.IF_MATCH],
        request=shapes.FlagIn(partial=True),
        responses={200: shapes.FlagOut, 202: shapes.WaitingOut, **shapes.problems(400, 404, 412, 428)},
    )
    def patch(self, request: Request, key: str) -> Response:
        """Change the fields that the body names; 202 if the flag needs approval, and nothing has changed yet."""
        patch, why = patch_of(request)
        version = conditional.expected(request)
        done = change(
            key=key,
            patch=patch,
            actor=actor_of(request),
            why=why,
            now=now(),
            version=version,
        )
        return waits(done) if isinstance(done, PendingChange) else flag_answer(key)

    @extend_schema(
        operation_id="archive_flag",
        tags=["flags"],
        summary="Archive a flag",
        parameters=[OpenApiParameter("why", str, required=True)],
        responses={204: None, 202: shapes.WaitingOut, **shapes.problems(400, 404)},
    )
    def delete(self, request: Request, key: str) -> Response:
        """Take the flag from lists and from the code, which gets its own default. Its record stays."""
        why = request.query_params.get("why", "")
        done = change(
            key=key, patch={"is_archived": True}, actor=actor_of(request), why=why, now=now(), action="archived"
        )
        return waits(done) if isinstance(done, PendingChange) else Response(status=204)


class KillView(FlagView):
    """The emergency switch."""

    @extend_schema(
        operation_id="kill_flag",
        tags=["flags"],
        summary="Turn a flag off at once",
        request=shapes.Why,
        responses={200: shapes.FlagOut, **shapes.problems(400, 404)},
    )
    def post(self, request: Request, key: str) -> Response:
        """Turn it off for everybody without approval, and pause its rollout. All processes obey in 2 s."""
        kill(key=key, actor=actor_of(request), why=checked(shapes.Why, request)["why"], now=now())
        return flag_answer(key)


class ChangesView(FlagView):
    """The record."""

    @extend_schema(
        operation_id="list_flag_changes",
        tags=["flags"],
        summary="What was done to a flag, newest first",
        parameters=[OpenApiParameter("before", int, description="Only changes with a lower id.")],
        responses={200: shapes.ChangesOut, **shapes.problems(400, 404)},
    )
    def get(self, request: Request, key: str) -> Response:
        """Return who changed what, and why."""
        find_flag(key)
        rows = FlagChange.objects.filter(subject=Subject.FLAG, key=key).order_by("-pk")
        if before := request.query_params.get("before"):
            if not before.isdecimal() or len(before) > MOST_DIGITS:
                raise ValidationError({"before": "Give the number of a change."})
            rows = rows.filter(pk__lt=int(before))
        page = list(rows.select_related("user", "approved_by")[: PAGE + 1])
        older = page[PAGE - 1].pk if len(page) > PAGE else None
        return Response({"changes": [shapes.change_shape(row) for row in page[:PAGE]], "next_before": older})


class RestoreView(FlagView):
    """The way back."""

    @extend_schema(
        operation_id="restore_flag",
        tags=["flags"],
        summary="Bring back what a change left",
        request=shapes.RestoreIn,
        responses={200: shapes.FlagOut, 202: shapes.WaitingOut, **shapes.problems(400, 404)},
    )
    def post(self, request: Request, key: str) -> Response:
        """Make the flag what it was after the change."""
        body = checked(shapes.RestoreIn, request)
        if not FlagChange.objects.filter(pk=body["change_id"], subject=Subject.FLAG, key=key).exists():
            raise UnknownKeyError(f"change of {key}", str(body["change_id"]))
        done = restore(change_id=body["change_id"], actor=actor_of(request), why=body["why"], now=now())
        return waits(done) if isinstance(done, PendingChange) else flag_answer(key)


class ExplainFlagView(FlagView):
    """The playground."""

    only_reads = True
    scopes = {"POST": READ}

    @extend_schema(
        operation_id="explain_flag",
        tags=["flags"],
        summary="What a unit gets, and why",
        request=shapes.ExplainIn,
        responses={200: shapes.ExplanationOut, **shapes.problems(400, 404)},
    )
    def post(self, request: Request, key: str) -> Response:
        """Return the value and what became of each rule."""
        body = checked(shapes.ExplainIn, request)
        found = explain(key=key, unit_id=body["unit_id"], said=body["attributes"], now=now())
        return Response(shapes.explanation_shape(found))


class SegmentsView(FlagView):
    """Every segment."""

    @extend_schema(
        operation_id="list_segments",
        tags=["flags"],
        summary="Segments by key",
        responses={200: shapes.SegmentsOut},
    )
    def get(self, request: Request) -> Response:
        """Return the segments."""
        return Response({"segments": [documents.segment_document(row) for row in Segment.objects.all()]})

    @extend_schema(
        operation_id="make_segment",
        tags=["flags"],
        summary="Make a segment",
        request=shapes.SegmentIn,
        responses={201: documents.SegmentDocument, **shapes.problems(400, 409)},
    )
    def post(self, request: Request) -> Response:
        """Make a segment."""
        patch, why = patch_of(request)
        key = str(patch.get("key", ""))
        subject = Subject.SEGMENT
        change(subject=subject, key=key, patch=patch, actor=actor_of(request), why=why, now=now(), create=True)
        return Response(documents.segment_document(Segment.objects.get(key=key)), status=201)


class OneSegmentView(FlagView):
    """One segment."""

    @extend_schema(
        operation_id="read_segment",
        tags=["flags"],
        summary="One segment",
        responses={200: documents.SegmentDocument, **shapes.problems(404)},
    )
    def get(self, request: Request, key: str) -> Response:
        """Return the segment."""
        row = Segment.objects.filter(key=key).first()
        if row is None:
            raise UnknownKeyError(Subject.SEGMENT.label, key)
        return Response(documents.segment_document(row))

    @extend_schema(
        operation_id="change_segment",
        tags=["flags"],
        summary="Change a segment",
        request=shapes.SegmentIn(partial=True),
        responses={200: documents.SegmentDocument, 202: shapes.WaitingOut, **shapes.problems(400, 404)},
    )
    def patch(self, request: Request, key: str) -> Response:
        """Change the fields that the body names, for every flag that uses the segment."""
        patch, why = patch_of(request)
        done = change(subject=Subject.SEGMENT, key=key, patch=patch, actor=actor_of(request), why=why, now=now())
        return waits(done) if isinstance(done, PendingChange) else self.get(request, key)


class RolloutsView(FlagView):
    """Every rollout plan."""

    writers = RELEASE

    @extend_schema(
        operation_id="list_rollouts",
        tags=["flags"],
        summary="Rollout plans and their templates",
        responses={200: shapes.PlansOut},
    )
    def get(self, request: Request) -> Response:
        """Return the plans."""
        rows = RolloutPlan.objects.select_related("flag")
        return Response({"rollouts": [documents.plan_document(row) for row in rows]})

    @extend_schema(
        operation_id="make_rollout",
        tags=["flags"],
        summary="Copy a template for a flag",
        request=shapes.PlanIn,
        responses={201: documents.PlanDocument, **shapes.problems(400, 404)},
    )
    def post(self, request: Request) -> Response:
        """Make a draft; start it with /rollouts/KEY/start."""
        body = checked(shapes.PlanIn, request)
        plan = rollouts.copy(actor=actor_of(request), now=now(), **body)
        return Response(documents.plan_document(plan), status=201)


ACTIONS = {
    "start": rollouts.start,
    "pause": rollouts.pause,
    "resume": rollouts.resume,
    "step-back": rollouts.step_back,
    "stop": rollouts.stop,
}


class RolloutActionView(FlagView):
    """What can be done with a plan."""

    writers = RELEASE

    @extend_schema(
        operation_id="steer_rollout",
        tags=["flags"],
        summary="Start, pause, resume, step back or stop a plan",
        parameters=[OpenApiParameter("action", str, OpenApiParameter.PATH, enum=sorted(ACTIONS))],
        request=shapes.Why,
        responses={200: documents.PlanDocument, 202: shapes.WaitingOut, **shapes.problems(400, 404, 409)},
    )
    def post(self, request: Request, key: str, action: str) -> Response:
        """Do it, and record why."""
        if action not in ACTIONS:
            raise UnknownKeyError("action", action)
        why = checked(shapes.Why, request)["why"]
        done = ACTIONS[action](key=key, actor=actor_of(request), why=why, now=now())
        return waits(done) if isinstance(done, PendingChange) else Response(documents.plan_document(done))


class ApprovalsView(FlagView):
    """Changes that wait."""

    @extend_schema(
        operation_id="list_approvals",
        tags=["flags"],
        summary="Changes that wait for a second person",
        responses={200: shapes.WaitingsOut},
    )
    def get(self, request: Request) -> Response:
        """Return them, newest first."""
        rows = PendingChange.objects.filter(state=PendingChange.State.WAITING).select_related("asked_by")
        return Response({"approvals": [shapes.waiting_shape(row) for row in rows]})


class DecideView(FlagView):
    """The second person's word."""

    writers = CHANGE  # the service asks for more: a releaser, and another one
    only_people = True

    @extend_schema(
        operation_id="decide_approval",
        tags=["flags"],
        summary="Approve or reject a change",
        parameters=[OpenApiParameter("decision", str, OpenApiParameter.PATH, enum=["approve", "reject"])],
        request=None,
        responses={204: None, **shapes.problems(404, 409)},
    )
    def post(self, request: Request, pending_id: int, decision: str) -> Response:
        """Make the change, or leave things as they are."""
        if decision not in ("approve", "reject"):
            raise UnknownKeyError("decision", decision)
        user = actor_of(request).user
        assert user is not None
        (approve.approve if decision == "approve" else approve.reject)(pending_id=pending_id, user=user, now=now())
        return Response(status=204)
