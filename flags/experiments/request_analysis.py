"""Requests an interim analysis from the analysis worker, the only process that imports the statistics (SciPy)."""

from __future__ import annotations

import logging

from django.db import transaction
from kombu.exceptions import OperationalError

from monitoring.task_publisher import broker_producer, celery_app

log = logging.getLogger(__name__)

QUEUE = "analysis"
ANALYZE_TASK, ANALYZE_ALL_TASK = "flags.analyze_experiment", "flags.analyze_experiments"


def request_interim_analysis(key: str) -> None:
    """Request an interim analysis after the commit. If the broker is down, the nightly analysis still runs."""
    transaction.on_commit(lambda: send_analysis_task(key))


def send_analysis_task(key: str) -> None:
    """Send the task to the broker without retries: the caller may be a web request."""
    try:
        with broker_producer() as producer:
            celery_app().send_task(ANALYZE_TASK, kwargs={"key": key}, queue=QUEUE, producer=producer)
    except OperationalError:
        log.warning("task_not_published", extra={"task": ANALYZE_TASK})
