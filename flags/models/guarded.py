"""Rows that only the service of changes writes: whoever goes past it is refused, since no record would tell of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.db import models
from django.db.models.signals import pre_delete, pre_save

_writing = ContextVar("flags_are_written", default=False)


class UnrecordedChangeError(RuntimeError):
    """A change of a flag that no record would tell of."""


@contextmanager
def writing() -> Iterator[None]:
    """Let guarded rows be written within. For flags/services/change.py alone."""
    token = _writing.set(True)
    try:
        yield
    finally:
        _writing.reset(token)


def check(model: type[models.Model]) -> None:
    """Raise `UnrecordedChangeError` outside of `writing`."""
    if not _writing.get():
        raise UnrecordedChangeError(
            f"A {model._meta.verbose_name} is changed by flags.services.change.change() alone: it records who and why."
        )


class GuardedRows(models.QuerySet):
    """Rows whose writes by the set are guarded, too."""

    def update(self, **kwargs: Any) -> int:
        check(self.model)
        return super().update(**kwargs)

    def delete(self) -> tuple[int, dict[str, int]]:
        check(self.model)
        return super().delete()

    def bulk_create(self, *args: Any, **kwargs: Any) -> Any:
        check(self.model)
        return super().bulk_create(*args, **kwargs)

    def bulk_update(self, *args: Any, **kwargs: Any) -> int:
        check(self.model)
        return super().bulk_update(*args, **kwargs)


GuardedManager = models.Manager.from_queryset(GuardedRows)


class Guarded(models.Model):
    """See the module. Signals are under save, create, loaddata and cascades alike."""

    objects = GuardedManager()

    class Meta:
        abstract = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        pre_save.connect(refuse, sender=cls)
        pre_delete.connect(refuse, sender=cls)


def refuse(sender: type[models.Model], **_: object) -> None:
    """Raise `UnrecordedChangeError` outside of `writing`."""
    check(sender)
