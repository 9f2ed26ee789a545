"""Records: rows that are added and read, and neither changed nor deleted through the app."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models


class AppendOnlyError(ValidationError):
    """A row of a record that is only ever added to."""


class AppendOnlyQuerySet(models.QuerySet):
    """Rows that are added, read, and nothing else."""

    def update(self, **kwargs: object) -> int:
        raise AppendOnlyError("These rows are kept as they were written; add others.")

    def delete(self) -> tuple[int, dict[str, int]]:
        raise AppendOnlyError("These rows are kept for ever.")


AppendOnlyManager = models.Manager.from_queryset(AppendOnlyQuerySet)


class AppendOnlyModel(models.Model):
    """A record: rows are added, and neither changed nor deleted through the app."""

    objects = AppendOnlyManager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnlyError(f"{self._meta.verbose_name} {self.pk} is kept as it was written; add another.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise AppendOnlyError(f"{self._meta.verbose_name} {self.pk} is kept for ever.")
