"""What members did, and what they saw."""

from collections import Counter
from typing import Any

from drf_standardized_errors.formatter import flatten_errors
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.scopes import Scope, single_scope
from monitoring.clock import now
from recommendations.api import openapi, problems
from recommendations.api import serializers as s
from recommendations.api.query_parameters import shared_serializer
from recommendations.services.learning import interact

EventResultBody = dict[str, Any]


def rejected_result(event_id: str | None, detail: str, errors: list[dict[str, str]] | None = None) -> EventResultBody:
    """Return the result of an event that was not recorded."""
    problem = problems.problem_body(status=400, code="invalid-event", detail=detail, errors=errors)
    return {"event_id": event_id, "status": "rejected", "problem": problem}


def parse_event(item: object, index: int) -> interact.Event | EventResultBody:
    """Return the event that *item* is, or why it is none; pointers start at the body's root."""
    try:
        return interact.Event(**shared_serializer(s.EventIn).run_validation(item))
    except ValidationError as error:
        errors = problems.build_error_items(flatten_errors(error.detail, f"events/{index}"), in_body=True)
        event_id = item.get("event_id") if isinstance(item, dict) else None
        known = event_id if isinstance(event_id, str) else None
        return rejected_result(known, " ".join(e["detail"] for e in errors), errors)


def record_events(items: list[object]) -> list[EventResultBody]:
    """Record what can be recorded and return what came of each, in the order given."""
    checked = [parse_event(item, index) for index, item in enumerate(items)]
    events = [event for event in checked if isinstance(event, interact.Event)]
    done = iter(interact.record_events(events=events, now=now()) if events else [])
    return [serialize_event_result(next(done)) if isinstance(c, interact.Event) else c for c in checked]


def serialize_event_result(result: interact.EventResult) -> EventResultBody:
    """Return what came of an event, as it is sent."""
    if result.status == "rejected":
        return rejected_result(result.event_id, result.problem)
    return {"event_id": result.event_id, "status": result.status, "problem": None}


def get_sender_ids(request: Request) -> list[object]:
    """Return the members whose acts the body tells of, as far as it can be read."""
    events = request.data.get("events") if isinstance(request.data, dict) else None
    return [item.get("member_id") for item in events if isinstance(item, dict)] if isinstance(events, list) else []


class InteractionsView(APIView):
    """Events in bulk."""

    scopes = single_scope(Scope.INTERACTIONS_WRITE)
    requested_member_ids = staticmethod(get_sender_ids)

    @openapi.describe_endpoint(
        400,
        responses={200: s.EventResultsOut, 207: s.EventResultsOut},
        request=s.EventsBody,
        operation_id="record_interactions",
        summary="Record what members did",
        tags=["interactions"],
    )
    def post(self, request: Request) -> Response:
        """Record up to 1000 events; 207 when some were rejected. Sending the same events again changes nothing."""
        body = s.UncheckedEvents(data=request.data)
        body.is_valid(raise_exception=True)
        results = record_events(body.validated_data["events"])
        counts = Counter(result["status"] for result in results)
        answer = {status: counts[status] for status in s.EVENT_STATUSES} | {"results": results}
        return Response(answer, status=207 if counts["rejected"] else 200)


class SeenView(APIView):
    """Posts that were on a member's screen."""

    scopes = single_scope(Scope.INTERACTIONS_WRITE)

    @openapi.describe_endpoint(
        400,
        404,
        responses={200: s.SeenPostsOut},
        request=s.SeenPostsBody,
        operation_id="mark_seen",
        summary="Say which posts a member saw",
        tags=["interactions"],
    )
    def post(self, request: Request, member_id: str) -> Response:
        """Mark posts as seen: they are not recommended to this member again. Returns how many of them we know."""
        body = s.SeenPostsBody(data=request.data)
        body.is_valid(raise_exception=True)
        marked = interact.mark_seen(member_id=member_id, post_ids=body.validated_data["post_ids"], now=now())
        return Response({"marked": marked})
