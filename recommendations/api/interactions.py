"""Interactions of members, and the posts that they saw."""

from collections import Counter
from dataclasses import asdict
from typing import Any

from drf_standardized_errors.formatter import flatten_errors
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response

from access.inputs import Inputs, Request
from access.problems import problem_body
from access.scopes import READ_METHODS, Scope, read_write_scopes, single_scope
from access.views import APIView, takes
from monitoring.clock import now
from recommendations.api import openapi, problems
from recommendations.api import serializers as s
from recommendations.api.item_lists import parse_items
from recommendations.api.senders import get_sender
from recommendations.contracts import Sender
from recommendations.services.learning import interact
from recommendations.services.members.interactions import list_interactions
from values.text import storage_problem

EventResultBody = dict[str, Any]
EVENTS, EVENT = s.UncheckedEvents(), s.EventIn()


def rejected_result(event_id: str | None, detail: str, errors: list[dict[str, str]] | None = None) -> EventResultBody:
    """Return the result of a rejected event."""
    problem = problem_body(status=400, code="invalid-event", detail=detail, errors=errors)
    return {"event_id": event_id, "status": "rejected", "problem": problem}


def parse_event(item: object, index: int) -> interact.Event | EventResultBody:
    """Return *item* as an event, or as a rejected result. Error pointers start at the root of the body."""
    try:
        return interact.Event(**EVENT.run_validation(item))
    except ValidationError as error:
        errors = problems.build_error_items(flatten_errors(error.detail, f"events/{index}"), in_body=True)
        event_id = item.get("event_id") if isinstance(item, dict) else None
        is_usable = isinstance(event_id, str) and not storage_problem(event_id)
        return rejected_result(event_id if is_usable else None, " ".join(e["detail"] for e in errors), errors)


def parse_events(content: object) -> list[interact.Event | EventResultBody]:
    """Return each item of the body as an event, or as a rejected result."""
    items = EVENTS.run_validation(content)["events"]
    return [parse_event(item, index) for index, item in enumerate(items)]


def record_events(parsed: list[interact.Event | EventResultBody], sender: Sender) -> list[EventResultBody]:
    """Record the valid events of *sender*. Return a result for each item, in order."""
    events = [event for event in parsed if isinstance(event, interact.Event)]
    results = iter(interact.record_events(events=events, now=now(), sender=sender) if events else [])
    return [serialize_event_result(next(results)) if isinstance(p, interact.Event) else p for p in parsed]


def serialize_event_result(result: interact.EventResult) -> EventResultBody:
    """Return the result of an event as JSON fields."""
    if result.status == "rejected":
        return rejected_result(result.event_id, result.problem)
    return {"event_id": result.event_id, "status": result.status, "problem": None}


def get_sender_ids(inputs: Inputs) -> list[object]:
    """Return the members whose events will be recorded."""
    return [event.member_id for event in inputs.body if isinstance(event, interact.Event)]


def get_listed_ids(inputs: Inputs) -> list[object]:
    """Return the member whose interactions are listed."""
    return [inputs.query["member_id"]]


class InteractionsView(APIView):
    """Events of members."""

    scopes = read_write_scopes(Scope.PROFILE_READ, Scope.INTERACTIONS_WRITE)
    staff_permissions = dict.fromkeys(READ_METHODS, "recommendations.view_interaction")

    @openapi.describe_endpoint(
        400,
        404,
        responses={200: s.InteractionsOut},
        operation_id="list_interactions",
        summary="List the interactions of a member",
        tags=["interactions"],
    )
    @takes(query=s.InteractionsQuery(), member_ids=get_listed_ids)
    def get(self, request: Request) -> Response:
        """
        Return what the member did, newest first, without what was undone.

        Interactions with a post that the member may not see now are left out.
        """
        query = dict(request.inputs.query)
        page = list_interactions(kinds=query.pop("kind"), now=now(), **query)
        return Response(asdict(page))

    @openapi.describe_endpoint(
        400,
        responses={200: s.EventResultsOut, 207: s.EventResultsOut},
        request=s.EventsBody,
        operation_id="record_interactions",
        summary="Record interactions of members",
        tags=["interactions"],
    )
    @takes(body=parse_events, member_ids=get_sender_ids)
    def post(self, request: Request) -> Response:
        """Record up to 1000 events. Status 207 if some were rejected. Sending the same events again changes nothing."""
        results = record_events(request.inputs.body, get_sender(request))
        counts = Counter(result["status"] for result in results)
        content = {status: counts[status] for status in s.EVENT_STATUSES} | {"results": results}
        return Response(content, status=207 if counts["rejected"] else 200)


class SeenView(APIView):
    """Posts that were on a member's screen."""

    scopes = single_scope(Scope.INTERACTIONS_WRITE)

    @openapi.describe_endpoint(
        400,
        404,
        responses={200: s.SeenPostsOut, 207: s.SeenPostsOut},
        request=s.SeenPostsBody,
        operation_id="mark_seen",
        summary="Mark posts as seen by a member",
        tags=["interactions"],
    )
    @takes(body=s.UncheckedSeenPosts().run_validation)
    def post(self, request: Request, member_id: str) -> Response:
        """Mark posts as seen, so that the member is not served them again. Status 207 if some ids were rejected."""
        ids = parse_items(request.inputs.body, "post_ids", s.id_field())
        marked = interact.mark_seen(member_id=member_id, post_ids=list(ids.valid.values()), now=now())
        return Response({"marked": marked, "rejected": ids.list_rejections()}, status=ids.status)
