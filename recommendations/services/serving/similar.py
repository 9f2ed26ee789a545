"""Posts like one post, for a viewer: the same filters as any feed, and nothing of the viewer's own taste."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from time import perf_counter

import numpy as np

from recommendations import feeds
from recommendations.contracts import EMPTY_IDS, Int64Array, Interests, Query
from recommendations.models import Post
from recommendations.pipeline.stages import Trace
from recommendations.services import wiring
from recommendations.services.errors import UnknownPost
from recommendations.services.serving import records
from recommendations.services.serving.final_check import last_look
from recommendations.services.serving.pages import Page
from recommendations.services.serving.query import Choice, choose, known_viewer, query_of
from recommendations.services.serving.ranking import CONTROL
from recommendations.services.serving.recommend import checked, page_as_of_now
from recommendations.services.serving.slates import Reading, build_slate, follow_catalogue
from recommendations.stores.relational_viewers import Viewer


@wiring.by_one_model
def similar(*, post_id: str, viewer_id: str, limit: int = 10, now: datetime) -> Page:
    """
    Return up to *limit* posts like *post_id* that the viewer may see; none if it has no vector yet.

    A post that the viewer may not see is as unknown to them as one that is not there.
    """
    checked("discovery", limit)
    start = perf_counter()
    viewer = known_viewer(now, member_id=viewer_id)
    choice = choose(viewer_id)
    catalogue = wiring.catalogue()
    follow_catalogue(now)
    anchor = Post.objects.filter(external_id=post_id).values_list("pk", flat=True).first()
    anchor_ids = np.array([anchor], np.int64) if anchor else EMPTY_IDS
    vector = wiring.engines()[CONTROL].vectors(catalogue.rows_of(anchor_ids))
    vector = vector[np.any(vector != 0, axis=1)]
    interests = replace(Interests.none(vector.shape[1]), positive=vector, positive_weights=np.ones(len(vector), "f4"))
    query = query_of(viewer, choice, feed="similar", now=now, size=2 * limit, excluded=anchor_ids)
    if not may_see(query, anchor_ids):
        raise UnknownPost(post_id)
    trace = Trace()
    slate = build_slate(replace(query, interests=interests), choice, trace)
    return recorded(query, Reading(slate, trace=trace), viewer, choice, limit, perf_counter() - start)


def recorded(query: Query, reading: Reading, viewer: Viewer, choice: Choice, limit: int, seconds: float) -> Page:
    """Return the page of a slate made in *seconds*, and queue a record of both: it is explained like any other."""
    page, sight = page_as_of_now(query, reading, viewer, choice, limit=limit, explain=True)
    records.record(
        *records.slate_records(reading.slate, viewer.id, query.feed, 1000 * seconds),
        records.page_record(reading.slate.request_id, viewer.id, 0, sight.post_ids, query.now),
    )
    return page


def may_see(query: Query, post_ids: Int64Array) -> bool:
    """Return whether the viewer may see these posts, by rows read now; not if there are none."""
    return len(post_ids) > 0 and bool(last_look(query, post_ids, feeds.MAY_SEE)[0].all())
