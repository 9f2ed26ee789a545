"""Maintenance: who does what now, and what was done. No personal data."""

from __future__ import annotations

from typing import Any

from django.db import models


class MaintenanceTask(models.Model):
    """
    Something that is done by the clock. Whoever changes this row from what they read does it; all others leave it.

    Beat may send a task twice, and so may two beats: the row lets one act.
    """

    name = models.CharField(max_length=64, unique=True)
    claimed_at = models.DateTimeField(null=True, blank=True, help_text="When it was last begun.")
    is_running = models.BooleanField(default=False)

    class Meta:
        verbose_name_plural = "maintenance duties"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class MaintenanceRun(models.Model):
    """What one run of a duty did. Written once, when it is over; old ones go with the other records."""

    class Outcome(models.TextChoices):
        DONE = "done"
        FAILED = "failed"
        LOST = "lost", "lost: its worker ended before it did"

    name = models.CharField(max_length=64)
    started_at = models.DateTimeField(db_index=True)
    seconds = models.FloatField(default=0.0)
    rows = models.PositiveBigIntegerField(default=0, help_text="Rows, entries or posts that it was about.")
    bytes = models.PositiveBigIntegerField(default=0, help_text="Bytes given back or written, where they are known.")
    outcome = models.CharField(max_length=8, choices=Outcome.choices)
    note = models.CharField(max_length=300, blank=True)
    error = models.CharField(
        max_length=64, blank=True, help_text="The error's type; what it said is in the worker's log."
    )

    class Meta:
        ordering = ["-started_at", "-pk"]
        indexes = [models.Index(fields=["name", "-started_at"], name="runs_by_task")]

    def __str__(self) -> str:
        return f"{self.name}: {self.outcome}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise ValueError("A record of maintenance is kept as it was written.")
        super().save(*args, **kwargs)
