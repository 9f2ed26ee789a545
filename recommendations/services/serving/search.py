"""
Posts near a text, a post or a vector in a space where texts and pictures meet: the same filters as any feed.

A text finds the pictures that it describes, and a picture the texts about it, as far as the posts have vectors in that
space: made here by a cross-modal embedder, or sent by the platform (`services/vectors/embedding_models.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from time import perf_counter

import numpy as np

from recommendations import feeds
from recommendations.contracts import EMPTY_IDS, BoolArray, Float32Array, Int64Array, Query, Slate
from recommendations.embedders.choosing import EmbedderError
from recommendations.models import Post
from recommendations.pipeline.run import keep
from recommendations.pipeline.stages import FilterError, Trace
from recommendations.ports import VectorIndexError
from recommendations.services import wiring
from recommendations.services.errors import FactsUnavailable, InvalidRequest, UnknownPost
from recommendations.services.serving.pages import Page
from recommendations.services.serving.query import choose, known_viewer, query_of
from recommendations.services.serving.recommend import checked
from recommendations.services.serving.similar import may_see, recorded
from recommendations.services.serving.slates import Reading, follow_catalogue
from recommendations.stores.resident_vectors import ResidentVectors

LOOK_FURTHER = 2
"""Picks sought for each one shown, so that the last look leaves no gaps. Changes the speed."""
PART = "likeness"


@wiring.by_one_model
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
    Return up to *limit* posts nearest to one of *text*, *post_id* or *vector* in *space*; *kind*: of this format only.

    A post that the viewer may not see is as unknown to them as one that is not there. Raises a `ServiceError`.
    """
    checked("discovery", limit)
    if sum((bool(text), bool(post_id), vector is not None)) != 1:
        raise InvalidRequest("Give one of text, post and vector to search by.", "/text")
    start = perf_counter()
    viewer = known_viewer(now, member_id=viewer_id)
    choice = choose(viewer_id)
    follow_catalogue(now)
    index = index_of(space, choice.engine)
    anchor = Post.objects.filter(external_id=post_id).values_list("pk", flat=True).first() if post_id else None
    anchors: Int64Array = np.array([anchor], np.int64) if anchor else EMPTY_IDS
    query = query_of(viewer, choice, feed="similar", now=now, size=LOOK_FURTHER * limit, excluded=anchors)
    if post_id and not may_see(query, anchors):
        raise UnknownPost(post_id)
    sought = vector_of(index, space, text, anchors, vector)
    slate = nearest(query, index, sought, choice.engine, kind)
    return recorded(query, Reading(slate, trace=Trace()), viewer, choice, limit, perf_counter() - start)


def index_of(space: str, engine: str) -> ResidentVectors:
    """Return the index of the space, or refuse one that has no vectors."""
    try:
        return wiring.space_index(space, engine)
    except VectorIndexError as error:
        raise InvalidRequest(f"{error} Send vectors for it first.", "/space") from error


def vector_of(
    index: ResidentVectors, space: str, text: str, anchors: Int64Array, vector: Sequence[float] | None
) -> Float32Array:
    """Return what is sought, (1, d), or (0, d) for a post without a vector in this space."""
    if vector is not None:
        given = np.asarray(vector, np.float32)
        if given.shape != (index.dimension,) or not np.isfinite(given).all() or not given.any():
            raise InvalidRequest(f"Give {index.dimension} finite numbers, not all 0.", "/vector")
        return given[None]
    if text:
        try:
            return wiring.embedder_for(space).embed([text])
        except EmbedderError as error:
            raise InvalidRequest(str(error), "/text") from error
    found = index.engine.vectors(index.catalogue.rows_of(anchors))
    return found[np.any(found != 0, axis=1)]


def nearest(query: Query, index: ResidentVectors, sought: Float32Array, engine: str, kind: str) -> Slate:
    """Return the posts nearest to what is sought among those that the viewer may and would see."""
    mask = allowed(query, index, kind)
    try:
        ids, cosines = index.nearest_among(sought, query.size, mask)
    except VectorIndexError as error:
        raise FactsUnavailable("The search cannot be made now. Try again shortly.") from error
    found, likeness = ids.ravel(), cosines.ravel()
    found, likeness = found[found > 0], likeness[found > 0]
    return Slate(
        request_id=query.request_id,
        engine=engine,
        variant=query.variant,
        policy_version=query.policy_version,
        fallback="",
        built_at=query.now,
        candidates=int(mask.sum()),
        post_ids=found,
        scores=likeness,
        origins=np.zeros(len(found), np.uint16),
        reasons=np.zeros(len(found), np.uint16),
        part_names=(PART,),
        parts=likeness[:, None],
    )


def allowed(query: Query, index: ResidentVectors, kind: str) -> BoolArray:
    """Return the mask over the catalogue's rows of what may be found; fail closed."""
    posts = index.catalogue.everything()
    try:
        mask = keep((*feeds.MAY_SEE, *feeds.SIMILAR_WANTS), query, posts, Trace(), stage="eligible")
    except FilterError as error:
        raise FactsUnavailable("The search cannot be checked now, so nothing is shown. Try again shortly.") from error
    return mask & (posts.format_ids == wiring.words().formats.learn(kind)) if kind else mask
