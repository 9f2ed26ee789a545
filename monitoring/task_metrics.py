"""Metrics of Celery tasks, from Celery's signals, and gauges of the queues: length and age of the oldest task."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, cast

from billiard.exceptions import WorkerLostError
from celery import signals
from django.conf import settings
from redis import Redis

from monitoring import clock, gauges, latency, metrics, workers
from monitoring.gauges import GaugeValues

DUE_AT_HEADER = "recsys_due_at"
"""Message header with the time when the task is due, in Unix seconds."""

_started_at: dict[str, float] = {}


def stamp_due_time(headers: dict[str, Any], **_: object) -> None:
    """Add the due time of a task (its eta, or now) to its message."""
    eta = headers.get("eta")
    due = datetime.fromisoformat(eta) if isinstance(eta, str) else clock.now()
    headers[DUE_AT_HEADER] = due.timestamp()


def record_task_start(task_id: str = "", task: Any = None, **_: object) -> None:
    """Record the start of a task, and the time that it waited after its due time."""
    _started_at[task_id] = perf_counter()
    request = task.request
    at = getattr(request, DUE_AT_HEADER, None)
    if at is not None:
        queue = (request.delivery_info or {}).get("routing_key") or ""
        wait = max(0.0, clock.now().timestamp() - float(at))
        metrics.TASK_WAIT_SECONDS.labels(queue if queue in workers.canary_queues() else "other").observe(wait)


def record_task_end(task_id: str = "", task: Any = None, state: str = "", **_: object) -> None:
    """Record the outcome and the run time of a task."""
    seconds = perf_counter() - _started_at.pop(task_id, perf_counter())
    metrics.TASK_SECONDS.labels(task.name).observe(seconds)
    latency.observe_operation("task", seconds)
    outcome = {"SUCCESS": "succeeded", "RETRY": "retried"}.get(state, "failed")
    metrics.TASKS.labels(task.name, outcome).inc()


def record_task_lost(sender: Any = None, exception: object = None, **_: object) -> None:
    """Record a task whose process died. The worker's main process sends this signal."""
    if isinstance(exception, WorkerLostError):
        metrics.TASKS.labels(sender.name, "lost").inc()


def record_task_revoked(sender: Any = None, **_: object) -> None:
    """Record a task that was revoked."""
    metrics.TASKS.labels(sender.name, "revoked").inc()


def compute_queue_gauges(now: datetime) -> dict[metrics.ComputedGauge, GaugeValues]:
    """Return the length, the age of the oldest task and the number of workers of each queue, and whether beat runs."""
    prefix = str(settings.CELERY_BROKER_TRANSPORT_OPTIONS["global_keyprefix"])
    state = workers.read_workers_state(now)
    with workers.broker_client() as client:
        ages: GaugeValues = {(queue.name,): oldest_task_age(client, prefix + queue.name, now) for queue in state.queues}
    return {
        metrics.QUEUE_TASKS: {(queue.name,): queue.waiting_count for queue in state.queues},
        metrics.QUEUE_AGE_SECONDS: ages,
        metrics.QUEUE_WORKERS: {(queue.name,): len(queue.workers) for queue in state.queues},
        metrics.BEAT_UP: {(): float(state.has_beat)},
    }


def read_oldest_due_times(queues: Sequence[str]) -> dict[str, datetime]:
    """Return when the oldest task of each queue was due. Empty queues are missing. Raises `RedisError`."""
    prefix = str(settings.CELERY_BROKER_TRANSPORT_OPTIONS["global_keyprefix"])
    with workers.broker_client() as client:
        times = {queue: oldest_due_time(client, prefix + queue) for queue in queues}
    return {queue: datetime.fromtimestamp(at, UTC) for queue, at in times.items() if at is not None}


def oldest_due_time(client: Redis, key: str) -> float | None:
    """Return when the oldest task of a queue was due, in Unix seconds. Workers take tasks from the list's right end."""
    oldest = cast("bytes | None", client.lindex(key, -1))
    at = json.loads(oldest).get("headers", {}).get(DUE_AT_HEADER) if oldest else None
    return float(at) if at else None


def oldest_task_age(client: Redis, key: str, now: datetime) -> float:
    """Return the waiting time of a queue's oldest task, 0 if empty."""
    at = oldest_due_time(client, key)
    return max(0.0, now.timestamp() - at) if at else 0.0


def register() -> None:
    """Record the tasks that this process sends, runs or loses, and register the gauges of the queues."""
    signals.before_task_publish.connect(stamp_due_time, weak=False, dispatch_uid="tasks.publish")
    signals.task_prerun.connect(record_task_start, weak=False, dispatch_uid="tasks.start")
    signals.task_postrun.connect(record_task_end, weak=False, dispatch_uid="tasks.end")
    signals.task_failure.connect(record_task_lost, weak=False, dispatch_uid="tasks.failure")
    signals.task_revoked.connect(record_task_revoked, weak=False, dispatch_uid="tasks.revoked")
    gauges.register_gauges(
        metrics.QUEUE_TASKS,
        metrics.QUEUE_AGE_SECONDS,
        metrics.QUEUE_WORKERS,
        metrics.BEAT_UP,
        compute=compute_queue_gauges,
    )
