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
BEAT_SECONDS = 5.0
"""A worker says that it is there this often."""
GONE_SECONDS = 30
"""After so long without a word it is not there."""
SILENT_SECONDS = 180.0
"""After so long without a canary's return a queue is not worked on: three were lost."""
REMEMBERED_SECONDS = 3600.0
"""So long a worker that went without a farewell is reported as lost."""
NAMES = "recsys:monitoring:workers"
CANARIES = "recsys:monitoring:canaries"


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker as it last described itself. Moments are Unix seconds."""

    name: str
    pid: int
    queues: list[str]
    started: float
    at: float


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue: who takes from it, what waits in it, and when a canary last came through."""

    name: str
    workers: list[str]
    waiting: int
    canary_at: float | None
    reason: str
    """Why it is not well; empty if it is."""


@dataclass(frozen=True, slots=True)
class State:
    """All of it at one moment."""

    workers: list[Worker]
    lost: list[str]
    queues: list[Queue]
    beat: bool


@contextmanager
def broker() -> Iterator[Redis]:
    """Yield a client of the broker's Redis that gives up soon."""
    url = settings.ENV.redis_url
    with Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS) as client:
        yield client


def key_of(name: str) -> str:
    return f"{NAMES}:{name}"


# In the worker


class Self:
    """This process, if it is a worker."""

    def __init__(self) -> None:
        self.name = ""
        self.queues: list[str] = []
        self.started = 0.0
        self._told_at = -BEAT_SECONDS

    def is_due(self) -> bool:
        """Return whether it is time to say so again; Celery's own heart beats more often."""
        if not self.name or monotonic() - self._told_at < BEAT_SECONDS:
            return False
        self._told_at = monotonic()
        return True


_self = Self()


def began(sender: str, instance: Any, **_: object) -> None:
    """Note who we are; the worker knows its queues now."""
    _self.name, _self.started = sender, clock.now().timestamp()
    _self.queues = sorted(instance.app.amqp.queues.consume_from)


def beat(**_: object) -> None:
    """Say that this worker is there. A Redis that does not answer must not stop its heart."""
    if not _self.is_due():
        return
    try:
        with broker() as client:
            tell(client, Worker(_self.name, os.getpid(), _self.queues, _self.started, clock.now().timestamp()))
    except RedisError as error:
        log.warning("worker_beat_lost", extra={"problem": type(error).__name__})


def tell(client: Redis, worker: Worker) -> None:
    """Keep what a worker says of itself, until it is too old to be true."""
    values = {"pid": worker.pid, "queues": worker.queues, "started": worker.started, "at": worker.at}
    with client.pipeline() as pipe:
        pipe.set(key_of(worker.name), json.dumps(values), ex=GONE_SECONDS)
        pipe.zadd(NAMES, {worker.name: worker.at})
        pipe.execute()


def ended(**_: object) -> None:
    """Take leave: a worker that stops on purpose is not lost."""
    if not _self.name:
        return
    try:
        with broker() as client:
            client.delete(key_of(_self.name))
            client.zrem(NAMES, _self.name)
    except RedisError as error:
        log.warning("worker_farewell_lost", extra={"problem": type(error).__name__})


def canary(*, queue: str, now: datetime) -> None:
    """Note that a task came through *queue*."""
    with broker() as client:
        client.hset(CANARIES, queue, str(now.timestamp()))


def connect() -> None:
    """Have a worker speak of itself; in any other process these signals are never sent."""
    signals.celeryd_after_setup.connect(began, weak=False, dispatch_uid="workers.began")
    signals.heartbeat_sent.connect(beat, weak=False, dispatch_uid="workers.beat")
    signals.worker_shutdown.connect(ended, weak=False, dispatch_uid="workers.ended")


# Asking


def canary_queues() -> list[str]:
    """Return the queues that beat sends canaries through: those that must be worked on."""
    entries: list[dict[str, Any]] = list(settings.CELERY_BEAT_SCHEDULE.values())
    return [entry["options"]["queue"] for entry in entries if entry["task"] == CANARY]


def state(now: datetime) -> State:
    """Return who is there and how each queue does. Raises `RedisError` if the broker cannot be asked."""
    moment = now.timestamp()
    prefix = str(settings.CELERY_BROKER_TRANSPORT_OPTIONS["global_keyprefix"])
    queues = canary_queues()
    with broker() as client:
        client.zremrangebyscore(NAMES, "-inf", moment - REMEMBERED_SECONDS)
        names = [name.decode() for name in cast("list[bytes]", client.zrange(NAMES, 0, -1))]
        told = cast("list[bytes | None]", client.mget([key_of(name) for name in names])) if names else []
        sung = cast("dict[bytes, bytes]", client.hgetall(CANARIES))
        waiting = [client.llen(prefix + queue) for queue in queues]
        has_beat = bool(client.exists(settings.REDBEAT_KEY_PREFIX + ":lock"))
    workers = [Worker(name=name, **json.loads(one)) for name, one in zip(names, told, strict=True) if one]
    canaries = {queue.decode(): float(at) for queue, at in sung.items()}
    lost = [name for name, one in zip(names, told, strict=True) if not one]
    return State(
        workers=workers,
        lost=lost,
        queues=[
            queue_of(name, workers, count, canaries.get(name), moment, has_beat)
            for name, count in zip(queues, waiting, strict=True)
        ],
        beat=has_beat,
    )


def queue_of(
    name: str, workers: list[Worker], waiting: int, canary_at: float | None, moment: float, has_beat: bool
) -> Queue:
    """Return how a queue does at *moment* (Unix seconds)."""
    takers = [worker for worker in workers if name in worker.queues]
    reason = ""
    if not takers:
        reason = f"No worker takes from it; {waiting} tasks wait. Start one with -Q {name}."
    else:
        # Before its first canary a queue gets as long as between two of them.
        since = max(canary_at or 0.0, min(worker.started for worker in takers))
        if moment - since > SILENT_SECONDS and has_beat:
            reason = (
                f"A worker beats, but no canary came through for {moment - since:.0f} s and {waiting} tasks wait: "
                "it hangs, or has too much to do. Look at it in Flower; restart it if it hangs."
            )
    return Queue(name, [worker.name for worker in takers], waiting, canary_at, reason)


def findings(now: datetime) -> list[Finding]:
    """Return how each queue, beat and the workers that were known do."""
    try:
        found = state(now)
    except RedisError as error:
        return [Finding("broker", f"{type(error).__name__}: {error}")]
    beat_reason = "" if found.beat else "Nobody holds beat's lock: nothing runs by the clock. Start celery beat."
    lost_reason = f"No word since {GONE_SECONDS} s, and no farewell: {', '.join(found.lost)}." if found.lost else ""
    return [
        *(Finding(f"queue_{queue.name}", queue.reason) for queue in found.queues),
        Finding("beat", beat_reason),
        Finding("workers_lost", lost_reason),
    ]
