"""
Doors for the analysis worker, which alone imports this: `celery worker -Q analysis -I flags.analysis.tasks`.

Everybody else asks by name (flags/experiments/asking.py).
"""

from __future__ import annotations

import logging

from celery import shared_task
from django.db import DatabaseError

from flags.analysis import bandit, looking
from flags.experiments.asking import LOOK, LOOK_AT_ALL
from flags.models import Experiment
from monitoring import clock

log = logging.getLogger(__name__)


@shared_task(name=LOOK)
def look_at_experiment(key: str, **_: object) -> None:
    """Look at one experiment."""
    looking.look(key=key, now=clock.now())


@shared_task(name=LOOK_AT_ALL)
def look_at_experiments(**_: object) -> None:
    """Look at each that runs, and let bandits choose; one that cannot be looked at costs itself."""
    for experiment in Experiment.objects.filter(state=Experiment.State.RUNNING):
        try:
            looking.look(key=experiment.key, now=clock.now())
            if experiment.is_bandit:
                bandit.choose_weights(key=experiment.key, now=clock.now())
        except (looking.NothingToLookAtError, KeyError, DatabaseError):
            log.exception("experiment_not_looked_at", extra={"experiment": experiment.key})
