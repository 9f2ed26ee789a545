"""
What was ranked and what was shown, kept for explanations and results: queued in the request, written by a worker.

A slate that is made is one record, with the parts of its scores; each page shown of it is another, with its posts.
"""

from __future__ import annotations

import atexit
import logging
import struct
import threading
import time
import zlib
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import numpy as np
from celery.signals import task_postrun
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F

from flags.experiments.exposing import Met, expose
from flags.experiments.rules import Exposed
from recommendations import jobs
from recommendations.contracts import Slate
from recommendations.models import FeedInputs, FeedRequest, Member, Post, PostStats, ServedPage
from recommendations.services import wiring
from recommendations.stores.redis_slates import SEPARATOR, SlateFormatError, pack, unpack

log = logging.getLogger(__name__)

SLATE, PAGE, INPUTS, EXPOSURE = b"s", b"p", b"i", b"x"
SLATE_HEAD = struct.Struct("<qfI")
PAGE_HEAD = struct.Struct("<qd16sH")
INPUTS_HEAD = struct.Struct("<16sd")
EXPOSURE_HEAD = struct.Struct("<qdqqd")
TOLD_EXPOSURES = 100_000
"""Exposures that a process remembers having noted, so that it notes each once. Changes the speed."""
BATCH_RECORDS = 500
GATHER_SECONDS = 1.0
"""How long records gather before a worker writes them. Changes the speed."""
OUTBOX_RECORDS = 10_000
"""Records that a process holds while Redis does not take them; over it the oldest go."""
COUNT_IMPRESSIONS = """
    INSERT INTO {stats} (post_id, engagement, engagement_at, interactions, positives, impressions, changed_at)
    VALUES (%s, 0, %s, 0, 0, %s, %s)
    ON CONFLICT (post_id) DO UPDATE
    SET impressions = {stats}.impressions + excluded.impressions, changed_at = excluded.changed_at"""


def slate_records(slate: Slate, member_id: int, feed: str, duration_ms: float) -> list[bytes]:
    """
    Return the record of a slate that was made for a member.

    If a value does not fit its packed field, return none and log the error: the slate is served and not explained.
    """
    try:
        return [slate_record(slate, member_id, feed, duration_ms)]
    except SlateFormatError:
        log.exception("served_record_lost", extra={"request_id": str(slate.request_id)})
        return []


def slate_record(slate: Slate, member_id: int, feed: str, duration_ms: float) -> bytes:
    """Return the record of a slate; raise `SlateFormatError` if a value does not fit its packed field."""
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


def exposure_record(exposed: Exposed, member_id: int, unit_id: str, now: float) -> bytes:
    """Return the record that a member is about to be served a variant of an experiment."""
    head = EXPOSURE_HEAD.pack(member_id, now, exposed.experiment_id, exposed.phase_id, exposed.propensity)
    return EXPOSURE + head + SEPARATOR.join((exposed.variant, unit_id)).encode()


@dataclass(frozen=True, slots=True)
class Noted:
    """A record on its way, and what is to be remembered once it has arrived."""

    packed: bytes
    exposure: tuple[int, int] | None = None
    """Phase and member."""


class Outbox:
    """
    The records of this process, on their way to Redis: a thread sends those of RECORD_SECONDS together.

    A request does not wait for it. A process that is killed loses what was noted in that time, and nothing else.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: deque[Noted] = deque(maxlen=OUTBOX_RECORDS)
        self._some = threading.Event()
        self._sending = threading.Lock()
        if seconds:
            threading.Thread(target=self._run, name="records", daemon=True).start()
            atexit.register(self.send)

    def put(self, records: Iterable[Noted]) -> None:
        """Send these records soon; at once if RECORD_SECONDS is 0."""
        self._waiting.extend(records)
        if self._seconds:
            self._some.set()
        else:
            self.send()

    def send(self) -> None:
        """Send what waits, and wake a worker if nothing waited for it in Redis."""
        with self._sending:
            taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not taken:
            return
        waiting = wiring.records().push(*(one.packed for one in taken))
        if waiting == len(taken):
            jobs.enqueue(jobs.RECORD_SERVED, after_seconds=GATHER_SECONDS)
        if waiting:
            for one in taken:
                if one.exposure:
                    told.add(one.exposure)

    def _run(self) -> None:
        while True:
            self._some.wait()
            time.sleep(self._seconds)
            self._some.clear()
            try:
                self.send()
            except Exception:
                log.exception("records_lost")


@wiring.per_process
def outbox() -> Outbox:
    """Return what sends this process's records."""
    return Outbox(settings.ENV.record_seconds)


def record(*records: bytes, exposed: tuple[bytes, tuple[int, int]] | None = None) -> None:
    """Have records written; *exposed* is that of an exposure, and its phase and member."""
    noted = [Noted(one) for one in records]
    outbox().put([*noted, Noted(*exposed)] if exposed else noted)


def watch() -> None:
    """Have what a task served be on its way before the task says that it is done."""
    task_postrun.connect(send, dispatch_uid="records")


def send(**_: object) -> None:
    """Send this process's records now: before a task says that it is done, and before they are written."""
    if own := outbox.if_made():
        own.send()


class Told:
    """The exposures that this process has noted lately: (phase, member), the oldest forgotten first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._told: dict[tuple[int, int], None] = {}

    def __contains__(self, one: tuple[int, int]) -> bool:
        return one in self._told

    def add(self, one: tuple[int, int]) -> None:
        """Remember one."""
        self._told[one] = None
        while len(self._told) > self._most:
            self._told.pop(next(iter(self._told)), None)


told = Told(TOLD_EXPOSURES)


def record_served(*, now: datetime) -> int:
    """
    Write what is queued to the database and return how many records that were.

    A batch that a killed worker had in hand is written again: its rows once, its impressions perhaps twice. What comes
    once the list was empty is left to the worker that it wakes.
    """
    send()
    written = 0
    is_last = False
    while not is_last and (taken := wiring.records().take(BATCH_RECORDS)):
        is_last = len(taken) < BATCH_RECORDS
        packed = list(taken.values())
        slates = [slate_row(one) for one in packed if one[:1] == SLATE]
        pages = [page_row(one) for one in packed if one[:1] == PAGE]
        # A member may have been erased meanwhile: what was served to it is then not kept.
        met = [exposure_of(one) for one in packed if one[:1] == EXPOSURE]
        named = {slate.member_id for slate in slates} | {page.member_id for page in pages} | {pk for pk, _ in met}
        there = set(Member.objects.filter(pk__in=named).values_list("pk", flat=True))
        with transaction.atomic():
            FeedRequest.objects.bulk_create([s for s in slates if s.member_id in there], ignore_conflicts=True)
            write_pages([page for page in pages if page.member_id in there], now)
            write_inputs([inputs_row(one) for one in packed if one[:1] == INPUTS])
            expose(one for pk, one in met if pk in there)
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


def exposure_of(packed: bytes) -> tuple[int, Met]:
    """Return the member of one queued exposure, and what is to be written of it."""
    member_id, now, experiment_id, phase_id, propensity = EXPOSURE_HEAD.unpack_from(packed, 1)
    # The member's id is the platform's, and may hold the separator.
    variant, unit_id = packed[1 + EXPOSURE_HEAD.size :].decode().split(SEPARATOR, 1)
    exposed = Exposed(experiment_id, phase_id, variant, propensity)
    return member_id, Met(unit_id, exposed, datetime.fromtimestamp(now, UTC))


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
