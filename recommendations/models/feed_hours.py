"""What an hour was like: figures that stay when the records they were counted from are gone. No personal data."""

from __future__ import annotations

from django.db import models


class FeedHour(models.Model):
    """One hour of one feed, engine and variant."""

    hour = models.DateTimeField(help_text="Its beginning.")
    feed = models.CharField(max_length=32)
    engine = models.CharField(max_length=32)
    variant = models.CharField(max_length=64)
    slate_count = models.PositiveIntegerField(default=0, help_text="Slates that were made.")
    p50_ms = models.FloatField(default=0.0, help_text="Half of them took no longer.")
    p95_ms = models.FloatField(default=0.0)
    fallback_count = models.PositiveIntegerField(default=0, help_text="Slates that a step of the fallback made.")
    empty_count = models.PositiveIntegerField(default=0, help_text="Slates without a post.")
    page_count = models.PositiveIntegerField(default=0, help_text="Pages that were served, fresh or cached.")
    served_count = models.PositiveIntegerField(default=0, help_text="Posts on those pages.")
    engagement_count = models.PositiveIntegerField(
        default=0, help_text="Acts that speak for a post and name a request of this variant, received in this hour."
    )

    class Meta:
        ordering = ["-hour", "feed", "engine", "variant"]
        constraints = [
            models.UniqueConstraint(fields=["hour", "feed", "engine", "variant"], name="one_row_per_hour_and_variant")
        ]

    def __str__(self) -> str:
        return f"{self.feed} by {self.engine}, {self.variant}: {self.hour:%Y-%m-%d %H}h"
