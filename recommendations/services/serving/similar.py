"""Posts similar to one post, for a viewer: with the filters of any feed, and without the viewer's own interests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from time import perf_counter

import numpy as np

from recommendations.contracts import Float32Array, Int64Array, Interests, Query
from recommendations.pipeline.stages import Trace
from recommendations.services import wiring
from recommendations.services.serving import records
from recommendations.services.serving.collaborative import score_anchor
from recommendations.services.serving.pages import Page
from recommendations.services.serving.query import EngineAssignment, assign_engine, build_query, get_viewer
from recommendations.services.serving.ranking import CONTROL_ENGINE
from recommendations.services.serving.recommend import check_page, validate_limit
from recommendations.services.serving.slates import FreshSlate, SlatePosition, build_slate, sync_catalogue
from recommendations.services.serving.visibility import require_visible
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
    query = build_similar_query(viewer, assignment, limit, now)
    anchor_id = require_visible(query, post_id)
    query = exclude_anchor(query, anchor_id)

    # Moment 2: rank.
    trace = Trace()
    slate = build_slate(add_anchor(query, anchor_id), assignment, trace)

    # Moment 3 and bookkeeping.
    return serve_and_record(query, FreshSlate(slate, trace), viewer, assignment, limit, started_at)


def build_similar_query(viewer: Viewer, assignment: EngineAssignment, limit: int, now: datetime) -> Query:
    """Return the query for posts similar to some anchor, without the viewer's interests."""
    return build_query(viewer, assignment, feed="similar", now=now, size=CANDIDATES_PER_PICK * limit)


def exclude_anchor(query: Query, anchor_id: int) -> Query:
    """Return *query* for posts other than the anchor."""
    return replace(query, excluded_post_ids=np.array([anchor_id], np.int64))


def anchor_interests(anchor_ids: Int64Array) -> Interests:
    """Return interests that consist of the anchor's vector; empty ones if it has no vector."""
    vectors = drop_zero_vectors(wiring.engines()[CONTROL_ENGINE].vectors(wiring.catalogue().rows_of(anchor_ids)))
    weights = np.ones(len(vectors), "f4")
    return replace(Interests.empty(vectors.shape[1]), positive=vectors, positive_weights=weights)


def add_anchor(query: Query, anchor_id: int) -> Query:
    """Return *query* with the anchor as its only interest and its only reaction."""
    return replace(query, interests=anchor_interests(np.array([anchor_id])), **score_anchor(anchor_id).query_fields)


def drop_zero_vectors(vectors: Float32Array) -> Float32Array:
    """Return *vectors* (n, d) without those of posts that have none, which are zero."""
    return vectors[np.any(vectors != 0, axis=1)]


def serve_and_record(
    query: Query, fresh: FreshSlate, viewer: Viewer, assignment: EngineAssignment, limit: int, started_at: float
) -> Page:
    """Return the page of a fresh slate after the final check, and queue records of both, for explanations."""
    duration_ms = 1000 * (perf_counter() - started_at)
    served = check_page(query, SlatePosition(fresh), viewer, assignment, limit=limit, explain=True)
    page_post_ids, now = served.checked.post_ids, datetime.fromtimestamp(query.now, UTC)
    slate_records = records.keep_slate(
        fresh.slate, viewer.id, query.feed, duration_ms, page_post_ids=page_post_ids, now=now
    )
    page_record = records.page_record(fresh.slate.request_id, viewer.id, 0, page_post_ids, query.now)
    records.queue_records(*slate_records, page_record)
    return served.page
