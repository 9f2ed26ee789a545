"""Jobs: a row first, done by chunks, counted once, and never lost with a message or a worker."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from kombu.exceptions import OperationalError

from recommendations import task_queue
from recommendations.models import Job, JobChunk
from recommendations.services import wiring, work
from recommendations.services.errors import InvalidRequest, UnknownJob, UnknownMember
from recommendations.services.extensions import jobs as job_kinds
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]
LATER = NOW + timedelta(hours=1)
PUBLISH = task_queue.publish


def process_with(monkeypatch, process):
    """Have chunks of batch feeds processed by another function."""
    kind = replace(work.KINDS[Job.Kind.BATCH_FEEDS], process=process)
    monkeypatch.setitem(work.KINDS, Job.Kind.BATCH_FEEDS, kind)


@pytest.fixture(autouse=True)
def sent_messages(monkeypatch):
    """Collect the messages in place of the broker; what a worker does with them is in test_worker."""
    messages = []
    monkeypatch.setattr(task_queue, "publish", lambda name, kwargs, queue, *_: messages.append((name, kwargs, queue)))
    return messages


@pytest.fixture
def members(settings):
    """Five members in chunks of two, and a post for them."""
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
    """Let the chunks of batch feeds fail as a whole."""

    def fail(job, items, now):
        raise RuntimeError("no disk")

    process_with(monkeypatch, fail)


# asking


def test_a_job_is_a_row_with_chunks_before_anything_is_sent(members, sent_messages, django_capture_on_commit_callbacks):
    """Published on commit: a worker must not look for a row that is not there yet."""
    with django_capture_on_commit_callbacks(execute=True):
        job = submit()
        assert sent_messages == []
        assert [len(c.item_ids) for c in JobChunk.objects.filter(job=job.id)] == [2, 2, 1]
    assert [(name, kwargs["number"], queue) for name, kwargs, queue in sent_messages] == [
        (task_queue.PROCESS_CHUNK, n, "batch") for n in range(3)
    ]
    assert (job.state, job.total, job.done) == ("queued", 5, 0)


def test_one_members_feed_goes_to_the_quick_queue(members, sent_messages, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        submit("member_feed", {"member_ids": ["m1"]})
    assert [queue for _, _, queue in sent_messages] == ["interactive"]


def test_a_job_without_items_is_done_at_once():
    job = submit()
    assert (job.state, job.total, job.is_finished) == ("done", 0, True)


@pytest.mark.parametrize(
    ("kind", "params", "error", "named"),
    [
        ("conquer", {}, InvalidRequest, "no job 'conquer'"),
        ("batch_feeds", {"posts": 1}, InvalidRequest, "posts: not a parameter of batch_feeds"),
        ("batch_feeds", {"member_ids": "m1"}, InvalidRequest, "member_ids: give a list"),
        ("batch_feeds", {"member_ids": []}, InvalidRequest, "member_ids: give a list"),
        ("batch_feeds", {"member_ids": [1]}, InvalidRequest, "member_ids: give a list"),
        ("batch_feeds", {"member_ids": ["m1", "nobody"]}, UnknownMember, "no member 'nobody'"),
        ("embed_posts", {"post_ids": ["nothing"]}, InvalidRequest, "no post 'nothing'"),
        ("member_feed", {}, InvalidRequest, "name them"),
    ],
)
def test_what_cannot_be_done_is_refused_and_leaves_no_row(members, kind, params, error, named):
    with pytest.raises(error, match=named):
        submit(kind, params)
    assert not Job.objects.exists()


def test_the_same_key_gives_the_same_job(members):
    first, second = submit(idempotency_key="k"), submit(idempotency_key="k")
    assert first.id == second.id
    assert Job.objects.count() == 1
    with pytest.raises(InvalidRequest, match="another job"):
        submit(params={"member_ids": ["m1"]}, idempotency_key="k")


def test_a_broker_that_is_down_loses_nothing(members, monkeypatch, sent_messages, django_capture_on_commit_callbacks):
    """The door gets its answer, the job waits, and the reconciler publishes it."""
    tried = []
    with monkeypatch.context() as patch:

        def down(*args, **kwargs):
            tried.append(args)
            raise OperationalError("connection refused")

        patch.setattr(task_queue, "publish", PUBLISH)
        patch.setattr("celery.app.task.Task.apply_async", down)
        with django_capture_on_commit_callbacks(execute=True):
            job = submit()
    assert (state(job).state, len(tried)) == ("queued", 3)
    with django_capture_on_commit_callbacks(execute=True):
        assert work.reconcile_jobs(now=NOW) == 0
        assert work.reconcile_jobs(now=LATER) == 3


def test_an_unknown_job_is_named():
    with pytest.raises(UnknownJob):
        work.read_job(job_id=uuid4())


# doing


def test_progress_goes_from_queued_to_done(members):
    factories.post(members[0])
    job = submit()
    seen = []
    for number in range(3):
        assert run(job, number)
        seen.append((state(job).state, state(job).done))
    assert seen == [("running", 2), ("running", 4), ("done", 5)]
    assert state(job).finished_at == NOW
    assert all(wiring.slate_cache().get(member.pk, "discovery") is not None for member in members[1:])


def test_a_chunk_delivered_twice_counts_once(members):
    job = submit()
    assert run(job, 0) and not run(job, 0)
    assert state(job).done == 2


def test_a_chunk_in_hand_is_nobody_elses_until_its_lease_runs_out(members):
    job = submit()
    mine = work.claim_chunk(job.id, 0, NOW)
    assert work.claim_chunk(job.id, 0, NOW) is None
    theirs = work.claim_chunk(job.id, 0, LATER)
    assert theirs is not None
    # The first worker was only slow: both come to an end, and one of them counts.
    work.complete_chunk(theirs, Job.State.DONE, [], LATER)
    work.complete_chunk(mine, Job.State.DONE, [], LATER)
    assert state(job).done == 2


def test_a_worker_whose_lease_ran_out_cannot_complete_the_chunk_of_the_next_one(members):
    """The slow worker finishes first: nothing is counted until the one that holds the lease is done."""
    job = submit()
    slow = work.claim_chunk(job.id, 0, NOW)
    holder = work.claim_chunk(job.id, 0, LATER)
    work.complete_chunk(slow, Job.State.FAILED, [{"item_id": slow.item_ids[0], "problem": "lost"}], LATER, "lost")
    view = state(job)
    assert (view.done, view.failed, view.errors) == (0, 0, [])
    chunk = JobChunk.objects.get(job=job.id, number=0)
    assert (chunk.state, chunk.attempts, chunk.error) == ("running", 2, "")
    work.complete_chunk(holder, Job.State.DONE, [], LATER)
    assert (state(job).done, state(job).failed) == (2, 0)


def test_a_chunk_of_an_unknown_job_is_nobodys(members):
    assert not work.process_chunk(job_id=uuid4(), number=0, now=NOW)


def test_an_item_that_fails_is_an_error_as_data(members, monkeypatch):
    """It costs itself, and is named."""
    keep = job_kinds.keep_slate

    def picky(member_pk, feed, now):
        if member_pk == members[1].pk:
            raise RuntimeError("no luck")
        keep(member_pk, feed, now)

    monkeypatch.setattr(job_kinds, "keep_slate", picky)
    job = submit()
    for number in range(3):
        run(job, number)
    view = state(job)
    assert (view.state, view.done, view.failed) == ("done", 4, 1)
    assert view.errors == [{"item_id": members[1].pk, "problem": "RuntimeError: no luck"}]


def test_a_chunk_that_fails_is_tried_again_and_then_given_up(members, failing_chunks):
    job = submit()
    for attempt in range(work.MAX_CHUNK_ATTEMPTS):
        with pytest.raises(RuntimeError):
            run(job, 0, NOW + timedelta(minutes=attempt))
    assert not run(job, 0, LATER)
    view = state(job)
    assert (view.failed, view.errors[0]["problem"]) == (2, "RuntimeError: no disk")
    assert JobChunk.objects.get(job=job.id, number=0).state == "failed"


def test_few_errors_are_kept_of_many(settings, failing_chunks):
    settings.ENV = settings.ENV.model_copy(update={"batch_processing_size": 50})
    for _ in range(50):
        factories.member()
    job = submit()
    for _ in range(work.MAX_CHUNK_ATTEMPTS):
        with pytest.raises(RuntimeError):
            run(job, 0)
    view = state(job)
    assert (view.state, view.failed, len(view.errors)) == ("failed", 50, work.MAX_ERRORS)


def test_a_member_deactivated_meanwhile_gets_no_feed(members):
    job = submit()
    type(members[0]).objects.filter(pk=members[0].pk).update(is_active=False)
    for number in range(3):
        run(job, number)
    assert state(job).state == "done"
    assert wiring.slate_cache().get(members[0].pk, "discovery") is None


@pytest.mark.parametrize("kind", ["embed_posts", "rebuild_interests"])
def test_the_other_kinds_of_work(members, kind):
    job = submit(kind)
    for number in range(len(JobChunk.objects.filter(job=job.id))):
        run(job, number)
    assert state(job).state == "done" and state(job).done == job.total > 0


# cancelling and trying again


def test_a_cancelled_job_begins_nothing_more(members):
    job = submit()
    run(job, 0)
    view = work.cancel_job(job_id=job.id, now=NOW)
    assert (view.state, view.done, view.is_cancel_requested) == ("cancelled", 2, True)
    assert not run(job, 1)
    assert state(job).done == 2


def test_what_runs_when_a_job_is_cancelled_is_finished_and_counted(members):
    job = submit()
    chunk = work.claim_chunk(job.id, 0, NOW)
    assert not work.cancel_job(job_id=job.id, now=NOW).is_finished
    work.complete_chunk(chunk, Job.State.DONE, [], NOW)
    assert (state(job).state, state(job).done) == ("cancelled", 2)


def test_cancelling_what_is_over_changes_nothing(members):
    job = submit()
    for number in range(3):
        run(job, number)
    assert work.cancel_job(job_id=job.id, now=LATER).state == "done"


def test_retrying_does_only_what_is_left(members, sent_messages, django_capture_on_commit_callbacks):
    job = submit()
    run(job, 0)
    work.cancel_job(job_id=job.id, now=NOW)
    with django_capture_on_commit_callbacks(execute=True):
        assert work.retry_job(job_id=job.id, now=LATER).state == "running"
    assert [kwargs["number"] for _, kwargs, _ in sent_messages] == [1, 2]
    assert not run(job, 0, LATER)
    assert run(job, 1, LATER) and run(job, 2, LATER)
    view = state(job)
    assert (view.state, view.done, view.failed, view.is_cancel_requested) == ("done", 5, 0, False)


def test_retrying_what_failed_takes_its_failures_back(members, failing_chunks, monkeypatch):
    job = submit(params={"member_ids": ["m0"]})
    for _ in range(work.MAX_CHUNK_ATTEMPTS):
        with pytest.raises(RuntimeError):
            run(job, 0)
    assert (state(job).state, state(job).failed) == ("failed", 1)
    process_with(monkeypatch, lambda job, items, now: [])
    work.retry_job(job_id=job.id, now=LATER)
    run(job, 0, LATER)
    view = state(job)
    assert (view.state, view.done, view.failed) == ("done", 1, 0)
    assert view.errors == []


def test_retrying_what_runs_or_is_done_changes_nothing(members):
    job = submit()
    assert work.retry_job(job_id=job.id, now=NOW).state == "queued"
    for number in range(3):
        run(job, number)
    assert work.retry_job(job_id=job.id, now=NOW).state == "done"


# reconciling


def test_a_lost_message_is_published_again_and_not_twice_at_once(
    members, sent_messages, django_capture_on_commit_callbacks
):
    job = submit()
    with django_capture_on_commit_callbacks(execute=True):
        assert work.reconcile_jobs(now=NOW) == 0
        assert work.reconcile_jobs(now=LATER) == 3
        assert work.reconcile_jobs(now=LATER) == 0
    assert [kwargs["job_id"] for _, kwargs, _ in sent_messages] == [str(job.id)] * 3


def test_a_lost_worker_is_followed_by_another(members):
    job = submit()
    work.claim_chunk(job.id, 0, NOW)
    work.reconcile_jobs(now=LATER)
    assert run(job, 0, LATER)
    assert state(job).done == 2


def test_a_chunk_that_kills_every_worker_is_given_up(members):
    job = submit(params={"member_ids": ["m0"]})
    for hours in range(work.MAX_CHUNK_ATTEMPTS):
        assert work.claim_chunk(job.id, 0, NOW + timedelta(hours=hours))
    work.reconcile_jobs(now=NOW + timedelta(hours=9))
    view = state(job)
    assert (view.state, view.failed) == ("failed", 1)
    assert "worker was lost 3 times" in view.errors[0]["problem"]


def test_jobs_are_listed_newest_first(members):
    made = [work.submit_job(kind="batch_feeds", params={}, now=NOW + timedelta(minutes=i)).id for i in range(3)]
    assert [view.id for view in work.list_jobs(before=None, limit=2)] == made[:0:-1]
    assert [view.id for view in work.list_jobs(before=NOW + timedelta(minutes=1), limit=9)] == made[:1]
