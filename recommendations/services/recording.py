"""
What was ranked and what was shown, kept for explanations and results: queued in the request, written by a worker.

A slate that is made is one record, with the parts of its scores; each page shown of it is another, with its posts.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import numpy as np
from django.db import connection, transaction
from django.db.models import F

from recommendations import jobs
from recommendations.contracts import Slate
from recommendations.models import FeedInputs, FeedRequest, Member, Post, PostStats, ServedPage
from recommendations.services import wiring
from recommendations.stores.redis_slates import pack, unpack

SLATE, PAGE, INPUTS = b"s", b"p", b"i"
SLATE_HEAD = struct.Struct("<qfI")
PAGE_HEAD = struct.Struct("<qd16sH")
INPUTS_HEAD = struct.Struct("<16sd")
BATCH_RECORDS = 500
GATHER_SECONDS = 1.0
"""How long records gather before a worker writes them. Changes the speed."""
SEPARATOR = "\x1f"
COUNT_IMPRESSIONS = """
    INSERT INTO {stats} (post_id, engagement, engagement_at, interactions, positives, impressions, changed_at)
    VALUES (%s, 0, %s, 0, 0, %s, %s)
    ON CONFLICT (post_id) DO UPDATE
    SET impressions = {stats}.impressions + excluded.impressions, changed_at = excluded.changed_at"""


def slate_record(slate: Slate, member_id: int, feed: str, duration_ms: float) -> bytes:
    """Return the record of a slate that was made for a member."""
    names = SEPARATOR.join((feed, *slate.part_names)).encode()
    packed = pack(slate)
    head = SLATE_HEAD.pack(member_id, duration_ms, len(packed)) + len(names).to_bytes(2, "little")
    return SLATE + head + names + packed + slate.parts.astype("<f4").tobytes()


def inputs_record(request_id: UUID, now: float, packed: bytes) -> bytes:
    """Return the record of what a slate was ranked from."""
    return INPUTS + INPUTS_HEAD.pack(request_id.bytes, now) + packed


def page_record(request_id: UUID, member_id: int, offset: int, post_ids: Sequence[int], now: float) -> bytes:
    """Return the record of a page that is about to be shown."""
    return PAGE + PAGE_HEAD.pack(member_id, now, request_id.bytes, offset) + np.array(post_ids, "<i8").tobytes()


def record(*records: bytes) -> None:
    """Queue records, and wake a worker if nothing waited."""
    if wiring.records().push(*records) == len(records):
        jobs.enqueue(jobs.RECORD_SERVED, after_seconds=GATHER_SECONDS)


def record_served(*, now: datetime) -> int:
    """
    Write what is queued to the database and return how many records that were.

    A batch that a killed worker had in hand is written again: its rows once, its impressions perhaps twice.
    """
    written = 0
    while taken := wiring.records().take(BATCH_RECORDS):
        packed = list(taken.values())
        slates = [slate_row(one) for one in packed if one[:1] == SLATE]
        pages = [page_row(one) for one in packed if one[:1] == PAGE]
        # A member may have been erased meanwhile: what was served to it is then not kept.
        named = {slate.member_id for slate in slates} | {page.member_id for page in pages}
        there = set(Member.objects.filter(pk__in=named).values_list("pk", flat=True))
        with transaction.atomic():
            FeedRequest.objects.bulk_create([s for s in slates if s.member_id in there], ignore_conflicts=True)
            write_pages([page for page in pages if page.member_id in there], now)
            write_inputs([inputs_row(one) for one in packed if one[:1] == INPUTS])
        wiring.records().written(taken)
        written += len(packed)
    return written


def write_pages(pages: Sequence[ServedPage], now: datetime) -> None:
    """Write pages, count their posts' impressions, and remember what each member was served."""
    ServedPage.objects.bulk_create(pages, ignore_conflicts=True)
    shown = [(page, np.frombuffer(page.post_ids, "<i8").tolist()) for page in pages]
    counts = Counter(post_id for _, post_ids in shown for post_id in post_ids)
    there = Post.objects.filter(pk__in=counts).order_by("pk").values_list("pk", flat=True)
    with connection.cursor() as cursor:
        stats = connection.ops.quote_name(PostStats._meta.db_table)
        moment = connection.ops.adapt_datetimefield_value(now)
        rows = [(post_id, moment, counts[post_id], moment) for post_id in there]
        if rows:
            cursor.executemany(COUNT_IMPRESSIONS.format(stats=stats), rows)
    wiring.served().add((page.member_id, page.created_at.timestamp(), post_ids) for page, post_ids in shown)


def write_inputs(rows: Sequence[FeedInputs]) -> None:
    """Write what slates were ranked from, of those requests that are there; nothing from before a fresh start."""
    requests = FeedRequest.objects.filter(pk__in=[row.pk for row in rows])
    requests = requests.exclude(member__taste_since__gte=F("created_at"))
    there = set(requests.values_list("pk", flat=True))
    FeedInputs.objects.bulk_create([row for row in rows if row.pk in there], ignore_conflicts=True)


def inputs_row(packed: bytes) -> FeedInputs:
    """Return the row of one queued record of inputs."""
    request_id, now = INPUTS_HEAD.unpack_from(packed, 1)
    return FeedInputs(
        request_id=UUID(bytes=request_id),
        packed=zlib.compress(packed[1 + INPUTS_HEAD.size :]),
        created_at=datetime.fromtimestamp(now, UTC),
    )


def page_row(packed: bytes) -> ServedPage:
    """Return the row of one queued page."""
    member_id, now, request_id, offset = PAGE_HEAD.unpack_from(packed, 1)
    return ServedPage(
        member_id=member_id,
        request_id=UUID(bytes=request_id),
        offset=offset,
        post_ids=packed[1 + PAGE_HEAD.size :],
        created_at=datetime.fromtimestamp(now, UTC),
    )


def slate_row(packed: bytes) -> FeedRequest:
    """Return the row of one queued slate."""
    packed = packed[1:]
    member_id, duration_ms, size = SLATE_HEAD.unpack_from(packed)
    start = SLATE_HEAD.size + 2
    end = start + int.from_bytes(packed[SLATE_HEAD.size : start], "little")
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
        reasons=slate.reasons.astype("<u2").tobytes(),
        created_at=datetime.fromtimestamp(slate.built_at, UTC),
    )
