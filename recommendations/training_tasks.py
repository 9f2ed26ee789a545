"""
What only the training worker imports: `celery worker -Q training -I recommendations.training_tasks`.

It registers the function that trains, which imports SciPy, and limits the memory of the worker's processes. Other
processes submit a job (`services/training/schedule.py`).
"""

from __future__ import annotations

import resource
from dataclasses import replace

from celery.signals import worker_process_init
from django.conf import settings

from recommendations.services import work
from recommendations.services.training.train import process_training

TRAIN_MODEL = "train_model"


def register() -> None:
    """Let this process train."""
    work.register_kind(replace(work.find_kind(TRAIN_MODEL), process=process_training))


@worker_process_init.connect
def limit_memory(**_options: object) -> None:
    """Limit the memory of this process: an allocation beyond it fails, and the training with it."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = settings.ENV.training_memory_limit
    soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


register()
