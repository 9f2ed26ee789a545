"""The change log: what of a post or a member is no longer as a process may remember it. Triggers write it."""

from __future__ import annotations

from enum import IntEnum

from django.db import models


class ChangeKind(IntEnum):
    """What changed. Every process is told of the first three, of a viewer's own only who serves that viewer."""

    EVERYTHING = 0
    """Nothing that is remembered is to be used again, whatever it is."""
    POST = 1
    AUTHOR = 2
    """The account or the privacy of somebody whose posts may be remembered."""
    VIEWER = 3
    """What a viewer is judged by, and their taste: account, settings, ties, posts turned down, interests."""
    SEEN = 4


class ChangeLogEntry(models.Model):
    """
    One row for each fact that a transaction changed: it is committed if, and only if, the change itself is.

    It names its subject by number and says nothing of it. Kept for some minutes (`services/upkeep/trim_change_log.py`).
    """

    kind = models.PositiveSmallIntegerField(choices=[(kind.value, kind.name.title()) for kind in ChangeKind])
    row_id = models.BigIntegerField(help_text="The number of the post or member.")
    position = models.BigIntegerField(
        null=True, help_text="PostgreSQL: the number of the transaction. SQLite goes by the row's own."
    )

    def __str__(self) -> str:
        return f"{ChangeKind(self.kind).name} {self.row_id}"


class ChangeLogMark(models.Model):
    """Where the log stood at a moment: everything before it was to be read then. By it the log is cut off later."""

    position = models.BigIntegerField()
    recorded_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.position} at {self.recorded_at}"


class ChangeLogTruncation(models.Model):
    """The one row that says how far the log is cut off: who read no further forgets all it remembers."""

    position = models.BigIntegerField(default=0)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(pk=1), name="one_change_cut")]

    def __str__(self) -> str:
        return str(self.position)
