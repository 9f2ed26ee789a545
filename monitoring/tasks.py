"""Doors for workers: what monitoring itself does by the clock."""

from __future__ import annotations

from datetime import timedelta

from celery import shared_task

from monitoring import alerting, clock, maintenance, notifying, workers


@shared_task(name=workers.CANARY)
def canary(queue: str, **_: object) -> None:
    """Come through a queue, which shows that it is worked on."""
    workers.canary(queue=queue, now=clock.now())


@shared_task(name=maintenance.MAINTAIN)
def maintain(name: str, every_seconds: float, scope: str = "", **_: object) -> None:
    """Do a duty, unless another worker has it."""
    maintenance.maintain(name=name, scope=scope, every=timedelta(seconds=every_seconds), now=clock.now())


@shared_task(name=alerting.EVALUATE)
def evaluate_alerts(**_: object) -> None:
    """Look at every rule, unless another worker does, and tell what is to be told."""
    now = clock.now()
    alerting.evaluate(now=now)
    notifying.deliver(now=now)
