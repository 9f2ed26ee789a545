"""Receipts of erasures."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils.translation import gettext


class ErasureReceipt(models.Model):
    """
    The record that a member was, or is being, erased: what was erased, how much, when, and at whose request.

    It does not name the member. `member_hash` finds it for somebody who knows the id.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    member_hash = models.CharField(
        max_length=24, db_index=True, help_text="Hash of the member's id on the platform, keyed with SECRET_KEY."
    )
    sealed_member_id = models.BinaryField(
        default=b"", help_text="The member's id, encrypted. Empty once the erasure is finished."
    )
    member_number = models.BigIntegerField(
        db_index=True, help_text="The database id of the erased row. It refers to nothing once the row is erased."
    )
    job_id = models.UUIDField(null=True, blank=True)
    requested_by = models.CharField(
        max_length=200,
        help_text="Key, staff user, member (as a hash) or command line, such as key:ab12cd34ef. Empty: an open API.",
    )
    requested_at = models.DateTimeField()
    erased_at = models.DateTimeField(
        null=True, blank=True, help_text="When the rows, caches and vectors were deleted. Trained models follow."
    )
    models_due_at = models.DateTimeField(
        null=True, blank=True, help_text="At this time at the latest, no trained model contains the member."
    )
    forgotten_model_ids = models.JSONField(
        default=list, blank=True, help_text="The trained models whose arrays were deleted because of the erasure."
    )
    active_model_id = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="The active trained model without the member. Empty: none was needed."
    )
    active_model_since = models.DateTimeField(null=True, blank=True, help_text="When that model was activated.")
    counts = models.JSONField(default=dict, blank=True, help_text="By place: how many rows or entries were erased.")
    finished_at = models.DateTimeField(
        null=True, blank=True, db_index=True, help_text="When every place was clear, trained models included."
    )

    class Meta:
        ordering = ["-requested_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["member_number"], condition=models.Q(finished_at=None), name="one_open_erasure_per_member"
            )
        ]

    def __str__(self) -> str:
        return gettext("Erasure {id}").format(id=self.id)
