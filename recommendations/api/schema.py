"""What the OpenAPI page says of every address: its problems, and examples."""

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema

from access.problems import Problem
from recommendations.api.problems import CONTENT_TYPE, body

F = TypeVar("F", bound=Callable[..., Any])
MEANINGS = {
    400: "A value or the JSON cannot be used",
    401: "No key, token or session, or one that does not let you in",
    403: "A scope is missing, it is another member's data, or the CSRF token is missing",
    404: "No such member, post or job",
    409: "The member is deactivated, or the job is past that",
    412: "It was changed since you read it",
    413: "The body is above 5 MB",
    415: "The body is not application/json",
    428: "If-Match is missing",
    429: "Too many requests; see Retry-After",
    503: "The facts cannot be read, so nothing is shown; try again",
}
WRONG_LIMIT = body(
    status=400,
    code="invalid-request",
    detail="A value cannot be used; see errors.",
    errors=[{"detail": "Ensure this value is less than or equal to 100.", "code": "max_value", "parameter": "limit"}],
)
UNKNOWN = body(status=404, code="unknown-member", detail="There is no member '42'. Import it first, or check the id.")
EXAMPLES = {
    400: [OpenApiExample("A wrong value", WRONG_LIMIT, response_only=True)],
    404: [OpenApiExample("Not found", UNKNOWN, response_only=True)],
}


def problems(*statuses: int) -> dict[tuple[int, str], OpenApiResponse]:
    """Return the problems that an address may answer with."""
    return {
        (status, CONTENT_TYPE): OpenApiResponse(Problem, MEANINGS[status], examples=EXAMPLES.get(status))
        for status in (*statuses, 401, 403, 429, 503)
    }


def address(*statuses: int, answers: dict[int, Any], **kwargs: Any) -> Callable[[F], F]:
    """Return `extend_schema` with these *answers* and the problems of these *statuses*."""
    return extend_schema(responses=answers | problems(*statuses), **kwargs)


EVENTS = OpenApiExample(
    "A like and a dwell",
    {
        "events": [
            {"event_id": "e-1", "member_id": "42", "post_id": "7", "kind": "like"},
            {
                "event_id": "e-2",
                "member_id": "42",
                "post_id": "8",
                "kind": "dwell",
                "value": 12.5,
                "occurred_at": "2026-01-31T12:00:00Z",
            },
        ]
    },
    request_only=True,
)
POSTS = OpenApiExample(
    "A post with a picture",
    {
        "posts": [
            {
                "id": "7",
                "author_id": "3",
                "visibility": "public",
                "created_at": "2026-01-30T08:00:00Z",
                "text": "A film about a lighthouse",
                "kind": "image",
                "language": "en",
                "tags": ["drama"],
                "media": [{"kind": "image", "url": "https://example.org/7.jpg", "alt": "A lighthouse at dusk"}],
                "safety_labels": {"violence": 0.1},
            }
        ]
    },
    request_only=True,
)
MEMBERS = OpenApiExample(
    "Two members",
    {
        "members": [
            {"id": "3", "is_private": False, "languages": ["en", "de"], "region": "DE"},
            {"id": "42", "is_private": True, "is_adult": True, "sensitivity": "sensitive"},
        ]
    },
    request_only=True,
)
SEEN = OpenApiExample("Two posts", {"post_ids": ["7", "8"]}, request_only=True)
JOBS = [
    OpenApiExample("Everyone's feed", {"kind": "batch_feeds"}, request_only=True),
    OpenApiExample("One feed", {"kind": "member_feed", "params": {"member_ids": ["42"]}}, request_only=True),
]
PAGE = OpenApiExample(
    "A page of one pick",
    {
        "request_id": "6f2d6f0e-3a57-4a4c-9a5e-0b6a3c1c2f11",
        "member_id": "42",
        "feed": "discovery",
        "engine": "wasm",
        "variant": "control",
        "fallback": "",
        "cached": False,
        "built_at": "2026-01-31T12:00:00Z",
        "candidates": 812,
        "duration_ms": 8.4,
        "picks": [
            {
                "post": {
                    "id": "7",
                    "author_id": "3",
                    "text": "A film about a lighthouse",
                    "kind": "film",
                    "language": "en",
                    "tags": ["drama"],
                    "media": [],
                    "created_at": "2026-01-30T08:00:00Z",
                },
                "score": 0.75,
                "reasons": [{"code": "taste", "sentence": "Like posts you enjoyed"}],
                "sources": ["nearest"],
                "parts": {"taste": 0.7, "recency": 0.05},
            }
        ],
        "next_cursor": None,
    },
    response_only=True,
    status_codes=["200"],
)
