"""Evaluations of the product on the platform's own data."""

from __future__ import annotations

from django.db import models


class Evaluation(models.Model):
    """
    One evaluation: the product's feeds and its peers on the same test cases. No personal data: means over members.

    The quality score is the NDCG of the discovery feed divided by that of the best peer, at most 1.
    """

    split = models.CharField(max_length=16, help_text="How test cases were held out: last-one, last-n or time.")
    case_count = models.PositiveIntegerField()
    member_count = models.PositiveIntegerField(help_text="Members with a test case.")
    best_peer = models.CharField(
        max_length=64, blank=True, help_text="The peer with the highest NDCG. Empty: no peers."
    )
    quality_score = models.FloatField(null=True, blank=True, help_text="Empty: there were no peers to compare with.")
    report = models.JSONField(help_text="The figures of every system with their 95 % intervals.")
    policies = models.JSONField(default=dict, help_text="The evaluated version of each variant's policy.")
    release = models.CharField(max_length=64, blank=True, help_text="The setting RELEASE.")
    seconds = models.FloatField(help_text="How long the evaluation took.")
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return f"{self.split}, {self.created_at:%Y-%m-%d %H:%M}"
