"""Maintenance tasks with their current claim, and the records of their runs. No personal data."""

from __future__ import annotations

from typing import Any

from django.db import models


class MaintenanceTask(models.Model):
    """
    A scheduled maintenance task. The worker that updates this row from the state it read runs the task.

    A beat process may send a task twice, and two beat processes each send it: the conditional update lets one run it.
    """

    name = models.CharField(max_length=64, unique=True)
    claimed_at = models.DateTimeField(null=True, blank=True, help_text="When the last run started.")
    is_running = models.BooleanField(default=False)

    class Meta:
        verbose_name_plural = "maintenance tasks"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class MaintenanceRun(models.Model):
    """The result of one run of a maintenance task. Written once, at its end; deleted with the other old records."""

    class Outcome(models.TextChoices):
        DONE = "done"
        FAILED = "failed"
        LOST = "lost", "lost: the worker died during the run"

    name = models.CharField(max_length=64)
    started_at = models.DateTimeField(db_index=True)
    seconds = models.FloatField(default=0.0)
    rows = models.PositiveBigIntegerField(default=0, help_text="Rows, entries or posts processed.")
    bytes = models.PositiveBigIntegerField(default=0, help_text="Bytes freed or written, if known.")
    outcome = models.CharField(max_length=8, choices=Outcome.choices)
    note = models.CharField(max_length=300, blank=True)
    error = models.CharField(max_length=64, blank=True, help_text="The error's type.")

    class Meta:
        ordering = ["-started_at", "-pk"]
        indexes = [models.Index(fields=["name", "-started_at"], name="runs_by_task")]

    def __str__(self) -> str:
        return f"{self.name}: {self.get_outcome_display()}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise ValueError("A maintenance run cannot be changed.")
        super().save(*args, **kwargs)
