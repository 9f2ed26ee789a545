"""What was served, kept for explanations and results: queued in the request, written to the database by a worker."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from uuid import UUID

from monitoring import metrics
from recommendations import jobs
from recommendations.contracts import Query, Slate
from recommendations.models import FeedRequest, Member
from recommendations.pipeline.stages import Trace
from recommendations.services import wiring
from recommendations.stores.redis_slates import pack, unpack

EXTRA = struct.Struct("<qfI")
BATCH_RECORDS = 500
GATHER_SECONDS = 1.0
"""How long records gather before a worker writes them. Changes the speed."""
SEPARATOR = "\x1f"


def record(slate: Slate, member_id: int, feed: str, duration_ms: float) -> None:
    """Queue what was made for a member, and wake a worker if nothing waited."""
    names = SEPARATOR.join((feed, *slate.part_names)).encode()
    packed = pack(slate)
    head = EXTRA.pack(member_id, duration_ms, len(packed)) + len(names).to_bytes(2, "little")
    if wiring.records().push(head + names + packed + slate.parts.astype("<f4").tobytes()) == 1:
        jobs.enqueue(jobs.RECORD_SERVED, after_seconds=GATHER_SECONDS)


def record_served() -> int:
    """Write what is queued to the database and return how many records that were. Twice does no harm."""
    written = 0
    while packed := wiring.records().take(BATCH_RECORDS):
        rows = [row_of(record) for record in packed]
        # A member may have been erased meanwhile: what was served to it is then not kept.
        there = set(Member.objects.filter(pk__in={row.member_id for row in rows}).values_list("pk", flat=True))
        FeedRequest.objects.bulk_create([row for row in rows if row.member_id in there], ignore_conflicts=True)
        wiring.records().written(packed)
        written += len(rows)
    return written


def row_of(packed: bytes) -> FeedRequest:
    """Return the row of one queued record."""
    member_id, duration_ms, size = EXTRA.unpack_from(packed)
    start = EXTRA.size + 2
    end = start + int.from_bytes(packed[EXTRA.size : start], "little")
    feed, *part_names = packed[start:end].decode().split(SEPARATOR)
    slate = unpack(packed[end : end + size])
    return FeedRequest(
        id=UUID(int=slate.request_id.int),
        member_id=member_id,
        feed=feed,
        engine=slate.engine,
        variant=slate.variant,
        policy_version=slate.policy_version,
        fallback=slate.fallback,
        candidates=slate.candidates,
        duration_ms=duration_ms,
        post_ids=slate.post_ids.astype("<i8").tobytes(),
        part_names=part_names,
        parts=packed[end + size :],
        origins=slate.origins.astype("<u2").tobytes(),
        created_at=datetime.fromtimestamp(slate.built_at, UTC),
    )


def observe(query: Query, slate: Slate, trace: Trace | None, seconds: float) -> None:
    """Count one feed and its stages; *trace* is None if the slate was kept."""
    cached = trace is None
    metrics.FEED_SECONDS.labels(query.feed, slate.engine, str(cached).lower()).observe(seconds)
    metrics.SLATE_CACHE.labels("hit" if cached else "miss").inc()
    if trace is None:
        return
    if slate.fallback:
        metrics.FALLBACKS.labels(slate.fallback).inc()
    for timing in trace.timings:
        metrics.STAGE_SECONDS.labels(timing.stage, timing.part).observe(timing.seconds)
        if timing.stage == "source":
            metrics.CANDIDATES.labels(timing.part).inc(timing.kept)
        elif timing.stage == "filter":
            metrics.DROPPED.labels(timing.part).inc(timing.dropped)
