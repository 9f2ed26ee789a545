"""Rows that only the service of changes writes: whoever goes past it is refused, since no record would tell of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.db import models
from django.db.models.signals import pre_delete, pre_save

_guarded_writes_allowed = ContextVar("flags_are_written", default=False)


class UnrecordedChangeError(RuntimeError):
    """A change of a flag that no record would tell of."""


@contextmanager
def allow_guarded_writes() -> Iterator[None]:
    """Let guarded rows be written within. For flags/services/change.py alone."""
    token = _guarded_writes_allowed.set(True)
    try:
        yield
    finally:
        _guarded_writes_allowed.reset(token)


def ensure_guarded_writes_allowed(model: type[models.Model]) -> None:
    """Raise `UnrecordedChangeError` outside of `writing`."""
    if not _guarded_writes_allowed.get():
        raise UnrecordedChangeError(
            f"A {model._meta.verbose_name} is changed by flags.services.change.apply_change() alone: it records who and why."
        )


class GuardedQuerySet(models.QuerySet):
    """Rows whose writes by the set are guarded, too."""

    def update(self, **kwargs: Any) -> int:
        ensure_guarded_writes_allowed(self.model)
        return super().update(**kwargs)

    def delete(self) -> tuple[int, dict[str, int]]:
        ensure_guarded_writes_allowed(self.model)
        return super().delete()

    def bulk_create(self, *args: Any, **kwargs: Any) -> Any:
        ensure_guarded_writes_allowed(self.model)
        return super().bulk_create(*args, **kwargs)

    def bulk_update(self, *args: Any, **kwargs: Any) -> int:
        ensure_guarded_writes_allowed(self.model)
        return super().bulk_update(*args, **kwargs)


GuardedManager = models.Manager.from_queryset(GuardedQuerySet)


class GuardedModel(models.Model):
    """See the module. Signals are under save, create, loaddata and cascades alike."""

    objects = GuardedManager()

    class Meta:
        abstract = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        pre_save.connect(refuse_unrecorded_write, sender=cls)
        pre_delete.connect(refuse_unrecorded_write, sender=cls)


def refuse_unrecorded_write(sender: type[models.Model], **_: object) -> None:
    """Raise `UnrecordedChangeError` outside of `writing`."""
    ensure_guarded_writes_allowed(sender)
