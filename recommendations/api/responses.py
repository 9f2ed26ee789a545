"""Convert the results of services to responses: dictionaries, and dataclasses that the renderer serializes."""

from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import fields as dataclass_fields
from functools import cache
from typing import Any

import orjson
from django.urls import reverse
from django.utils.translation import gettext, override
from rest_framework.response import Response

from access.inputs import Request
from access.languages import choose_language
from recommendations.contracts import EMPTY_SENTENCES, REASON_SENTENCES, EmptyReason, PostView, Reason
from recommendations.services.errors import InvalidRequest
from recommendations.services.explaining.explain import Explanation
from recommendations.services.serving.final_check import Pick, Picks
from recommendations.services.serving.pages import Page
from recommendations.services.work import JobView


def serialize_pick(pick: Pick, language: str) -> dict[str, Any]:
    """Return a pick with its post, the sentences of its reasons, and its score parts if the request asked for them."""
    return {
        "post": pick.post,
        "score": pick.score,
        "reasons": serialize_reasons(pick.reasons, language),
        "sources": pick.sources,
        "parts": pick.parts,
    }


def serialize_picks(picks: Picks, language: str) -> orjson.Fragment:
    """Return picks as rendered JSON, cached with the picks because pages are often sent again."""
    if language not in picks.rendered:
        content = [serialize_pick(pick, language) for pick in picks]
        picks.rendered[language] = orjson.Fragment(orjson.dumps(content, option=orjson.OPT_UTC_Z))
    return picks.rendered[language]


@cache
def serialize_reasons(reasons: tuple[Reason, ...], language: str) -> list[dict[str, str]]:
    """Return reasons with their sentences."""
    with override(language):
        return [{"code": r.name.lower(), "sentence": gettext(REASON_SENTENCES[r])} for r in reasons]


def serialize_empty_reason(reason: EmptyReason | None, language: str) -> dict[str, str] | None:
    """Return why a page is empty, with its sentence; None for a page with picks."""
    if not reason:
        return None
    with override(language):
        return {"code": reason, "sentence": gettext(EMPTY_SENTENCES[reason])}


def serialize_explanation(explanation: Explanation, language: str) -> dict[str, Any]:
    """Return an explanation as JSON fields."""
    content = {name: value for name, value in asdict(explanation).items() if name != "languages"}
    with override(language):
        content["sentence"] = str(explanation.sentence)
    return content | {"reasons": serialize_reasons(explanation.reasons, language)}


FieldSelection = dict[str, tuple[str, ...]]
PICK_FIELDS = ("post", "score", "reasons", "sources", "parts")
POST_FIELDS = tuple(f.name for f in dataclass_fields(PostView))


def parse_field_selection(names: Sequence[str]) -> FieldSelection:
    """Return the selected fields of a pick and of its post. Raises `InvalidRequest` for an unknown name."""
    known = {*PICK_FIELDS, *(f"post.{name}" for name in POST_FIELDS)}
    if unknown := next((name for name in names if name not in known), None):
        raise InvalidRequest(f"A pick has no field {unknown!r}. Give one of {', '.join(sorted(known))}.", "/fields")
    post = tuple(name for name in POST_FIELDS if "post" in names or f"post.{name}" in names)
    pick = tuple(name for name in PICK_FIELDS if name in names or (name == "post" and post))
    return {"pick": pick, "post": post} if names else {}


def serialize_selected_fields(pick: Pick, selection: FieldSelection, language: str) -> dict[str, Any]:
    """Return the selected fields of a pick."""
    content = serialize_pick(pick, language)
    content["post"] = {name: getattr(pick.post, name) for name in selection["post"]}
    return {name: content[name] for name in selection["pick"]}


def serialize_page(
    page: Page, duration_ms: float, language: str, selection: FieldSelection | None = None
) -> dict[str, Any]:
    """Return a page as JSON fields; *duration_ms* is the duration of the service call."""
    return {
        "request_id": page.request_id,
        "member_id": page.member_id,
        "feed": page.feed,
        "engine": page.engine,
        "variant": page.variant,
        "fallback": page.fallback,
        "is_cached": page.is_cached,
        "built_at": page.built_at,
        "candidate_count": page.candidate_count,
        "duration_ms": round(duration_ms, 2),
        "picks": [serialize_selected_fields(pick, selection, language) for pick in page.picks]
        if selection
        else serialize_picks(page.picks, language),
        "next_cursor": page.next_cursor,
        "empty_reason": serialize_empty_reason(page.empty_reason, language),
    }


def page_response(
    request: Request, page: Page, duration_ms: float, selection: FieldSelection | None = None
) -> Response:
    """Return a page as a response, with its sentences in the language of the request or of the member."""
    language = choose_language(request.headers.get("Accept-Language", ""), page.languages)
    return Response(serialize_page(page, duration_ms, language, selection), headers=language_headers(language))


def explanation_response(request: Request, explanation: Explanation) -> Response:
    """Return an explanation as a response, with its sentences in the language of the request or of the viewer."""
    language = choose_language(request.headers.get("Accept-Language", ""), explanation.languages)
    return Response(serialize_explanation(explanation, language), headers=language_headers(language))


def language_headers(language: str) -> dict[str, str]:
    """Return the headers of a response with sentences in *language*."""
    return {"Content-Language": language, "Vary": "Accept-Language"}


def serialize_job(job: JobView) -> dict[str, Any]:
    """Return a job as JSON fields."""
    url = reverse("api-job-result", kwargs={"job_id": job.id}) if job.has_file else None
    content = asdict(job) | {"is_finished": job.is_finished, "result_url": url}
    del content["has_file"]
    return content


def job_accepted_response(job: JobView) -> Response:
    """Return a 202 response with the job, its URL (Location) and the time to wait before reading it (Retry-After)."""
    location = reverse("api-job", kwargs={"job_id": job.id})
    return Response(serialize_job(job), status=202, headers={"Location": location, "Retry-After": "1"})
