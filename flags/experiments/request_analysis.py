"""How any process asks the analysis worker for a look; the statistics are loaded there alone."""

from __future__ import annotations

import logging

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

log = logging.getLogger(__name__)

QUEUE = "analysis"
ANALYZE_TASK, ANALYZE_ALL_TASK = "flags.analyze_experiment", "flags.analyze_experiments"


def request_interim_analysis(key: str) -> None:
    """Have the experiment looked at, soon. A broker that cannot be reached costs this look, and not the nightly one."""
    transaction.on_commit(lambda: send_analysis_task(key))


def send_analysis_task(key: str) -> None:
    """Send the task to the broker, trying once: the caller may be a request."""
    try:
        current_app.send_task(ANALYZE_TASK, kwargs={"key": key}, queue=QUEUE, retry=False)
    except OperationalError:
        log.warning("task_not_published", extra={"task": ANALYZE_TASK})
