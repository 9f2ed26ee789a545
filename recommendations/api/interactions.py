"""Interactions of members, and the posts that they saw."""

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
    """Return the result of a rejected event."""
    problem = problems.problem_body(status=400, code="invalid-event", detail=detail, errors=errors)
    return {"event_id": event_id, "status": "rejected", "problem": problem}


def parse_event(item: object, index: int) -> interact.Event | EventResultBody:
    """Return *item* as an event, or as a rejected result. Error pointers start at the root of the body."""
    try:
        return interact.Event(**shared_serializer(s.EventIn).run_validation(item))
    except ValidationError as error:
        errors = problems.build_error_items(flatten_errors(error.detail, f"events/{index}"), in_body=True)
        event_id = item.get("event_id") if isinstance(item, dict) else None
        return rejected_result(
            event_id if isinstance(event_id, str) else None, " ".join(e["detail"] for e in errors), errors
        )


def record_events(items: list[object]) -> list[EventResultBody]:
    """Record the valid events. Return a result for each item, in order."""
    parsed = [parse_event(item, index) for index, item in enumerate(items)]
    events = [event for event in parsed if isinstance(event, interact.Event)]
    results = iter(interact.record_events(events=events, now=now()) if events else [])
    return [serialize_event_result(next(results)) if isinstance(p, interact.Event) else p for p in parsed]


def serialize_event_result(result: interact.EventResult) -> EventResultBody:
    """Return the result of an event as JSON fields."""
    if result.status == "rejected":
        return rejected_result(result.event_id, result.problem)
    return {"event_id": result.event_id, "status": result.status, "problem": None}


def get_sender_ids(request: Request) -> list[object]:
    """Return the `member_id` of every event in the body that is an object."""
    events = request.data.get("events") if isinstance(request.data, dict) else None
    return [item.get("member_id") for item in events if isinstance(item, dict)] if isinstance(events, list) else []


class InteractionsView(APIView):
    """Events of members."""

    scopes = single_scope(Scope.INTERACTIONS_WRITE)
    requested_member_ids = staticmethod(get_sender_ids)

    @openapi.describe_endpoint(
        400,
        responses={200: s.EventResultsOut, 207: s.EventResultsOut},
        request=s.EventsBody,
        operation_id="record_interactions",
        summary="Record interactions of members",
        tags=["interactions"],
    )
    def post(self, request: Request) -> Response:
        """Record up to 1000 events. Status 207 if some were rejected. Sending the same events again changes nothing."""
        body = s.UncheckedEvents(data=request.data)
        body.is_valid(raise_exception=True)
        results = record_events(body.validated_data["events"])
        counts = Counter(result["status"] for result in results)
        content = {status: counts[status] for status in s.EVENT_STATUSES} | {"results": results}
        return Response(content, status=207 if counts["rejected"] else 200)


class SeenView(APIView):
    """Posts that were on a member's screen."""

    scopes = single_scope(Scope.INTERACTIONS_WRITE)

    @openapi.describe_endpoint(
        400,
        404,
        responses={200: s.SeenPostsOut},
        request=s.SeenPostsBody,
        operation_id="mark_seen",
        summary="Mark posts as seen by a member",
        tags=["interactions"],
    )
    def post(self, request: Request, member_id: str) -> Response:
        """Mark posts as seen, so that the member is not served them again. Returns the number of posts marked."""
        body = s.SeenPostsBody(data=request.data)
        body.is_valid(raise_exception=True)
        marked = interact.mark_seen(member_id=member_id, post_ids=body.validated_data["post_ids"], now=now())
        return Response({"marked": marked})
