"""Posts similar to one post, for a viewer: with the filters of any feed, and without the viewer's own interests."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from time import perf_counter

import numpy as np

from recommendations import feeds
from recommendations.contracts import EMPTY_IDS, Float32Array, Int64Array, Interests, Query
from recommendations.models import Post
from recommendations.pipeline.stages import Trace
from recommendations.services import wiring
from recommendations.services.errors import PostNotVisible
from recommendations.services.serving import records
from recommendations.services.serving.collaborative import score_anchor
from recommendations.services.serving.final_check import check_posts
from recommendations.services.serving.pages import Page
from recommendations.services.serving.query import EngineAssignment, assign_engine, build_query, get_viewer
from recommendations.services.serving.ranking import CONTROL_ENGINE
from recommendations.services.serving.recommend import check_page, validate_limit
from recommendations.services.serving.slates import FreshSlate, SlatePosition, build_slate, sync_catalogue
from recommendations.stores.relational_viewers import Viewer

CANDIDATES_PER_PICK = 2
"""Posts in the slate for each pick of the page, so that the final check leaves no gaps. Changes the speed."""


@wiring.pin_embedding_models
def find_similar(*, post_id: str, viewer_id: str, limit: int = 10, now: datetime) -> Page:
    """
    Return up to *limit* posts similar to *post_id* that the viewer may see; none if the post has no vector yet.

    Raises `PostNotVisible` both for a post that does not exist and for one that the viewer may not see, and any other
    `ServiceError`.
    """
    validate_limit(limit)
    started_at = perf_counter()

    # Moment 1: read the viewer, and the post to start from.
    viewer, assignment = get_viewer(now, member_id=viewer_id), assign_engine(viewer_id)
    sync_catalogue(now)
    anchor_ids = find_anchor(post_id)
    query = build_similar_query(viewer, assignment, anchor_ids, limit, now)
    require_visible(query, anchor_ids, post_id)

    # Moment 2: rank.
    trace = Trace()
    slate = build_slate(add_anchor(query, int(anchor_ids[0])), assignment, trace)

    # Moment 3 and bookkeeping.
    return serve_and_record(query, FreshSlate(slate, trace), viewer, assignment, limit, started_at)


def find_anchor(post_id: str) -> Int64Array:
    """Return the database id of the post that a search starts from, (1,), or (0,) if there is no such post."""
    pk = Post.objects.filter(external_id=post_id).values_list("pk", flat=True).first()
    return np.array([pk], np.int64) if pk else EMPTY_IDS


def build_similar_query(
    viewer: Viewer, assignment: EngineAssignment, anchor_ids: Int64Array, limit: int, now: datetime
) -> Query:
    """Return the query for posts other than the anchor, without the viewer's interests."""
    size = CANDIDATES_PER_PICK * limit
    return build_query(viewer, assignment, feed="similar", now=now, size=size, excluded_post_ids=anchor_ids)


def require_visible(query: Query, anchor_ids: Int64Array, post_id: str) -> None:
    """Raise `PostNotVisible` unless the post exists and the viewer may see it, on current facts."""
    if not len(anchor_ids) or not check_posts(query, anchor_ids, feeds.MANDATORY_FILTERS)[0].all():
        raise PostNotVisible(post_id)


def anchor_interests(anchor_ids: Int64Array) -> Interests:
    """Return interests that consist of the anchor's vector; empty ones if it has no vector."""
    vectors = drop_zero_vectors(wiring.engines()[CONTROL_ENGINE].vectors(wiring.catalogue().rows_of(anchor_ids)))
    weights = np.ones(len(vectors), "f4")
    return replace(Interests.empty(vectors.shape[1]), positive=vectors, positive_weights=weights)


def add_anchor(query: Query, anchor_id: int) -> Query:
    """Return *query* with the anchor as its only interest and its only reaction."""
    return score_anchor(anchor_id).add_to(replace(query, interests=anchor_interests(np.array([anchor_id]))))


def drop_zero_vectors(vectors: Float32Array) -> Float32Array:
    """Return *vectors* (n, d) without those of posts that have none, which are zero."""
    return vectors[np.any(vectors != 0, axis=1)]


def serve_and_record(
    query: Query, fresh: FreshSlate, viewer: Viewer, assignment: EngineAssignment, limit: int, started_at: float
) -> Page:
    """Return the page of a fresh slate after the final check, and queue records of both, for explanations."""
    duration_ms = 1000 * (perf_counter() - started_at)
    served = check_page(query, SlatePosition(fresh), viewer, assignment, limit=limit, explain=True)
    records.queue_records(
        *records.slate_records(fresh.slate, viewer.id, query.feed, duration_ms),
        records.page_record(fresh.slate.request_id, viewer.id, 0, served.checked.post_ids, query.now),
    )
    return served.page
