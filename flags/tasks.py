"""Celery tasks of flags. A task reads the clock and calls its service; it ignores arguments of a newer release."""

from __future__ import annotations

from celery import shared_task

from flags.services import rollouts
from monitoring import clock


@shared_task(name="flags.advance_rollouts")
def advance_rollouts(**_: object) -> None:
    """Check the guardrails and the phase end of every running rollout plan."""
    rollouts.advance(now=clock.now())
