"""
Whether workers are there, and whether they work: two questions, since a worker may beat and take no tasks.

A worker says that it is there every few seconds, in a key that expires. Beat sends a canary task through each queue
every minute; the moment of its last return is kept. Nobody is pinged: that would disturb a worker that is busy.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any, cast

from celery import signals
from django.conf import settings
from redis import Redis, RedisError

from monitoring import clock
from monitoring.health import TIMEOUT_SECONDS, Finding

log = logging.getLogger(__name__)

CANARY = "monitoring.canary"
HEARTBEAT_SECONDS = 5.0
"""A worker says that it is there this often."""
HEARTBEAT_TTL_SECONDS = 30
"""After so long without a word it is not there."""
CANARY_TIMEOUT_SECONDS = 180.0
"""After so long without a canary's return a queue is not worked on: three were lost."""
LOST_WORKER_TTL_SECONDS = 3600.0
"""So long a worker that went without a farewell is reported as lost."""
WORKERS_KEY = "recsys:monitoring:workers"
CANARIES_KEY = "recsys:monitoring:canaries"


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker as it last described itself. Moments are Unix seconds."""

    name: str
    pid: int
    queues: list[str]
    started_at: float
    seen_at: float


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue: who takes from it, what waits in it, and when a canary last came through."""

    name: str
    workers: list[str]
    waiting_count: int
    canary_at: float | None
    reason: str
    """Why it is not well; empty if it is."""


@dataclass(frozen=True, slots=True)
class WorkersState:
    """All of it at one moment."""

    workers: list[Worker]
    lost_workers: list[str]
    queues: list[QueueState]
    has_beat: bool


@contextmanager
def broker_client() -> Iterator[Redis]:
    """Yield a client of the broker's Redis that gives up soon."""
    url = settings.ENV.redis_url
    with Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS) as client:
        yield client


def worker_key(name: str) -> str:
    return f"{WORKERS_KEY}:{name}"


# In the worker


class CurrentWorker:
    """This process, if it is a worker."""

    def __init__(self) -> None:
        self.name = ""
        self.queues: list[str] = []
        self.started_at = 0.0
        self._last_heartbeat = -HEARTBEAT_SECONDS

    def is_due(self) -> bool:
        """Return whether it is time to say so again; Celery's own heart beats more often."""
        if not self.name or monotonic() - self._last_heartbeat < HEARTBEAT_SECONDS:
            return False
        self._last_heartbeat = monotonic()
        return True


_current_worker = CurrentWorker()


def register_worker(sender: str, instance: Any, **_: object) -> None:
    """Note who we are; the worker knows its queues now."""
    _current_worker.name, _current_worker.started_at = sender, clock.now().timestamp()
    _current_worker.queues = sorted(instance.app.amqp.queues.consume_from)


def send_heartbeat(**_: object) -> None:
    """Say that this worker is there. A Redis that does not answer must not stop its heart."""
    if not _current_worker.is_due():
        return
    try:
        with broker_client() as client:
            store_heartbeat(
                client,
                Worker(
                    _current_worker.name,
                    os.getpid(),
                    _current_worker.queues,
                    _current_worker.started_at,
                    clock.now().timestamp(),
                ),
            )
    except RedisError as error:
        log.warning("worker_heartbeat_failed", extra={"problem": type(error).__name__})


def store_heartbeat(client: Redis, worker: Worker) -> None:
    """Keep what a worker says of itself, until it is too old to be true."""
    values = {"pid": worker.pid, "queues": worker.queues, "started_at": worker.started_at, "seen_at": worker.seen_at}
    with client.pipeline() as pipe:
        pipe.set(worker_key(worker.name), json.dumps(values), ex=HEARTBEAT_TTL_SECONDS)
        pipe.zadd(WORKERS_KEY, {worker.name: worker.seen_at})
        pipe.execute()


def unregister_worker(**_: object) -> None:
    """Take leave: a worker that stops on purpose is not lost."""
    if not _current_worker.name:
        return
    try:
        with broker_client() as client:
            client.delete(worker_key(_current_worker.name))
            client.zrem(WORKERS_KEY, _current_worker.name)
    except RedisError as error:
        log.warning("worker_unregister_failed", extra={"problem": type(error).__name__})


def record_canary(*, queue: str, now: datetime) -> None:
    """Note that a task came through *queue*."""
    with broker_client() as client:
        client.hset(CANARIES_KEY, queue, str(now.timestamp()))


def connect_signals() -> None:
    """Have a worker speak of itself; in any other process these signals are never sent."""
    signals.celeryd_after_setup.connect(register_worker, weak=False, dispatch_uid="workers.began")
    signals.heartbeat_sent.connect(send_heartbeat, weak=False, dispatch_uid="workers.beat")
    signals.worker_shutdown.connect(unregister_worker, weak=False, dispatch_uid="workers.ended")


# Asking


def canary_queues() -> list[str]:
    """Return the queues that beat sends canaries through: those that must be worked on."""
    entries: list[dict[str, Any]] = list(settings.CELERY_BEAT_SCHEDULE.values())
    return [entry["options"]["queue"] for entry in entries if entry["task"] == CANARY]


def read_workers_state(now: datetime) -> WorkersState:
    """Return who is there and how each queue does. Raises `RedisError` if the broker cannot be asked."""
    moment = now.timestamp()
    prefix = str(settings.CELERY_BROKER_TRANSPORT_OPTIONS["global_keyprefix"])
    queues = canary_queues()
    with broker_client() as client:
        client.zremrangebyscore(WORKERS_KEY, "-inf", moment - LOST_WORKER_TTL_SECONDS)
        names = [name.decode() for name in cast("list[bytes]", client.zrange(WORKERS_KEY, 0, -1))]
        told = cast("list[bytes | None]", client.mget([worker_key(name) for name in names])) if names else []
        sung = cast("dict[bytes, bytes]", client.hgetall(CANARIES_KEY))
        waiting = [client.llen(prefix + queue) for queue in queues]
        has_beat = bool(client.exists(settings.REDBEAT_KEY_PREFIX + ":lock"))
    workers = [Worker(name=name, **json.loads(one)) for name, one in zip(names, told, strict=True) if one]
    canaries = {queue.decode(): float(at) for queue, at in sung.items()}
    lost = [name for name, one in zip(names, told, strict=True) if not one]
    return WorkersState(
        workers=workers,
        lost_workers=lost,
        queues=[
            queue_state(name, workers, count, canaries.get(name), moment, has_beat)
            for name, count in zip(queues, waiting, strict=True)
        ],
        has_beat=has_beat,
    )


def queue_state(
    name: str, workers: list[Worker], waiting: int, canary_at: float | None, moment: float, has_beat: bool
) -> QueueState:
    """Return how a queue does at *moment* (Unix seconds)."""
    takers = [worker for worker in workers if name in worker.queues]
    reason = ""
    if not takers:
        reason = f"No worker takes from it; {waiting} tasks wait. Start one with -Q {name}."
    else:
        # Before its first canary a queue gets as long as between two of them.
        since = max(canary_at or 0.0, min(worker.started_at for worker in takers))
        if moment - since > CANARY_TIMEOUT_SECONDS and has_beat:
            reason = (
                f"A worker beats, but no canary came through for {moment - since:.0f} s and {waiting} tasks wait: "
                "it hangs, or has too much to do. Look at it in Flower; restart it if it hangs."
            )
    return QueueState(name, [worker.name for worker in takers], waiting, canary_at, reason)


def check_worker_health(now: datetime) -> list[Finding]:
    """Return how each queue, beat and the workers that were known do."""
    try:
        found = read_workers_state(now)
    except RedisError as error:
        return [Finding("broker", f"{type(error).__name__}: {error}")]
    beat_reason = "" if found.has_beat else "Nobody holds beat's lock: nothing runs by the clock. Start celery beat."
    lost_reason = (
        f"No word since {HEARTBEAT_TTL_SECONDS} s, and no farewell: {', '.join(found.lost_workers)}."
        if found.lost_workers
        else ""
    )
    return [
        *(Finding(f"queue_{queue.name}", queue.reason) for queue in found.queues),
        Finding("beat", beat_reason),
        Finding("workers_lost", lost_reason),
    ]
