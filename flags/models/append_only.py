"""Append-only models: the app adds and reads their rows, and neither changes nor deletes them."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models


class AppendOnlyError(ValidationError):
    """An attempt to change or delete an append-only row."""


class AppendOnlyQuerySet(models.QuerySet):
    """A query set that refuses update and delete."""

    def update(self, **kwargs: object) -> int:
        raise AppendOnlyError("These rows are append-only and cannot be changed. Add a new row instead.")

    def delete(self) -> tuple[int, dict[str, int]]:
        raise AppendOnlyError("These rows are append-only and cannot be deleted.")


AppendOnlyManager = models.Manager.from_queryset(AppendOnlyQuerySet)


class AppendOnlyModel(models.Model):
    """A model whose rows the app cannot change or delete."""

    objects = AppendOnlyManager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnlyError(
                f"{self._meta.verbose_name} {self.pk} is append-only and cannot be changed. Add a new row instead."
            )
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise AppendOnlyError(f"{self._meta.verbose_name} {self.pk} is append-only and cannot be deleted.")
