"""Doors for workers. A task reads the clock and calls its service; it tolerates arguments of a newer release."""

from __future__ import annotations

from celery import shared_task

from flags.services import rollouts
from monitoring import clock


@shared_task(name="flags.advance_rollouts")
def advance_rollouts(**_: object) -> None:
    """Look at every rollout that runs: its guardrails, and whether its phase is over."""
    rollouts.advance(now=clock.now())
