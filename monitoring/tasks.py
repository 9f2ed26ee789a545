"""Celery tasks of monitoring."""

from __future__ import annotations

from datetime import timedelta

from celery import shared_task

from monitoring import alerts, clock, maintenance, notices, workers


@shared_task(name=workers.CANARY)
def canary(queue: str, **_: object) -> None:
    """Record that a task passed through *queue*, which shows that a worker processes the queue."""
    workers.record_canary(queue=queue, now=clock.now())


@shared_task(name=maintenance.RUN_MAINTENANCE_TASK)
def run_maintenance_task(name: str, interval_seconds: float, scope: str = "", **_: object) -> None:
    """Run a maintenance task, unless another worker is running it."""
    maintenance.run_maintenance_task(
        name=name, scope=scope, interval=timedelta(seconds=interval_seconds), now=clock.now()
    )


@shared_task(name=alerts.EVALUATE_ALERTS)
def evaluate_alerts(**_: object) -> None:
    """Evaluate every alert rule, unless another worker is doing it, and send the notices that are due."""
    now = clock.now()
    alerts.evaluate_rules(now=now)
    notices.send_due_notices(now=now)
