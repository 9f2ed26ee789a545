"""Health of workers: running or not, and processing tasks or not."""

import json
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
OTHER_QUEUES = ["one", "two", "three"]
"""Queues that the session's worker, which may run at the same time, does not consume."""
LOCK = f"{settings.REDBEAT_KEY_PREFIX}:lock"


@pytest.fixture
def broker(redis_url, monkeypatch):
    """The broker's Redis without heartbeats of workers, and with a beat that holds its lock."""
    monkeypatch.setattr(workers, "canary_queues", lambda: OTHER_QUEUES)
    with redis.Redis.from_url(redis_url) as client:

        def reset():
            client.delete(workers.WORKERS_KEY, workers.CANARIES_KEY, LOCK, *client.keys(f"{workers.WORKERS_KEY}:*"))

        reset()
        client.set(LOCK, "held")
        yield client
        reset()


def store_heartbeat(client, *, started_at, at=NOW, queues=OTHER_QUEUES):
    workers.store_heartbeat(client, Worker("w1", 1, queues, started_at.timestamp(), at.timestamp()))


def reasons(now=NOW):
    return {finding.name: finding.reason for finding in workers.check_worker_health(now) if finding.reason}


def test_every_scheduled_queue_has_a_canary():
    used = {entry["options"]["queue"] for entry in settings.BEAT_SCHEDULE.values()}
    assert used <= set(workers.canary_queues())


def test_missing_workers_and_beat_are_reported(broker):
    broker.delete(LOCK)
    found = reasons()
    assert set(found) == {"queue_one", "queue_two", "queue_three", "beat"}
    assert "-Q two" in found["queue_two"]


def test_a_worker_with_heartbeats_but_no_canary_is_reported(broker):
    start = NOW - timedelta(hours=1)
    store_heartbeat(broker, started_at=start)
    for queue in OTHER_QUEUES:
        workers.record_canary(queue=queue, now=NOW)
    assert reasons() == {}
    later = NOW + timedelta(minutes=4)
    store_heartbeat(broker, started_at=start, at=later)
    workers.record_canary(queue="two", now=later)
    broker.lpush("recsys:one", "a task that nobody takes")
    found = reasons(later)
    assert set(found) == {"queue_one", "queue_three"}
    assert "A worker sends heartbeats, but no canary ran for 240 s and 1 tasks wait" in found["queue_one"]
    broker.delete("recsys:one")
    # Without beat no canaries are sent, so their absence is not the workers' fault.
    broker.delete(LOCK)
    assert set(reasons(later)) == {"beat"}


def test_a_heartbeat_of_a_version_with_another_field_is_read(broker):
    """During an upgrade, processes of both versions read the heartbeats of all workers."""
    store_heartbeat(broker, started_at=NOW - timedelta(seconds=10))
    key = workers.worker_key("w1")
    broker.set(key, json.dumps(json.loads(broker.get(key)) | {"added": 1}))
    assert reasons() == {}


def test_a_new_worker_has_time_until_its_first_canary(broker):
    store_heartbeat(broker, started_at=NOW - timedelta(seconds=10))
    assert reasons() == {}


def test_a_worker_that_did_not_unregister_is_lost_for_an_hour(broker):
    store_heartbeat(broker, started_at=NOW)
    broker.delete(workers.worker_key("w1"))  # as Redis does when the key expires
    assert "w1" in reasons(NOW + timedelta(minutes=1))["workers_lost"]
    assert "workers_lost" not in reasons(NOW + timedelta(hours=2))


def test_a_worker_runs_on_while_the_broker_is_down(monkeypatch, caplog):
    current = workers.CurrentWorker()
    monkeypatch.setattr(workers, "_current_worker", current)
    env = settings.ENV.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    monkeypatch.setattr(settings, "ENV", env)
    workers.send_heartbeat()
    workers.unregister_worker()
    assert not caplog.records, "a process that is no worker sends nothing"
    current.name = "w1"
    workers.send_heartbeat()
    workers.unregister_worker()
    events = [record.message for record in caplog.records if record.name == workers.__name__]
    assert events == ["worker_heartbeat_failed", "worker_unregister_failed"]


def test_a_missing_broker_is_the_only_finding(client, monkeypatch):
    env = settings.ENV.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    monkeypatch.setattr(settings, "ENV", env)
    assert client.get("/workersz").json() == {"status": "fail", "checks": {"broker": "fail"}}


def test_a_real_worker_sends_heartbeats_and_runs_the_canaries(worker, redis_url):
    """The state shows its heartbeat and a canary of each of its queues."""

    def find_worker():
        state = workers.read_workers_state(clock.now())
        return next((found for found in state.workers if found.pid == worker.process.pid), None)

    with redis.Redis.from_url(redis_url) as client:
        client.delete(workers.CANARIES_KEY)
    assert wait_for(find_worker, worker.log).queues == QUEUES
    for queue in QUEUES:
        canary.apply_async(kwargs={"queue": queue}, queue=queue)

    def queues():
        return [queue for queue in workers.read_workers_state(clock.now()).queues if queue.name in QUEUES]

    wait_for(lambda: all(queue.canary_at for queue in queues()), worker.log)
    assert not any(queue.reason for queue in queues())
