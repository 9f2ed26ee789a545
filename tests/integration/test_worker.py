"""Jobs and interactions end to end, through a real worker process and a real Redis, and with a killed worker."""

import os
import signal
import time

import pytest
import redis
from django.conf import settings as django_settings

from monitoring import clock
from recommendations.models import FeedRequest, Interaction, Job, JobChunk, Member
from recommendations.services import wiring, work
from recommendations.services.learning import interact
from recommendations.services.learning.interact import Event
from recommendations.services.serving.recommend import recommend
from recommendations.stores.active_policies import POLICY_REFRESH_SECONDS
from recsys_project.celery import app
from tests import factories, slow_chunks
from tests.servers import celery_worker

TIMEOUT_SECONDS = 60

pytestmark = [pytest.mark.usefixtures("fresh_wiring")]


def wait_for(condition, log=lambda: "", pause=0.05):
    """Call *condition* until it returns a true value, and return that value. Fails after `TIMEOUT_SECONDS`."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not (result := condition()):
        assert time.monotonic() < deadline, log()[-3000:]
        time.sleep(pause)
    return result


@pytest.fixture
def platform(transactional_db):
    """
    Ten members and forty posts, dated by the real clock, which the worker reads.

    Also the flag: an earlier test with a real transaction has deleted its row.
    """
    now = clock.now()
    factories.flag("wasm_recommendations", at=now, is_enabled=True, rollout_percentage=100)
    members = [factories.member(f"m{i}", at=now) for i in range(10)]
    authors = [factories.member(f"a{i}", at=now, is_active=True) for i in range(4)]
    for i in range(40):
        topic = "war and soldiers" if i % 2 else "bread and yeast"
        factories.post(authors[i % 4], f"p{i}", text=f"{topic} {i}", at=now)
    factories.embed_all_posts(at=now)
    return members


def job_condition(job):
    def finished_job():
        view = work.read_job(job_id=job.id)
        return view if view.is_finished else None

    return finished_job


def test_a_batch_job_builds_the_feeds_of_all_members(worker, platform):
    """The worker ranks them with the kernel and caches them in Redis, from where they are served."""
    job = work.submit_job(kind="batch_feeds", params={}, now=clock.now())
    view = wait_for(job_condition(job), worker.log)
    assert (view.state, view.total, view.done, view.failed) == ("done", 14, 14, 0), view.errors
    for member in platform:
        page = recommend(member_id=member.external_id, now=clock.now())
        assert (page.is_cached, page.engine, page.fallback) == (True, "wasm_simd", "")
        assert len(page.picks) == 20
    wait_for(lambda: FeedRequest.objects.count() >= 14, worker.log)


def test_a_member_feed_job_builds_the_feed_of_one_member(worker, platform):
    time.sleep(POLICY_REFRESH_SECONDS)  # The worker may have cached the policies of the previous test.
    job = work.submit_job(kind="member_feed", params={"member_ids": ["m3"]}, now=clock.now())
    assert wait_for(job_condition(job), worker.log).state == "done"
    assert wiring.slate_cache().get(platform[3].pk, "discovery") is not None
    assert wiring.slate_cache().get(platform[4].pk, "discovery") is None
    wait_for(FeedRequest.objects.exists, worker.log)


def test_an_interaction_changes_the_next_feed(worker, platform):
    """The worker learns from it and retires the cached slate, without waiting for a scheduled task."""
    before = [pick.post.id for pick in recommend(member_id="m0", limit=100, now=clock.now()).picks]
    assert len(before) == 40
    liked = [Event(f"e{i}", "m0", f"p{i}", "share") for i in range(1, 12, 2)]
    interact.record_events(events=liked, now=clock.now())
    wait_for(lambda: not Interaction.objects.filter(is_learned=False).exists(), worker.log)
    wait_for(lambda: wiring.slate_cache().get(platform[0].pk, "discovery") is None, worker.log)
    page = recommend(member_id="m0", limit=100, explain=True, now=clock.now())
    after = [pick.post.id for pick in page.picks]
    assert not page.is_cached
    assert set(before) - set(after) == {event.post_id for event in liked}
    tastes = [sum(p.parts["taste"] for p in page.picks if int(p.post.id[1:]) % 2 == parity) for parity in (0, 1)]
    assert tastes[1] > 0 and tastes[1] > tastes[0]
    wait_for(FeedRequest.objects.exists, worker.log)


def test_an_interaction_sent_to_the_api_changes_the_next_feed(worker, platform, client, settings, monkeypatch):
    """
    Prints the time from the response until a feed reflects the interaction. It is not asserted: see the benchmarks.
    """
    monkeypatch.setattr(settings.ENV, "api_open", True)

    def read(member_id):
        return client.get(f"/api/v1/members/{member_id}/feed?limit=40&explain=true").json()

    def reflects_interaction(member_id):
        page = read(member_id)
        return not page["is_cached"] and any(pick["parts"]["taste"] > 0 for pick in page["picks"])

    milliseconds_each = []
    for number in range(5):
        member_id = f"m{number}"
        before = read(member_id)
        assert read(member_id)["is_cached"] and not any(pick["parts"]["taste"] for pick in before["picks"])
        event = {"event_id": f"api-{number}", "member_id": member_id, "post_id": "p1", "kind": "share"}
        response = client.post("/api/v1/interactions", {"events": [event]}, content_type="application/json")
        assert response.json()["recorded"] == 1
        start = time.perf_counter()
        wait_for(lambda member_id=member_id: reflects_interaction(member_id), worker.log, pause=0.005)
        milliseconds_each.append((time.perf_counter() - start) * 1000)
    print("interaction to changed feed, ms:", ", ".join(f"{milliseconds:.0f}" for milliseconds in milliseconds_each))
    wait_for(FeedRequest.objects.exists, worker.log)


@pytest.fixture
def idle_session_worker(redis_url):
    """Make the session's worker, if there is one, ignore this test's chunks."""
    app.control.cancel_consumer("batch", reply=True)
    yield
    app.control.add_consumer("batch", reply=True)


@pytest.mark.one_database("postgresql")
def test_a_job_is_finished_after_its_worker_is_killed(redis_url, idle_session_worker, platform, tmp_path, settings):
    """The lease of the chunk expires, the reconciler publishes it again, and another worker finishes the job."""
    settings.ENV = django_settings.ENV.model_copy(update={"batch_processing_size": 5, "job_lease_seconds": 6})
    now = clock.now()
    for i in range(200):
        factories.member(f"crowd{i}", at=now)
    job = work.submit_job(kind="batch_feeds", params={}, now=now)
    env = {"JOB_LEASE_SECONDS": "6", "CATALOGUE_REFRESH_SECONDS": "1"}
    with celery_worker(tmp_path, **env) as first:
        wait_for(lambda: work.read_job(job_id=job.id).done, first.log)
        os.killpg(first.process.pid, signal.SIGKILL)
        first.process.wait()
    progress = work.read_job(job_id=job.id)
    assert 0 < progress.done < progress.total, "the job was finished before the worker was killed"
    # Delete the messages as well: only the rows of the job are left.
    with redis.Redis.from_url(redis_url) as broker:
        broker.delete("recsys:batch", "recsys:unacked", "recsys:unacked_index")
    with celery_worker(tmp_path, **env) as second:

        def reconcile_and_read():
            work.reconcile_jobs(now=clock.now())
            return job_condition(job)()

        view = wait_for(reconcile_and_read, second.log)
    assert (view.state, view.done, view.failed) == ("done", 214, 0), view.errors
    assert not JobChunk.objects.exclude(state=Job.State.DONE).exists()
    assert Member.objects.count() == 214


@pytest.mark.one_database("postgresql")
def test_a_paused_worker_settles_nothing_and_a_stopped_one_returns_its_chunk(
    redis_url, idle_session_worker, platform, tmp_path, settings
):
    """Another worker gets the chunk of the paused one. The chunk of the stopped one waits for no lease."""
    settings.ENV = django_settings.ENV.model_copy(update={"job_lease_seconds": 2})
    began, end = tmp_path / "began", tmp_path / "end"
    options = {"include": "tests.slow_chunks", "JOB_LEASE_SECONDS": "2", slow_chunks.FOLDER: str(tmp_path)}
    chunks = JobChunk.objects.values_list("state", "attempts")
    with celery_worker(tmp_path, queues="batch", **options) as worker:
        job = work.submit_job(kind="batch_feeds", params={"member_ids": ["m0"]}, now=clock.now())
        mine = chunks.filter(job=job.id)
        wait_for(began.exists, worker.log)
        os.killpg(worker.process.pid, signal.SIGSTOP)
        wait_for(lambda: work.reconcile_jobs(now=clock.now()) or mine.get() == ("queued", 1))
        holder = work.claim_chunk(job.id, 0, clock.now())
        os.killpg(worker.process.pid, signal.SIGCONT)
        end.touch()
        wait_for(lambda: "process_chunk" in worker.log() and "succeeded" in worker.log(), worker.log)
        assert (mine.get(), work.read_job(job_id=job.id).done) == (("running", 2), 0)
        work.complete_chunk(holder, Job.State.DONE, [], clock.now())
        assert work.read_job(job_id=job.id).done == 1

        end.unlink()
        began.unlink()
        stopped = work.submit_job(kind="batch_feeds", params={"member_ids": ["m1", "m2"]}, now=clock.now())
        wait_for(began.exists, worker.log)
        assert chunks.get(job=stopped.id) == ("running", 1)
        worker.process.terminate()
        wait_for(lambda: worker.process.poll() is not None, worker.log)
        assert chunks.get(job=stopped.id) == ("queued", 0)
