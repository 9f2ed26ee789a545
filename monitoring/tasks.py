"""Doors for workers: what monitoring itself does by the clock."""

from __future__ import annotations

from datetime import timedelta

from celery import shared_task

from monitoring import clock, maintenance, workers


@shared_task(name=workers.CANARY)
def canary(queue: str, **_: object) -> None:
    """Come through a queue, which shows that it is worked on."""
    workers.canary(queue=queue, now=clock.now())


@shared_task(name=maintenance.MAINTAIN)
def maintain(name: str, every_seconds: float, scope: str = "", **_: object) -> None:
    """Do a duty, unless another worker has it."""
    maintenance.maintain(name=name, scope=scope, every=timedelta(seconds=every_seconds), now=clock.now())
