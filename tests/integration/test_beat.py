"""Beat's scheduler on a real Redis. tests/faults/test_dependencies.py kills and pauses its process."""

from datetime import timedelta

import pytest
import redis
from celery import Celery
from celery.schedules import schedule
from django.conf import settings

from recsys_project import beat
from recsys_project.beat import Scheduler

PREFIX = "recsys:test:beat:"
LOCK = f"{PREFIX}:lock"
QUEUES = ("recsys:beat-one", "recsys:beat-two")


def entry(queue):
    options = {"queue": queue}
    return {"task": "monitoring.canary", "schedule": schedule(60), "kwargs": {"queue": queue}, "options": options}


@pytest.fixture
def app():
    """A Celery app like that of the project, with a schedule of two tasks."""
    app = Celery("beat", set_as_current=False)
    app.config_from_object("django.conf:settings", namespace="CELERY")
    app.conf.update(
        beat_schedule={f"to-{queue}": entry(queue) for queue in ("beat-one", "beat-two")},
        result_backend=None,
        redbeat_key_prefix=PREFIX,
        redbeat_redis_url=settings.REDBEAT_REDIS_URL,
        redbeat_redis_options=settings.REDBEAT_REDIS_OPTIONS,
        redbeat_lock_timeout=settings.REDBEAT_LOCK_TIMEOUT,
    )
    return app


@pytest.fixture
def broker(redis_url):
    """The broker."""
    with redis.Redis.from_url(redis_url) as client:
        yield client
        client.delete(*QUEUES, *client.keys(f"{PREFIX}*"))


def start(app):
    """Return a scheduler that holds the lock. Both tasks are due: their last runs were an hour ago."""
    scheduler = Scheduler(app)
    scheduler.tick()
    for name in app.conf.beat_schedule:
        scheduler.Entry.from_key(PREFIX + name, app=app).reschedule(app.now() - timedelta(hours=1))
    return scheduler


def sent(broker):
    """Return how many messages wait in each queue."""
    return [broker.llen(queue) for queue in QUEUES]


def events(caplog):
    return [record.message for record in caplog.records if record.name == beat.__name__]


def test_only_the_scheduler_with_the_lock_sends_tasks(app, broker, caplog):
    caplog.set_level("INFO", beat.__name__)
    first, second = start(app), Scheduler(app)
    for _ in range(2):
        assert first.tick() > 0
        assert second.tick() == beat.RETRY_SECONDS
    assert sent(broker) == [1, 1]
    assert events(caplog) == ["beat_schedules", "beat_waits_for_lock"]
    first.close()
    assert second.tick() > 0 and broker.exists(LOCK)
    second.close()
    assert not broker.exists(LOCK)


def test_a_lost_lock_is_acquired_again_with_the_schedule(app, broker):
    """After a flush of Redis nothing is left: neither the lock nor the schedule."""
    scheduler = Scheduler(app)
    scheduler.tick()
    stored = set(broker.keys(f"{PREFIX}*"))
    broker.delete(*stored)
    scheduler.tick()
    assert LOCK.encode() in stored and set(broker.keys(f"{PREFIX}*")) == stored
    broker.set(LOCK, "another beat")
    assert scheduler.tick() == beat.RETRY_SECONDS
    scheduler.close()
    assert broker.get(LOCK) == b"another beat"


def test_a_task_that_the_broker_does_not_take_stays_due(app, broker, caplog):
    """Its last run is stored after the broker has taken it."""
    caplog.set_level("INFO", beat.__name__)
    scheduler = start(app)
    broker.config_set("min-replicas-to-write", 1)
    try:
        for _ in range(3):
            assert scheduler.tick() == beat.RETRY_SECONDS
    finally:
        broker.config_set("min-replicas-to-write", 0)
    scheduler.tick()
    assert sent(broker) == [1, 1]
    assert events(caplog) == ["beat_schedules", "beat_cannot_schedule", "beat_schedules"]
    scheduler.close()


def test_a_broker_that_takes_no_message_keeps_the_task_due(app, broker, monkeypatch):
    """The lock could be extended, and the broker is lost before the task is sent."""
    scheduler = start(app)
    with monkeypatch.context() as lost:
        lost.setattr(app.amqp, "send_task_message", raise_connection_error)
        assert scheduler.tick() == beat.RETRY_SECONDS
    assert scheduler.tick() > 0 and sent(broker) == [1, 1]
    scheduler.close()


def raise_connection_error(*_, **__):
    raise redis.ConnectionError("lost")


def test_an_entry_that_cannot_be_sent_waits_for_its_next_time_and_stops_no_other_entry(app, broker, caplog):
    caplog.set_level("INFO", beat.__name__)
    app.conf.beat_schedule["to-beat-one"]["options"]["expires"] = "no time"
    scheduler = start(app)
    for _ in range(2):
        assert scheduler.tick() > 0
    assert sent(broker) == [0, 1]
    assert events(caplog) == ["beat_schedules", "scheduled_task_failed"]
    scheduler.close()


def test_a_clock_that_was_ahead_does_not_stop_the_schedule(app, broker, monkeypatch):
    """Whether beat was running when the clock was set right, or starts afterwards."""
    ahead = app.now() + timedelta(days=1)
    running = Scheduler(app)
    with monkeypatch.context() as clock:
        clock.setattr(app, "now", lambda: ahead)
        running.tick()
    assert last_run(running) == ahead
    running.tick()
    assert last_run(running) < ahead
    running.Entry.from_key(f"{PREFIX}to-beat-one", app=app).reschedule(ahead)
    running.close()
    starting = Scheduler(app)
    starting.tick()
    assert last_run(starting) < ahead
    starting.close()


def last_run(scheduler):
    return scheduler.Entry.from_key(f"{PREFIX}to-beat-one", app=scheduler.app).last_run_at


def test_a_scheduler_ends_without_an_error_while_redis_is_away(app, broker, monkeypatch):
    scheduler = Scheduler(app)
    scheduler.tick()
    monkeypatch.setattr(scheduler.lock, "owned", raise_connection_error)
    scheduler.close()
    assert scheduler.lock is None


def test_beat_is_back_within_15_seconds_after_a_kill():
    """The lock of the killed process must expire, and the loop of the other one take its next turn."""
    assert settings.REDBEAT_LOCK_TIMEOUT + settings.CELERY_BEAT_MAX_LOOP_INTERVAL < 15
