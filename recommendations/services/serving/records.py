"""
Records of what was built and served, for explanations and experiments: queued in the request, written by a worker.

A slate is one record, with its score parts. Each page served from it is another record, with its posts.

The first byte of a record names its kind and its layout. A change of a layout gets a new byte, so that two versions of
the code can run side by side: a worker sets records that it cannot read aside for workers of the other version.
`tests/unit/test_stored_forms.py` pins the layouts.
"""

from __future__ import annotations

import atexit
import logging
import math
import struct
import threading
import time
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

import numpy as np
from celery.signals import task_postrun
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import F

from flags.experiments.exposures import UnitExposure, record_exposures
from flags.experiments.rules import ExposedVariant
from monitoring.transactions import write_transaction
from recommendations import task_queue
from recommendations.contracts import EMPTY_IDS, POPULARITY_SUMS, Int64Array, ServedSlate, Slate
from recommendations.models import FeedInputs, FeedRequest, Member, Post, PostStats, ServedPage
from recommendations.services import wiring
from recommendations.stores.bulk import insert_new_rows
from recommendations.stores.redis_slates import SEPARATOR, SlateFormatError, pack, unpack
from recommendations.stores.relational_viewers import find_consenting

log = logging.getLogger(__name__)

SLATE, PAGE, INPUTS, EXPOSURE = b"s", b"p", b"i", b"x"
"""The first byte of each kind of record."""
SLATE_HEAD = struct.Struct("<qfI")
PAGE_HEAD = struct.Struct("<qd16sH")
INPUTS_HEAD = struct.Struct("<16sd")
EXPOSURE_HEAD = struct.Struct("<qdqqd")
MAX_QUEUED_EXPOSURES = 100_000
"""Queued exposures that a process remembers, so that it queues each only once. Changes the speed."""
BATCH_RECORDS = 500
GATHER_SECONDS = 1.0
"""How long records gather in Redis before a worker writes them. Changes the speed."""
OUTBOX_RECORDS = 10_000
"""Records that a process holds while Redis is unreachable. Beyond this, the oldest are lost."""
RETRY_SECONDS = 1.0
"""Time between two attempts to send them."""
COUNT_SERVED = """
    INSERT INTO {stats}
        (post_id, {sums}, summed_at, interaction_count, positive_count, served_count, seen_count, changed_at)
    VALUES (%s, {zeros}, %s, 0, 0, %s, %s, %s)
    ON CONFLICT (post_id) DO UPDATE
    SET served_count = {stats}.served_count + excluded.served_count,
        seen_count = {stats}.seen_count + excluded.seen_count, changed_at = excluded.changed_at"""


ServedPosts = tuple[int, float, list[int]]
"""A page for the served history: the member, the time in Unix seconds, and the ids of the posts."""


class MemberExposure(NamedTuple):
    """An exposure, and the database id of the member."""

    member_id: int
    exposure: UnitExposure


RecordRow = FeedRequest | ServedPage | FeedInputs | MemberExposure
"""What a record holds."""
PAGE_COLUMNS = ("member_id", "request_id", "offset", "post_ids", "created_at")

ExposureKey = tuple[int, int]
"""The phase of an experiment, and the member."""


def slate_records(slate: Slate, member_id: int, feed: str, duration_ms: float) -> list[bytes]:
    """
    Return the record of a slate that was built for a member, as a list of one.

    If a value does not fit its packed field, return an empty list and log the error: the slate is served, but it cannot
    be explained later.
    """
    try:
        return [slate_record(slate, member_id, feed, duration_ms)]
    except SlateFormatError:
        log.exception("served_records_lost", extra={"request_id": str(slate.request_id)})
        return []


def slate_record(slate: Slate, member_id: int, feed: str, duration_ms: float) -> bytes:
    """Return the record of a slate. Raises `SlateFormatError` if a value does not fit its packed field."""
    names = SEPARATOR.join((feed, *slate.part_names)).encode()
    packed = pack(slate)
    head = SLATE_HEAD.pack(member_id, duration_ms, len(packed)) + len(names).to_bytes(2, "little")
    tail = slate.trained_model_id.to_bytes(8, "little") + slate.contributions
    return SLATE + head + names + packed + slate.parts.astype("<f4").tobytes() + tail


def keep_slate(
    slate: Slate,
    member_id: int,
    feed: str,
    duration_ms: float,
    *,
    earlier_post_ids: Int64Array = EMPTY_IDS,
    page_post_ids: Sequence[int] = (),
    now: datetime,
) -> list[bytes]:
    """
    Return the record of a slate that is about to be served, like `slate_records`, and keep it at once.

    With it, the posts before the slate and on its first page are kept. A worker may write the record much later. Until
    then, a cursor that continues after this slate and an explanation of it use what is kept here. If the cache does not
    store it, the slate is recorded in the database now, unless the member does not exist any more.
    """
    packed_records = slate_records(slate, member_id, feed, duration_ms)
    for record in packed_records:
        served = ServedSlate(record, earlier_post_ids, np.array(page_post_ids, np.int64))
        if wiring.slate_cache().add_served(member_id, slate.request_id, served):
            continue
        try:
            write_rows([slate_row(record)], now)
        except DatabaseError:
            log.exception("served_slate_not_stored", extra={"request_id": str(slate.request_id)})
    return packed_records


def find_slate_row(request_id: UUID, member_id: int) -> tuple[FeedRequest | None, Int64Array]:
    """
    Return the row of a slate of this member, and the posts (n,) of its first page if no worker has recorded it yet.

    The row of a slate that is not recorded yet is not in the database. None: there is no such slate.
    """
    row = FeedRequest.objects.filter(pk=request_id, member_id=member_id).first()
    if row is not None:
        return row, EMPTY_IDS
    kept = get_kept_slates(member_id, [request_id]).get(request_id)
    return (kept.row, kept.page_post_ids) if kept else (None, EMPTY_IDS)


class KeptSlate(NamedTuple):
    """A slate that `keep_slate` has kept."""

    row: FeedRequest
    """The row that a worker writes."""
    earlier_post_ids: Int64Array
    page_post_ids: Int64Array


def get_kept_slates(member_id: int, request_ids: Collection[UUID]) -> dict[UUID, KeptSlate]:
    """Return the slates that `keep_slate` has kept, without those whose record has a layout of another version."""
    kept = {}
    for request_id, served in wiring.slate_cache().get_served(member_id, request_ids).items():
        row = read_record(served.record)
        if isinstance(row, FeedRequest):
            kept[request_id] = KeptSlate(row, served.earlier_post_ids, served.page_post_ids)
    return kept


def inputs_record(request_id: UUID, now: float, packed: bytes) -> bytes:
    """Return the record of the packed inputs of a slate; *now* in Unix seconds."""
    return INPUTS + INPUTS_HEAD.pack(request_id.bytes, now) + packed


def page_record(request_id: UUID, member_id: int, offset: int, post_ids: Sequence[int], now: float) -> bytes:
    """Return the record of a page that is about to be served; *now* in Unix seconds."""
    return (
        PAGE + PAGE_HEAD.pack(member_id, now, request_id.bytes, offset) + struct.pack(f"<{len(post_ids)}q", *post_ids)
    )


def exposure_record(exposed_variant: ExposedVariant, member_id: int, unit_id: str, now: float) -> bytes:
    """Return the record that a member is about to be served a variant of an experiment; *now* in Unix seconds."""
    numbers = (exposed_variant.experiment_id, exposed_variant.phase_id, exposed_variant.propensity)
    head = EXPOSURE_HEAD.pack(member_id, now, *numbers)
    return EXPOSURE + head + SEPARATOR.join((exposed_variant.variant, unit_id)).encode()


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """A record that is to be sent to Redis."""

    packed: bytes
    exposure: ExposureKey | None = None
    """For a record of an exposure: the key to remember after Redis has stored the record."""


class Outbox:
    """
    The records of this process that are to be sent to Redis. A thread sends them every RECORD_BUFFER_SECONDS.

    Requests do not wait for it. A process that is killed loses at most the records of that time, or, while Redis is
    unreachable, the newest `OUTBOX_RECORDS`, which it holds until Redis takes them.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: deque[OutgoingRecord] = deque()
        self._has_records = threading.Event()
        self._taking = threading.Lock()
        if seconds:
            threading.Thread(target=self._run, name="records", daemon=True).start()
            atexit.register(self.send)

    def put(self, records: Iterable[OutgoingRecord]) -> None:
        """Send these records within RECORD_BUFFER_SECONDS, or immediately if that is 0."""
        self._hold(records)
        if self._seconds:
            self._has_records.set()
        else:
            self.send()

    def send(self) -> bool:
        """Send the waiting records, and wake a worker if the queue was empty. Return whether the queue took them."""
        with self._taking:
            taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not taken:
            return True
        queue_length = wiring.record_queue().push(*(record.packed for record in taken))
        if not queue_length:
            self._hold(taken, are_older=True)
            return False
        if queue_length == len(taken):
            task_queue.enqueue(task_queue.RECORD_SERVED, after_seconds=GATHER_SECONDS)
        for record in taken:
            if record.exposure:
                queued_exposures.add(record.exposure)
        return True

    def _hold(self, records: Iterable[OutgoingRecord], *, are_older: bool = False) -> None:
        """Let records wait, before the others if they *are_older*. If there are too many, the oldest are lost."""
        with self._taking:
            waiting = [*records, *self._waiting] if are_older else [*self._waiting, *records]
            self._waiting = deque(waiting[-OUTBOX_RECORDS:])
        if len(waiting) > OUTBOX_RECORDS:
            log.warning("served_records_lost", extra={"count": len(waiting) - OUTBOX_RECORDS})

    def _run(self) -> None:
        while True:
            self._has_records.wait()
            time.sleep(self._seconds)
            self._has_records.clear()
            try:
                is_sent = self.send()
            except Exception:
                log.exception("served_records_lost")
                continue
            if not is_sent:
                time.sleep(RETRY_SECONDS)
                self._has_records.set()


@wiring.per_process
def outbox() -> Outbox:
    """Return this process's outbox."""
    return Outbox(settings.ENV.record_buffer_seconds)


def queue_records(*records: bytes, exposure: tuple[bytes, ExposureKey] | None = None) -> None:
    """Queue records for a worker to write; *exposure* is the record of an exposure and its key."""
    outgoing = [OutgoingRecord(record) for record in records]
    outbox().put([*outgoing, OutgoingRecord(*exposure)] if exposure else outgoing)


def connect_signals() -> None:
    """Send the records of each Celery task before the task reports that it is done."""
    task_postrun.connect(send_records, dispatch_uid="records")


def send_records(**_: object) -> None:
    """Send this process's waiting records now."""
    if process_outbox := outbox.get_if_created():
        process_outbox.send()


class QueuedExposures:
    """The latest exposures that this process has queued; the oldest are evicted first."""

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._queued: dict[ExposureKey, None] = {}

    def __contains__(self, key: ExposureKey) -> bool:
        return key in self._queued

    def add(self, key: ExposureKey) -> None:
        """Remember one exposure."""
        self._queued[key] = None
        while len(self._queued) > self._max_entries:
            self._queued.pop(next(iter(self._queued)), None)

    def clear(self) -> None:
        """Evict every exposure."""
        self._queued.clear()


queued_exposures = QueuedExposures(MAX_QUEUED_EXPOSURES)


def record_served(*, now: datetime) -> int:
    """
    Write the queued records to the database and return how many there were.

    A batch that a killed worker was writing is written again, without further effect. Records that arrive after a batch
    was the last are left to the worker that they wake. Records of another version's layout are set aside.
    """
    send_records()
    written = 0
    is_last = False
    while not is_last and (batch := wiring.record_queue().take(BATCH_RECORDS)):
        is_last = len(batch.records) < BATCH_RECORDS
        rows = [read_record(record) for record in batch.records]
        served = write_rows([row for row in rows if row], now)
        add_to_histories(served)
        # A record whose key was removed is empty: no version can read it.
        unread = [record for record, row in zip(batch.records, rows, strict=True) if record and not row]
        if unread:
            log.warning("served_records_set_aside", extra={"count": len(unread)})
            wiring.record_queue().set_aside(*unread)
        wiring.record_queue().acknowledge(batch.id)
        written += len(batch.records) - len(unread)
    return written


def read_record(record: bytes) -> RecordRow | None:
    """Return what a record holds, or None if this version cannot read it."""
    read = READERS.get(record[:1])
    try:
        return read(record) if read else None
    except (struct.error, ValueError, OverflowError, OSError):  # the last two: a time that does not exist
        return None


@write_transaction
def write_rows(rows: Sequence[RecordRow], now: datetime) -> list[ServedPosts]:
    """Write rows, except those of members who no longer exist. Return the pages that were not stored yet."""
    slates = [row for row in rows if isinstance(row, FeedRequest)]
    pages = [row for row in rows if isinstance(row, ServedPage)]
    exposures = [row for row in rows if isinstance(row, MemberExposure)]
    of_members: list[FeedRequest | ServedPage | MemberExposure] = [*slates, *pages, *exposures]
    member_ids = {row.member_id for row in of_members}
    existing = set(Member.objects.filter(pk__in=member_ids).values_list("pk", flat=True))
    FeedRequest.objects.bulk_create([row for row in slates if row.member_id in existing], ignore_conflicts=True)
    served = write_pages([row for row in pages if row.member_id in existing], now)
    write_inputs([row for row in rows if isinstance(row, FeedInputs)])
    record_exposures(row.exposure for row in exposures if row.member_id in existing)
    return served


def write_pages(pages: Sequence[ServedPage], now: datetime) -> list[ServedPosts]:
    """
    Write pages and count their posts as served. Return the pages that were not stored yet.

    Only pages that are inserted count. A page that is already stored belongs to a batch that another worker has written
    and not acknowledged.
    """
    columns = {name: [getattr(page, name) for page in pages] for name in PAGE_COLUMNS}
    is_new = insert_new_rows(ServedPage, columns, {}, key=("request_id", "offset", "created_at"))
    served = [
        (page.member_id, page.created_at.timestamp(), np.frombuffer(page.post_ids, "<i8").tolist())
        for page, new in zip(pages, is_new.tolist(), strict=True)
        if new
    ]
    count_served([post_ids for *_, post_ids in served], now)
    return served


def add_to_histories(pages: Sequence[ServedPosts]) -> None:
    """
    Add pages to the served history of each member who is personalized.

    Consent is read again after the pages are in Redis. A member who withdrew it in between removed their history at
    that time, perhaps before these pages were added.
    """
    consenting = find_personalized({member_id for member_id, _, _ in pages})
    history = wiring.served_history()
    history.add(page for page in pages if page[0] in consenting)
    history.remove(sorted(consenting - find_personalized(consenting)))


def find_personalized(member_ids: Iterable[int]) -> set[int]:
    """Return those of the members who consent to personalization."""
    return set(find_consenting(Member.objects.filter(pk__in=member_ids)).values_list("pk", flat=True))


def count_served(pages: Iterable[Sequence[int]], now: datetime) -> None:
    """
    Add the posts of *pages*, in their order, to the served and the seen count of each.

    Where clients do not report what was on a screen, a page adds to a post's seen count how likely a post at this
    position is looked at: 1 / log2(1 + rank), the discount of DCG (Järvelin and Kekäläinen 2002, "Cumulated gain-based
    evaluation of IR techniques").
    """
    served: Counter[int] = Counter()
    seen: defaultdict[int, float] = defaultdict(float)
    for post_ids in pages:
        served.update(post_ids)
        if settings.ENV.seen_posts == "served":
            for rank, post_id in enumerate(post_ids, 1):
                seen[post_id] += 1 / math.log2(1 + rank)
    add_counts(served, seen, now)


def add_counts(served: Counter[int], seen: Mapping[int, float], now: datetime) -> None:
    """
    Add to the served and the seen count of posts, by primary key.

    Posts that no longer exist are skipped. Locks rows in the order of their ids.
    """
    counted = served.keys() | seen.keys()
    existing = Post.objects.filter(pk__in=counted).order_by("pk").values_list("pk", flat=True)
    with connection.cursor() as cursor:
        stats = connection.ops.quote_name(PostStats._meta.db_table)
        moment = connection.ops.adapt_datetimefield_value(now)
        rows = [(post_id, moment, served[post_id], seen.get(post_id, 0.0), moment) for post_id in existing]
        if rows:
            sums, zeros = ", ".join(POPULARITY_SUMS), ", ".join("0" for _ in POPULARITY_SUMS)
            cursor.executemany(COUNT_SERVED.format(stats=stats, sums=sums, zeros=zeros), rows)


def write_inputs(rows: Sequence[FeedInputs]) -> None:
    """Write the inputs of requests that exist, except requests from before their member last reset their interests."""
    requests = FeedRequest.objects.filter(pk__in=[row.pk for row in rows])
    requests = requests.exclude(member__interests_reset_at__gte=F("created_at"))
    existing = set(requests.values_list("pk", flat=True))
    FeedInputs.objects.bulk_create([row for row in rows if row.pk in existing], ignore_conflicts=True)


def inputs_row(record: bytes) -> FeedInputs:
    """Return the row of a queued record of inputs."""
    request_id, now = INPUTS_HEAD.unpack_from(record, 1)
    return FeedInputs(
        request_id=UUID(bytes=request_id),
        packed_inputs=zlib.compress(record[1 + INPUTS_HEAD.size :]),
        created_at=datetime.fromtimestamp(now, UTC),
    )


def parse_exposure(record: bytes) -> MemberExposure:
    """Return the member of a queued exposure, and the exposure to store."""
    member_id, now, experiment_id, phase_id, propensity = EXPOSURE_HEAD.unpack_from(record, 1)
    # The member's id comes from the platform and may contain the separator.
    variant, unit_id = record[1 + EXPOSURE_HEAD.size :].decode().split(SEPARATOR, 1)
    exposed_variant = ExposedVariant(experiment_id, phase_id, variant, propensity)
    return MemberExposure(member_id, UnitExposure(unit_id, exposed_variant, datetime.fromtimestamp(now, UTC)))


def page_row(record: bytes) -> ServedPage:
    """Return the row of a queued page. Raises `ValueError` if the rest of the record is no list of ids."""
    member_id, now, request_id, offset = PAGE_HEAD.unpack_from(record, 1)
    post_ids = np.frombuffer(record[1 + PAGE_HEAD.size :], "<i8")
    return ServedPage(
        member_id=member_id,
        request_id=UUID(bytes=request_id),
        offset=offset,
        post_ids=post_ids.tobytes(),
        created_at=datetime.fromtimestamp(now, UTC),
    )


def slate_row(record: bytes) -> FeedRequest:
    """Return the row of a queued slate."""
    packed = record[1:]
    member_id, duration_ms, size = SLATE_HEAD.unpack_from(packed)
    start = SLATE_HEAD.size + 2
    end = start + int.from_bytes(packed[SLATE_HEAD.size : start], "little")
    feed, *part_names = packed[start:end].decode().split(SEPARATOR)
    slate = unpack(packed[end : end + size])
    tail = end + size + 4 * len(slate) * len(part_names)
    return FeedRequest(
        id=UUID(int=slate.request_id.int),
        member_id=member_id,
        feed=feed,
        engine=slate.engine,
        variant=slate.variant,
        policy_version=slate.policy_version,
        fallback=slate.fallback,
        candidate_count=slate.candidate_count,
        duration_ms=duration_ms,
        post_ids=slate.post_ids.astype("<i8").tobytes(),
        part_names=part_names,
        parts=packed[end + size : tail],
        trained_model_id=int.from_bytes(packed[tail : tail + 8], "little"),
        contributions=zlib.compress(packed[tail + 8 :]),
        origins=slate.origins.astype("<u2").tobytes(),
        reasons=slate.reasons.astype("<u2").tobytes(),
        created_at=datetime.fromtimestamp(slate.built_at, UTC),
    )


READERS: dict[bytes, Callable[[bytes], RecordRow]] = {
    SLATE: slate_row,
    PAGE: page_row,
    INPUTS: inputs_row,
    EXPOSURE: parse_exposure,
}
"""The function that reads each kind of record, by its first byte."""
