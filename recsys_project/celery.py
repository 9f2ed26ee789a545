"""The Celery app. Tasks are found in each app's `tasks.py`; what runs when is in `schedule.py`."""

import os

from celery import Celery
from django_structlog.celery.receivers import CeleryReceiver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "recsys_project.settings")

app = Celery("recsys")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

# A task's lines have the id of the request that led to it. Connected here and not by the library's own switch: in a
# worker that connects each signal twice.
LOG_CONTEXT_RECEIVER = CeleryReceiver()
LOG_CONTEXT_RECEIVER.connect_worker_signals()
