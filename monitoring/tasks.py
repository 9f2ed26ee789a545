"""Doors for workers: what monitoring itself does by the clock."""

from __future__ import annotations

from datetime import timedelta

from celery import shared_task

from monitoring import alerts, clock, maintenance, notices, workers


@shared_task(name=workers.CANARY)
def canary(queue: str, **_: object) -> None:
    """Come through a queue, which shows that it is worked on."""
    workers.record_canary(queue=queue, now=clock.now())


@shared_task(name=maintenance.RUN_MAINTENANCE_TASK)
def run_maintenance_task(name: str, interval_seconds: float, scope: str = "", **_: object) -> None:
    """Do a duty, unless another worker has it."""
    maintenance.run_maintenance_task(
        name=name, scope=scope, interval=timedelta(seconds=interval_seconds), now=clock.now()
    )


@shared_task(name=alerts.EVALUATE_ALERTS)
def evaluate_alerts(**_: object) -> None:
    """Look at every rule, unless another worker does, and tell what is to be told."""
    now = clock.now()
    alerts.evaluate_rules(now=now)
    notices.send_due_notices(now=now)
