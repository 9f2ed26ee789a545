"""How far an import has come, so that a killed one goes on and a repeated one adds nothing."""

from __future__ import annotations

from django.db import models


class ImportCheckpoint(models.Model):
    """
    The place reached in one file, known by its content: a renamed file is the same, a changed one is another.

    Kept in the transaction that writes the rows, and not beside the file: another database starts from the
    top.
    """

    kind = models.CharField(max_length=16, help_text="members, posts, interactions or follows.")
    sha256 = models.CharField(max_length=64)
    offset = models.BigIntegerField(default=0, help_text="Byte where the next row starts.")
    line = models.BigIntegerField(default=1, help_text="Line where the next row starts.")
    errors_size = models.BigIntegerField(default=0, help_text="Bytes of the errors file that stand for good.")
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
        return f"import of {self.kind} {self.sha256[:12]}"
