"""
Guarded models: only `flags.services.change` may write their rows.

Each change of a flag must be validated, approved if necessary, recorded in the change history and announced to every
process. `apply_change` does all of that. A stray `flag.save()` in a shell, a data migration or the admin would skip it,
which would stay unnoticed until the history does not explain the current state. Therefore a write outside of
`allow_guarded_writes()` raises `UnrecordedChangeError`.

The guard has two parts, because Django has two ways to write. `save`, `create`, `get_or_create`, `loaddata`, `delete`
of an instance and cascades send `pre_save` or `pre_delete`: signal handlers check those. `update`, `bulk_create`,
`bulk_update` and `delete` of a query set may send no signal: the query set checks those. The permission is a context
variable, so that it holds only for the current thread or task.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.db import models
from django.db.models.signals import pre_delete, pre_save

_guarded_writes_allowed = ContextVar("guarded_writes_allowed", default=False)


class UnrecordedChangeError(RuntimeError):
    """A write of a guarded row that bypasses the change history."""


@contextmanager
def allow_guarded_writes() -> Iterator[None]:
    """Allow writes of guarded rows inside the block. Only `flags.services` may use this."""
    token = _guarded_writes_allowed.set(True)
    try:
        yield
    finally:
        _guarded_writes_allowed.reset(token)


def ensure_guarded_writes_allowed(model: type[models.Model]) -> None:
    """Raise `UnrecordedChangeError` outside of `allow_guarded_writes`."""
    if not _guarded_writes_allowed.get():
        raise UnrecordedChangeError(
            f"Change a {model._meta.verbose_name} with flags.services.change.apply_change(), which records who and why."
        )


class GuardedQuerySet(models.QuerySet):
    """A query set that guards writes that send no signal."""

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
    """A model whose rows only `flags.services.change` may write; see the module docstring."""

    objects = GuardedManager()

    class Meta:
        abstract = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        pre_save.connect(refuse_unrecorded_write, sender=cls)
        pre_delete.connect(refuse_unrecorded_write, sender=cls)


def refuse_unrecorded_write(sender: type[models.Model], **_: object) -> None:
    """Raise `UnrecordedChangeError` outside of `allow_guarded_writes`. Handles pre_save and pre_delete."""
    ensure_guarded_writes_allowed(sender)
