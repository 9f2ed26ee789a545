"""The progress of each import: a killed import resumes, and a repeated import adds nothing."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext


class ImportCheckpoint(models.Model):
    """
    The position reached in one file. The file is identified by its content, so renaming it does not restart the import.

    Saved in the transaction that writes the rows. It is not stored next to the file: another database starts from the
    first row.
    """

    kind = models.CharField(max_length=16, help_text="members, posts, interactions or relationships.")
    sha256 = models.CharField(max_length=64)
    offset = models.BigIntegerField(default=0, help_text="Byte at which the next row starts.")
    line = models.BigIntegerField(default=1, help_text="Line at which the next row starts.")
    errors_size = models.BigIntegerField(
        default=0,
        help_text="Size in bytes of the errors file at this position. A resumed import cuts the file to this size.",
    )
    created = models.PositiveBigIntegerField(default=0)
    updated = models.PositiveBigIntegerField(default=0)
    unchanged = models.PositiveBigIntegerField(default=0)
    rejected = models.PositiveBigIntegerField(default=0)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-started_at"]
        constraints = [models.UniqueConstraint(fields=["kind", "sha256"], name="one_checkpoint_per_file")]

    def __str__(self) -> str:
        return gettext("Import of {kind} {hash}").format(kind=self.kind, hash=self.sha256[:12])
