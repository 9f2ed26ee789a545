"""The change log: which facts about posts and members have changed since a process cached them. Triggers write it."""

from __future__ import annotations

from enum import IntEnum

from django.db import models
from django.utils.translation import gettext


class ChangeKind(IntEnum):
    """What changed. Every process reads the first three kinds; the others only a process that serves that viewer."""

    EVERYTHING = 0
    """Every cached fact is invalid."""
    POST = 1
    AUTHOR = 2
    """The account or the privacy settings of an author whose posts may be cached."""
    VIEWER = 3
    """The facts of a viewer: account, settings, relationships, negative feedback, interests."""
    SEEN = 4
    """The posts that a viewer has seen."""


class ChangeLogEntry(models.Model):
    """
    One row for each fact that a transaction changed. It is committed if, and only if, the change is committed.

    It holds the id of the post or member and nothing else about them. Deleted after some minutes
    (`services/upkeep/trim_change_log.py`).
    """

    kind = models.PositiveSmallIntegerField(choices=[(kind.value, kind.name.title()) for kind in ChangeKind])
    row_id = models.BigIntegerField(help_text="The database id of the post or member.")
    position = models.BigIntegerField(
        null=True, help_text="PostgreSQL: the id of the transaction. SQLite uses the primary key instead."
    )

    class Meta:
        verbose_name_plural = "change log entries"

    def __str__(self) -> str:
        return gettext("Change {id}: {kind} {row}").format(
            id=self.pk, kind=self.get_kind_display(), row=f"#{self.row_id}"
        )


class ChangeLogMark(models.Model):
    """The end of the log at one moment. The log is later truncated at a mark that is old enough."""

    position = models.BigIntegerField()
    recorded_at = models.DateTimeField()

    def __str__(self) -> str:
        return gettext("Position {position} at {time}").format(
            position=self.position, time=f"{self.recorded_at:%Y-%m-%d %H:%M:%S}"
        )


class ChangeLogTruncation(models.Model):
    """The single row with the position up to which the log is deleted. Processes behind it clear their caches."""

    position = models.BigIntegerField(default=0)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(pk=1), name="one_change_log_truncation")]

    def __str__(self) -> str:
        return gettext("Deleted up to position {position}").format(position=self.position)
