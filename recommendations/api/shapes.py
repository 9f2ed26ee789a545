"""Turns what services return into what is sent: plain dictionaries, and dataclasses that are sent as they are."""

from dataclasses import asdict
from functools import cache
from typing import Any

from django.urls import reverse
from rest_framework.response import Response

from recommendations.contracts import REASON_SENTENCES, Reason
from recommendations.services.explain import Explanation
from recommendations.services.recommend import Page, Pick
from recommendations.services.work import JobView


def pick_shape(pick: Pick) -> dict[str, Any]:
    """Return a pick with its post, its reasons in words, and the parts of its score if they came along."""
    return {
        "post": pick.post,
        "score": pick.score,
        "reasons": reason_shapes(pick.reasons),
        "sources": pick.sources,
        "parts": pick.parts,
    }


@cache
def reason_shapes(reasons: tuple[Reason, ...]) -> list[dict[str, str]]:
    """Return reasons with their sentences."""
    return [{"code": r.name.lower(), "sentence": REASON_SENTENCES[r]} for r in reasons]


def explanation_shape(found: Explanation) -> dict[str, Any]:
    """Return an explanation."""
    return asdict(found) | {"reasons": reason_shapes(found.reasons)}


def page_shape(page: Page, duration_ms: float) -> dict[str, Any]:
    """Return a page of a feed; *duration_ms* is what the service took."""
    return {
        "request_id": page.request_id,
        "member_id": page.member_id,
        "feed": page.feed,
        "engine": page.engine,
        "variant": page.variant,
        "fallback": page.fallback,
        "cached": page.cached,
        "built_at": page.built_at,
        "candidates": page.candidates,
        "duration_ms": round(duration_ms, 2),
        "picks": [pick_shape(pick) for pick in page.picks],
        "next_cursor": page.next_cursor,
    }


def job_shape(job: JobView) -> dict[str, Any]:
    """Return a job."""
    url = reverse("api-job-result", kwargs={"job_id": job.id}) if job.has_file else None
    shape = asdict(job) | {"finished": job.finished, "result_url": url}
    del shape["has_file"]
    return shape


def accepted(job: JobView) -> Response:
    """Answer that a job was accepted: where it is, and when to look for the first time."""
    location = reverse("api-job", kwargs={"job_id": job.id})
    return Response(job_shape(job), status=202, headers={"Location": location, "Retry-After": "1"})
