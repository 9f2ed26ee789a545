"""Hourly figures of the feeds. They outlive the records that they were counted from. No personal data."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext


class FeedHour(models.Model):
    """The figures of one hour for one feed, engine and variant."""

    hour = models.DateTimeField(help_text="Start of the hour.")
    feed = models.CharField(max_length=32)
    engine = models.CharField(max_length=32)
    variant = models.CharField(max_length=64)
    slate_count = models.PositiveIntegerField(default=0, help_text="Slates that were built.")
    p50_ms = models.FloatField(default=0.0, help_text="Median time to build a slate, in milliseconds.")
    p95_ms = models.FloatField(default=0.0, help_text="95th percentile of the time to build a slate.")
    fallback_count = models.PositiveIntegerField(default=0, help_text="Slates that a fallback step built.")
    empty_count = models.PositiveIntegerField(default=0, help_text="Slates without a post.")
    page_count = models.PositiveIntegerField(
        default=0, help_text="Pages that were served, from fresh and cached slates."
    )
    served_count = models.PositiveIntegerField(default=0, help_text="Posts on those pages.")
    engagement_count = models.PositiveIntegerField(
        default=0, help_text="Positive interactions received in this hour that name a request of this variant."
    )

    class Meta:
        ordering = ["-hour", "feed", "engine", "variant"]
        constraints = [
            models.UniqueConstraint(fields=["hour", "feed", "engine", "variant"], name="one_row_per_hour_and_variant")
        ]

    def __str__(self) -> str:
        return gettext("{feed} by {engine}, {variant}: {hour}").format(
            feed=self.feed, engine=self.engine, variant=self.variant, hour=f"{self.hour:%Y-%m-%d %H}h"
        )
