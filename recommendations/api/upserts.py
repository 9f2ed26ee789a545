"""Takes members and posts from a request's body, and says what became of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

from rest_framework.request import Request
from rest_framework.response import Response

from monitoring.clock import now
from recommendations.api import problems
from recommendations.api import serializers as s
from recommendations.services.content import ingest

ItemKind = Literal["members", "posts"]


def upsert_items_response(kind: ItemKind, request: Request) -> Response:
    """Take in what the body lists under *kind*; 207 if something was refused."""
    body = s.UNCHECKED_LISTS[kind](data=request.data)
    body.is_valid(raise_exception=True)
    outcomes = ingest.ingest_items(kind=kind, items=body.validated_data[kind], now=now())
    counts = Counter[str](outcome.status for outcome in outcomes)
    results = [serialize_outcome(outcome, f"/{kind}/{number}") for number, outcome in enumerate(outcomes)]
    answered = {status: counts[status] for status in s.ITEM_STATUSES} | {"results": results}
    return Response(answered, status=207 if counts["refused"] else 200)


def upsert_item_response(kind: ItemKind, request: Request, id: str) -> Response:
    """Take in the one item that the body is; its id is that of the address."""
    item = request.data
    if not isinstance(item, Mapping):
        raise problems.Problem("Send an object with the fields to set.", status=400, code="invalid-request")
    if item.get("id", id) != id:
        detail = f"The body says {item['id']!r} and the address {id!r}: leave the id out of the body."
        raise problems.Problem(detail, status=400, code="invalid-request", pointer="/id")
    (outcome,) = ingest.ingest_items(kind=kind, items=[dict(item) | {"id": id}], now=now())
    if outcome.status == "refused":
        pointer = f"/{outcome.field}" if outcome.field else ""
        raise problems.Problem(outcome.problem, status=400, code="invalid-request", pointer=pointer)
    return Response(serialize_outcome(outcome, ""), status=201 if outcome.status == "created" else 200)


def serialize_outcome(outcome: ingest.IngestResult, pointer: str) -> dict[str, Any]:
    """Return what became of one item, as it is sent; *pointer* is where the item is in the body."""
    if outcome.status != "refused":
        return {"id": outcome.id, "status": outcome.status, "problem": None}
    where = f"{pointer}/{outcome.field}" if outcome.field else pointer
    error = {"detail": outcome.problem, "code": "invalid", "pointer": where}
    problem = problems.problem_body(status=400, code="invalid-item", detail=outcome.problem, errors=[error])
    return {"id": outcome.id, "status": outcome.status, "problem": problem}
