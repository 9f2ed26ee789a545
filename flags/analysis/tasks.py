"""
Tasks of the analysis worker, the only process that imports this: `celery worker -Q analysis -I flags.analysis.tasks`.

Other processes request an analysis by the task's name (flags/experiments/request_analysis.py).
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
    """Run the interim analysis of one experiment."""
    interim_analysis.run_interim_analysis(key=key, now=clock.now())


@shared_task(name=ANALYZE_ALL_TASK)
def analyze_experiments(**_: object) -> None:
    """Analyze every running experiment and update the bandits. A failed experiment does not stop the others."""
    for experiment in Experiment.objects.filter(state=Experiment.State.RUNNING):
        try:
            interim_analysis.run_interim_analysis(key=experiment.key, now=clock.now())
            if experiment.is_bandit:
                bandit.update_weights(key=experiment.key, now=clock.now())
        except (interim_analysis.NothingToAnalyzeError, KeyError, DatabaseError):
            log.exception("experiment_not_analyzed", extra={"experiment": experiment.key})
