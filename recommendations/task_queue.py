"""
The names of background tasks, and the function that enqueues them.

This module imports no task, because tasks import the services that import this module. It looks a task up by name in
Celery's registry, after the transaction commits. An unreachable broker loses no work that matters: such work is first
stored as a row, and beat enqueues it again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib import import_module

from django.db import connection, transaction
from kombu.exceptions import OperationalError

from monitoring.task_publisher import broker_producer, celery_app

log = logging.getLogger(__name__)

TASKS_MODULE = "recommendations.tasks"
"""The module that adds the tasks to Celery's registry. A process that enqueues none does not import it."""

PROCESS_CHUNK = "recommendations.process_chunk"
LEARN_INTERACTIONS = "recommendations.learn_interactions"
EMBED_POSTS = "recommendations.embed_posts"
SYNC_VECTOR_INDEXES = "recommendations.sync_vector_indexes"
RECORD_SERVED = "recommendations.record_served"
REFRESH_SLATE = "recommendations.refresh_slate"
MEASURE_DRIFT = "recommendations.measure_drift"
RECONCILE_JOBS = "recommendations.reconcile_jobs"
ENQUEUE_PENDING = "recommendations.enqueue_pending"
MEASURE_SHOW_LESS = "recommendations.measure_show_less"
COUNT_CO_LIKES = "recommendations.count_co_likes"
COUNT_SEEN = "recommendations.count_seen"
REQUEST_TRAINING = "recommendations.request_training"

QUEUES = {
    PROCESS_CHUNK: "batch",
    LEARN_INTERACTIONS: "interactive",
    EMBED_POSTS: "maintenance",
    SYNC_VECTOR_INDEXES: "maintenance",
    RECORD_SERVED: "maintenance",
    REFRESH_SLATE: "interactive",
    MEASURE_DRIFT: "maintenance",
    RECONCILE_JOBS: "interactive",
    ENQUEUE_PENDING: "maintenance",
    MEASURE_SHOW_LESS: "maintenance",
    COUNT_CO_LIKES: "maintenance",
    COUNT_SEEN: "maintenance",
    REQUEST_TRAINING: "maintenance",
}


def enqueue(
    task_name: str, kwargs: Mapping[str, object] | None = None, *, queue: str | None = None, after_seconds: float = 0
) -> None:
    """
    Enqueue the task *task_name* when the transaction commits, or immediately if there is no transaction.

    *after_seconds* delays the task, so that it can process several changes at once. Use a few seconds at most: a worker
    holds tasks that are not due yet in memory.
    """
    arguments = (task_name, kwargs or {}, queue or QUEUES[task_name], after_seconds)
    # Without a transaction, `on_commit` would open a database connection: a thread without queries does not need one.
    if connection.in_atomic_block:
        transaction.on_commit(lambda: publish(*arguments))
    else:
        publish(*arguments)


VISIBLE_ARGUMENTS = frozenset({"job_id", "number"})
"""Arguments that Flower and task events may show. Members' ids must not appear there."""


def redact_arguments(kwargs: Mapping[str, object]) -> str:
    """Return the arguments of a task as text, with every value hidden except `VISIBLE_ARGUMENTS`."""
    return ", ".join(f"{name}={value if name in VISIBLE_ARGUMENTS else '…'}" for name, value in kwargs.items())


def publish(task_name: str, kwargs: Mapping[str, object], queue: str, after_seconds: float) -> None:
    """Send the task to the broker, or log that it cannot be reached: the caller may be a request, and does not wait."""
    app = celery_app()
    if task_name not in app.tasks:
        import_module(TASKS_MODULE)
    try:
        with broker_producer() as producer:
            app.tasks[task_name].apply_async(  # type: ignore[call-arg]  # its stubs have no kwargsrepr
                kwargs=dict(kwargs),
                kwargsrepr=redact_arguments(kwargs),
                queue=queue,
                countdown=after_seconds,
                producer=producer,
            )
    except OperationalError:
        log.warning("task_not_published", extra={"task": task_name})
