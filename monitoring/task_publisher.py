"""
Publishing of tasks within a deadline, whatever state the broker is in.

Celery's own connection waits up to 30 seconds for a broker that hangs, which suits a worker, and connects again and
again to one that refuses. A request must not wait for either. What matters is stored as a row first, and is published
again later.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from celery import Celery
from django.conf import settings
from django.utils.module_loading import import_string
from kombu import Connection, Producer
from kombu.exceptions import OperationalError
from kombu.pools import ProducerPool, Producers

from monitoring.extensions import extensions_of
from monitoring.redis_clients import TIMEOUT_SECONDS, redis_dependency

extensions = extensions_of(__name__)
"""What a process needs that publishes tasks, such as the receivers that add the due time to a message."""

_pools: dict[int, ProducerPool] = {}


def celery_app() -> Celery:
    """
    Return the project's Celery app, which the setting `TASK_APP` names.

    A management command that publishes nothing does not load it: `celery.current_app` would silently be an app without
    settings there.
    """
    extensions.load()
    app: Celery = import_string(settings.TASK_APP)
    return app


def broker_connection() -> Connection:
    """Return a connection to the broker that makes one attempt, and waits `TIMEOUT_SECONDS` for a response."""
    options = {
        "socket_timeout": TIMEOUT_SECONDS,
        "socket_connect_timeout": TIMEOUT_SECONDS,
        "max_retries": 0,
        "connect_retries_timeout": TIMEOUT_SECONDS,
    }
    return celery_app().connection_for_write(transport_options=options)


def producer_pool() -> ProducerPool:
    """Return this process's producers."""
    process_id = os.getpid()
    if process_id not in _pools:
        _pools.setdefault(process_id, Producers(limit=None)[broker_connection()])
    return _pools[process_id]


@contextmanager
def broker_producer() -> Iterator[Producer]:
    """
    Yield a producer for `apply_async` or `send_task`.

    Raises `kombu.exceptions.OperationalError` if the broker does not take the task: after `TIMEOUT_SECONDS` if it
    hangs, and at once while its breaker is open.
    """
    broker = redis_dependency(settings.ENV.redis_url)
    if not broker.allows_call():
        raise OperationalError("The broker failed a moment ago. Not called again yet.")
    try:
        with producer_pool().acquire() as producer:
            yield producer
    except OperationalError as error:
        # A broker that refuses writes (NOREPLICAS, MISCONF, READONLY, OOM) has responded.
        if is_refusal(error):
            broker.record_response()
        else:
            broker.record_failure(error)
        raise
    broker.record_response()


def is_refusal(error: BaseException) -> bool:
    """Return whether the broker responded that it does not take the message."""
    return isinstance(error.__cause__, redis.ResponseError)
