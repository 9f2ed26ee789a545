"""
Explain to a member why a post was or was not in a page, from the record of the request.

A post that the member may not see is answered exactly like a post that does not exist: `PostNotVisible`. Otherwise an
explanation would disclose who blocked whom, what is private and what was removed.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import numpy as np
from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy

from recommendations import feeds
from recommendations.collaborative.recorded import unpack_reasons
from recommendations.contracts import Origin, Query, Reason, origins_of, reasons_of, sum_parts
from recommendations.models import FeedRequest, ServedPage
from recommendations.services import wiring
from recommendations.services.errors import InputsUnavailable, UnknownRequest
from recommendations.services.explaining.replay import rank_again
from recommendations.services.serving import records
from recommendations.services.serving.final_check import check_posts, preference_filters
from recommendations.services.serving.query import assign_engine, build_query, get_viewer
from recommendations.services.serving.visibility import require_visible
from recommendations.stores.relational_viewers import Viewer


@dataclass(frozen=True, slots=True)
class ReactionReason:
    """A post that the member liked or rejected, and what that contributed."""

    post_id: str
    text: str
    value: float


@dataclass(frozen=True, slots=True)
class Because:
    """
    What the member's reactions contributed to one part of a score.

    The part is float32(weight) · float32(the sum of all values and *others*), to the last bit.
    """

    part: str
    weight: float
    reactions: tuple[ReactionReason, ...]
    """The largest contributions, as far as the member may see the posts now."""
    others: float
    """What all other reactions contributed together."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a post was or was not shown to a member."""

    request_id: UUID
    post_id: str
    status: str
    """
    served; ranked (in the slate, but on no page yet); outranked; filtered; not_in_slate (the inputs of the ranking are
    no longer stored); not_a_candidate (no source found the post).
    """
    sentence: str | Promise
    """Translated when an entry point shows it."""
    rank: int | None
    """Rank in the slate, or among all candidates if the post is not in the slate; from 1."""
    ranked_count: int | None
    """Number of posts that the rank is among: the size of the slate, or the number of candidates."""
    score: float | None
    parts: dict[str, float] | None
    """The parts of the score. Their sum in float32, in this order, is the score."""
    sources: tuple[str, ...]
    reasons: tuple[Reason, ...]
    filter: str | None
    because: tuple[Because, ...] = ()
    """For each collaborative part of a post in the slate: what the member's reactions contributed to it."""
    languages: tuple[str, ...] = ()
    """The languages that the viewer reads, best first."""


@wiring.pin_embedding_models
def explain(*, request_id: UUID, post_id: str, viewer_id: str, now: datetime) -> Explanation:
    """
    Return why this request did or did not show *post_id* to *viewer_id*.

    Raises `UnknownMember`, `UnknownRequest` for a request of another member, and `PostNotVisible`.
    """
    viewer = get_viewer(now, member_id=viewer_id)
    explanation = explain_to_viewer(viewer, request_id=request_id, post_id=post_id, now=now)
    return replace(explanation, languages=viewer.languages)


def explain_to_viewer(viewer: Viewer, *, request_id: UUID, post_id: str, now: datetime) -> Explanation:
    """Return the explanation for a known viewer. Raises `UnknownRequest` and `PostNotVisible`."""
    row, page_post_ids = records.find_slate_row(request_id, viewer.id)
    if row is None:
        raise UnknownRequest(request_id)
    query = build_query(viewer, assign_engine(viewer.external_id), feed=row.feed, now=now)
    pk = require_visible(query, post_id)
    slate = np.frombuffer(bytes(row.post_ids), "<i8")
    positions = np.flatnonzero(slate == pk)
    if len(positions):
        is_served = pk in page_post_ids or was_served(row, pk)
        explanation = explain_pick(row, post_id, int(positions[0]), len(slate), is_served)
        return replace(explanation, because=explain_contributions(query, row, int(positions[0]), len(slate)))
    for check in preference_filters(row.feed):
        if not check_posts(query, np.array([pk], np.int64), (check,))[0].all():
            return explain_absence(row, post_id, "filtered", gettext_lazy(check.sentence), filter_name=check.name)
    return explain_unpicked(row, post_id, pk, len(slate))


def was_served(row: FeedRequest, pk: int) -> bool:
    """Return whether the post was on a served page of the request."""
    pages = ServedPage.objects.filter(request_id=row.pk, member=row.member_id).values_list("post_ids", flat=True)
    return any(pk in np.frombuffer(bytes(page), "<i8") for page in pages)


def explain_pick(row: FeedRequest, post_id: str, position: int, slate_size: int, is_served: bool) -> Explanation:
    """Return the explanation of a post that is in the slate."""
    names = row.part_names
    parts = np.frombuffer(bytes(row.parts), "<f4").reshape(-1, len(names)) if names else np.zeros((slate_size, 0), "f4")
    pick_parts = parts[position] if len(parts) == slate_size else parts[:0].ravel()
    reasons = np.frombuffer(bytes(row.reasons), "<u2")
    pick_reasons = reasons_of(int(reasons[position])) if len(reasons) == slate_size else ()
    return Explanation(
        request_id=row.pk,
        post_id=post_id,
        status="served" if is_served else "ranked",
        sentence=gettext_lazy("The post was served on a page of this request.")
        if is_served
        else gettext_lazy("The post is in the slate, but no page with it has been requested yet."),
        rank=position + 1,
        ranked_count=slate_size,
        score=float(sum_parts(pick_parts[None])[0]) if len(pick_parts) else None,
        parts={name: float(value) for name, value in zip(names, pick_parts, strict=True)} if len(pick_parts) else None,
        sources=tuple(o.name.lower() for o in origins_of(int(np.frombuffer(bytes(row.origins), "<u2")[position]))),
        reasons=pick_reasons,
        filter=None,
    )


def explain_contributions(query: Query, row: FeedRequest, position: int, slate_size: int) -> tuple[Because, ...]:
    """Return what the member's reactions contributed to the pick. Posts that they may not see now are not named."""
    packed = bytes(row.contributions)
    reasons = unpack_reasons(zlib.decompress(packed), position, slate_size) if packed else []
    sources = np.unique(np.array([post_id for reason in reasons for post_id, _ in reason.named], np.int64))
    allowed, current = check_posts(query, sources, feeds.MANDATORY_FILTERS)
    posts = {id: current.views[id] for id in sources[allowed].tolist()}
    return tuple(
        Because(
            reason.part,
            reason.weight,
            tuple(ReactionReason(posts[id].id, posts[id].text, value) for id, value in reason.named if id in posts),
            reason.others + sum(value for id, value in reason.named if id not in posts),
        )
        for reason in reasons
    )


def explain_unpicked(row: FeedRequest, post_id: str, pk: int, slate_size: int) -> Explanation:
    """Return the explanation of a post that passes all filters but is not in the slate."""
    try:
        scored = rank_again(row)
    except InputsUnavailable:
        return explain_absence(
            row,
            post_id,
            "not_in_slate",
            format_lazy(
                gettext_lazy("The post is not in the slate of {size}. The inputs of the ranking are no longer stored."),
                size=slate_size,
            ),
        )
    positions = np.flatnonzero(scored.candidates.post_ids == pk)
    if not len(positions):
        return explain_absence(row, post_id, "not_a_candidate", gettext_lazy("No source found the post."))
    position = int(positions[0])
    absence = explain_absence(
        row,
        post_id,
        "outranked",
        format_lazy(
            gettext_lazy("The post ranked {rank} of {count}; the slate ends at {size}."),
            rank=position + 1,
            count=row.candidate_count,
            size=slate_size,
        ),
    )
    return Explanation(
        **{
            **{name: getattr(absence, name) for name in absence.__slots__},
            "rank": position + 1,
            "ranked_count": row.candidate_count,
            "score": float(scored.scores[position]),
            "parts": {name: float(v) for name, v in zip(scored.part_names, scored.parts[position], strict=True)},
            "sources": tuple(o.name.lower() for o in Origin if scored.candidates.origins[position] >> o & 1),
        }
    )


def explain_absence(
    row: FeedRequest, post_id: str, status: str, sentence: str | Promise, filter_name: str | None = None
) -> Explanation:
    """Return the explanation of a post that is not in the slate, without rank and score."""
    return Explanation(row.pk, post_id, status, sentence, None, None, None, None, (), (), filter_name)
