"""
Health of workers: whether they run, and whether they process tasks. A worker may send heartbeats and take no tasks.

A worker stores a heartbeat every few seconds, in a key that expires. Beat sends a canary task through each queue every
minute, and the time when the last one ran is stored. Workers are not pinged: that would disturb busy workers.
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
from monitoring.health import Finding
from monitoring.redis_clients import redis_client

log = logging.getLogger(__name__)

CANARY = "monitoring.canary"
HEARTBEAT_SECONDS = 5.0
"""Interval between the heartbeats of a worker."""
HEARTBEAT_TTL_SECONDS = 30
"""A worker without a heartbeat for this time counts as lost."""
CANARY_TIMEOUT_SECONDS = 180.0
"""A queue whose canary did not run for this time is not processed: three canaries are missing."""
LOST_WORKER_TTL_SECONDS = 3600.0
"""How long a worker that ended without unregistering is reported as lost."""
WORKERS_KEY = "recsys:monitoring:workers"
CANARIES_KEY = "recsys:monitoring:canaries"


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker as of its last heartbeat. Times are Unix seconds."""

    name: str
    pid: int
    queues: list[str]
    started_at: float
    seen_at: float


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue: its workers, the number of waiting tasks, and the time of the last canary (Unix seconds)."""

    name: str
    workers: list[str]
    waiting_count: int
    canary_at: float | None
    reason: str
    """Why the queue is unhealthy; empty if it is healthy."""


@dataclass(frozen=True, slots=True)
class WorkersState:
    """The state of all workers, queues and beat at one time."""

    workers: list[Worker]
    lost_workers: list[str]
    queues: list[QueueState]
    has_beat: bool


@contextmanager
def broker_client() -> Iterator[Redis]:
    """Yield a client of the broker's Redis."""
    with redis_client(settings.ENV.redis_url) as client:
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
        """Return whether a heartbeat is due, and mark it as sent. Celery's heartbeat signal is more frequent."""
        if not self.name or monotonic() - self._last_heartbeat < HEARTBEAT_SECONDS:
            return False
        self._last_heartbeat = monotonic()
        return True


_current_worker = CurrentWorker()


def register_worker(sender: str, instance: Any, **_: object) -> None:
    """Record the name, the start time and the queues of this worker (signal `celeryd_after_setup`)."""
    _current_worker.name, _current_worker.started_at = sender, clock.now().timestamp()
    _current_worker.queues = sorted(instance.app.amqp.queues.consume_from)


def send_heartbeat(**_: object) -> None:
    """Store a heartbeat of this worker if one is due. A Redis error is logged: it must not stop the worker."""
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
    """Store a heartbeat. It expires after `HEARTBEAT_TTL_SECONDS`."""
    values = {"pid": worker.pid, "queues": worker.queues, "started_at": worker.started_at, "seen_at": worker.seen_at}
    with client.pipeline() as pipe:
        pipe.set(worker_key(worker.name), json.dumps(values), ex=HEARTBEAT_TTL_SECONDS)
        pipe.zadd(WORKERS_KEY, {worker.name: worker.seen_at})
        pipe.execute()


def unregister_worker(**_: object) -> None:
    """Remove this worker when it shuts down, so that it is not reported as lost."""
    if not _current_worker.name:
        return
    try:
        with broker_client() as client:
            client.delete(worker_key(_current_worker.name))
            client.zrem(WORKERS_KEY, _current_worker.name)
    except RedisError as error:
        log.warning("worker_unregister_failed", extra={"problem": type(error).__name__})


def record_canary(*, queue: str, now: datetime) -> None:
    """Record that a canary task ran from *queue*."""
    with broker_client() as client:
        client.hset(CANARIES_KEY, queue, str(now.timestamp()))


def connect_signals() -> None:
    """Connect the signals of a worker. Other processes never send them."""
    signals.celeryd_after_setup.connect(register_worker, weak=False, dispatch_uid="workers.register")
    signals.heartbeat_sent.connect(send_heartbeat, weak=False, dispatch_uid="workers.heartbeat")
    signals.worker_shutdown.connect(unregister_worker, weak=False, dispatch_uid="workers.unregister")


# Reading the state


def canary_queues() -> list[str]:
    """Return the queues that beat sends canaries through: every queue needs a worker."""
    entries: list[dict[str, Any]] = list(settings.BEAT_SCHEDULE.values())
    return [entry["options"]["queue"] for entry in entries if entry["task"] == CANARY]


def read_workers_state(now: datetime) -> WorkersState:
    """Return the state of workers, queues and beat. Raises `RedisError` if the broker does not respond."""
    moment = now.timestamp()
    prefix = str(settings.CELERY_BROKER_TRANSPORT_OPTIONS["global_keyprefix"])
    queues = canary_queues()
    with broker_client() as client:
        client.zremrangebyscore(WORKERS_KEY, "-inf", moment - LOST_WORKER_TTL_SECONDS)
        names = [name.decode() for name in cast("list[bytes]", client.zrange(WORKERS_KEY, 0, -1))]
        heartbeats = cast("list[bytes | None]", client.mget([worker_key(name) for name in names])) if names else []
        canary_times = cast("dict[bytes, bytes]", client.hgetall(CANARIES_KEY))
        waiting = [client.llen(prefix + queue) for queue in queues]
        has_beat = bool(client.exists(settings.REDBEAT_KEY_PREFIX + ":lock"))
    named_heartbeats = list(zip(names, heartbeats, strict=True))
    workers = [read_heartbeat(name, heartbeat) for name, heartbeat in named_heartbeats if heartbeat]
    canaries = {queue.decode(): float(at) for queue, at in canary_times.items()}
    lost = [name for name, heartbeat in named_heartbeats if not heartbeat]
    return WorkersState(
        workers=workers,
        lost_workers=lost,
        queues=[
            queue_state(name, workers, count, canaries.get(name), moment, has_beat)
            for name, count in zip(queues, waiting, strict=True)
        ],
        has_beat=has_beat,
    )


def read_heartbeat(name: str, heartbeat: bytes) -> Worker:
    """Return the worker of a heartbeat. Another version of the code may have added fields, which are ignored."""
    values = json.loads(heartbeat)
    return Worker(name, values["pid"], values["queues"], values["started_at"], values["seen_at"])


def queue_state(
    name: str, workers: list[Worker], waiting: int, canary_at: float | None, moment: float, has_beat: bool
) -> QueueState:
    """Return the state of a queue at *moment* (Unix seconds)."""
    consumers = [worker for worker in workers if name in worker.queues]
    reason = ""
    if not consumers:
        reason = f"The queue has no worker; {waiting} tasks wait. Start one with -Q {name}."
    else:
        # A queue without a canary so far is measured from the start of its first worker.
        since = max(canary_at or 0.0, min(worker.started_at for worker in consumers))
        if moment - since > CANARY_TIMEOUT_SECONDS and has_beat:
            reason = (
                f"A worker sends heartbeats, but no canary ran for {moment - since:.0f} s and {waiting} tasks wait: "
                "it hangs or is overloaded. Look at it in Flower; restart it if it hangs."
            )
    return QueueState(name, [worker.name for worker in consumers], waiting, canary_at, reason)


def check_worker_health(now: datetime) -> list[Finding]:
    """Return the findings on each queue, on beat and on lost workers."""
    try:
        state = read_workers_state(now)
    except RedisError as error:
        return [Finding("broker", f"{type(error).__name__}: {error}")]
    beat_reason = "" if state.has_beat else "No beat process holds the lock: no scheduled task runs. Start celery beat."
    lost_reason = (
        f"No heartbeat for {HEARTBEAT_TTL_SECONDS} s without a shutdown: {', '.join(state.lost_workers)}."
        if state.lost_workers
        else ""
    )
    return [
        *(Finding(f"queue_{queue.name}", queue.reason) for queue in state.queues),
        Finding("beat", beat_reason),
        Finding("workers_lost", lost_reason),
    ]
