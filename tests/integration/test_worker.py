"""The road through a real worker process and a real Redis: jobs end to end, also when a worker is killed."""

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
from tests import factories
from tests.servers import celery_worker

TIMEOUT_SECONDS = 60

pytestmark = [pytest.mark.usefixtures("fresh_wiring")]


def wait_for(happened, log=lambda: "", pause=0.05):
    """Wait until *happened* returns something true, and return it; how long it takes is not the question."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not (answer := happened()):
        assert time.monotonic() < deadline, log()[-3000:]
        time.sleep(pause)
    return answer


@pytest.fixture
def platform(transactional_db):
    """Ten members and forty posts, as of now: a worker reads the clock. The flag's row went with an earlier test."""
    now = clock.now()
    factories.flag("wasm_recommendations", at=now, is_enabled=True, rollout_percentage=100)
    members = [factories.member(f"m{i}", at=now) for i in range(10)]
    authors = [factories.member(f"a{i}", at=now, is_active=True) for i in range(4)]
    for i in range(40):
        topic = "war and soldiers" if i % 2 else "bread and yeast"
        factories.post(authors[i % 4], f"p{i}", text=f"{topic} {i}", at=now)
    factories.embed_all_posts(at=now)
    return members


def wait_for_job(job):
    def look():
        view = work.read_job(job_id=job.id)
        return view if view.is_finished else None

    return look


def test_a_batch_job_makes_a_feed_for_everybody(worker, platform):
    """Ranked on the kernel by the worker, kept in Redis, and served from there."""
    job = work.submit_job(kind="batch_feeds", params={}, now=clock.now())
    view = wait_for(wait_for_job(job), worker.log)
    assert (view.state, view.total, view.done, view.failed) == ("done", 14, 14, 0), view.errors
    for member in platform:
        page = recommend(member_id=member.external_id, now=clock.now())
        assert (page.cached, page.engine, page.fallback) == (True, "wasm_simd", "")
        assert len(page.picks) == 20
    wait_for(lambda: FeedRequest.objects.count() >= 14, worker.log)


def test_one_members_feed_on_demand(worker, platform):
    time.sleep(POLICY_REFRESH_SECONDS)  # the worker may know the policies of the test before
    job = work.submit_job(kind="member_feed", params={"member_ids": ["m3"]}, now=clock.now())
    assert wait_for(wait_for_job(job), worker.log).state == "done"
    assert wiring.slate_cache().get(platform[3].pk, "discovery") is not None
    assert wiring.slate_cache().get(platform[4].pk, "discovery") is None
    wait_for(FeedRequest.objects.exists, worker.log)


def test_an_interaction_changes_the_next_feed(worker, platform):
    """The worker learns it and forgets the kept slate: no beat is needed."""
    before = [pick.post.id for pick in recommend(member_id="m0", limit=100, now=clock.now()).picks]
    assert len(before) == 40
    liked = [Event(f"e{i}", "m0", f"p{i}", "share") for i in range(1, 12, 2)]
    interact.record_events(events=liked, now=clock.now())
    wait_for(lambda: not Interaction.objects.filter(is_learned=False).exists(), worker.log)
    wait_for(lambda: wiring.slate_cache().get(platform[0].pk, "discovery") is None, worker.log)
    page = recommend(member_id="m0", limit=100, explain=True, now=clock.now())
    after = [pick.post.id for pick in page.picks]
    assert not page.cached
    assert set(before) - set(after) == {event.post_id for event in liked}
    tastes = [sum(p.parts["taste"] for p in page.picks if int(p.post.id[1:]) % 2 == odd) for odd in (0, 1)]
    assert tastes[1] > 0 and tastes[1] > tastes[0]
    wait_for(FeedRequest.objects.exists, worker.log)


def test_an_act_sent_to_the_api_changes_the_next_feed_read_from_it(worker, platform, client, settings, monkeypatch):
    """From the answer to the act until a feed shows that it was learned; printed, as how long is for a benchmark."""
    monkeypatch.setattr(settings.ENV, "api_open", True)

    def read(member_id):
        return client.get(f"/api/v1/members/{member_id}/feed?limit=40&explain=true").json()

    def knows(member_id):
        page = read(member_id)
        return not page["cached"] and any(pick["parts"]["taste"] > 0 for pick in page["picks"])

    took = []
    for number in range(5):
        who = f"m{number}"
        before = read(who)
        assert read(who)["cached"] and not any(pick["parts"]["taste"] for pick in before["picks"])
        act = {"event_id": f"api-{number}", "member_id": who, "post_id": "p1", "kind": "share"}
        answer = client.post("/api/v1/interactions", {"events": [act]}, content_type="application/json")
        assert answer.json()["recorded"] == 1
        start = time.perf_counter()
        wait_for(lambda who=who: knows(who), worker.log, pause=0.005)
        took.append((time.perf_counter() - start) * 1000)
    print("act to changed feed, ms:", ", ".join(f"{milliseconds:.0f}" for milliseconds in took))
    wait_for(FeedRequest.objects.exists, worker.log)


@pytest.fixture
def idle_session_worker(redis_url):
    """Let the session's worker, if there is one, leave this test's chunks alone."""
    app.control.cancel_consumer("batch", reply=True)
    yield
    app.control.add_consumer("batch", reply=True)


def test_a_worker_killed_in_the_middle_loses_nothing(redis_url, idle_session_worker, platform, tmp_path, settings):
    """Its chunk's lease runs out, the reconciler asks again, and another worker ends the job."""
    settings.ENV = django_settings.ENV.model_copy(update={"batch_processing_size": 5, "job_lease_seconds": 2})
    now = clock.now()
    for i in range(400):
        factories.member(f"crowd{i}", at=now)
    job = work.submit_job(kind="batch_feeds", params={}, now=now)
    env = {"JOB_LEASE_SECONDS": "2", "CATALOGUE_REFRESH_SECONDS": "1"}
    with celery_worker(tmp_path, **env) as first:
        wait_for(lambda: work.read_job(job_id=job.id).done, first.log)
        os.killpg(first.process.pid, signal.SIGKILL)
        first.process.wait()
    left = work.read_job(job_id=job.id)
    assert 0 < left.done < left.total, "the job was over before the worker was killed"
    # The messages are lost as well: only the rows know of the job.
    with redis.Redis.from_url(redis_url) as broker:
        broker.delete("recsys:batch", "recsys:unacked", "recsys:unacked_index")
    with celery_worker(tmp_path, **env) as second:

        def look():
            work.reconcile_jobs(now=clock.now())
            return wait_for_job(job)()

        view = wait_for(look, second.log)
    assert (view.state, view.done, view.failed) == ("done", 414, 0), view.errors
    assert not JobChunk.objects.exclude(state=Job.State.DONE).exists()
    assert Member.objects.count() == 414
