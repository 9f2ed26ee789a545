"""
Jobs: submit, split into chunks, publish, claim, process, read, list, cancel, retry and reconcile them.

The rows record the work; a message only wakes a worker. A job and its chunks are committed before a message is
published, so a lost message loses no work.

**Publish.** A job has a window of `JOB_WINDOW_CHUNKS` slots. A chunk waits until it gets a slot, keeps it until it is
settled, and has one message in the queue of its kind. `publish_chunks` fills the free slots. It is called wherever one
can become free: at submission, when a chunk is settled, and by `reconcile_jobs`. A kind with a limit also publishes no
more chunks than the limit, over all its jobs; a lock of the kind makes the count exact. So the broker never holds more
messages than there are slots, and a chunk needs one message.

**Claim.** The worker that gets a message claims the best published chunk of the queue, whichever the message names: by
priority, then by slot, then by time. Each message claims one chunk, so the messages suffice for all published chunks,
and a job with high priority does not wait behind the messages of others. The order by slot is fair: the chunks of a job
that run hold its low slots, so the job with the fewest running chunks is next, however many chunks another job has.

**Settle.** `claim_chunk` gives a chunk a new `claim_id` and a lease, which the worker renews while it works, however
long the chunk takes. Everything that a worker writes about its chunk requires that the chunk still has this claim
(`claimed_chunk`). So a worker that was paused, and whose chunk another worker has got meanwhile, settles and counts
nothing. Comparing only the state would let it settle the chunk of its successor.

**Reconcile.** A chunk whose worker died keeps its lease until it expires. `reconcile_jobs` then releases the chunk, and
publishes messages that were lost. Processing must therefore be safe to repeat. At the latest `JOB_LEASE_SECONDS` (15)
after the death the lease has expired, and the schedule runs `reconcile_jobs` every 10 seconds: another worker gets the
chunk within 25 seconds and the time that a free worker needs to take two messages, however long the chunk is. Kinds of
jobs that only another version of the code knows are left to its workers.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, TypeVar
from uuid import UUID, uuid4

from django.conf import settings
from django.db import DatabaseError, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Count, Exists, F, Max, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.db.models.sql.compiler import SQLCompiler
from redis import RedisError

from access.masks import mask_identity
from monitoring import metrics
from monitoring.extensions import extensions_of
from monitoring.task_metrics import read_oldest_due_times
from monitoring.transactions import write_transaction
from recommendations import task_queue
from recommendations.models import Job, JobChunk, JobFailure, Member, Post
from recommendations.services.errors import InvalidRequest, JobNotCancellable, UnknownJob, UnknownMember
from recommendations.stores.row_locks import lock_job, lock_job_kind
from values.text import find_storage_problem

log = logging.getLogger(__name__)

R = TypeVar("R")
T = TypeVar("T")

MAX_JOB_ITEMS = 10_000
"""Members or posts that a request for a job may name. A job for all needs no names."""
MAX_CHUNK_ATTEMPTS = 3
MAX_ERRORS = 20
"""Errors in the row of a job. `JobFailure` has the others, too."""
MESSAGE_GRACE = timedelta(seconds=10)
"""Time that a worker may take from the receipt of a message to the claim. Later, the message counts as lost."""
REPUBLICATION_FACTOR = 4
"""Each time that a chunk's message is published again, the time after which it counts as lost is multiplied."""
MAX_RECONCILED = 1_000
"""Rows of a kind that one run of `reconcile_jobs` reads. Each of them changes, so the next run reads the others."""

UNFINISHED_STATES = (Job.State.QUEUED, Job.State.RUNNING)


class Literal(Value):
    """A text of the code that is a part of the statement and no parameter."""

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, tuple[str | int, ...]]:
        """Return the text in quotes. It must not contain a quote."""
        return f"'{self.value}'", ()


IS_UNFINISHED = Q(state__in=[Literal(state.value) for state in UNFINISHED_STATES])
"""
Chunks that are not settled. With parameters, SQLite would not use the index of these chunks, and read all chunks of a
job whenever one of them is settled.
"""
OUTSIDE_WINDOW: Mapping[str, Any] = {"slot": None, "publications": 0, "lost_after": None, "leased_until": None}
"""Columns of a chunk that has left the window of its job."""


Process = Callable[[JobChunk, Sequence[int], datetime], list[dict[str, Any]]]
"""Processes the items of one chunk. Takes the claimed chunk, its item ids and the time; returns one error per failed
item."""


@dataclass(frozen=True, slots=True)
class JobKind:
    """A kind of job: the type of its items, and the functions that process them."""

    kind: str
    """A value of `Job.Kind`."""
    process: Process
    items: type[Post] | type[Member] = Member
    default_items: Callable[[], QuerySet[Post] | QuerySet[Member]] | None = None
    """The rows to process if the request names none. If this is None, the request must name them."""
    on_accept: Callable[[Job, Sequence[int], datetime, str], None] | None = None
    """
    Called in the transaction that creates the job, so its effect is visible as soon as the job is.

    Takes the job, its items, the time, and who submitted the job.
    """
    queue: str | None = None
    """The Celery queue of its chunks, or None for the default queue."""
    priority: Job.Priority = Job.Priority.NORMAL
    """The priority of a job whose request names none."""
    max_running: int | None = None
    """Chunks of the kind that may be published or running at once, over all jobs. None: each job has its window."""
    resolve: Callable[[Mapping[str, Any]], list[int]] | None = None
    """Returns the items for the job's parameters, if they are not rows of `items`. Raises `InvalidRequest`."""
    is_cancellable: bool = True

    @property
    def queue_name(self) -> str:
        """The Celery queue of its chunks."""
        return self.queue or task_queue.QUEUES[task_queue.PROCESS_CHUNK]


class JobCancelledError(Exception):
    """Raised by the function that processes a chunk, to end it: its job was cancelled, or the claim was lost."""


extensions = extensions_of(__name__)
KINDS: dict[str, JobKind] = {}

KIND_NAMES: tuple[str, ...] = tuple(Job.Kind.values)
"""The kinds that entry points accept."""

PRIORITY_NAMES: tuple[str, ...] = tuple(Job.Priority.labels)
"""The priorities that entry points accept."""


def register_kind(kind: JobKind) -> None:
    """Register a kind of job. A second kind with the same name replaces the first."""
    KINDS[kind.kind] = kind


def all_kinds() -> Iterable[JobKind]:
    """Return every kind of job."""
    extensions.load()
    return KINDS.values()


def find_kind(name: str) -> JobKind:
    """Return the kind of job with this name. Raises `KeyError` if there is none."""
    extensions.load()
    return KINDS[name]


def known_kinds() -> list[str]:
    """Return the kinds that this version of the code can process. A newer one may have submitted jobs of others."""
    return [kind.kind for kind in all_kinds()]


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as entry points see it."""

    id: UUID
    kind: str
    state: str
    total: int
    done: int
    failed: int
    errors: list[dict[str, Any]]
    result: dict[str, Any]
    params: dict[str, Any]
    priority: str
    deadline: datetime | None
    is_expired: bool
    """Whether the job was cancelled at its deadline."""
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    is_cancel_requested: bool
    has_file: bool
    """Whether the job has a file to download."""

    @property
    def is_finished(self) -> bool:
        """Whether the job is done, failed or cancelled."""
        return self.state in Job.FINISHED_STATES


def build_job_view(job: Job) -> JobView:
    """Return the job as entry points see it."""
    return JobView(
        id=job.pk,
        kind=job.kind,
        state=job.state,
        total=job.total,
        done=job.done,
        failed=job.failed,
        errors=job.errors,
        result=job.result,
        params=job.params,
        priority=Job.Priority(job.priority).label,
        deadline=job.deadline,
        is_expired=job.is_expired,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        is_cancel_requested=job.cancel_requested_at is not None,
        has_file=job.kind == Job.Kind.EXPORT_MEMBERS and job.state == Job.State.DONE and job.files.exists(),
    )


# Submit, read and control


def submit_job(
    *,
    kind: str,
    params: Mapping[str, Any],
    now: datetime,
    priority: str | None = None,
    deadline: datetime | None = None,
    idempotency_key: str | None = None,
    submitter: str = "",
) -> JobView:
    """
    Create a job and publish its chunks, or return the job that *submitter* created with the same *idempotency_key*.

    *priority* is one of `PRIORITY_NAMES`, or None for that of the kind. At the *deadline*, chunks that have not begun
    are cancelled. The receipt of an erasure stores *submitter*, so it must not name a member.
    """
    if kind not in KIND_NAMES:
        raise InvalidRequest(f"There is no job kind {kind!r}. Use one of {', '.join(KIND_NAMES)}.", "/kind")
    key_hash = mask_identity("idempotency key", f"{submitter}\n{idempotency_key}") if idempotency_key else None
    level = find_kind(kind).priority if priority is None else Job.Priority(PRIORITY_NAMES.index(priority))
    request = Job(kind=kind, params=dict(params), priority=level, deadline=deadline, idempotency_hash=key_hash)
    job = find_or_create_job(request, now, submitter)
    if any(getattr(job, name) != getattr(request, name) for name in ("kind", "params", "priority", "deadline")):
        raise InvalidRequest("This idempotency key was used for another job. Use a new key.", "/idempotency_key")
    return build_job_view(job)


@write_transaction
def find_or_create_job(request: Job, now: datetime, submitter: str) -> Job:
    """Return the job with the request's hash, or a new one. If a concurrent request creates it, this is run again."""
    if request.idempotency_hash:
        earlier = Job.objects.filter(idempotency_hash=request.idempotency_hash).first()
        if earlier:
            return earlier
    check_deadline(request, now)
    return create_job(request, resolve_items(request.kind, request.params), now, submitter)


def check_deadline(request: Job, now: datetime) -> None:
    """Raise `InvalidRequest` if the job would be cancelled at once, or cannot be cancelled."""
    if request.deadline is None:
        return
    if request.deadline <= now:
        raise InvalidRequest("deadline: give a time in the future.", "/deadline")
    if not find_kind(request.kind).is_cancellable:
        raise InvalidRequest(f"deadline: a job of the kind {request.kind} cannot be cancelled.", "/deadline")


def resolve_items(kind: str, params: Mapping[str, Any]) -> list[int]:
    """Return the primary keys of the job's items. Raises `InvalidRequest` or `UnknownMember` for invalid parameters."""
    job_kind = find_kind(kind)
    if job_kind.resolve:
        return job_kind.resolve(params)
    parameter = "post_ids" if job_kind.items is Post else "member_ids"
    if unknown := set(params) - {parameter}:
        raise InvalidRequest(f"{', '.join(sorted(unknown))}: not a parameter of {kind}. Give {parameter}.", "/params")
    if parameter not in params:
        if job_kind.default_items is None:
            raise InvalidRequest(f"{parameter}: required. A {kind} job has no default items.", f"/params/{parameter}")
        return list(job_kind.default_items().order_by("pk").values_list("pk", flat=True))
    external_ids = params[parameter]
    if isinstance(external_ids, list) and len(external_ids) > MAX_JOB_ITEMS:
        detail = f"{parameter}: give at most {MAX_JOB_ITEMS:,} ids, not {len(external_ids):,}. Submit several jobs."
        raise InvalidRequest(detail, f"/params/{parameter}")
    if (
        not isinstance(external_ids, list)
        or not external_ids
        or not all(isinstance(item, str) for item in external_ids)
    ):
        raise InvalidRequest(f"{parameter}: give a non-empty list of ids.", f"/params/{parameter}")
    if problem := find_storage_problem(external_ids):
        raise InvalidRequest(f"{parameter}: an id {problem}.", f"/params/{parameter}")
    keys = dict(job_kind.items.objects.filter(external_id__in=external_ids).values_list("external_id", "pk"))
    if missing := [item for item in external_ids if item not in keys]:
        if parameter == "member_ids":
            raise UnknownMember(missing[0])
        raise InvalidRequest(
            f"There is no post {missing[0]!r}. Send the post first, or check the id.", "/params/post_ids"
        )
    return sorted(set(keys.values()))


def create_job(request: Job, items: Sequence[int], now: datetime, submitter: str) -> Job:
    """Write the job and its chunks, and publish the first ones on commit. A job without items is done at once."""
    lock_limited_kind(request.kind)
    job = Job.objects.create(
        kind=request.kind,
        params=request.params,
        priority=request.priority,
        deadline=request.deadline,
        idempotency_hash=request.idempotency_hash,
        total=len(items),
        created_at=now,
    )
    add_chunks(job, items)
    if on_accept := find_kind(job.kind).on_accept:
        on_accept(job, items, now, submitter)
    if items:
        publish_chunks(job, now)
    else:
        finish_job(job.pk, now)
        job.refresh_from_db()
    return job


def add_chunks(job: Job, items: Sequence[int]) -> None:
    """Write chunks with these items, which wait to be published."""
    last = JobChunk.objects.filter(job=job).aggregate(last=Max("number"))["last"]
    first_number = 0 if last is None else last + 1
    size = settings.ENV.batch_processing_size
    chunks = [
        JobChunk(job=job, number=number, item_ids=list(items[start : start + size]), priority=job.priority)
        for number, start in enumerate(range(0, len(items), size), first_number)
    ]
    JobChunk.objects.bulk_create(chunks, batch_size=500)


def read_job(*, job_id: UUID) -> JobView:
    """Return the job. Raises `UnknownJob`."""
    return build_job_view(find_job(job_id))


def find_job(job_id: UUID) -> Job:
    """Return the row of a job. Raises `UnknownJob`."""
    job = Job.objects.filter(pk=job_id).first()
    if job is None:
        raise UnknownJob(job_id)
    return job


def list_jobs(*, before: datetime | None, limit: int, kind: str = "", state: str = "") -> list[JobView]:
    """Return up to *limit* jobs, newest first: those created before *before*, of *kind* and *state* if given."""
    conditions = {"created_at__lt": before, "kind": kind, "state": state}
    rows = Job.objects.filter(**{name: value for name, value in conditions.items() if value}).order_by("-created_at")
    return [build_job_view(job) for job in rows[:limit]]


@dataclass(frozen=True, slots=True)
class FailureView:
    """A failed item of a job, as entry points see it."""

    item_id: int
    id: str | None
    """The id of the member or post. None if it does not exist any more, or if the items are neither."""
    problem: str
    failed_at: datetime
    cursor: int


def list_failures(*, job_id: UUID, after: int, limit: int) -> list[FailureView]:
    """Return up to *limit* failed items of a job, the oldest first, after the one with the cursor *after*."""
    job = find_job(job_id)
    kind = find_kind(job.kind)
    rows = list(JobFailure.objects.filter(job=job, pk__gt=after).order_by("pk")[:limit])
    items = kind.items.objects.filter(pk__in=[row.item_id for row in rows])
    ids = {} if kind.resolve else dict(items.values_list("pk", "external_id"))
    return [FailureView(row.item_id, ids.get(row.item_id), row.problem, row.failed_at, row.pk) for row in rows]


@write_transaction
def cancel_job(*, job_id: UUID, now: datetime) -> JobView:
    """
    Cancel a job: queued chunks are cancelled, running chunks are finished. A finished job is not changed.

    A running chunk of a long kind ends at its next check (`check_cancellation`). Raises `UnknownJob`, and
    `JobNotCancellable` for an erasure: what it erases is hidden already.
    """
    job = lock_for_publishing(find_job(job_id))
    if not build_job_view(job).is_finished:
        if not find_kind(job.kind).is_cancellable:
            raise JobNotCancellable(job.kind)
        cancel_waiting_chunks(job, now)
    return read_job(job_id=job_id)


def cancel_waiting_chunks(job: Job, now: datetime, **changes: object) -> None:
    """Cancel the chunks of a locked job that have not begun, and change its row."""
    Job.objects.filter(pk=job.pk).update(cancel_requested_at=now, **changes)
    job.chunks.filter(state=Job.State.QUEUED).update(state=Job.State.CANCELLED, **OUTSIDE_WINDOW)
    finish_job(job.pk, now)
    publish_chunks(job, now)


@write_transaction
def expire_job(job: Job, now: datetime) -> None:
    """Cancel a job whose deadline has passed, unless it has been finished or cancelled meanwhile."""
    job = lock_for_publishing(job)
    if job.state in UNFINISHED_STATES and job.cancel_requested_at is None:
        cancel_waiting_chunks(job, now, is_expired=True)


@write_transaction
def retry_job(*, job_id: UUID, now: datetime, item_ids: Collection[int] | None = None) -> JobView:
    """
    Queue the failed items and the cancelled chunks of a finished job again, or only the failed items in *item_ids*.

    Does nothing for a job that is not finished. The job loses its deadline.
    """
    job = lock_for_publishing(find_job(job_id))
    if not build_job_view(job).is_finished:
        return build_job_view(job)
    items = take_failed_items(job, item_ids)
    add_chunks(job, items)
    if item_ids is None:
        job.chunks.filter(state=Job.State.CANCELLED).update(state=Job.State.QUEUED, attempts=0, error="")
    if not job.chunks.filter(state=Job.State.QUEUED).exists():
        return build_job_view(job)
    errors = [error for error in job.errors if error["item_id"] not in items]
    Job.objects.filter(pk=job_id).update(
        state=Job.State.RUNNING,
        finished_at=None,
        cancel_requested_at=None,
        deadline=None,
        is_expired=False,
        failed=F("failed") - len(items),
        errors=errors,
    )
    job.refresh_from_db()
    publish_chunks(job, now)
    return build_job_view(job)


def take_failed_items(job: Job, item_ids: Collection[int] | None) -> list[int]:
    """Delete the failures of a locked job, only those of *item_ids* if given, and return their items."""
    failures = job.failures.all() if item_ids is None else job.failures.filter(item_id__in=item_ids)
    items = set(failures.values_list("item_id", flat=True))
    failed_chunks = job.chunks.filter(state=Job.State.FAILED)
    if item_ids is None:  # a release without `JobFailure` has only marked their chunks as failed
        items.update(item for chunk in failed_chunks for item in chunk.item_ids)
    failures.delete()
    job.chunks.filter(pk__in=[chunk.pk for chunk in failed_chunks if items.issuperset(chunk.item_ids)]).delete()
    return sorted(items)


# Publish


def lock_limited_kind(kind: str) -> None:
    """Wait until no other transaction publishes chunks of the kind, if it has a limit. Call it before `lock_job`."""
    if find_kind(kind).max_running is not None:
        lock_job_kind(kind)


def lock_for_publishing(job: Job) -> Job:
    """Lock the job, and its kind if it has a limit. Return the row as it is now, or *job* if it was deleted."""
    lock_limited_kind(job.kind)
    lock_job(job.pk)
    return Job.objects.filter(pk=job.pk).first() or job


def publish_chunks(job: Job, now: datetime) -> None:
    """Publish what fits into the window of a locked job, or, if its kind has a limit, of any job of the kind."""
    limit = find_kind(job.kind).max_running
    if limit is None:
        fill_window(job, settings.ENV.job_window_chunks, now)
    else:
        publish_limited_kind(job.kind, limit, now)


def fill_window(job: Job, limit: int, now: datetime) -> None:
    """Give up to *limit* waiting chunks of a locked job a free slot each, and publish them on commit."""
    if job.deadline is not None and job.deadline <= now:
        return
    unfinished = JobChunk.objects.filter(IS_UNFINISHED, job=job)
    used = set(unfinished.filter(slot__isnull=False).values_list("slot", flat=True))
    free = [slot for slot in range(settings.ENV.job_window_chunks) if slot not in used][:limit]
    waiting = unfinished.filter(slot=None, state=Job.State.QUEUED).order_by("number")[: len(free)]
    for slot, chunk in zip(free, waiting, strict=False):
        JobChunk.objects.filter(pk=chunk.pk).update(slot=slot, publications=1, lost_after=now + MESSAGE_GRACE)
        enqueue_chunk(job, chunk.number)


def publish_limited_kind(kind: str, limit: int, now: datetime) -> None:
    """Publish chunks of a locked kind up to its limit, each of the job that has the fewest published ones."""
    published = JobChunk.objects.filter(IS_UNFINISHED, job__kind=kind, slot__isnull=False)
    for _ in range(limit - published.count()):
        job = jobs_to_publish(now).filter(kind=kind).first()
        if job is None:
            return
        fill_window(job, 1, now)


def jobs_to_publish(now: datetime) -> QuerySet[Job]:
    """Return the jobs that have a waiting chunk and a free slot, first those with the fewest published chunks."""
    chunks = JobChunk.objects.filter(IS_UNFINISHED, job=OuterRef("pk"))
    counts = chunks.filter(slot__isnull=False).order_by().values("job").annotate(count=Count("pk")).values("count")
    has_waiting = Exists(chunks.filter(slot=None, state=Job.State.QUEUED))
    jobs = Job.objects.filter(Q(deadline=None) | Q(deadline__gt=now), has_waiting, state__in=UNFINISHED_STATES)
    counted = jobs.filter(kind__in=known_kinds()).annotate(published=Coalesce(Subquery(counts), 0))
    with_slot = counted.filter(published__lt=settings.ENV.job_window_chunks)
    return with_slot.order_by("priority", "published", "created_at", "pk")


def enqueue_chunk(job: Job, number: int) -> None:
    """Publish a message that makes a worker process a chunk of the queue, on commit."""
    arguments = {"job_id": str(job.pk), "number": number}
    task_queue.enqueue(task_queue.PROCESS_CHUNK, arguments, queue=find_kind(job.kind).queue_name)


# Process


def process_chunk(*, job_id: UUID, number: int, now: datetime) -> bool:
    """Claim and process a chunk, at the message that names this one. Return False if no chunk is to be processed."""
    chunk = claim_chunk(job_id, number, now)
    if chunk is None:
        return False
    started = monotonic()
    Job.objects.filter(pk=chunk.job_id, state=Job.State.QUEUED).update(state=Job.State.RUNNING, started_at=now)
    try:
        with renewed_lease(chunk, now):
            errors = find_kind(chunk.job.kind).process(chunk, chunk.item_ids, now)
    except JobCancelledError:
        stop_chunk(chunk, time_since(started, now))
        return True
    except SystemExit:
        # The worker stops, and Celery raises this in the middle of any statement: use a new connection. The items are
        # not to blame, so the attempt does not count.
        if not connection.in_atomic_block:
            connection.close()
        requeue_chunk(chunk, time_since(started, now), attempts=chunk.attempts - 1)
        raise
    except Exception as error:
        # Release the chunk: its items are tried again, in smaller chunks, until the failing one is alone.
        release_chunk(chunk, f"{type(error).__name__}: {error}", time_since(started, now))
        raise
    complete_chunk(chunk, Job.State.DONE, errors, time_since(started, now))
    return True


def time_since(started: float, now: datetime) -> datetime:
    """Return the current time. *started* is the value of `monotonic` at *now*."""
    return now + timedelta(seconds=monotonic() - started)


def claim_chunk(job_id: UUID, number: int, now: datetime) -> JobChunk | None:
    """
    Claim the best published chunk of the queue of this job. Return None if there is none.

    The message of the claimed chunk is still in the queue. It will claim another chunk, so the chunk that the current
    message names waits for it.
    """
    kind = Job.objects.filter(pk=job_id, kind__in=known_kinds()).values_list("kind", flat=True).first()
    chunk = claim_best_chunk(find_kind(kind).queue_name, now) if kind else None
    if chunk is not None:
        named = JobChunk.objects.filter(job=job_id, number=number, state=Job.State.QUEUED, slot__isnull=False)
        named.update(lost_after=chunk.lost_after)
    return chunk


@write_transaction
def claim_best_chunk(queue: str, now: datetime) -> JobChunk | None:
    """Set the best published chunk of a queue to running, with a lease. Workers that do this at once do not wait."""
    kinds = [kind.kind for kind in all_kinds() if kind.queue_name == queue]
    published = JobChunk.objects.filter(state=Job.State.QUEUED, slot__isnull=False, job__kind__in=kinds)
    in_time = published.filter(Q(job__deadline=None) | Q(job__deadline__gt=now)).select_related("job")
    best = in_time.order_by("priority", "slot", "lost_after", "pk")
    chunk = best.select_for_update(skip_locked=True, no_key=True, of=("self",)).first()
    if chunk is None:
        return None
    chunk.state, chunk.attempts, chunk.claim_id = Job.State.RUNNING, chunk.attempts + 1, uuid4()
    chunk.leased_until = now + timedelta(seconds=settings.ENV.job_lease_seconds)
    chunk.save(update_fields=["state", "attempts", "claim_id", "leased_until"])
    return chunk


@contextmanager
def renewed_lease(chunk: JobChunk, now: datetime) -> Iterator[None]:
    """Renew the lease of a claimed chunk in a thread, four times per lease, until the block ends."""
    started, is_over = monotonic(), threading.Event()
    seconds = settings.ENV.job_lease_seconds

    def renew() -> None:
        while not is_over.wait(seconds / 4):
            lease = time_since(started, now) + timedelta(seconds=seconds)
            try:
                claimed_chunk(chunk).update(leased_until=lease)
            except DatabaseError:
                log.exception("lease_not_renewed")
        connections.close_all()

    thread = threading.Thread(target=renew, name="renew-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def claimed_chunk(chunk: JobChunk) -> QuerySet[JobChunk]:
    """Return the chunk's row as a query that is empty once the claim was lost."""
    # A worker of the release before `claim_id` only increases the attempts.
    claim = {"claim_id": chunk.claim_id, "attempts": chunk.attempts}
    return JobChunk.objects.filter(pk=chunk.pk, state=Job.State.RUNNING, **claim)


def release_chunk(chunk: JobChunk, error: str, now: datetime, *, has_message: bool = False) -> None:
    """
    Split a failed chunk in two; queue a chunk of one item again, or complete it as failed after the last attempt.

    So an item that fails its chunk, or kills its worker, fails alone in the end, and the others are done. Does nothing
    if the claim was lost: a worker whose lease has expired may fail after another worker has completed the chunk. To
    queue it again would count its items twice.
    """
    if len(chunk.item_ids) > 1:
        split_chunk(chunk, now)
    elif chunk.attempts < MAX_CHUNK_ATTEMPTS:
        requeue_chunk(chunk, now, attempts=chunk.attempts, error=error, has_message=has_message)
    else:
        errors = [{"item_id": item, "problem": error} for item in chunk.item_ids]
        complete_chunk(chunk, Job.State.FAILED, errors, now, error)


@write_transaction
def requeue_chunk(chunk: JobChunk, now: datetime, *, attempts: int, error: str = "", has_message: bool = True) -> None:
    """
    Queue a claimed chunk again, in its slot, or cancel it if its job was cancelled.

    Without a message it waits for `reconcile_jobs`, which misses the message: the pause before the next attempt.
    """
    job = lock_for_publishing(chunk.job)
    if job.cancel_requested_at is not None:
        cancel_chunk(chunk, now, attempts=attempts, error=error)
        return
    is_queued = claimed_chunk(chunk).update(
        state=Job.State.QUEUED,
        attempts=attempts,
        error=error,
        leased_until=None,
        publications=1,
        lost_after=now + MESSAGE_GRACE,
    )
    if is_queued and has_message:
        enqueue_chunk(job, chunk.number)


@write_transaction
def split_chunk(chunk: JobChunk, now: datetime) -> None:
    """
    Replace a claimed chunk by two chunks with half of its items each, and publish what fits.

    They are new rows: in the same row, a late worker could complete what is left of its items.
    """
    job = lock_for_publishing(chunk.job)
    if job.cancel_requested_at is not None:
        cancel_chunk(chunk, now)
        return
    if not claimed_chunk(chunk).exists():
        return
    middle = len(chunk.item_ids) // 2
    add_chunks(job, chunk.item_ids[:middle])
    add_chunks(job, chunk.item_ids[middle:])
    claimed_chunk(chunk).delete()
    publish_chunks(job, now)


def check_cancellation(chunk: JobChunk) -> None:
    """Raise `JobCancelledError` if the job was cancelled or has been deleted, or if the claim was lost."""
    if not claimed_chunk(chunk).filter(job__cancel_requested_at=None).exists():
        raise JobCancelledError(chunk.job_id)


def set_job_result(chunk: JobChunk, result: Mapping[str, Any]) -> None:
    """Replace the result of a chunk's job, which may also say how far it is. Does nothing if the claim was lost."""
    Job.objects.filter(pk=chunk.job_id, chunks__in=claimed_chunk(chunk)).update(result=dict(result))


@write_transaction
def stop_chunk(chunk: JobChunk, now: datetime) -> None:
    """Cancel a chunk whose processing has ended early. Its items are not counted; a retry processes them."""
    lock_for_publishing(chunk.job)
    cancel_chunk(chunk, now)


def cancel_chunk(chunk: JobChunk, now: datetime, **changes: object) -> None:
    """Cancel a claimed chunk of a locked job, and change its row. Does nothing if the claim was lost."""
    if claimed_chunk(chunk).update(state=Job.State.CANCELLED, **OUTSIDE_WINDOW, **changes):
        finish_job(chunk.job_id, now)
        publish_chunks(chunk.job, now)


@write_transaction
def complete_chunk(
    chunk: JobChunk, state: str, errors: Sequence[dict[str, Any]], now: datetime, error: str = ""
) -> None:
    """Count a chunk's items, once, and finish the job if no chunk is left. Does nothing if the claim was lost."""
    job = lock_for_publishing(chunk.job)
    if not claimed_chunk(chunk).update(state=state, error=error, **OUTSIDE_WINDOW):
        return
    failed, done = len(errors), len(chunk.item_ids) - len(errors)
    failures = [JobFailure(job=job, failed_at=now, **item) for item in errors]
    JobFailure.objects.bulk_create(failures, batch_size=500)
    Job.objects.filter(pk=job.pk).update(
        failed=F("failed") + failed, done=F("done") + done, errors=(job.errors + list(errors))[:MAX_ERRORS]
    )
    finish_job(chunk.job_id, now)
    publish_chunks(job, now)
    transaction.on_commit(lambda: count_items(job.kind, done, failed))


def count_items(kind: str, done: int, failed: int) -> None:
    """Add to the metrics of processed items."""
    metrics.JOB_ITEMS.labels(kind, "done").inc(done)
    metrics.JOB_ITEMS.labels(kind, "failed").inc(failed)


def finish_job(job_id: UUID, now: datetime) -> None:
    """Set the job's final state if none of its chunks is queued or running."""
    chunks = JobChunk.objects.filter(job_id=job_id)
    if chunks.filter(IS_UNFINISHED).exists():
        return
    states = set(chunks.values_list("state", flat=True))
    state = Job.State.DONE
    if Job.State.FAILED in states:
        state = Job.State.FAILED
    if Job.State.CANCELLED in states:
        state = Job.State.CANCELLED
    Job.objects.filter(pk=job_id, state__in=UNFINISHED_STATES).update(state=state, finished_at=now)


# Reconcile


def reconcile_jobs(*, now: datetime) -> int:
    """
    Release the chunks of lost workers, cancel expired jobs, fill windows, and publish lost messages again.

    Each step reads its rows in an order with an index. A row is read until it is changed, and a chunk whose worker
    renews its lease is not read, so long chunks hide no others. Return how many messages were published again.
    """
    lost = JobChunk.objects.filter(state=Job.State.RUNNING, leased_until__lt=now)
    overdue = lost.filter(job__kind__in=known_kinds()).select_related("job")
    for_each(overdue.order_by("leased_until", "pk")[:MAX_RECONCILED], release_lost_chunk, now)
    unfinished = Job.objects.filter(kind__in=known_kinds(), state__in=UNFINISHED_STATES)
    expired = unfinished.filter(deadline__lte=now, cancel_requested_at=None)
    for_each(expired.order_by("deadline", "pk")[:MAX_RECONCILED], expire_job, now)
    fill_windows(now)
    return publish_lost_messages(now)


def for_each(rows: Iterable[R], step: Callable[[R, datetime], T], now: datetime) -> list[T]:
    """Call the step for each row, and return the results. A row whose step fails does not keep the others waiting."""
    results = []
    for row in rows:
        try:
            results.append(step(row, now))
        except DatabaseError:
            log.exception("reconciliation_failed")
    return results


def release_lost_chunk(chunk: JobChunk, now: datetime) -> None:
    """Release a chunk of a lost worker, unless the lease has been renewed since it was read."""
    taken = uuid4()  # from here on the worker, which may only be paused, has lost its claim
    if claimed_chunk(chunk).filter(leased_until__lt=now).update(claim_id=taken):
        chunk.claim_id = taken
        release_chunk(chunk, f"The worker was lost {chunk.attempts} times.", now, has_message=True)


def fill_windows(now: datetime) -> None:
    """Publish waiting chunks where a process died before it did, or where a release without windows wrote them."""
    limited = [kind.kind for kind in all_kinds() if kind.max_running is not None]
    for_each(jobs_to_publish(now).exclude(kind__in=limited)[:MAX_RECONCILED], publish_job, now)
    for kind in limited:
        for_each(jobs_to_publish(now).filter(kind=kind)[:1], publish_job, now)


@write_transaction
def publish_job(job: Job, now: datetime) -> None:
    """Publish what fits into the window of a job or of its kind."""
    publish_chunks(lock_for_publishing(job), now)


def publish_lost_messages(now: datetime) -> int:
    """
    Publish the messages of waiting chunks again that are not in their queue. Return how many.

    A queue is in the order of publication. A message that was published before the oldest one in the queue has
    therefore left it, so a chunk may wait for hours, and no message is published twice. Without a broker nothing is
    lost: its messages cannot be seen.
    """
    queues = sorted({kind.queue_name for kind in all_kinds()})
    try:
        oldest_times = read_oldest_due_times(queues)
    except RedisError as error:
        log.warning("queue_not_read", extra={"problem": type(error).__name__})
        return 0
    published = 0
    for queue in queues:
        kinds = [kind.kind for kind in all_kinds() if kind.queue_name == queue]
        before = min(now, oldest_times.get(queue, now))
        waiting = JobChunk.objects.filter(state=Job.State.QUEUED, slot__isnull=False, lost_after__lt=before)
        lost = waiting.filter(job__kind__in=kinds).select_related("job").order_by("lost_after", "pk")
        published += sum(for_each(lost[:MAX_RECONCILED], publish_again, now))
    return published


@write_transaction
def publish_again(chunk: JobChunk, now: datetime) -> int:
    """Publish the message of a waiting chunk again, unless the chunk has changed since it was read."""
    unchanged = JobChunk.objects.filter(
        pk=chunk.pk, state=Job.State.QUEUED, slot=chunk.slot, lost_after=chunk.lost_after
    )
    grace = MESSAGE_GRACE * REPUBLICATION_FACTOR**chunk.publications
    is_published = unchanged.update(lost_after=now + grace, publications=F("publications") + 1)
    if is_published:
        enqueue_chunk(chunk.job, chunk.number)
    return is_published
