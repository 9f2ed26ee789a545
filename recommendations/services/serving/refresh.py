"""Make a member's slate anew, away from any request: for a batch, or while a stale one is still being served."""

from __future__ import annotations

from datetime import datetime
from time import perf_counter

from recommendations import jobs
from recommendations.pipeline.stages import Trace
from recommendations.services import wiring
from recommendations.services.errors import InactiveMember, UnknownMember
from recommendations.services.serving import records
from recommendations.services.serving.feed_metrics import observe_slate
from recommendations.services.serving.query import choose, known_viewer, query_of
from recommendations.services.serving.slates import follow_catalogue, made

CLAIM_SECONDS = 30
"""After this time a slate that was asked for and never came may be asked for again. Changes the speed."""


def ask_for(member_id: int, feed: str) -> None:
    """Have a worker make this slate anew, unless one is at it already."""
    if wiring.slates().claim(member_id, feed, seconds=CLAIM_SECONDS):
        jobs.enqueue(jobs.REFRESH_SLATE, {"member_id": member_id, "feed": feed})


@wiring.by_one_model
def refresh_slate(*, member_id: int, feed: str, now: datetime) -> None:
    """Make one member's slate and put it where the next request finds it; of a member who is gone, nothing."""
    follow_catalogue(now)
    try:
        keep_slate(member_id, feed, now)
    except (UnknownMember, InactiveMember):
        wiring.slates().purge([member_id])
    finally:
        wiring.slates().release(member_id, feed)


def keep_slate(member_id: int, feed: str, now: datetime) -> None:
    """Make and keep one member's slate; the catalogue is taken as it is."""
    start = perf_counter()
    epoch = wiring.slates().epoch(member_id)
    viewer = known_viewer(now, pk=member_id)
    choice = choose(viewer.external_id)
    query = query_of(viewer, choice, feed=feed, now=now)
    trace = Trace()
    slate, keep = made(query, choice, viewer, trace, kept_as=feed, epoch=epoch)
    if keep is not None:
        keep()
    seconds = perf_counter() - start
    records.record(*records.slate_records(slate, viewer.id, feed, seconds * 1000))
    observe_slate(slate, trace, seconds)
