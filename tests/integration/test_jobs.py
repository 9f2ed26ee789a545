"""Jobs: rows before messages, processed in chunks, counted once, and not lost with a message or a worker."""

import signal
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from uuid import uuid4

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django import db as database
from django.db import connection
from kombu.exceptions import OperationalError
from prometheus_client import REGISTRY
from redis import RedisError

from monitoring.dependencies import reset_dependencies
from recommendations import task_queue, tasks
from recommendations.models import Job, JobChunk, JobFailure, Post
from recommendations.services import wiring, work
from recommendations.services.errors import FactsUnavailable, InvalidRequest, UnknownJob, UnknownMember
from recommendations.services.extensions import jobs as job_kinds
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]
LATER = NOW + timedelta(hours=1)
PUBLISH = task_queue.publish


def process_with(monkeypatch, process):
    """Replace the function that processes the chunks of batch feeds."""
    kind = replace(work.KINDS[Job.Kind.BATCH_FEEDS], process=process)
    monkeypatch.setitem(work.KINDS, Job.Kind.BATCH_FEEDS, kind)


@pytest.fixture(autouse=True)
def sent_messages(monkeypatch):
    """Collect messages instead of sending them to a broker. `test_worker.py` tests the worker."""
    messages = []
    monkeypatch.setattr(task_queue, "publish", lambda name, kwargs, queue, *_: messages.append((name, kwargs, queue)))
    return messages


@pytest.fixture
def members(settings):
    """Five members, processed in chunks of two, and one post."""
    settings.ENV = settings.ENV.model_copy(update={"batch_processing_size": 2})
    members = [factories.member(f"m{i}") for i in range(5)]
    factories.post(factories.member("author", is_active=False))
    factories.post(members[0], "p")
    return members


def submit(kind="batch_feeds", params=None, **options):
    return work.submit_job(kind=kind, params=params or {}, now=NOW, **options)


def run(job, number, now=NOW):
    return work.process_chunk(job_id=job.id, number=number, now=now)


def state(job):
    return work.read_job(job_id=job.id)


@pytest.fixture
def failing_chunks(monkeypatch):
    """Make whole chunks of batch feeds fail."""

    def fail(chunk, items, now):
        raise RuntimeError("no disk")

    process_with(monkeypatch, fail)


# Submit


def test_a_job_and_its_chunks_are_committed_before_messages_are_sent(
    members, sent_messages, django_capture_on_commit_callbacks
):
    """Messages are published on commit, so that a worker finds the rows."""
    with django_capture_on_commit_callbacks(execute=True):
        job = submit()
        assert sent_messages == []
        assert [len(c.item_ids) for c in JobChunk.objects.filter(job=job.id)] == [2, 2, 1]
    assert [(name, kwargs["number"], queue) for name, kwargs, queue in sent_messages] == [
        (task_queue.PROCESS_CHUNK, n, "batch") for n in range(3)
    ]
    assert (job.state, job.total, job.done) == ("queued", 5, 0)


def test_the_feed_of_one_member_goes_to_the_interactive_queue(
    members, sent_messages, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        submit("member_feed", {"member_ids": ["m1"]})
    assert [queue for _, _, queue in sent_messages] == ["interactive"]


def test_a_job_without_items_is_done_at_once():
    job = submit()
    assert (job.state, job.total, job.is_finished) == ("done", 0, True)


@pytest.mark.parametrize(
    ("kind", "params", "error", "message"),
    [
        ("conquer", {}, InvalidRequest, "no job kind 'conquer'"),
        ("batch_feeds", {"posts": 1}, InvalidRequest, "posts: not a parameter of batch_feeds"),
        ("batch_feeds", {"member_ids": "m1"}, InvalidRequest, "member_ids: give a non-empty list"),
        ("batch_feeds", {"member_ids": []}, InvalidRequest, "member_ids: give a non-empty list"),
        ("batch_feeds", {"member_ids": [1]}, InvalidRequest, "member_ids: give a non-empty list"),
        ("batch_feeds", {"member_ids": ["m1", "nobody"]}, UnknownMember, "no member 'nobody'"),
        ("embed_posts", {"post_ids": ["nothing"]}, InvalidRequest, "no post 'nothing'"),
        ("member_feed", {}, InvalidRequest, "member_ids: required"),
    ],
)
def test_an_invalid_job_is_rejected_and_leaves_no_row(members, kind, params, error, message):
    with pytest.raises(error, match=message):
        submit(kind, params)
    assert not Job.objects.exists()


def test_the_same_idempotency_key_gives_the_same_job(members):
    first, second = submit(idempotency_key="k"), submit(idempotency_key="k")
    assert first.id == second.id
    assert Job.objects.count() == 1
    with pytest.raises(InvalidRequest, match="another job"):
        submit(params={"member_ids": ["m1"]}, idempotency_key="k")


def test_a_job_submitted_while_the_broker_is_down_is_published_later(
    members, monkeypatch, sent_messages, django_capture_on_commit_callbacks
):
    """The caller gets its response, the job stays queued, and the reconciler publishes it."""
    attempts = []
    with monkeypatch.context() as patch:

        def fail(*args, **kwargs):
            attempts.append(args)
            raise OperationalError("connection refused")

        patch.setattr(task_queue, "publish", PUBLISH)
        patch.setattr("celery.app.task.Task.apply_async", fail)
        with django_capture_on_commit_callbacks(execute=True):
            job = submit()
    assert state(job).state == "queued" and attempts
    reset_dependencies()  # the broker is back
    with django_capture_on_commit_callbacks(execute=True):
        assert work.reconcile_jobs(now=NOW) == 0
        assert work.reconcile_jobs(now=LATER) == 3


def test_reading_an_unknown_job_raises_unknown_job():
    with pytest.raises(UnknownJob):
        work.read_job(job_id=uuid4())


# Process


def test_the_state_and_counts_show_the_progress(members):
    factories.post(members[0])
    job = submit()
    progress = []
    for number in range(3):
        assert run(job, number)
        progress.append((state(job).state, state(job).done))
    assert progress == [("running", 2), ("running", 4), ("done", 5)]
    assert NOW <= state(job).finished_at < LATER
    assert all(wiring.slate_cache().get(member.pk, "discovery") is not None for member in members[1:])


def test_a_chunk_delivered_twice_is_counted_once(members):
    job = submit(params={"member_ids": ["m0", "m1"]})
    assert run(job, 0) and not run(job, 0)
    assert state(job).done == 2


def claim_twice(job):
    """Claim the only chunk of a job, which has one item, by a worker that is paused, and by another one."""
    paused = work.claim_chunk(job.id, 0, NOW)
    assert work.claim_chunk(job.id, 0, NOW) is None, "it is claimed until its lease expires"
    work.reconcile_jobs(now=LATER)
    return paused, work.claim_chunk(job.id, 0, LATER)


def test_a_chunk_that_two_workers_complete_is_counted_once(members):
    job = submit(params={"member_ids": ["m0"]})
    paused, holder = claim_twice(job)
    work.complete_chunk(holder, Job.State.DONE, [], LATER)
    work.complete_chunk(paused, Job.State.DONE, [], LATER)
    assert (state(job).state, state(job).done) == ("done", 1)


LATE_WRITES = {
    "complete": lambda chunk: work.complete_chunk(chunk, "done", [], LATER),
    "fail": lambda chunk: work.complete_chunk(chunk, "failed", [{"item_id": 1, "problem": "late"}], LATER, "late"),
    "release": lambda chunk: work.release_chunk(chunk, "late", LATER),
    "release at the last attempt": lambda chunk: work.release_chunk(chunk, "late", LATER),
    "stop": lambda chunk: work.stop_chunk(chunk, LATER),
    "split": lambda chunk: work.split_chunk(chunk, LATER),
    "return": lambda chunk: work.requeue_chunk(chunk, LATER, attempts=0),
    "write the result": lambda chunk: work.set_job_result(chunk, {"late": True}),
}


@pytest.mark.parametrize("write", LATE_WRITES)
def test_a_worker_that_lost_its_claim_changes_and_counts_nothing(
    members, write, sent_messages, django_capture_on_commit_callbacks
):
    """It was paused, and goes on while another worker processes the chunk, and after that one has completed it."""
    job = submit(params={"member_ids": ["m0"]})
    paused, holder = claim_twice(job)
    with pytest.raises(work.JobCancelledError):
        work.check_cancellation(paused)
    sent_messages.clear()
    for _ in range(2):
        before = list(JobChunk.objects.values()), list(Job.objects.values()), list(JobFailure.objects.values())
        with django_capture_on_commit_callbacks(execute=True):
            LATE_WRITES[write](paused)
        assert before == (
            list(JobChunk.objects.values()),
            list(Job.objects.values()),
            list(JobFailure.objects.values()),
        )
        work.complete_chunk(holder, Job.State.DONE, [], LATER)
    assert sent_messages == []
    assert (state(job).state, state(job).done, state(job).failed) == ("done", 1, 0)


def test_a_claim_of_a_chunk_that_was_retried_is_lost(members):
    """The attempts begin anew, so they do not tell the claims apart."""
    job = submit(params={"member_ids": ["m0"]})
    paused = work.claim_chunk(job.id, 0, NOW)
    JobChunk.objects.filter(job=job.id).update(state="cancelled", slot=None)
    Job.objects.filter(pk=job.id).update(state="cancelled")
    work.retry_job(job_id=job.id, now=LATER)
    holder = work.claim_chunk(job.id, 0, LATER)
    assert holder.attempts == paused.attempts
    work.complete_chunk(paused, Job.State.DONE, [], LATER)
    assert state(job).done == 0


def test_a_lease_that_is_renewed_at_the_last_moment_is_not_taken(members):
    job = submit()
    chunk = work.claim_chunk(job.id, 0, NOW)
    overdue = JobChunk.objects.get(pk=chunk.pk)
    work.claimed_chunk(chunk).update(leased_until=LATER + timedelta(seconds=1))
    work.release_lost_chunk(overdue, LATER)
    assert JobChunk.objects.get(pk=chunk.pk).state == "running"


def test_a_chunk_that_takes_longer_than_its_lease_is_processed_once(members):
    """Its worker renews the lease, so the reconciler leaves it alone, however often it runs."""
    job = submit(params={"member_ids": ["m0", "m1"]})
    chunk = work.claim_chunk(job.id, 0, NOW)
    for minute in range(1, 60):
        now = NOW + timedelta(minutes=minute)
        work.claimed_chunk(chunk).update(leased_until=now + timedelta(seconds=1))
        work.reconcile_jobs(now=now)
        assert work.claim_chunk(job.id, 0, now) is None
    work.complete_chunk(chunk, Job.State.DONE, [], LATER)
    assert (state(job).state, state(job).done, state(job).errors) == ("done", 2, [])


def test_a_chunk_of_an_unknown_job_is_not_processed(members):
    assert not work.process_chunk(job_id=uuid4(), number=0, now=NOW)


def test_a_failed_item_is_listed_and_does_not_fail_its_chunk(members, monkeypatch):
    rebuild_slate = job_kinds.rebuild_slate

    def fail_for_one_member(member_pk, feed, now):
        if member_pk == members[1].pk:
            raise RuntimeError("no luck")
        rebuild_slate(member_pk, feed, now)

    monkeypatch.setattr(job_kinds, "rebuild_slate", fail_for_one_member)
    job = submit()
    for number in range(3):
        run(job, number)
    view = state(job)
    assert (view.state, view.done, view.failed) == ("done", 4, 1)
    assert view.errors == [{"item_id": members[1].pk, "problem": "RuntimeError: no luck"}]


SERVER_ERRORS = (
    database.OperationalError("disk I/O error"),
    database.InterfaceError("connection already closed"),
    RedisError("READONLY"),
    FactsUnavailable("The viewer's facts cannot be read now."),
)


@pytest.mark.parametrize("error", SERVER_ERRORS, ids=lambda error: type(error).__name__)
def test_no_item_fails_because_a_server_did_not_answer_for_a_while(members, monkeypatch, error):
    rebuild_slate, failures = job_kinds.rebuild_slate, [error]

    def fail_once(member_pk, feed, now):
        if failures:
            raise failures.pop()
        rebuild_slate(member_pk, feed, now)

    monkeypatch.setattr(job_kinds, "rebuild_slate", fail_once)
    job = submit()
    run_waiting_chunks(job)
    view = state(job)
    assert (view.state, view.done, view.failed, view.errors) == ("done", 5, 0, [])
    assert not failures


def run_waiting_chunks(job):
    """Process the chunks of a job until none is queued, as workers do."""
    queued = JobChunk.objects.filter(job=job.id, state="queued")
    while number := queued.order_by("-number").values_list("number", flat=True)[:1]:
        with suppress(RuntimeError, *map(type, SERVER_ERRORS)):
            run(job, number[0], LATER)


@pytest.fixture
def hundred_members(settings):
    settings.ENV = settings.ENV.model_copy(update={"batch_processing_size": 100})
    return [factories.member().pk for _ in range(100)]


@pytest.mark.parametrize("position", [0, 42, 99])
def test_one_item_that_fails_its_chunk_fails_alone(hundred_members, monkeypatch, position):
    poison, processed = hundred_members[position], []

    def process(chunk, items, now):
        if poison in items:
            raise RuntimeError("no luck")
        processed.extend(items)
        return []

    process_with(monkeypatch, process)
    job = submit()
    run_waiting_chunks(job)
    view = state(job)
    assert (view.state, view.done, view.failed) == ("failed", 99, 1)
    assert view.errors == [{"item_id": poison, "problem": "RuntimeError: no luck"}]
    assert sorted([*processed, poison]) == hundred_members, "each item is processed once"
    process_with(monkeypatch, lambda chunk, items, now: [])
    work.retry_job(job_id=job.id, now=LATER)
    run_waiting_chunks(job)
    assert (state(job).state, state(job).done, state(job).failed, state(job).errors) == ("done", 100, 0, [])


def test_an_item_that_kills_its_workers_fails_alone(members, monkeypatch):
    """The worker that has the item in its chunk is lost."""
    poison = members[3].pk
    process_with(monkeypatch, lambda chunk, items, now: [])
    job = submit()
    now = NOW
    while state(job).state in ("queued", "running"):
        now += timedelta(hours=1)
        while chunk := work.claim_chunk(job.id, 0, now):
            if poison not in chunk.item_ids:
                work.complete_chunk(chunk, Job.State.DONE, [], now)
        work.reconcile_jobs(now=now + timedelta(minutes=30))
    view = state(job)
    assert (view.state, view.done, view.failed) == ("failed", 4, 1)
    assert view.errors == [{"item_id": poison, "problem": "The worker was lost 3 times."}]


def test_the_halves_of_a_chunk_are_published(
    members, failing_chunks, sent_messages, django_capture_on_commit_callbacks
):
    job = submit()
    with django_capture_on_commit_callbacks(execute=True), pytest.raises(RuntimeError):
        run(job, 0)
    assert [kwargs["number"] for _, kwargs, _ in sent_messages] == [3, 4]
    assert not JobChunk.objects.filter(job=job.id, number=0).exists(), "the chunk is replaced"


def test_a_chunk_that_fails_after_its_job_was_cancelled_is_not_tried_again(members, sent_messages):
    job = submit(params={"member_ids": ["m0", "m1"]})
    chunk = work.claim_chunk(job.id, 0, NOW)
    work.cancel_job(job_id=job.id, now=NOW)
    work.release_chunk(chunk, "OSError: no disk", NOW)
    assert state(job).state == "cancelled"
    assert set(JobChunk.objects.filter(job=job.id).values_list("state", flat=True)) == {"cancelled"}


@pytest.mark.parametrize("params", [{"member_ids": ["m0"]}, {"member_ids": ["m0", "m1"]}], ids=["one item", "two"])
@pytest.mark.parametrize(
    "settle",
    [lambda chunk: work.requeue_chunk(chunk, NOW, attempts=0), lambda chunk: work.release_chunk(chunk, "E", NOW)],
)
def test_no_chunk_is_queued_again_after_its_job_was_cancelled(members, params, settle):
    job = submit(params=params)
    chunk = work.claim_chunk(job.id, 0, NOW)
    work.cancel_job(job_id=job.id, now=NOW)
    settle(chunk)
    assert state(job).state == "cancelled"
    assert work.claim_chunk(job.id, 0, LATER) is None


def test_the_number_of_stored_errors_is_limited(hundred_members, failing_chunks):
    job = submit()
    run_waiting_chunks(job)
    view = state(job)
    assert (view.state, view.failed, len(view.errors)) == ("failed", 100, 20)


def test_a_member_deactivated_after_the_submission_gets_no_feed(members):
    job = submit()
    type(members[0]).objects.filter(pk=members[0].pk).update(is_active=False)
    for number in range(3):
        run(job, number)
    assert state(job).state == "done"
    assert wiring.slate_cache().get(members[0].pk, "discovery") is None


@pytest.mark.parametrize("kind", ["embed_posts", "rebuild_interests"])
def test_other_kinds_of_jobs_are_done(members, kind):
    job = submit(kind)
    for number in range(len(JobChunk.objects.filter(job=job.id))):
        run(job, number)
    assert state(job).state == "done" and state(job).done == job.total > 0


# Stop


@pytest.mark.parametrize("params", [{"member_ids": ["m0"]}, {"member_ids": ["m0", "m1"]}], ids=["one item", "two"])
def test_a_chunk_whose_worker_stops_returns_to_the_queue_without_an_attempt(
    members, monkeypatch, params, sent_messages, django_capture_on_commit_callbacks
):
    """However often that happens, the chunk does not fail, and it waits for no lease."""
    job = submit(params=params)

    def stop(chunk, items, now):
        raise SystemExit(0)

    for _ in range(5):
        process_with(monkeypatch, stop)
        sent_messages.clear()
        with django_capture_on_commit_callbacks(execute=True), pytest.raises(SystemExit):
            run(job, 0)
        chunk = JobChunk.objects.get(job=job.id)
        assert (chunk.state, chunk.attempts, len(sent_messages)) == ("queued", 0, 1)
    process_with(monkeypatch, lambda chunk, items, now: [])
    assert run(job, 0) and state(job).state == "done"


@pytest.mark.django_db(transaction=True)
def test_a_chunk_returns_to_the_queue_if_its_worker_stops_in_the_middle_of_a_statement(members, monkeypatch):
    """The connection to the database cannot be used any more."""

    def stop(chunk, items, now):
        connection.connection.close()
        raise SystemExit(0)

    process_with(monkeypatch, stop)
    job = submit(params={"member_ids": ["m0"]})
    with pytest.raises(SystemExit):
        run(job, 0)
    assert JobChunk.objects.values_list("state", "attempts").get() == ("queued", 0)


def test_a_chunk_that_exceeds_its_time_is_halved_without_an_attempt(members, monkeypatch):
    def exceed(member_pk, feed, now):
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(job_kinds, "rebuild_slate", exceed)
    job = submit(params={"member_ids": ["m0", "m1"]})
    with pytest.raises(SoftTimeLimitExceeded):
        run(job, 0)
    assert list(JobChunk.objects.values_list("state", "attempts")) == [("queued", 0)] * 2
    assert (state(job).done, state(job).failed) == (0, 0)


def test_a_worker_that_is_told_to_stop_interrupts_the_processes_of_its_chunks(monkeypatch):
    class Timer:
        def __init__(self, seconds, function):
            self.start = function

    signals = []

    def kill(pid, number):
        signals.append((pid, number))
        raise ProcessLookupError

    requests = [
        SimpleNamespace(name=task_queue.PROCESS_CHUNK, worker_pid=5),
        SimpleNamespace(name=task_queue.PROCESS_CHUNK, worker_pid=None),
        SimpleNamespace(name=task_queue.EMBED_POSTS, worker_pid=6),
    ]
    monkeypatch.setattr(tasks.threading, "Timer", Timer)
    monkeypatch.setattr(tasks.os, "kill", kill)
    monkeypatch.setattr(tasks, "active_requests", requests)
    tasks.return_chunks()
    assert signals == [(5, signal.SIGTERM)]


# Cancel and retry


def test_no_chunk_of_a_cancelled_job_is_started(members):
    job = submit()
    run(job, 0)
    view = work.cancel_job(job_id=job.id, now=NOW)
    assert (view.state, view.done, view.is_cancel_requested) == ("cancelled", 2, True)
    assert not run(job, 1)
    assert state(job).done == 2


def test_a_chunk_that_runs_when_its_job_is_cancelled_is_finished_and_counted(members):
    job = submit()
    chunk = work.claim_chunk(job.id, 0, NOW)
    assert not work.cancel_job(job_id=job.id, now=NOW).is_finished
    work.complete_chunk(chunk, Job.State.DONE, [], NOW)
    assert (state(job).state, state(job).done) == ("cancelled", 2)


def test_cancelling_a_finished_job_changes_nothing(members):
    job = submit()
    for number in range(3):
        run(job, number)
    assert work.cancel_job(job_id=job.id, now=LATER).state == "done"


def test_retry_processes_only_the_remaining_chunks(members, sent_messages, django_capture_on_commit_callbacks):
    job = submit()
    run(job, 0)
    work.cancel_job(job_id=job.id, now=NOW)
    with django_capture_on_commit_callbacks(execute=True):
        assert work.retry_job(job_id=job.id, now=LATER).state == "running"
    assert [kwargs["number"] for _, kwargs, _ in sent_messages] == [1, 2]
    assert run(job, 1, LATER) and run(job, 2, LATER)
    assert not run(job, 0, LATER)
    view = state(job)
    assert (view.state, view.done, view.failed, view.is_cancel_requested) == ("done", 5, 0, False)


def test_retry_removes_the_failures_of_the_retried_chunks(members, failing_chunks, monkeypatch):
    job = submit(params={"member_ids": ["m0"]})
    for _ in range(3):
        with pytest.raises(RuntimeError):
            run(job, 0)
    assert (state(job).state, state(job).failed) == ("failed", 1)
    process_with(monkeypatch, lambda chunk, items, now: [])
    work.retry_job(job_id=job.id, now=LATER)
    run(job, 0, LATER)
    view = state(job)
    assert (view.state, view.done, view.failed) == ("done", 1, 0)
    assert view.errors == []


def test_retrying_a_running_or_done_job_changes_nothing(members):
    job = submit()
    assert work.retry_job(job_id=job.id, now=NOW).state == "queued"
    for number in range(3):
        run(job, number)
    assert work.retry_job(job_id=job.id, now=NOW).state == "done"


def fail_for(monkeypatch, members):
    """Make single items of a chunk fail, as an error that the function returns."""
    failing = {member.pk for member in members}
    process_with(
        monkeypatch,
        lambda chunk, items, now: [{"item_id": i, "problem": f"no luck with {i}"} for i in items if i in failing],
    )


def test_a_failed_item_of_a_chunk_that_is_done_is_retried_alone(members, monkeypatch):
    fail_for(monkeypatch, members[1:3])
    job = submit()
    run_waiting_chunks(job)
    assert (state(job).state, state(job).done, state(job).failed) == ("done", 3, 2)
    processed = []
    process_with(monkeypatch, lambda chunk, items, now: processed.extend(items) or [])
    view = work.retry_job(job_id=job.id, now=LATER)
    assert (view.state, view.done, view.failed, view.errors, view.finished_at) == ("running", 3, 0, [], None)
    run_waiting_chunks(job)
    assert (state(job).state, state(job).done, state(job).failed) == ("done", 5, 0)
    assert sorted(processed) == [members[1].pk, members[2].pk]
    assert not JobFailure.objects.exists()


def test_one_failed_item_is_retried_and_the_others_wait(members, monkeypatch):
    fail_for(monkeypatch, members[1:3])
    job = submit()
    run_waiting_chunks(job)
    fail_for(monkeypatch, [])
    work.retry_job(job_id=job.id, item_ids=[members[1].pk, 10**9], now=LATER)
    run_waiting_chunks(job)
    assert (state(job).state, state(job).done, state(job).failed) == ("done", 4, 1)
    assert [failure.id for failure in work.list_failures(job_id=job.id, after=0, limit=9)] == ["m2"]
    assert work.retry_job(job_id=job.id, item_ids=[members[1].pk], now=LATER).state == "done", "it is not failed"


def test_an_item_that_fails_again_is_listed_again(members, monkeypatch):
    fail_for(monkeypatch, members[1:2])
    job = submit()
    for _ in range(2):
        run_waiting_chunks(job)
        (failure,) = work.list_failures(job_id=job.id, after=0, limit=9)
        assert (failure.item_id, failure.id) == (members[1].pk, "m1")
        assert failure.problem == f"no luck with {members[1].pk}" and failure.failed_at >= NOW
        assert (state(job).done, state(job).failed) == (4, 1)
        work.retry_job(job_id=job.id, now=LATER)


def test_failures_are_listed_in_pages(hundred_members, failing_chunks):
    job = submit()
    run_waiting_chunks(job)
    seen, after = [], 0
    while page := work.list_failures(job_id=job.id, after=after, limit=30):
        assert len(page) <= 30
        seen += [failure.item_id for failure in page]
        after = page[-1].cursor
    assert sorted(seen) == hundred_members


def test_failures_of_items_that_are_no_rows_or_do_not_exist_have_no_id(members, monkeypatch):
    fail_for(monkeypatch, members[:1])
    job = submit()
    run_waiting_chunks(job)
    type(members[0]).objects.filter(pk=members[0].pk).delete()
    assert [failure.id for failure in work.list_failures(job_id=job.id, after=0, limit=9)] == [None]
    training = work.submit_job(kind="train_model", params={}, now=NOW)
    JobFailure.objects.create(job_id=training.id, item_id=members[1].pk, problem="E", failed_at=NOW)
    assert [failure.id for failure in work.list_failures(job_id=training.id, after=0, limit=9)] == [None]


def test_failed_chunks_of_an_earlier_release_are_retried(members):
    """It wrote no failures, only the state of the chunk."""
    job = Job.objects.create(kind="batch_feeds", state="failed", total=1, failed=1, created_at=NOW)
    JobChunk.objects.create(job=job, number=0, item_ids=[members[0].pk], state="failed", attempts=3)
    work.retry_job(job_id=job.pk, now=LATER)
    run_waiting_chunks(SimpleNamespace(id=job.pk))
    view = work.read_job(job_id=job.pk)
    assert (view.state, view.done, view.failed) == ("done", 1, 0)


# Reconcile


def test_a_lost_message_is_published_again_once(members, sent_messages, django_capture_on_commit_callbacks):
    job = submit()
    with django_capture_on_commit_callbacks(execute=True):
        assert work.reconcile_jobs(now=NOW) == 0
        assert work.reconcile_jobs(now=LATER) == 3
        assert work.reconcile_jobs(now=LATER) == 0
    assert [kwargs["job_id"] for _, kwargs, _ in sent_messages] == [str(job.id)] * 3


def test_the_chunk_of_a_lost_worker_is_processed_by_another(members):
    job = submit(params={"member_ids": ["m0"]})
    work.claim_chunk(job.id, 0, NOW)
    work.reconcile_jobs(now=LATER)
    assert run(job, 0, LATER)
    assert state(job).done == 1


def test_a_chunk_that_kills_every_worker_is_failed(members):
    job = submit(params={"member_ids": ["m0"]})
    for hours in range(3):
        assert work.claim_chunk(job.id, 0, NOW + timedelta(hours=hours))
        work.reconcile_jobs(now=NOW + timedelta(hours=hours, minutes=30))
    view = state(job)
    assert (view.state, view.failed) == ("failed", 1)
    assert "worker was lost 3 times" in view.errors[0]["problem"]


def test_jobs_are_listed_newest_first(members):
    ids = [work.submit_job(kind="batch_feeds", params={}, now=NOW + timedelta(minutes=i)).id for i in range(3)]
    assert [view.id for view in work.list_jobs(before=None, limit=2)] == ids[:0:-1]
    assert [view.id for view in work.list_jobs(before=NOW + timedelta(minutes=1), limit=9)] == ids[:1]


def test_a_worker_with_an_expired_lease_cannot_release_the_chunk_of_another_worker(members):
    """The late failure does not queue the completed chunk again. Otherwise its items would be counted twice."""
    job = submit(params={"member_ids": ["m0"]})
    paused, holder = claim_twice(job)
    work.complete_chunk(holder, Job.State.DONE, [], LATER)
    work.release_chunk(paused, "OSError: no disk", LATER)
    assert JobChunk.objects.get(job=job.id).state == "done"
    assert not run(job, 0, LATER)
    assert state(job).done == 1


def test_a_claim_and_a_completion_affect_one_chunk_of_one_job(members):
    """Other chunks of the job, and chunks with the same number in another job, do not change."""
    job = submit()
    first, second = (work.claim_chunk(job.id, number, NOW) for number in (0, 1))
    other = submit()
    work.complete_chunk(first, Job.State.DONE, [], NOW)
    states = dict(JobChunk.objects.filter(job=job.id).values_list("number", "state"))
    assert states == {0: "done", 1: "running", 2: "queued"} and state(job).done == 2
    assert set(JobChunk.objects.filter(job=other.id).values_list("state", "attempts")) == {("queued", 0)}
    work.complete_chunk(second, Job.State.DONE, [], NOW)
    assert (state(job).done, state(other).done) == (4, 0)


def test_a_chunk_counts_its_items_as_done_and_failed(members, django_capture_on_commit_callbacks):
    def count(outcome):
        return REGISTRY.get_sample_value("recsys_job_items_total", {"kind": "batch_feeds", "outcome": outcome}) or 0

    before = count("done"), count("failed")
    job = submit()
    chunk = work.claim_chunk(job.id, 0, NOW)
    with django_capture_on_commit_callbacks(execute=True):
        work.complete_chunk(chunk, Job.State.DONE, [{"item_id": chunk.item_ids[0], "problem": "an error"}], NOW)
    assert (count("done") - before[0], count("failed") - before[1]) == (1, 1)
    assert (state(job).done, state(job).failed) == (1, 1)


def test_only_a_finished_export_has_a_file(members):
    job = submit(params={"member_ids": ["m0"]})
    run(job, 0)
    assert state(job).state == "done" and not state(job).has_file


def test_beat_releases_the_chunks_of_lost_workers(members):
    job = submit(params={"member_ids": ["m0"]})
    work.claim_chunk(job.id, 0, NOW)
    tasks.reconcile_jobs()
    assert JobChunk.objects.get(job=job.id).state == "queued"


def test_beat_enqueues_interactions_whose_message_was_lost(members, sent_messages, django_capture_on_commit_callbacks):
    factories.interaction(members[0], Post.objects.earliest("pk"), at=NOW)
    with django_capture_on_commit_callbacks(execute=True):
        tasks.enqueue_pending()
    assert [(name, kwargs) for name, kwargs, _ in sent_messages] == [
        (task_queue.LEARN_INTERACTIONS, {"member_ids": [members[0].pk]})
    ]
