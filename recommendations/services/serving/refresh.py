"""Rebuilds a member's slate outside of a request: for a batch job, or while a stale slate is still being served."""

from __future__ import annotations

from datetime import datetime
from time import perf_counter

from recommendations import task_queue
from recommendations.services import wiring
from recommendations.services.errors import InactiveMember, UnknownMember
from recommendations.services.serving import records
from recommendations.services.serving.feed_metrics import record_slate_metrics
from recommendations.services.serving.query import assign_engine, build_query, get_viewer
from recommendations.services.serving.slates import build_fresh_slate, sync_catalogue

CLAIM_SECONDS = 30
"""After this time a rebuild that was enqueued and did not finish may be enqueued again. Changes the speed."""


def enqueue_refresh(member_id: int, feed: str) -> None:
    """Have a worker rebuild this slate, unless a rebuild is under way."""
    if wiring.slate_cache().claim(member_id, feed, seconds=CLAIM_SECONDS):
        task_queue.enqueue(task_queue.REFRESH_SLATE, {"member_id": member_id, "feed": feed})


@wiring.pin_embedding_models
def refresh_slate(*, member_id: int, feed: str, now: datetime) -> None:
    """Rebuild one member's slate for the next request to find; delete the slates of a member who is gone."""
    sync_catalogue(now)
    try:
        rebuild_slate(member_id, feed, now)
    except (UnknownMember, InactiveMember):
        wiring.slate_cache().purge([member_id])
    finally:
        wiring.slate_cache().release(member_id, feed)


def rebuild_slate(member_id: int, feed: str, now: datetime) -> None:
    """Build, cache and record one member's slate. The caller brings the catalogue up to date."""
    started_at = perf_counter()
    epoch = wiring.slate_cache().epoch(member_id)
    viewer = get_viewer(now, pk=member_id)
    assignment = assign_engine(viewer.external_id)
    query = build_query(viewer, assignment, feed=feed, now=now)
    fresh = build_fresh_slate(query, assignment, viewer, feed_key=feed, epoch=epoch)
    fresh.save()
    seconds = perf_counter() - started_at
    records.queue_records(*records.keep_slate(fresh.slate, viewer.id, feed, seconds * 1000, now=now))
    record_slate_metrics(fresh.slate, fresh.trace, seconds)
