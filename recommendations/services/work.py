"""
Jobs: asked for, cut into chunks, done by workers, looked up, cancelled, tried again.

A job and its chunks are rows before anything is published. A chunk is claimed by one conditional update and counted by
another, so that doing it twice counts once; a worker that dies leaves a lease that runs out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet

from monitoring import metrics
from recommendations import task_queue
from recommendations.models import Job, JobChunk, Member, Post
from recommendations.services.errors import InvalidRequest, UnknownJob, UnknownMember

MAX_CHUNK_ATTEMPTS = 3
MAX_ERRORS = 20

UNFINISHED_STATES = (Job.State.QUEUED, Job.State.RUNNING)


Process = Callable[[UUID, Sequence[int], datetime], list[dict[str, Any]]]
"""Processes the items of one chunk: the job's id, item ids and the time in; one error per failed item out."""


@dataclass(frozen=True, slots=True)
class JobKind:
    """A kind of job: what its items are, and the functions that process them."""

    kind: str
    """A value of `Job.Kind`."""
    process: Process
    items: type[Post] | type[Member] = Member
    default_items: Callable[[], QuerySet[Post] | QuerySet[Member]] | None = None
    """The rows to process if the request names none; None: the request must name them."""
    on_accept: Callable[[Sequence[int], datetime], None] | None = None
    """Runs in the transaction that accepts the job: its effect is visible as soon as the job exists."""
    queue: str | None = None
    """The Celery queue of its chunks; None: the default one for chunks."""


KINDS: dict[str, JobKind] = {}


def register_kind(kind: JobKind) -> None:
    """Make a kind of job known. `services/extensions/jobs.py` registers all of them when the app starts."""
    KINDS[kind.kind] = kind


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as it leaves the service."""

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
    """Whether it made something that can be fetched."""

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in Job.FINISHED_STATES


def build_job_view(job: Job) -> JobView:
    """Return the job as it leaves the service."""
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


# Asking


def submit_job(*, kind: str, params: Mapping[str, Any], now: datetime, idempotency_key: str | None = None) -> JobView:
    """Accept a job and have it started. The same *idempotency_key* gives the job that it gave before."""
    if kind not in Job.Kind.values:
        raise InvalidRequest(f"There is no job {kind!r}; there are {', '.join(Job.Kind.values)}.", "/kind")
    earlier = Job.objects.filter(idempotency_key=idempotency_key).first() if idempotency_key else None
    if earlier is None:
        items = resolve_items(kind, params)
        try:
            return build_job_view(create_job(kind, dict(params), items, now, idempotency_key))
        except IntegrityError:
            # Somebody asked with the same key in the same moment.
            earlier = Job.objects.get(idempotency_key=idempotency_key)
    if (earlier.kind, earlier.params) != (kind, dict(params)):
        raise InvalidRequest("This idempotency key was used for another job. Take a new key.", "/idempotency_key")
    return build_job_view(earlier)


def resolve_items(kind: str, params: Mapping[str, Any]) -> list[int]:
    """Return the database ids that a job of this kind works on; refuse parameters that we don't know."""
    job_kind = KINDS[kind]
    named = "post_ids" if job_kind.items is Post else "member_ids"
    if unknown := set(params) - {named}:
        raise InvalidRequest(f"{', '.join(sorted(unknown))}: not a parameter of {kind}; it takes {named}.", "/params")
    if named not in params:
        if job_kind.default_items is None:
            raise InvalidRequest(f"{named}: name them; this is not done for everybody at once.", f"/params/{named}")
        return list(job_kind.default_items().order_by("pk").values_list("pk", flat=True))
    wanted = params[named]
    if not isinstance(wanted, list) or not wanted or not all(isinstance(item, str) for item in wanted):
        raise InvalidRequest(f"{named}: give a list of ids.", f"/params/{named}")
    found = dict(job_kind.items.objects.filter(external_id__in=wanted).values_list("external_id", "pk"))
    if missing := [item for item in wanted if item not in found]:
        if named == "member_ids":
            raise UnknownMember(missing[0])
        raise InvalidRequest(f"There is no post {missing[0]!r}.", "/params/post_ids")
    return sorted(set(found.values()))


@transaction.atomic
def create_job(
    kind: str, params: dict[str, Any], items: Sequence[int], now: datetime, idempotency_key: str | None
) -> Job:
    """Write the job and its chunks, and publish them once that is committed."""
    job = Job.objects.create(
        kind=kind, params=params, total=len(items), created_at=now, idempotency_key=idempotency_key
    )
    size = settings.ENV.batch_processing_size
    lease = now + timedelta(seconds=settings.ENV.job_lease_seconds)
    chunks = [
        JobChunk(job=job, number=number, item_ids=list(items[start : start + size]), leased_until=lease)
        for number, start in enumerate(range(0, len(items), size))
    ]
    JobChunk.objects.bulk_create(chunks, batch_size=500)
    if on_accept := KINDS[kind].on_accept:
        on_accept(items, now)
    for chunk in chunks:
        enqueue_chunk(job, chunk.number)
    if not chunks:
        finish_job(job.pk, now)
        job.refresh_from_db()
    return job


def enqueue_chunk(job: Job, number: int) -> None:
    """Have a worker do one chunk."""
    task_queue.enqueue(task_queue.PROCESS_CHUNK, {"job_id": str(job.pk), "number": number}, queue=KINDS[job.kind].queue)


def read_job(*, job_id: UUID) -> JobView:
    """Return the job, or raise `UnknownJob`."""
    return build_job_view(find_job(job_id))


def find_job(job_id: UUID) -> Job:
    """Return the row of a job, or raise `UnknownJob`."""
    job = Job.objects.filter(pk=job_id).first()
    if job is None:
        raise UnknownJob(job_id)
    return job


def list_jobs(*, before: datetime | None, limit: int, kind: str = "", state: str = "") -> list[JobView]:
    """Return the newest *limit* jobs that were asked for before a moment, of one kind or state if these are given."""
    wanted = {"created_at__lt": before, "kind": kind, "state": state}
    rows = Job.objects.filter(**{name: value for name, value in wanted.items() if value}).order_by("-created_at")
    return [build_job_view(job) for job in rows[:limit]]


@transaction.atomic
def cancel_job(*, job_id: UUID, now: datetime) -> JobView:
    """Stop a job: what waits is not begun, what runs is finished. A job that is over stays as it is."""
    job = find_job(job_id)
    if not build_job_view(job).is_finished:
        Job.objects.filter(pk=job_id).update(cancel_requested_at=now)
        job.chunks.filter(state=Job.State.QUEUED).update(state=Job.State.CANCELLED, leased_until=None)
        finish_job(job_id, now)
    return read_job(job_id=job_id)


@transaction.atomic
def retry_job(*, job_id: UUID, now: datetime) -> JobView:
    """Do again what failed or was cancelled of a job that is over."""
    job = find_job(job_id)
    again = job.chunks.filter(state__in=(Job.State.FAILED, Job.State.CANCELLED))
    if build_job_view(job).is_finished and again.exists():
        lost = {item for chunk in again if chunk.state == Job.State.FAILED for item in chunk.item_ids}
        errors = [error for error in job.errors if error["item_id"] not in lost]
        lease = now + timedelta(seconds=settings.ENV.job_lease_seconds)
        numbers = list(again.values_list("number", flat=True))
        again.update(state=Job.State.QUEUED, attempts=0, leased_until=lease, error="")
        Job.objects.filter(pk=job_id).update(
            state=Job.State.RUNNING,
            finished_at=None,
            cancel_requested_at=None,
            failed=F("failed") - len(lost),
            errors=errors,
        )
        for number in numbers:
            enqueue_chunk(job, number)
    return read_job(job_id=job_id)


# Doing


def process_chunk(*, job_id: UUID, number: int, now: datetime) -> bool:
    """Do one chunk, if nobody else does or did. Return whether it was done."""
    chunk = claim_chunk(job_id, number, now)
    if chunk is None:
        return False
    Job.objects.filter(pk=job_id, state=Job.State.QUEUED).update(state=Job.State.RUNNING, started_at=now)
    try:
        errors = KINDS[chunk.job.kind].process(job_id, chunk.item_ids, now)
    except Exception as error:
        # The chunk goes back, to be tried again by the reconciler, until it has failed often enough.
        release_chunk(chunk, f"{type(error).__name__}: {error}", now)
        raise
    complete_chunk(chunk, Job.State.DONE, errors, now)
    return True


def claim_chunk(job_id: UUID, number: int, now: datetime) -> JobChunk | None:
    """Take a chunk that waits, or whose worker has not been heard of since its lease ran out; None if there is none."""
    lease = now + timedelta(seconds=settings.ENV.job_lease_seconds)
    free = Q(state=Job.State.QUEUED) | Q(state=Job.State.RUNNING, leased_until__lt=now)
    taken = JobChunk.objects.filter(free, job_id=job_id, number=number).update(
        state=Job.State.RUNNING, attempts=F("attempts") + 1, leased_until=lease
    )
    return JobChunk.objects.select_related("job").get(job_id=job_id, number=number) if taken else None


def release_chunk(chunk: JobChunk, error: str, now: datetime) -> None:
    """Let a chunk that failed wait for another try, or count its items as failed."""
    if chunk.attempts < MAX_CHUNK_ATTEMPTS:
        JobChunk.objects.filter(pk=chunk.pk).update(state=Job.State.QUEUED, leased_until=now, error=error)
    else:
        errors = [{"item_id": item, "problem": error} for item in chunk.item_ids]
        complete_chunk(chunk, Job.State.FAILED, errors, now, error)


@transaction.atomic
def complete_chunk(
    chunk: JobChunk, state: str, errors: Sequence[dict[str, Any]], now: datetime, error: str = ""
) -> None:
    """Count a chunk, once, and finish the job if it was the last."""
    ours = JobChunk.objects.filter(pk=chunk.pk, state=Job.State.RUNNING, attempts=chunk.attempts)
    if not ours.update(state=state, leased_until=None, error=error):
        return
    job = Job.objects.select_for_update().get(pk=chunk.job_id)
    job.failed += len(errors)
    job.done += len(chunk.item_ids) - len(errors)
    job.errors = (job.errors + list(errors))[:MAX_ERRORS]
    job.save(update_fields=["failed", "done", "errors"])
    finish_job(chunk.job_id, now)
    metrics.JOB_ITEMS.labels(job.kind, "done").inc(len(chunk.item_ids) - len(errors))
    metrics.JOB_ITEMS.labels(job.kind, "failed").inc(len(errors))


def finish_job(job_id: UUID, now: datetime) -> None:
    """Say that a job is over, if no chunk of it waits or runs."""
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


# Reconciling


def reconcile_jobs(*, now: datetime) -> int:
    """Publish again the chunks whose message or worker was lost. Return how many."""
    overdue = JobChunk.objects.filter(state__in=UNFINISHED_STATES, leased_until__lt=now).select_related("job")
    asked = 0
    for chunk in overdue[:1_000]:
        if chunk.state == Job.State.RUNNING and chunk.attempts >= MAX_CHUNK_ATTEMPTS:
            release_chunk(chunk, f"The worker was lost {chunk.attempts} times.", now)
            continue
        if chunk.state == Job.State.QUEUED:
            lease = now + timedelta(seconds=settings.ENV.job_lease_seconds)
            JobChunk.objects.filter(pk=chunk.pk, state=Job.State.QUEUED).update(leased_until=lease)
        enqueue_chunk(chunk.job, chunk.number)
        asked += 1
    return asked
