"""Settings, addresses, the Celery app and the schedule: where the rooms are put together."""

from recsys_project.celery import app as celery_app

__all__ = ["celery_app"]
