"""
Why a member was shown a post, or was not. From what was recorded, and only what the member may see.

Of a post that they may not see, or that does not exist, nothing is said: the answer is the same for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import numpy as np

from recommendations import feeds
from recommendations.contracts import Origin, Reason, origins_of, reasons_of
from recommendations.models import FeedRequest, Post, ServedPage
from recommendations.services import wiring
from recommendations.services.errors import InputsUnavailable, PostNotVisible, UnknownRequest
from recommendations.services.explaining.replay import rank_again
from recommendations.services.serving.final_check import check_posts, preference_filters
from recommendations.services.serving.query import assign_engine, build_query, get_viewer


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a post was shown to a member, or was not."""

    request_id: UUID
    post_id: str
    status: str
    """served; ranked (in the slate, on no page yet); outranked; filtered; not_a_candidate (no source brought it)."""
    sentence: str
    rank: int | None
    """Place in the slate, or among all candidates for one that is not in it; from 1."""
    ranked_count: int | None
    """How many the rank is among."""
    score: float | None
    parts: dict[str, float] | None
    """What the score is the sum of, in float32, in this order."""
    sources: tuple[str, ...]
    reasons: tuple[Reason, ...]
    filter: str | None


@wiring.pin_embedding_models
def explain(*, request_id: UUID, post_id: str, viewer_id: str, now: datetime) -> Explanation:
    """Return why *viewer_id* was shown *post_id* by this request, or was not. Refuses what is not theirs to know."""
    viewer = get_viewer(now, member_id=viewer_id)
    row = FeedRequest.objects.filter(pk=request_id, member_id=viewer.id).first()
    if row is None:
        raise UnknownRequest(request_id)
    pk = Post.objects.filter(external_id=post_id).values_list("pk", flat=True).first()
    query = build_query(viewer, assign_engine(viewer_id), feed=row.feed, now=now)
    ids = np.array([pk or 0], np.int64)
    if not check_posts(query, ids, feeds.MANDATORY_FILTERS)[0].all():
        raise PostNotVisible(post_id)
    slate = np.frombuffer(bytes(row.post_ids), "<i8")
    place = np.flatnonzero(slate == pk)
    if len(place):
        return explain_pick(row, post_id, int(place[0]), len(slate), was_served(row, int(ids[0])))
    for check in preference_filters(row.feed):
        if not check_posts(query, ids, (check,))[0].all():
            return explain_absence(row, post_id, "filtered", check.sentence, filter_name=check.name)
    return explain_unpicked(row, post_id, int(ids[0]), len(slate))


def was_served(row: FeedRequest, pk: int) -> bool:
    """Return whether the post was on a page of the request."""
    pages = ServedPage.objects.filter(request_id=row.pk, member=row.member_id).values_list("post_ids", flat=True)
    return any(pk in np.frombuffer(bytes(page), "<i8") for page in pages)


def explain_pick(row: FeedRequest, post_id: str, position: int, slate_size: int, is_served: bool) -> Explanation:
    """Return the explanation of a post that is in the slate."""
    names = row.part_names
    parts = np.frombuffer(bytes(row.parts), "<f4").reshape(-1, len(names)) if names else np.zeros((slate_size, 0), "f4")
    own = parts[position] if len(parts) == slate_size else parts[:0].ravel()
    reasons = np.frombuffer(bytes(row.reasons), "<u2")
    why = reasons_of(int(reasons[position])) if len(reasons) == slate_size else ()
    return Explanation(
        request_id=row.pk,
        post_id=post_id,
        status="served" if is_served else "ranked",
        sentence="It was on a page." if is_served else "It is in the slate, on no page that was asked for yet.",
        rank=position + 1,
        ranked_count=slate_size,
        score=sum_parts(own) if len(own) else None,
        parts={name: float(value) for name, value in zip(names, own, strict=True)} if len(own) else None,
        sources=tuple(o.name.lower() for o in origins_of(int(np.frombuffer(bytes(row.origins), "<u2")[position]))),
        reasons=why,
        filter=None,
    )


def sum_parts(parts: np.typing.NDArray[np.float32]) -> float:
    """Return the sum of the parts as the engines make it: in float32, one after the other."""
    score = np.float32(0)
    for part in parts:
        score = np.float32(score + part)
    return float(score)


def explain_unpicked(row: FeedRequest, post_id: str, pk: int, slate_size: int) -> Explanation:
    """Return the explanation of a post that is not in the slate, though the viewer may and would see it."""
    try:
        scored = rank_again(row)
    except InputsUnavailable:
        return explain_absence(
            row,
            post_id,
            "not_in_slate",
            f"It is not among the {slate_size} best; what they were chosen from is not kept.",
        )
    place = np.flatnonzero(scored.candidates.post_ids == pk)
    if not len(place):
        return explain_absence(row, post_id, "not_a_candidate", "No source brought it.")
    at = int(place[0])
    found = explain_absence(
        row, post_id, "outranked", f"It stood at {at + 1} of {row.candidate_count}; the slate ends at {slate_size}."
    )
    return Explanation(
        **{
            **{name: getattr(found, name) for name in found.__slots__},
            "rank": at + 1,
            "ranked_count": row.candidate_count,
            "score": float(scored.scores[at]),
            "parts": {name: float(v) for name, v in zip(scored.part_names, scored.parts[at], strict=True)},
            "sources": tuple(o.name.lower() for o in Origin if scored.candidates.origins[at] >> o & 1),
        }
    )


def explain_absence(
    row: FeedRequest, post_id: str, status: str, sentence: str, filter_name: str | None = None
) -> Explanation:
    """Return the explanation of a post that is not in the slate."""
    return Explanation(row.pk, post_id, status, sentence, None, None, None, None, (), (), filter_name)
