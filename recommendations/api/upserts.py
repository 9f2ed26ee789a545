"""Create or update members and posts from a request body, and return a result for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal

from rest_framework.response import Response

from access.inputs import Request
from access.problems import problem_body
from monitoring.clock import now
from recommendations.api import problems
from recommendations.api import serializers as s
from recommendations.services.content import ingest

ItemKind = Literal["members", "posts"]


def parse_items(kind: ItemKind) -> Callable[[object], list[Any]]:
    """Return a function that returns the items that a body lists under *kind*. The service validates each item."""
    serializer = s.UNCHECKED_LISTS[kind]()
    return lambda content: serializer.run_validation(content)[kind]


def parse_item(content: object) -> Mapping[str, Any]:
    """Return a body that is an object. The service validates its fields."""
    if not isinstance(content, Mapping):
        raise problems.Problem("Send an object with the fields to set.", status=400, code="invalid-request")
    return content


def upsert_items_response(kind: ItemKind, request: Request) -> Response:
    """Create or update the items that the body lists under *kind*. Status 207 if some were rejected."""
    outcomes = ingest.ingest_items(kind=kind, items=request.inputs.body, now=now())
    counts = Counter[str](outcome.status for outcome in outcomes)
    results = [serialize_outcome(outcome, f"/{kind}/{index}") for index, outcome in enumerate(outcomes)]
    content = {status: counts[status] for status in s.ITEM_STATUSES} | {"results": results}
    return Response(content, status=207 if counts["rejected"] else 200)


def upsert_item_response(kind: ItemKind, request: Request, id: str) -> Response:
    """Create or update the item in the body. Its id comes from the URL."""
    item = request.inputs.body
    if item.get("id", id) != id:
        detail = f"The body has the id {item['id']!r}, and the URL {id!r}. Omit the id from the body."
        raise problems.Problem(detail, status=400, code="invalid-request", pointer="/id")
    (outcome,) = ingest.ingest_items(kind=kind, items=[dict(item) | {"id": id}], now=now())
    if outcome.status == "rejected":
        pointer = f"/{outcome.field}" if outcome.field else ""
        raise problems.Problem(outcome.problem, status=400, code="invalid-request", pointer=pointer)
    return Response(serialize_outcome(outcome, ""), status=201 if outcome.status == "created" else 200)


def serialize_outcome(outcome: ingest.IngestResult, pointer: str) -> dict[str, Any]:
    """Return the result of one item as JSON fields; *pointer* is the JSON pointer to the item in the body."""
    if outcome.status != "rejected":
        return {"id": outcome.id, "status": outcome.status, "problem": None}
    location = f"{pointer}/{outcome.field}" if outcome.field else pointer
    error = {"detail": outcome.problem, "code": "invalid", "pointer": location}
    problem = problem_body(status=400, code="invalid-item", detail=outcome.problem, errors=[error])
    return {"id": outcome.id, "status": outcome.status, "problem": problem}
