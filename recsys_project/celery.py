"""The Celery app. Tasks are in each app's `tasks.py`; their schedule is in `schedule.py`."""

import os
from typing import Any

from celery import Celery
from celery.schedules import crontab
from celery.signals import import_modules
from django_structlog.celery.receivers import CeleryReceiver
from kombu.transport import TRANSPORT_ALIASES

from monitoring import extensions
from recsys_project import broker
from recsys_project.logs import configure_structlog
from recsys_project.schedule import SCHEDULE, ClockTime

configure_structlog()
TRANSPORT_ALIASES.update(broker.ALIASES)
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "recsys_project.settings")

app = Celery("recsys")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


def read_schedule() -> dict[str, Any]:
    """Return the schedule of beat with Celery's times. Celery calls this when it reads the other settings."""
    return {
        "beat_schedule": {
            name: entry
            | {"schedule": crontab(**at._asdict()) if isinstance(at := entry["schedule"], ClockTime) else at}
            for name, entry in SCHEDULE.items()
        }
    }


app.add_defaults(read_schedule)

# Log lines of a task contain the id of the request that published it. The receiver is connected here and not by the
# library's own setting, which connects each signal twice in a worker.
LOG_CONTEXT_RECEIVER = CeleryReceiver()
LOG_CONTEXT_RECEIVER.connect_worker_signals()


@import_modules.connect
def load_extensions(**_: object) -> None:
    """Load the extensions when a worker starts, after its tasks."""
    extensions.load_all()
