"""
Jobs: submit, split into chunks, process, read, list, cancel, retry and reconcile them.

A message only triggers work; the rows record it. A job and its chunks are committed before a message is published,
so a lost message loses no work. Messages may also arrive twice, and a worker may die or be slow. Two conditional
updates keep the counts right without holding a lock while a chunk is processed:

* `claim_chunk` sets a chunk from queued (or running with an expired lease) to running, raises `attempts` by one and
  sets a lease, all in one UPDATE. The database lets only one of several concurrent updates match, so one worker gets
  the chunk.
* `complete_chunk` updates the chunk only if it is still running with the same `attempts`. A worker whose lease ran out
  and whose chunk was claimed again no longer matches, so a chunk that is processed twice is counted once. Comparing
  only the state would let the slow worker complete the chunk of its successor.

A worker renews the lease of its chunk while it works, however long the chunk takes. A chunk whose worker died keeps its
lease until it expires. `reconcile_jobs`, which runs on a schedule, then publishes the chunk again. Processing must
therefore be safe to repeat.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, connections, transaction
from django.db.models import F, Max, Q, QuerySet

from access.masks import mask_identity
from monitoring import metrics
from monitoring.transactions import write_transaction
from recommendations import task_queue
from recommendations.models import Job, JobChunk, Member, Post
from recommendations.services.errors import InvalidRequest, JobNotCancellable, UnknownJob, UnknownMember
from recommendations.stores.row_locks import lock_job
from values.text import find_storage_problem

log = logging.getLogger(__name__)

MAX_JOB_ITEMS = 10_000
"""Members or posts that a request for a job may name. A job for all needs no names."""
MAX_CHUNK_ATTEMPTS = 3
MAX_ERRORS = 20

UNFINISHED_STATES = (Job.State.QUEUED, Job.State.RUNNING)


Process = Callable[[UUID, Sequence[int], datetime], list[dict[str, Any]]]
"""Processes the items of one chunk. Takes the job's id, item ids and the time; returns one error per failed item."""


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
    resolve: Callable[[Mapping[str, Any]], list[int]] | None = None
    """Returns the items for the job's parameters, if they are not rows of `items`. Raises `InvalidRequest`."""
    is_cancellable: bool = True


class JobCancelledError(Exception):
    """Raised by the function that processes a chunk, to end it because its job was cancelled."""


KINDS: dict[str, JobKind] = {}

KIND_NAMES: tuple[str, ...] = tuple(Job.Kind.values)
"""The kinds that entry points accept."""


def register_kind(kind: JobKind) -> None:
    """Register a kind of job. `services/extensions/jobs.py` registers all kinds when the app starts."""
    KINDS[kind.kind] = kind


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
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        is_cancel_requested=job.cancel_requested_at is not None,
        has_file=job.kind == Job.Kind.EXPORT_MEMBERS and job.state == Job.State.DONE and job.files.exists(),
    )


# Submit, read and control


def submit_job(
    *, kind: str, params: Mapping[str, Any], now: datetime, idempotency_key: str | None = None, submitter: str = ""
) -> JobView:
    """
    Create a job and enqueue its chunks, or return the job that *submitter* created with the same *idempotency_key*.

    The receipt of an erasure stores *submitter*, so it must not name a member.
    """
    if kind not in KIND_NAMES:
        raise InvalidRequest(f"There is no job kind {kind!r}. Use one of {', '.join(KIND_NAMES)}.", "/kind")
    key_hash = mask_identity("idempotency key", f"{submitter}\n{idempotency_key}") if idempotency_key else None
    job = find_or_create_job(kind, dict(params), now, key_hash, submitter)
    if (job.kind, job.params) != (kind, dict(params)):
        raise InvalidRequest("This idempotency key was used for another job. Use a new key.", "/idempotency_key")
    return build_job_view(job)


@write_transaction
def find_or_create_job(
    kind: str, params: dict[str, Any], now: datetime, idempotency_hash: str | None, submitter: str
) -> Job:
    """Return the job with the hash, or a new one. If a concurrent request creates it first, this is run again."""
    earlier = Job.objects.filter(idempotency_hash=idempotency_hash).first() if idempotency_hash else None
    return earlier or create_job(kind, params, resolve_items(kind, params), now, idempotency_hash, submitter)


def resolve_items(kind: str, params: Mapping[str, Any]) -> list[int]:
    """Return the primary keys of the job's items. Raises `InvalidRequest` or `UnknownMember` for invalid parameters."""
    job_kind = KINDS[kind]
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


def create_job(
    kind: str,
    params: dict[str, Any],
    items: Sequence[int],
    now: datetime,
    idempotency_hash: str | None,
    submitter: str,
) -> Job:
    """Write the job and its chunks, and publish the chunks on commit. A job without items is done at once."""
    job = Job.objects.create(
        kind=kind, params=params, total=len(items), created_at=now, idempotency_hash=idempotency_hash
    )
    size = settings.ENV.batch_processing_size
    lease = now + timedelta(seconds=settings.ENV.job_lease_seconds)
    chunks = [
        JobChunk(job=job, number=number, item_ids=list(items[start : start + size]), leased_until=lease)
        for number, start in enumerate(range(0, len(items), size))
    ]
    JobChunk.objects.bulk_create(chunks, batch_size=500)
    if on_accept := KINDS[kind].on_accept:
        on_accept(job, items, now, submitter)
    for chunk in chunks:
        enqueue_chunk(job, chunk.number)
    if not chunks:
        finish_job(job.pk, now)
        job.refresh_from_db()
    return job


def enqueue_chunk(job: Job, number: int) -> None:
    """Publish the message that makes a worker process this chunk, on commit."""
    task_queue.enqueue(task_queue.PROCESS_CHUNK, {"job_id": str(job.pk), "number": number}, queue=KINDS[job.kind].queue)


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


@write_transaction
def cancel_job(*, job_id: UUID, now: datetime) -> JobView:
    """
    Cancel a job: queued chunks are cancelled, running chunks are finished. A finished job is not changed.

    A running chunk of a long kind ends at its next check (`check_cancellation`). Raises `UnknownJob`, and
    `JobNotCancellable` for an erasure: what it erases is hidden already.
    """
    lock_job(job_id)
    job = find_job(job_id)
    if not build_job_view(job).is_finished:
        if not KINDS[job.kind].is_cancellable:
            raise JobNotCancellable(job.kind)
        Job.objects.filter(pk=job_id).update(cancel_requested_at=now)
        job.chunks.filter(state=Job.State.QUEUED).update(state=Job.State.CANCELLED, leased_until=None)
        finish_job(job_id, now)
    return read_job(job_id=job_id)


@write_transaction
def retry_job(*, job_id: UUID, now: datetime) -> JobView:
    """Queue the failed and cancelled chunks of a finished job again. Does nothing for a job that is not finished."""
    lock_job(job_id)
    job = find_job(job_id)
    chunks = job.chunks.filter(state__in=(Job.State.FAILED, Job.State.CANCELLED))
    if build_job_view(job).is_finished and chunks.exists():
        failed = {item for chunk in chunks if chunk.state == Job.State.FAILED for item in chunk.item_ids}
        errors = [error for error in job.errors if error["item_id"] not in failed]
        lease = now + timedelta(seconds=settings.ENV.job_lease_seconds)
        numbers = list(chunks.values_list("number", flat=True))
        chunks.update(state=Job.State.QUEUED, attempts=0, leased_until=lease, error="")
        Job.objects.filter(pk=job_id).update(
            state=Job.State.RUNNING,
            finished_at=None,
            cancel_requested_at=None,
            failed=F("failed") - len(failed),
            errors=errors,
        )
        for number in numbers:
            enqueue_chunk(job, number)
    return read_job(job_id=job_id)


# Process


def process_chunk(*, job_id: UUID, number: int, now: datetime) -> bool:
    """Claim and process one chunk. Return False if it is finished or another worker holds it."""
    chunk = claim_chunk(job_id, number, now)
    if chunk is None:
        return False
    Job.objects.filter(pk=job_id, state=Job.State.QUEUED).update(state=Job.State.RUNNING, started_at=now)
    kind = KINDS[chunk.job.kind]
    try:
        with renewed_lease(chunk, now):
            errors = kind.process(job_id, chunk.item_ids, now)
    except JobCancelledError:
        stop_chunk(chunk, now)
        return True
    except Exception as error:
        # Release the chunk: its items are tried again, in smaller chunks, until the failing one is alone.
        release_chunk(chunk, f"{type(error).__name__}: {error}", now)
        raise
    complete_chunk(chunk, Job.State.DONE, errors, now)
    return True


def claim_chunk(job_id: UUID, number: int, now: datetime) -> JobChunk | None:
    """Claim a chunk that is queued, or running with an expired lease, by one UPDATE. Return None if it is neither."""
    lease = now + timedelta(seconds=settings.ENV.job_lease_seconds)
    is_claimable = Q(state=Job.State.QUEUED) | Q(state=Job.State.RUNNING, leased_until__lt=now)
    is_claimed = JobChunk.objects.filter(is_claimable, job_id=job_id, number=number).update(
        state=Job.State.RUNNING, attempts=F("attempts") + 1, leased_until=lease
    )
    return JobChunk.objects.select_related("job").get(job_id=job_id, number=number) if is_claimed else None


@contextmanager
def renewed_lease(chunk: JobChunk, now: datetime) -> Iterator[None]:
    """Renew the lease of a claimed chunk in a thread, four times per lease, until the block ends."""
    started, is_over = monotonic(), threading.Event()
    seconds = settings.ENV.job_lease_seconds

    def renew() -> None:
        while not is_over.wait(seconds / 4):
            lease = now + timedelta(seconds=monotonic() - started + seconds)
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
    """Return the chunk's row as a query that is empty once the claim was lost: each claim increases `attempts`."""
    return JobChunk.objects.filter(pk=chunk.pk, state=Job.State.RUNNING, attempts=chunk.attempts)


def release_chunk(chunk: JobChunk, error: str, now: datetime) -> None:
    """
    Split a failed chunk in two; queue a chunk of one item again, or complete it as failed after the last attempt.

    So an item that fails its chunk, or kills its worker, fails alone in the end, and the others are done. Does nothing
    if the claim was lost: a worker whose lease has expired may fail after another worker has completed the chunk. To
    queue it again would count its items twice.
    """
    if len(chunk.item_ids) > 1:
        split_chunk(chunk, now)
    elif chunk.attempts < MAX_CHUNK_ATTEMPTS:
        claimed_chunk(chunk).update(state=Job.State.QUEUED, leased_until=now, error=error)
    else:
        errors = [{"item_id": item, "problem": error} for item in chunk.item_ids]
        complete_chunk(chunk, Job.State.FAILED, errors, now, error)


@write_transaction
def split_chunk(chunk: JobChunk, now: datetime) -> None:
    """
    Replace a claimed chunk by two chunks with half of its items each, and publish them.

    They are new rows: in the same row, a late worker could complete what is left of its items.
    """
    lock_job(chunk.job_id)
    if not claimed_chunk(chunk).delete()[0]:
        return
    last = JobChunk.objects.filter(job=chunk.job_id).aggregate(last=Max("number"))["last"]
    first_number = max(chunk.number, last or 0) + 1
    middle = len(chunk.item_ids) // 2
    lease = now + timedelta(seconds=settings.ENV.job_lease_seconds)
    is_cancelled = Job.objects.filter(pk=chunk.job_id, cancel_requested_at__isnull=False).exists()
    halves = [
        JobChunk(
            job_id=chunk.job_id,
            number=first_number + half,
            item_ids=items,
            state=Job.State.CANCELLED if is_cancelled else Job.State.QUEUED,
            leased_until=None if is_cancelled else lease,
        )
        for half, items in enumerate((chunk.item_ids[:middle], chunk.item_ids[middle:]))
    ]
    JobChunk.objects.bulk_create(halves)
    if is_cancelled:
        finish_job(chunk.job_id, now)
        return
    for half in halves:
        enqueue_chunk(chunk.job, half.number)


def check_cancellation(job_id: UUID) -> None:
    """Raise `JobCancelledError` if the job was cancelled or has been deleted."""
    if not Job.objects.filter(pk=job_id, cancel_requested_at=None).exists():
        raise JobCancelledError(job_id)


def set_job_result(job_id: UUID, result: Mapping[str, Any]) -> None:
    """Replace the result of a job, which may also say how far a running job is."""
    Job.objects.filter(pk=job_id).update(result=dict(result))


@write_transaction
def stop_chunk(chunk: JobChunk, now: datetime) -> None:
    """Cancel a chunk whose processing has ended early. Its items are not counted; a retry processes them."""
    lock_job(chunk.job_id)
    claimed_chunk(chunk).update(state=Job.State.CANCELLED, leased_until=None)
    finish_job(chunk.job_id, now)


@write_transaction
def complete_chunk(
    chunk: JobChunk, state: str, errors: Sequence[dict[str, Any]], now: datetime, error: str = ""
) -> None:
    """Count a chunk's items, once, and finish the job if no chunk is left. Does nothing if the claim was lost."""
    lock_job(chunk.job_id)
    if not claimed_chunk(chunk).update(state=state, leased_until=None, error=error):
        return
    job = Job.objects.get(pk=chunk.job_id)
    failed, done = len(errors), len(chunk.item_ids) - len(errors)
    Job.objects.filter(pk=job.pk).update(
        failed=F("failed") + failed, done=F("done") + done, errors=(job.errors + list(errors))[:MAX_ERRORS]
    )
    finish_job(chunk.job_id, now)
    transaction.on_commit(lambda: count_items(job.kind, done, failed))


def count_items(kind: str, done: int, failed: int) -> None:
    """Add to the metrics of processed items."""
    metrics.JOB_ITEMS.labels(kind, "done").inc(done)
    metrics.JOB_ITEMS.labels(kind, "failed").inc(failed)


def finish_job(job_id: UUID, now: datetime) -> None:
    """Set the job's final state if none of its chunks is queued or running."""
    chunks = JobChunk.objects.filter(job_id=job_id)
    if chunks.filter(state__in=UNFINISHED_STATES).exists():
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
    """Publish chunks again whose lease has expired because a message or a worker was lost. Return how many."""
    overdue = JobChunk.objects.filter(state__in=UNFINISHED_STATES, leased_until__lt=now).select_related("job")
    published = 0
    for chunk in overdue.order_by("leased_until", "pk")[:1_000]:
        is_last_attempt = chunk.attempts >= MAX_CHUNK_ATTEMPTS or len(chunk.item_ids) > 1
        if chunk.state == Job.State.RUNNING and is_last_attempt:
            release_chunk(chunk, f"The worker was lost {chunk.attempts} times.", now)
            continue
        if chunk.state == Job.State.QUEUED:
            lease = now + timedelta(seconds=settings.ENV.job_lease_seconds)
            JobChunk.objects.filter(pk=chunk.pk, state=Job.State.QUEUED).update(leased_until=lease)
        enqueue_chunk(chunk.job, chunk.number)
        published += 1
    return published
