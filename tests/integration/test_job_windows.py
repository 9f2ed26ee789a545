"""What jobs publish, and which chunk a worker gets: windows, fairness, priorities, limits, deadlines, lost messages."""

import json
import random
import threading
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import redis
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext

from monitoring import task_metrics
from recommendations import task_queue
from recommendations.models import Job, JobChunk, JobFailure
from recommendations.services import work
from recommendations.services.errors import InvalidRequest
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]
WINDOW = 8


class Broker:
    """Queues in the order of publication, with a clock. Messages leave a queue only when a worker takes them."""

    def __init__(self):
        self.now = NOW
        self.queues = {}
        self.published = 0

    def enqueue(self, name, kwargs, *, queue):
        assert name == task_queue.PROCESS_CHUNK
        self.published += 1
        self.queues.setdefault(queue, []).append((self.now, kwargs["job_id"], kwargs["number"]))

    def oldest_times(self, queues):
        return {queue: self.queues[queue][0][0] for queue in queues if self.queues.get(queue)}

    def pass_time(self, seconds):
        """Let the schedule run every ten seconds."""
        for _ in range(0, seconds, 10):
            self.now += timedelta(seconds=10)
            work.reconcile_jobs(now=self.now)

    def claim(self, queue="batch"):
        """Take messages as a worker does, until one of them claims a chunk. None if there is no message."""
        self.now += timedelta(milliseconds=1)
        while self.queues.get(queue):
            _, job_id, number = self.queues[queue].pop(0)
            if chunk := work.claim_chunk(job_id, number, self.now):
                return chunk
        return None

    def complete(self, chunk):
        work.complete_chunk(chunk, Job.State.DONE, [], self.now)

    def process_all(self, queue="batch"):
        """Process every chunk that a message leads to, and return them in order."""
        chunks = []
        while chunk := self.claim(queue):
            self.complete(chunk)
            chunks.append(chunk)
        return chunks


@pytest.fixture
def broker(monkeypatch, settings):
    settings.ENV = settings.ENV.model_copy(update={"batch_processing_size": 1, "job_window_chunks": WINDOW})
    broker = Broker()
    monkeypatch.setattr(task_queue, "enqueue", broker.enqueue)
    monkeypatch.setattr(work, "read_oldest_due_times", broker.oldest_times)
    return broker


@pytest.fixture
def members(broker):
    return [factories.member(f"m{i}").pk for i in range(20)]


def submit(count=20, *, kind="batch_feeds", at=NOW, **options):
    """Submit a job with one chunk for each of the first *count* members."""
    params = {"member_ids": [f"m{i}" for i in range(count)]}
    return work.submit_job(kind=kind, params=params, now=at, **options)


def state(job):
    return work.read_job(job_id=job.id)


def published_chunks(**conditions):
    return JobChunk.objects.filter(slot__isnull=False, state__in=("queued", "running"), **conditions)


def limit_kind(monkeypatch, limit, kind="batch_feeds"):
    monkeypatch.setitem(work.KINDS, kind, replace(work.KINDS[kind], max_running=limit))


# Messages


@pytest.mark.parametrize("count", [100, 3_000])
def test_a_job_that_waits_for_a_quarter_of_an_hour_publishes_its_window_once(broker, count):
    """A busy queue delays the first chunk. The job then needs one message for each chunk."""
    job = Job.objects.create(kind="batch_feeds", total=count, created_at=NOW)
    JobChunk.objects.bulk_create([JobChunk(job=job, number=n, item_ids=[n]) for n in range(count)])
    broker.pass_time(900)
    assert broker.published == published_chunks().count() == WINDOW
    if count == 100:
        assert len(broker.process_all()) == count == broker.published
        assert state(job).state == "done"


def test_many_jobs_with_one_chunk_publish_one_message_each(broker, members):
    jobs = [submit(1) for _ in range(30)]
    broker.pass_time(900)
    assert len(broker.process_all()) == broker.published == 30
    assert {state(job).state for job in jobs} == {"done"}


@pytest.mark.parametrize("workers", [1, 4])
def test_no_more_chunks_than_the_window_are_published_at_once(broker, members, workers):
    submit()
    running = []
    for _ in range(20):
        while len(running) < workers and (chunk := broker.claim()):
            running.append(chunk)
        assert published_chunks().count() <= WINDOW
        broker.complete(running.pop(0))
    assert broker.published == 20


def test_lost_messages_are_published_again_and_the_others_are_not(broker, members):
    submit(2)
    other = submit(2)
    del broker.queues["batch"][:3]  # of two jobs
    broker.pass_time(20)
    assert broker.published == 4, "the queue is in order, and its oldest message is as old as the lost ones"
    broker.complete(broker.claim())
    broker.pass_time(20)
    assert broker.published == 7, "the queue is empty, and three chunks wait"
    broker.pass_time(900)
    assert broker.published == 7, "they wait in the queue"
    assert len(broker.process_all()) == 3 and state(other).state == "done"


def test_a_message_that_is_lost_again_and_again_is_published_less_and_less_often(broker, members):
    submit(1)
    times = []
    for _ in range(90):
        broker.queues.clear()
        before = broker.published
        broker.pass_time(10)
        times += [(broker.now - NOW).total_seconds()] * (broker.published - before)
    assert times == [20, 70, 240, 890]


def test_without_a_broker_no_message_counts_as_lost(broker, members, monkeypatch, caplog):
    def fail(queues):
        raise redis.ConnectionError

    submit()
    broker.queues.clear()
    with monkeypatch.context() as patch:
        patch.setattr(work, "read_oldest_due_times", fail)
        broker.pass_time(900)
    assert broker.published == WINDOW and "queue_not_read" in caplog.text
    broker.pass_time(10)
    assert broker.published == 2 * WINDOW


def test_the_oldest_message_of_a_queue_tells_when_it_was_due(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        for at in (1000.5, 2000):
            client.lpush("recsys:tested", json.dumps({"headers": {task_metrics.DUE_AT_HEADER: at}}))
        times = task_metrics.read_oldest_due_times(["tested", "empty"])
        client.delete("recsys:tested")
    assert times == {"tested": datetime.fromtimestamp(1000.5, UTC)}


def test_a_message_for_a_chunk_that_another_message_claimed_claims_another(broker, members):
    """So the messages in the queue suffice for the published chunks."""
    submit(3)
    broker.queues["batch"].reverse()
    assert [chunk.number for chunk in broker.process_all()] == [0, 1, 2]
    assert broker.published == 3


# Fairness and priorities


def test_a_small_job_does_not_wait_for_a_huge_one(broker, members):
    huge = submit(20)
    running = [broker.claim(), broker.claim()]
    small = submit(2, at=broker.now)
    processed = 0
    while not state(small).is_finished:
        broker.complete(running.pop(0))
        running.append(broker.claim())
        processed += 1
    assert processed <= 6 and state(huge).done <= 4, "each job has one of the two workers"


def test_jobs_share_the_workers_equally(broker, members):
    jobs = [submit(20, at=NOW + timedelta(seconds=i)).id for i in range(3)]
    running, shares = [broker.claim() for _ in range(3)], Counter()
    for _ in range(36):
        chunk = running.pop(0)
        broker.complete(chunk)
        shares[chunk.job_id] += 1
        running.append(broker.claim())
    assert all(abs(shares[job] - 12) <= WINDOW for job in jobs) and len(shares) == 3, shares


def test_chunks_of_a_higher_priority_are_claimed_first(broker, members):
    jobs = [submit(2, priority=name, at=NOW + timedelta(seconds=i)) for i, name in enumerate(("low", "normal", "high"))]
    order = [chunk.job_id for chunk in broker.process_all()]
    assert order == [job.id for job in reversed(jobs) for _ in range(2)]
    broker.pass_time(900)
    assert broker.published == 6


def test_the_feed_of_a_member_has_a_high_priority_unless_its_request_says_otherwise(broker, members):
    assert submit(1, kind="member_feed").priority == "high"
    assert submit(1, kind="member_feed", priority="low").priority == "low"
    assert submit(1).priority == "normal"


def test_a_chunk_of_another_queue_is_not_claimed(broker, members):
    submit(1, kind="member_feed")
    batch = submit(1)
    assert broker.claim().job_id == batch.id
    assert broker.claim() is None and broker.claim("interactive") is not None


# Limits


def test_a_kind_with_a_limit_runs_no_more_chunks_over_all_jobs(broker, members, monkeypatch):
    limit_kind(monkeypatch, 2)
    jobs = [submit(3, at=NOW + timedelta(seconds=i)) for i in range(3)]
    other = submit(1, kind="rebuild_interests")
    order, running = [], []
    while chunk := broker.claim():
        order.append(chunk.job_id)
        running.append(chunk)
        assert published_chunks(job__kind="batch_feeds").count() <= 2
        if len(running) == 2:
            broker.complete(running.pop(0))
    assert Counter(order) == {job.id: 3 for job in jobs} | {other.id: 1} and broker.published == 10
    broker.complete(running.pop())
    assert {state(job).state for job in (*jobs, other)} == {"done"}


def test_a_cancelled_job_of_a_limited_kind_makes_room_for_another(broker, members, monkeypatch):
    limit_kind(monkeypatch, 1)
    first, second = submit(2), submit(2, at=NOW + timedelta(seconds=1))
    assert set(published_chunks().values_list("job", flat=True)) == {first.id}
    work.cancel_job(job_id=first.id, now=NOW)
    assert set(published_chunks().values_list("job", flat=True)) == {second.id}


def test_a_place_of_a_limited_kind_that_nobody_filled_is_filled_by_the_reconciler(broker, members, monkeypatch):
    limit_kind(monkeypatch, 1)
    submit(2), submit(2)
    JobChunk.objects.update(slot=None)
    broker.pass_time(30)
    assert published_chunks().count() == 1


@pytest.mark.django_db(transaction=True)
def test_jobs_that_are_submitted_at_once_do_not_exceed_the_limit(broker, members, monkeypatch):
    limit_kind(monkeypatch, 2)
    run_at_once([lambda: submit(3)] * 4)
    assert published_chunks().count() == 2
    assert Job.objects.count() == 4


@pytest.mark.django_db(transaction=True)
def test_workers_that_claim_at_once_get_different_chunks(broker, members):
    job, claims = submit(WINDOW), []
    run_at_once([lambda: claims.append(work.claim_chunk(job.id, 0, NOW))] * WINDOW)
    assert sorted(chunk.number for chunk in claims) == list(range(WINDOW))


def run_at_once(functions):
    """Run each function in a thread with a connection of its own."""
    start = threading.Barrier(len(functions))

    def run(function):
        start.wait()
        try:
            function()
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# Deadlines


def test_the_rest_of_a_job_is_cancelled_at_its_deadline(broker, members):
    deadline = NOW + timedelta(minutes=1)
    job = submit(4, deadline=deadline)
    broker.complete(broker.claim())
    running = broker.claim()
    work.claimed_chunk(running).update(leased_until=deadline + timedelta(hours=1))
    broker.pass_time(50)
    assert not state(job).is_cancel_requested
    broker.now = deadline
    assert broker.claim() is None, "before the reconciler runs"
    broker.pass_time(10)
    assert not state(job).is_finished, "the chunk that runs is completed"
    broker.complete(running)
    view = state(job)
    assert (view.state, view.done, view.is_expired, view.is_cancel_requested) == ("cancelled", 2, True, True)
    view = work.retry_job(job_id=job.id, now=broker.now)
    assert (view.state, view.deadline, view.is_expired, view.is_cancel_requested) == ("running", None, False, False)
    assert len(broker.process_all()) == 2 and state(job).state == "done"


def test_a_job_that_ends_before_its_deadline_does_not_expire(broker, members):
    deadline = NOW + timedelta(minutes=1)
    done, cancelled = submit(1, deadline=deadline), submit(1, deadline=deadline)
    work.cancel_job(job_id=cancelled.id, now=NOW)
    broker.process_all()
    for job in Job.objects.all():
        work.expire_job(job, deadline)
    broker.pass_time(120)
    assert [(state(job).state, state(job).is_expired) for job in (done, cancelled)] == [
        ("done", False),
        ("cancelled", False),
    ]


def test_no_chunk_is_published_after_the_deadline(broker, members):
    submit(WINDOW + 1, deadline=NOW + timedelta(seconds=5))
    chunk = broker.claim()
    broker.now = NOW + timedelta(seconds=6)
    broker.complete(chunk)
    assert broker.published == WINDOW


@pytest.mark.parametrize(
    ("kind", "deadline", "message"),
    [("batch_feeds", NOW, "in the future"), ("erase_members", NOW + timedelta(days=1), "cannot be cancelled")],
)
def test_an_invalid_deadline_is_rejected(broker, members, kind, deadline, message):
    with pytest.raises(InvalidRequest, match=message):
        submit(1, kind=kind, deadline=deadline)


@pytest.mark.parametrize(
    "option", [{"priority": "low"}, {"deadline": NOW + timedelta(hours=1)}], ids=["priority", "deadline"]
)
def test_an_idempotency_key_belongs_to_one_priority_and_deadline(broker, members, option):
    first = submit(1, idempotency_key="k", **option)
    assert submit(1, idempotency_key="k", at=NOW + timedelta(days=1), **option).id == first.id
    with pytest.raises(InvalidRequest, match="another job"):
        submit(1, idempotency_key="k")


# The reconciler


def test_more_overdue_chunks_than_a_run_reads_are_all_released(broker, members, monkeypatch):
    monkeypatch.setattr(work, "MAX_RECONCILED", 5)
    job = Job.objects.create(kind="batch_feeds", total=12, created_at=NOW, state="running")
    chunk = {"state": "running", "attempts": 1, "leased_until": NOW}
    JobChunk.objects.bulk_create([JobChunk(job=job, number=n, item_ids=[n], **chunk) for n in range(12)])
    long = NOW + timedelta(hours=1)
    JobChunk.objects.bulk_create(
        [JobChunk(job=job, number=n, item_ids=[n], **chunk | {"leased_until": long}) for n in range(12, 24)]
    )
    broker.pass_time(30)
    assert set(JobChunk.objects.filter(state="queued").values_list("number", flat=True)) == set(range(12))


def test_a_chunk_that_cannot_be_released_does_not_keep_the_others_waiting(broker, members, monkeypatch, caplog):
    submit(3)
    chunks = [broker.claim() for _ in range(3)]
    release = work.release_chunk

    def fail_for_the_first(chunk, *args, **options):
        if chunk.pk == chunks[0].pk:
            raise DatabaseError("gone")
        release(chunk, *args, **options)

    monkeypatch.setattr(work, "release_chunk", fail_for_the_first)
    broker.pass_time(30)
    assert sorted(JobChunk.objects.values_list("state", flat=True)) == ["queued", "queued", "running"]
    assert "reconciliation_failed" in caplog.text


def test_chunks_of_a_release_without_windows_are_published(broker, members):
    """Its rows have no slot, and its message may be lost."""
    job = Job.objects.create(kind="batch_feeds", total=1, created_at=NOW)
    JobChunk.objects.create(job=job, number=0, item_ids=members[:1], leased_until=NOW + timedelta(seconds=120))
    broker.pass_time(10)
    assert len(broker.process_all()) == 1 and state(job).state == "done"


def test_a_job_of_a_newer_version_is_left_to_its_workers(broker, members):
    """Every chunk of it: waiting, running with an expired lease, and after the deadline. Other jobs go on."""
    newer = Job.objects.create(
        kind="of_the_next_version", total=3, created_at=NOW, deadline=NOW + timedelta(minutes=5), state="running"
    )
    lost = {"state": "running", "slot": 0, "attempts": 1, "leased_until": NOW}
    JobChunk.objects.create(job=newer, number=0, item_ids=[1, 2], **lost)
    JobChunk.objects.create(job=newer, number=1, item_ids=[3])
    before = list(JobChunk.objects.values())
    assert work.claim_chunk(newer.pk, 1, NOW) is None
    own = submit(2)
    broker.pass_time(900)
    assert len(broker.process_all()) == 2 and state(own).state == "done"
    assert list(JobChunk.objects.filter(job=newer).values()) == before
    assert state(newer).state == "running" and not state(newer).is_cancel_requested


def explain(sql):
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":  # the tables are small
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        cursor.execute(f"EXPLAIN {'QUERY PLAN ' if connection.vendor == 'sqlite' else ''}{sql}")
        return str(cursor.fetchall())


def test_claims_and_the_reconciler_read_by_an_index_in_its_order(broker, members):
    submit()
    with CaptureQueriesContext(connection) as queries:
        work.claim_best_chunk("batch", NOW)
        broker.pass_time(10)
    ordered = [query["sql"] for query in queries if query["sql"].startswith("SELECT") and "ORDER BY" in query["sql"]]
    plans = " ".join(map(explain, ordered))
    for index in ("chunks_to_claim", "running_chunks_by_lease", "jobs_by_state", "chunks_by_message"):
        assert index in plans, plans


def test_a_chunk_is_settled_without_reading_the_settled_chunks_of_its_job(broker, members):
    """The plans are those of the statements with their parameters, which decide whether SQLite uses a partial index."""
    job = submit()
    chunk, plans = broker.claim(), []

    def explain_with_parameters(execute, sql, params, many, context):
        if sql.startswith("SELECT") and "recommendations_jobchunk" in sql:
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN {'QUERY PLAN ' if connection.vendor == 'sqlite' else ''}{sql}", params)
                plans.append(str(cursor.fetchall()))
        return execute(sql, params, many, context)

    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":  # the tables are small
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
    wrapper = connection.execute_wrapper(explain_with_parameters)
    with wrapper:
        broker.complete(chunk)
    assert state(job).done == 1
    of_unfinished = [plan for plan in plans if "unfinished_chunks" in plan or "one_chunk_per_slot" in plan]
    assert len(of_unfinished) == len(plans) >= 3, plans


@pytest.mark.parametrize("seed", [*range(2), *(pytest.param(n, marks=pytest.mark.nightly) for n in range(2, 12))])
def test_in_any_history_every_item_is_counted_once(broker, members, seed, monkeypatch):
    """
    Workers die, are paused, stop, fail or go on late; messages are lost; jobs are cancelled and retried.

    At any time the counts are those of the settled chunks, and in the end every item is done or failed, once.
    """
    rng = random.Random(seed)
    limit_kind(monkeypatch, 3, "rebuild_interests")
    monkeypatch.setattr(work, "MAX_CHUNK_ATTEMPTS", 2)
    jobs = [submit(rng.randint(1, 10), kind=kind) for kind in ("batch_feeds", "rebuild_interests", "rebuild_interests")]
    claims = []
    for _ in range(60):
        step = rng.random()
        if step < 0.4 and (chunk := broker.claim()):
            claims.append(chunk)
        elif step < 0.8 and claims:  # perhaps long after another worker has got the chunk
            chunk = claims.pop(rng.randrange(len(claims)))
            error = [{"item_id": chunk.item_ids[0], "problem": "E"}]
            rng.choice(
                [
                    lambda: broker.complete(chunk),  # noqa: B023 - called at once
                    lambda: work.complete_chunk(chunk, Job.State.DONE, error, broker.now),  # noqa: B023
                    lambda: work.release_chunk(chunk, "E", broker.now),  # noqa: B023
                    lambda: work.requeue_chunk(chunk, broker.now, attempts=chunk.attempts - 1),  # noqa: B023
                ]
            )()
        elif step < 0.85 and broker.queues.get("batch"):
            broker.queues["batch"].pop(0)
        elif step < 0.88:
            work.cancel_job(job_id=rng.choice(jobs).id, now=broker.now)
        elif step < 0.92:
            work.retry_job(job_id=rng.choice(jobs).id, now=broker.now)
        else:
            broker.pass_time(10)
        check_counts(jobs)
    for _ in range(50):
        if all(state(job).state == "done" and not state(job).failed for job in jobs):
            break
        broker.pass_time(60)
        broker.process_all()
        for job in jobs:
            work.retry_job(job_id=job.id, now=broker.now)
    for job in jobs:
        view = state(job)
        assert (view.state, view.done, view.failed) == ("done", view.total, 0)


def check_counts(jobs):
    for job in jobs:
        view = state(job)
        unsettled = JobChunk.objects.filter(job=job.id, state__in=("queued", "running", "cancelled")).count()
        assert view.done + view.failed + unsettled == view.total
        assert view.failed == JobFailure.objects.filter(job=job.id).count()
        assert published_chunks(job=job.id).count() <= WINDOW
    assert published_chunks(job__kind="rebuild_interests").count() <= 3
