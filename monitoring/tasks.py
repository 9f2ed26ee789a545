"""Doors for workers: what monitoring itself does by the clock."""

from __future__ import annotations

from celery import shared_task

from monitoring import clock, workers


@shared_task(name=workers.CANARY)
def canary(queue: str, **_: object) -> None:
    """Come through a queue, which shows that it is worked on."""
    workers.canary(queue=queue, now=clock.now())
