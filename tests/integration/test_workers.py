"""Workers as they are watched: there or not, and working or not."""

from datetime import UTC, datetime, timedelta

import pytest
import redis
from django.conf import settings

from monitoring import clock, workers
from monitoring.tasks import canary
from monitoring.workers import Worker
from tests.integration.test_worker import wait_for

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
QUEUES = ["batch", "interactive", "maintenance"]
OTHERS = ["one", "two", "three"]
"""Queues that the session's worker, which may run and beat meanwhile, does not take from."""
LOCK = f"{settings.REDBEAT_KEY_PREFIX}:lock"


@pytest.fixture
def broker(redis_url, monkeypatch):
    """Return the broker's Redis without a word of any worker, and with a beat that holds its lock."""
    monkeypatch.setattr(workers, "canary_queues", lambda: OTHERS)
    with redis.Redis.from_url(redis_url) as client:

        def forget():
            client.delete(workers.WORKERS_KEY, workers.CANARIES_KEY, LOCK, *client.keys(f"{workers.WORKERS_KEY}:*"))

        forget()
        client.set(LOCK, "held")
        yield client
        forget()


def store_heartbeat(client, *, started, at=NOW, queues=OTHERS):
    workers.store_heartbeat(client, Worker("w1", 1, queues, started.timestamp(), at.timestamp()))


def reasons(now=NOW):
    return {finding.name: finding.reason for finding in workers.check_worker_health(now) if finding.reason}


def test_every_queue_that_tasks_go_to_has_a_canary():
    used = {entry["options"]["queue"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert used <= set(workers.canary_queues())


def test_no_worker_no_beat(broker):
    broker.delete(LOCK)
    found = reasons()
    assert set(found) == {"queue_one", "queue_two", "queue_three", "beat"}
    assert "-Q two" in found["queue_two"]


def test_a_worker_that_beats_and_takes_no_tasks_is_seen(broker):
    began = NOW - timedelta(hours=1)
    store_heartbeat(broker, started=began)
    for queue in OTHERS:
        workers.record_canary(queue=queue, now=NOW)
    assert reasons() == {}
    later = NOW + timedelta(minutes=4)
    store_heartbeat(broker, started=began, at=later)
    workers.record_canary(queue="two", now=later)
    broker.lpush("recsys:one", "a task that nobody takes")
    found = reasons(later)
    assert set(found) == {"queue_one", "queue_three"}
    assert "A worker sends heartbeats, but no canary ran for 240 s and 1 tasks wait" in found["queue_one"]
    broker.delete("recsys:one")
    # Without beat nobody sends canaries: their silence says nothing of the workers.
    broker.delete(LOCK)
    assert set(reasons(later)) == {"beat"}


def test_a_worker_that_has_just_begun_is_given_time(broker):
    store_heartbeat(broker, started=NOW - timedelta(seconds=10))
    assert reasons() == {}


def test_a_worker_that_went_without_a_farewell_is_lost_for_an_hour(broker):
    store_heartbeat(broker, started=NOW)
    broker.delete(workers.worker_key("w1"))  # as Redis does when its time is over
    assert "w1" in reasons(NOW + timedelta(minutes=1))["workers_lost"]
    assert "workers_lost" not in reasons(NOW + timedelta(hours=2))


def test_a_broker_that_is_gone_is_the_finding(client, monkeypatch):
    env = settings.ENV.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    monkeypatch.setattr(settings, "ENV", env)
    assert client.get("/workersz").json() == {"status": "fail", "checks": {"broker": "fail"}}


def test_a_real_worker_says_that_it_is_there_and_lets_the_canary_through(worker, redis_url):
    """Its heart beats, each of its queues is worked on, and the address says so."""

    def there():
        found = [one for one in workers.read_workers_state(clock.now()).workers if one.pid == worker.process.pid]
        return found[0] if found else None

    with redis.Redis.from_url(redis_url) as client:
        client.delete(workers.CANARIES_KEY)
    assert wait_for(there, worker.log).queues == QUEUES
    for queue in QUEUES:
        canary.apply_async(kwargs={"queue": queue}, queue=queue)

    def queues():
        return [queue for queue in workers.read_workers_state(clock.now()).queues if queue.name in QUEUES]

    wait_for(lambda: all(queue.canary_at for queue in queues()), worker.log)
    assert not any(queue.reason for queue in queues())
