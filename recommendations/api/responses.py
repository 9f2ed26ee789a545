"""Turns what services return into what is sent: plain dictionaries, and dataclasses that are sent as they are."""

from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import fields as dataclass_fields
from functools import cache
from typing import Any

import orjson
from django.urls import reverse
from rest_framework.response import Response

from recommendations.contracts import REASON_SENTENCES, PostView, Reason
from recommendations.services.errors import InvalidRequest
from recommendations.services.explaining.explain import Explanation
from recommendations.services.serving.final_check import Pick, Picks
from recommendations.services.serving.pages import Page
from recommendations.services.work import JobView


def serialize_pick(pick: Pick) -> dict[str, Any]:
    """Return a pick with its post, its reasons in words, and the parts of its score if they came along."""
    return {
        "post": pick.post,
        "score": pick.score,
        "reasons": serialize_reasons(pick.reasons),
        "sources": pick.sources,
        "parts": pick.parts,
    }


def serialize_picks(picks: Picks) -> orjson.Fragment:
    """Return picks in words, which are found once and kept with them: a page is often sent again."""
    if "json" not in picks.rendered:
        picks.rendered["json"] = orjson.Fragment(
            orjson.dumps(list(map(serialize_pick, picks)), option=orjson.OPT_UTC_Z)
        )
    fragment: orjson.Fragment = picks.rendered["json"]
    return fragment


@cache
def serialize_reasons(reasons: tuple[Reason, ...]) -> list[dict[str, str]]:
    """Return reasons with their sentences."""
    return [{"code": r.name.lower(), "sentence": REASON_SENTENCES[r]} for r in reasons]


def serialize_explanation(found: Explanation) -> dict[str, Any]:
    """Return an explanation."""
    return asdict(found) | {"reasons": serialize_reasons(found.reasons)}


FieldSelection = dict[str, tuple[str, ...]]
PICK_FIELDS = ("post", "score", "reasons", "sources", "parts")
POST_FIELDS = tuple(f.name for f in dataclass_fields(PostView))


def parse_field_selection(names: Sequence[str]) -> FieldSelection:
    """Return which fields of a pick to send, and which of its post; refuse a name that there is not."""
    known = {*PICK_FIELDS, *(f"post.{name}" for name in POST_FIELDS)}
    if wrong := next((name for name in names if name not in known), None):
        raise InvalidRequest(f"{wrong}: no such field of a pick; there are {', '.join(sorted(known))}.", "/fields")
    post = tuple(name for name in POST_FIELDS if "post" in names or f"post.{name}" in names)
    own = tuple(name for name in PICK_FIELDS if name in names or (name == "post" and post))
    return {"pick": own, "post": post} if names else {}


def serialize_selected_fields(pick: Pick, selection: FieldSelection) -> dict[str, Any]:
    """Return a pick with these fields only."""
    shape = serialize_pick(pick)
    shape["post"] = {name: getattr(pick.post, name) for name in selection["post"]}
    return {name: shape[name] for name in selection["pick"]}


def serialize_page(page: Page, duration_ms: float, selection: FieldSelection | None = None) -> dict[str, Any]:
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
        "picks": [serialize_selected_fields(pick, selection) for pick in page.picks]
        if selection
        else serialize_picks(page.picks),
        "next_cursor": page.next_cursor,
    }


def serialize_job(job: JobView) -> dict[str, Any]:
    """Return a job."""
    url = reverse("api-job-result", kwargs={"job_id": job.id}) if job.has_file else None
    shape = asdict(job) | {"finished": job.is_finished, "result_url": url}
    del shape["has_file"]
    return shape


def job_accepted_response(job: JobView) -> Response:
    """Answer that a job was accepted: where it is, and when to look for the first time."""
    location = reverse("api-job", kwargs={"job_id": job.id})
    return Response(serialize_job(job), status=202, headers={"Location": location, "Retry-After": "1"})
