"""
Doors for the analysis worker, which alone imports this: `celery worker -Q analysis -I flags.analysis.tasks`.

Everybody else asks by name (flags/experiments/request_analysis.py).
"""

from __future__ import annotations

import logging

from celery import shared_task
from django.db import DatabaseError

from flags.analysis import bandit, interim_analysis
from flags.experiments.request_analysis import ANALYZE_ALL_TASK, ANALYZE_TASK
from flags.models import Experiment
from monitoring import clock

log = logging.getLogger(__name__)


@shared_task(name=ANALYZE_TASK)
def analyze_experiment(key: str, **_: object) -> None:
    """Look at one experiment."""
    interim_analysis.run_interim_analysis(key=key, now=clock.now())


@shared_task(name=ANALYZE_ALL_TASK)
def analyze_experiments(**_: object) -> None:
    """Look at each that runs, and let bandits choose; one that cannot be looked at costs itself."""
    for experiment in Experiment.objects.filter(state=Experiment.State.RUNNING):
        try:
            interim_analysis.run_interim_analysis(key=experiment.key, now=clock.now())
            if experiment.is_bandit:
                bandit.update_weights(key=experiment.key, now=clock.now())
        except (interim_analysis.NothingToAnalyzeError, KeyError, DatabaseError):
            log.exception("experiment_not_looked_at", extra={"experiment": experiment.key})
