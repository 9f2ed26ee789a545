"""Training as a job: requested when due, run by the training worker, cancelled, retried, and never started twice."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import redis
from django.db import DatabaseError

from monitoring import clock
from recommendations import task_queue, tasks, training_tasks
from recommendations.models import Job, JobChunk, Post, ReactionHistory, TrainedModel
from recommendations.services import work
from recommendations.services.errors import InvalidRequest
from recommendations.services.extensions import jobs as job_kinds
from recommendations.services.training import schedule
from recommendations.services.training import train as training
from recsys_project.stack import commands
from tests import factories
from tests.factories import NOW
from tests.servers import celery_worker

KIND = "item_weights"
State = TrainedModel.State
PUBLISH = task_queue.publish

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]


@pytest.fixture(autouse=True)
def sent_messages(monkeypatch):
    """Collect messages instead of sending them to a broker."""
    messages = []
    monkeypatch.setattr(task_queue, "publish", lambda name, kwargs, queue, *_: messages.append((name, kwargs, queue)))
    return messages


@pytest.fixture
def training_worker():
    """Process training jobs in this process, as the training worker does."""
    training_tasks.register()
    yield
    job_kinds.register()


@pytest.fixture
def platform(monkeypatch):
    """Thirty members with five likes each, of ten posts."""
    for module in (training, schedule):
        monkeypatch.setattr(module, "MIN_MEMBERS", 10)
    rng = np.random.default_rng(1)
    posts = factories.posts(factories.member("author"), 10)
    for _ in range(30):
        add_history([post.pk for post in rng.permutation(posts)[:5]])


def add_history(signed_ids):
    times = NOW.timestamp() + np.arange(len(signed_ids))
    return ReactionHistory.objects.create(
        member=factories.member(), reactions=np.array(signed_ids, "<i8").tobytes(), reacted_at=times.tobytes()
    )


def submit(**params):
    return work.submit_job(kind="train_model", params=params, now=NOW)


def run(job, now=NOW):
    return work.process_chunk(job_id=job.id, number=0, now=now)


def state(job):
    return work.read_job(job_id=job.id)


# The job


def test_a_job_trains_a_model(platform, training_worker):
    job = submit(kinds=[KIND])
    run(job)
    model = TrainedModel.objects.get()
    assert model.state == State.ACTIVE
    assert (state(job).state, state(job).done, state(job).result) == ("done", 1, {"models": [model.pk]})
    assert JobChunk.objects.get(job=job.id).item_ids == [0]


def test_the_message_goes_to_the_training_queue(sent_messages, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        job = submit()
    assert sent_messages == [(task_queue.PROCESS_CHUNK, {"job_id": str(job.id), "number": 0}, "training")]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"kinds": ["other"]}, "kinds: give a list of item_weights"),
        ({"kinds": "item_weights"}, "kinds: give a list"),
        ({"kinds": []}, "kinds: give a list"),
        ({"member_ids": ["m1"]}, "member_ids: not a parameter of train_model"),
    ],
    ids=str,
)
def test_invalid_parameters_of_a_training_job(params, message):
    with pytest.raises(InvalidRequest, match=message):
        submit(**params)


def test_another_worker_does_not_train(platform):
    job_kinds.register()  # this module has imported the module of the training worker
    job = submit()
    with pytest.raises(RuntimeError, match="Only the training worker"):
        run(job)
    assert not TrainedModel.objects.exists()


def test_too_few_likes_fail_the_item_and_not_the_worker(training_worker):
    job = submit()
    run(job)
    assert (state(job).failed, state(job).result) == (1, {"models": []})
    assert state(job).errors[0]["problem"].startswith("0 members have 3 likes or more, and a training needs 50")


def test_the_result_of_a_running_job_says_how_far_it_is(platform, training_worker, monkeypatch):
    results, check = [], work.check_cancellation
    monkeypatch.setattr(work, "check_cancellation", lambda job_id: (check(job_id), results.append(state(job).result)))
    job = submit()
    run(job)
    assert {"stage": "training on all likes", "done": 0, "total": 10} in results


def test_a_cancelled_training_ends_and_a_retry_trains_again(platform, training_worker, monkeypatch):
    job, check = submit(), work.check_cancellation
    monkeypatch.setattr(
        work, "check_cancellation", lambda job_id: (work.cancel_job(job_id=job_id, now=NOW), check(job_id))
    )
    run(job)
    failed = TrainedModel.objects.get()
    assert (failed.state, failed.problem) == (State.FAILED, "Its job was cancelled.")
    assert (state(job).state, state(job).done, state(job).failed) == ("cancelled", 0, 0)
    monkeypatch.setattr(work, "check_cancellation", check)
    work.retry_job(job_id=job.id, now=NOW)
    run(job)
    assert (state(job).state, state(job).done) == ("done", 1)
    assert TrainedModel.objects.filter(state=State.ACTIVE).count() == 1


# The lease


@pytest.fixture
def short_lease(settings):
    settings.ENV = settings.ENV.model_copy(update={"job_lease_seconds": 1})


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.django_db(transaction=True)
def test_the_lease_is_renewed_while_a_long_chunk_is_processed(short_lease, monkeypatch):
    """The reconciler would otherwise start the training a second time."""
    seen = []

    def process(job_id, items, now):
        leases = JobChunk.objects.filter(job=job_id).values_list("leased_until", flat=True)
        seen.append(leases.get())
        wait_until(lambda: leases.get() > seen[0])
        seen.append(leases.get())
        return []

    monkeypatch.setitem(work.KINDS, "train_model", replace(work.KINDS["train_model"], process=process))
    job = submit()
    run(job)
    assert seen[0] == NOW + timedelta(seconds=1) < seen[1]
    assert state(job).state == "done"
    assert "renew-lease" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.django_db(transaction=True)
def test_a_lease_that_cannot_be_renewed_is_tried_again(short_lease, monkeypatch, caplog):
    renewals, claimed_chunk = [], work.claimed_chunk

    def fail_once(chunk):
        if threading.current_thread().name == "renew-lease":
            renewals.append(chunk)
            if len(renewals) == 1:
                raise DatabaseError("gone")
        return claimed_chunk(chunk)

    monkeypatch.setattr(work, "claimed_chunk", fail_once)
    process = lambda *_: wait_until(lambda: len(renewals) > 1) or []  # noqa: E731
    monkeypatch.setitem(work.KINDS, "train_model", replace(work.KINDS["train_model"], process=process))
    job = submit()
    run(job)
    assert "lease_not_renewed" in caplog.text and state(job).state == "done"


# The schedule


def request(now=NOW, **options):
    return schedule.request_due_training(now=now, **options)


def test_the_first_training_is_due_as_soon_as_enough_members_have_likes(monkeypatch):
    monkeypatch.setattr(schedule, "MIN_MEMBERS", 2)
    add_history([1, 2, 3])
    add_history([1, 2, -3])
    assert request() == 0
    add_history([1, 2, 3])
    assert request() == 1
    assert Job.objects.get().params == {"kinds": [KIND]}


def test_a_training_is_due_once_enough_reactions_were_added_or_deleted(platform):
    TrainedModel.objects.create(kind=KIND, created_at=NOW, trained_at=NOW, reaction_count=150)
    assert request() == 0
    added = add_history(range(1, 100))
    assert request() == 0
    more = add_history([1])
    assert request() == 1
    Job.objects.all().delete()
    more.delete(), added.delete()
    TrainedModel.objects.update(reaction_count=2_000)
    assert request() == 1


def test_a_large_model_is_trained_again_when_a_tenth_has_changed(platform):
    TrainedModel.objects.create(kind=KIND, created_at=NOW, trained_at=NOW, reaction_count=2_000)
    add_history(range(1, 1_651))
    assert schedule.count_reactions() == 1_800 and schedule.is_training_due(kind=KIND, now=NOW)
    add_history([1])
    assert not schedule.is_training_due(kind=KIND, now=NOW)


def test_every_night_a_training_is_due(platform):
    TrainedModel.objects.create(kind=KIND, created_at=NOW, trained_at=NOW, reaction_count=150)
    assert (request(), request(is_nightly=True)) == (0, 1)


def test_a_training_is_not_requested_twice(platform):
    job_count = [request(), request(NOW + timedelta(hours=3))]
    assert job_count == [1, 0]
    Job.objects.update(state=Job.State.DONE)
    assert request() == 1 and Job.objects.count() == 1  # the same hour: the same job


def test_the_task_requests_due_trainings(platform):
    tasks.request_training()
    assert Job.objects.filter(kind="train_model").count() == 1


# The training worker


@pytest.mark.one_database("sqlite")
def test_only_the_training_worker_imports_scipy():
    """A fresh process with the web application, the admin and all other tasks does not import SciPy or the training."""
    code = """
import sys
import recsys_project.rsgi
import recsys_project.urls
import recommendations.tasks, flags.tasks, monitoring.tasks
unwanted = {"scipy", "implicit", "recommendations.training", "recommendations.evaluation.metrics"} & set(sys.modules)
sys.exit(f"imported: {sorted(unwanted)}" if unwanted else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.one_database("sqlite")
def test_the_training_worker_limits_its_memory():
    """An allocation above TRAINING_MEMORY_LIMIT fails."""
    code = """
import recsys_project.celery, django
django.setup()
import numpy as np
from django.conf import settings
from recommendations import training_tasks
training_tasks.limit_memory()
np.empty(settings.ENV.training_memory_limit // 16)
try:
    np.empty(settings.ENV.training_memory_limit // 8)
except MemoryError:
    print("refused")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TRAINING_MEMORY_LIMIT": "4096MB"},
    )
    assert done.stdout.strip() == "refused", done.stderr


def wait_for(condition, worker):
    deadline = time.monotonic() + 120
    while not (result := condition()):
        assert time.monotonic() < deadline, worker.log()[-3000:]
        time.sleep(0.05)
    return result


@pytest.fixture
def large_platform(transactional_db):
    """Four hundred members with a hundred likes each, of three thousand posts: a training takes seconds."""
    rng, author = np.random.default_rng(2), factories.member("author")
    made = [Post(external_id=f"p{i}", author=author, created_at=NOW, changed_at=NOW) for i in range(3_000)]
    ids = np.array([post.pk for post in Post.objects.bulk_create(made)])
    for _ in range(400):
        add_history(rng.choice(ids, 100, replace=False))


@pytest.mark.usefixtures("large_platform")
@pytest.mark.one_database("postgresql")
def test_a_training_is_finished_after_its_worker_is_killed(redis_url, tmp_path, settings, monkeypatch):
    """The lease is renewed until the worker is killed. Then it expires, and another worker starts anew."""
    settings.ENV = settings.ENV.model_copy(update={"job_lease_seconds": 2})
    monkeypatch.setattr(task_queue, "publish", PUBLISH)
    options = {"queues": "training", "include": commands.TRAINING_TASKS, "JOB_LEASE_SECONDS": "2"}
    job = work.submit_job(kind="train_model", params={}, now=clock.now())
    with celery_worker(tmp_path, **options) as first:
        wait_for(lambda: work.read_job(job_id=job.id).result.get("stage"), first)
        os.killpg(first.process.pid, signal.SIGKILL)
        first.process.wait()
    assert not work.read_job(job_id=job.id).is_finished
    with redis.Redis.from_url(redis_url) as broker:
        broker.delete("recsys:training", "recsys:unacked", "recsys:unacked_index")
    with celery_worker(tmp_path, **options) as second:

        def reconcile_and_read():
            work.reconcile_jobs(now=clock.now())
            view = work.read_job(job_id=job.id)
            return view if view.is_finished else None

        view = wait_for(reconcile_and_read, second)
    assert (view.state, view.done, view.failed) == ("done", 1, 0), view.errors
    interrupted, trained = TrainedModel.objects.order_by("pk")
    assert (interrupted.state, trained.pk) == (State.TRAINING, view.result["models"][0])
    assert trained.state in (State.ACTIVE, State.EVALUATED) and trained.blocks.exists()
