"""
Posts near a text, a post or a vector in a space that texts and pictures share: with the filters of any feed.

A text finds the pictures that it describes, and a picture finds texts about it. The posts' vectors in that space come
from a cross-modal embedding model here, or from the platform (`services/vectors/embedding_models.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from time import perf_counter

import numpy as np

from recommendations import feeds
from recommendations.contracts import BoolArray, Float32Array, Int64Array, Query, Slate
from recommendations.embedders.registry import EmbedderError
from recommendations.engines.plain import as_float32, normalize_rows
from recommendations.pipeline.run import apply_filters
from recommendations.pipeline.stages import FilterError, Trace
from recommendations.ports import VectorIndexError
from recommendations.services import wiring
from recommendations.services.errors import FactsUnavailable, InvalidRequest
from recommendations.services.serving.pages import Page
from recommendations.services.serving.query import assign_engine, get_viewer
from recommendations.services.serving.recommend import validate_limit
from recommendations.services.serving.similar import (
    build_similar_query,
    drop_zero_vectors,
    exclude_anchor,
    serve_and_record,
)
from recommendations.services.serving.slates import FreshSlate, sync_catalogue
from recommendations.services.serving.visibility import require_visible
from recommendations.stores.resident_vectors import ResidentVectors

SIMILARITY_PART = "similarity"


@wiring.pin_embedding_models
def search(
    *,
    viewer_id: str,
    space: str,
    text: str = "",
    post_id: str = "",
    vector: Sequence[float] | None = None,
    kind: str = "",
    limit: int = 10,
    now: datetime,
) -> Page:
    """
    Return up to *limit* posts of *space* nearest to one of *text*, *post_id* or *vector*; *kind* restricts their kind.

    Raises `PostNotVisible` both for a post that does not exist and for one that the viewer may not see, and any other
    `ServiceError`.
    """
    validate_limit(limit)
    validate_subject(text, post_id, vector)
    started_at = perf_counter()

    # Moment 1: read the viewer, and the post to start from.
    viewer, assignment = get_viewer(now, member_id=viewer_id), assign_engine(viewer_id)
    sync_catalogue(now)
    index = require_space_index(space, assignment.engine)
    query = build_similar_query(viewer, assignment, limit, now)
    if post_id:
        query = exclude_anchor(query, require_visible(query, post_id))

    # Moment 2: scan the index.
    vectors = resolve_query_vector(index, space, text, query.excluded_post_ids, vector)
    slate = build_search_slate(query, index, vectors, assignment.engine, kind)

    # Moment 3 and bookkeeping.
    return serve_and_record(query, FreshSlate(slate, Trace()), viewer, assignment, limit, started_at)


def validate_subject(text: str, post_id: str, vector: Sequence[float] | None) -> None:
    """Raise `InvalidRequest` unless exactly one of the three is given."""
    if sum((bool(text), bool(post_id), vector is not None)) != 1:
        raise InvalidRequest("Give one of text, post and vector to search by.", "/text")


def require_space_index(space: str, engine: str) -> ResidentVectors:
    """Return the index of the space. Raises `InvalidRequest` if the space has no vectors."""
    try:
        return wiring.space_index(space, engine)
    except VectorIndexError as error:
        raise InvalidRequest(f"{error} Send vectors for it first.", "/space") from error


def resolve_query_vector(
    index: ResidentVectors, space: str, text: str, anchor_ids: Int64Array, vector: Sequence[float] | None
) -> Float32Array:
    """
    Return the vector to search by, (1, d), or (0, d) for a post that has no vector in this space.

    Raises `InvalidRequest` for a vector or a text that cannot be used.
    """
    if vector is not None:
        return validate_vector(vector, index.dimension)
    if text:
        return embed_text(text, space)
    return drop_zero_vectors(index.engine.vectors(index.catalogue.rows_of(anchor_ids)))


def validate_vector(vector: Sequence[float], dimension: int) -> Float32Array:
    """
    Return *vector* at unit length, (1, d).

    Raises `InvalidRequest` for a wrong number of values, a value that is not finite in float32, or zeros.
    """
    given = as_float32(vector)
    if given.shape != (dimension,) or not np.isfinite(given).all() or not given.any():
        raise InvalidRequest(f"Give {dimension} finite numbers, not all 0.", "/vector")
    return normalize_rows(given[None])


def embed_text(text: str, space: str) -> Float32Array:
    """Return the vector of *text*, (1, d). Raises `InvalidRequest` if the space has no embedder for texts."""
    try:
        return wiring.embedder_for(space).embed([text])
    except EmbedderError as error:
        raise InvalidRequest(str(error), "/text") from error


def build_search_slate(query: Query, index: ResidentVectors, vectors: Float32Array, engine: str, kind: str) -> Slate:
    """Return the nearest posts to *vectors* (1, d) that the viewer may see. Raises `FactsUnavailable`."""
    mask = searchable_mask(query, index, kind)
    try:
        ids, cosines = index.nearest_in_mask(vectors, query.size, mask)
    except VectorIndexError as error:
        raise FactsUnavailable("The search failed. Try again shortly.") from error
    is_found = ids.ravel() > 0
    post_ids, similarities = ids.ravel()[is_found], cosines.ravel()[is_found]
    return Slate(
        request_id=query.request_id,
        engine=engine,
        variant=query.variant,
        policy_version=query.policy_version,
        fallback="",
        built_at=query.now,
        candidate_count=int(mask.sum()),
        post_ids=post_ids,
        scores=similarities,
        origins=np.zeros(len(post_ids), np.uint16),
        reasons=np.zeros(len(post_ids), np.uint16),
        part_names=(SIMILARITY_PART,),
        parts=similarities[:, None],
    )


def searchable_mask(query: Query, index: ResidentVectors, kind: str) -> BoolArray:
    """
    Return which of the catalogue's rows (n,) may be found: those that pass every filter, of *kind* unless it is empty.

    Raises `FactsUnavailable` if a filter fails.
    """
    posts = index.catalogue.all_posts()
    try:
        mask = apply_filters(
            (*feeds.MANDATORY_FILTERS, *feeds.SIMILAR_FILTERS), query, posts, Trace(), stage="eligible"
        )
    except FilterError as error:
        raise FactsUnavailable("The search cannot be checked now, so nothing is shown. Try again shortly.") from error
    return mask & (posts.kind_ids == wiring.vocabularies().kinds.intern(kind)) if kind else mask
