"""
Preview a feed: rank it for a member with a chosen engine and variant, without serving it.

Nothing is cached and nothing is recorded: a preview counts neither as served posts nor as an exposure of an experiment.
The page passes the final check, like every other.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from recommendations.contracts import Policy, Query
from recommendations.pipeline.stages import Trace
from recommendations.services import wiring
from recommendations.services.errors import FactsUnavailable
from recommendations.services.serving.pages import CheckedPage, Page
from recommendations.services.serving.query import NO_FILTERS, EngineAssignment, assign_engine, get_viewer, load_history
from recommendations.services.serving.ranking import NoSlateError
from recommendations.services.serving.recommend import build_filtered_query, check_page, validate_request
from recommendations.services.serving.slates import FreshSlate, SlatePosition, build_slate
from recommendations.stores.relational_viewers import Viewer


@wiring.pin_embedding_models
def preview_feed(
    *,
    member_id: str,
    feed: str = "discovery",
    engine: str = "",
    variant: str = "",
    policy: Policy | None = None,
    limit: int = 20,
    now: datetime,
) -> Page:
    """
    Return the first page of *feed* for the member, with score parts, as *engine* and *variant* would rank it now.

    An empty *engine* or *variant* is the one that the flag gives the member. A variant without an active policy ranks
    with the default settings. *policy* replaces the variant's active policy. Raises a `ServiceError`.
    """
    validate_request(feed, limit)
    assigned = assign_engine(member_id)
    assignment = EngineAssignment(engine or assigned.engine, variant or assigned.variant)
    viewer = get_viewer(now, member_id=member_id)
    query = build_filtered_query(viewer, assignment, feed, NO_FILTERS, now)
    if policy is not None:
        query = replace(query, policy=policy)
    served = rank_unserved(query, viewer, assignment, limit=limit)
    return replace(served.page, next_cursor=None)


def rank_unserved(query: Query, viewer: Viewer, assignment: EngineAssignment, *, limit: int) -> CheckedPage:
    """
    Return the first page of *query*'s feed, ranked now, with score parts. Nothing is cached or recorded.

    Raises a `ServiceError`.
    """
    query, viewer = load_history(query, viewer, assignment)
    trace = Trace()
    try:
        slate = build_slate(query, assignment, trace)
    except NoSlateError as error:
        raise FactsUnavailable("The feed cannot be ranked now. Try again shortly.") from error
    position = SlatePosition(FreshSlate(slate, trace))
    return check_page(query, position, viewer, assignment, limit=limit, explain=True)
