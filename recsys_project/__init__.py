"""Settings, URLs, the Celery app and its schedule: the project that combines the Django apps."""

from recsys_project.celery import app as celery_app

__all__ = ["celery_app"]
